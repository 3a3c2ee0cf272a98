"""Why a test of another library's suite fails or is skipped with Courant, by suite and
test: each looked into, and run against Apache Kafka too."""

NODE = "wants a broker with the id 0, at port 9092; fails with any other, Apache Kafka's too"

ADDRESS = "goes to localhost:9092, whatever address it is given; fails with Apache Kafka elsewhere too"

SHARE = "Courant has no share groups (KIP-932)"

REASONS = {
    ("franz-go", "TestConsumeRegexShareSkipsInternal"): SHARE,
    ("franz-go", "TestShareGroup"): SHARE,
    ("franz-go", "TestShareGroupAckOnClose"): SHARE,
    ("franz-go", "TestShareGroupETL"): SHARE,
    ("franz-go", "TestShareGroupOffsetsAdmin"): SHARE,
    ("rdkafka", "test_configs"): NODE,
    ("rdkafka", "test_topics"): NODE,
    ("rdkafka", "test_metadata"): NODE,
    ("rdkafka", "test_future_producer_send"): ADDRESS,
    ("rdkafka", "test_future_producer_send_fail"): ADDRESS,
    ("rdkafka", "test_base_producer_timeout"): "wants that making a topic takes longer than the 100 ms that its records may wait; "
    "here they are delivered",
    ("rdkafka", "test_produce_consume_message_queue_nonempty_callback"): "a race within librdkafka, before it has asked any broker: its "
    "own barrier reaches the queue after the callback is set (2 of 12 runs; 0 of 12 with Apache Kafka)",
}
