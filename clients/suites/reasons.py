"""Why a test of another library's suite fails with Courant: each looked into."""

REASONS = {
    ("franz-go", "Test848RegexBrokerResolves"): "wants the topic `__consumer_offsets`; Courant keeps offsets outside of topics",
}
