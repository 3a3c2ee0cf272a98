"""Why a test of another library's suite fails with Courant: each looked into."""

REASONS = {
    ("franz-go", "Test848RegexBrokerResolves"): "wants the topic `__consumer_offsets` before anybody has joined a group; Courant makes it with the first",
}
