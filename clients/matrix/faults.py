"""Faults of clients: cases that a client fails with Apache Kafka itself, each looked into.

They are run all the same and stand in the table as what the client does; a fault that
went away is told, so that this list stays true.
"""

FAULTS = {
    ("kafka-python", "group_cooperative"): "after an incremental rebalance it stops reading a partition that it kept",
    ("@platformatic/kafka", "group_static"): "a static member leaves its group when it closes",
    ("@platformatic/kafka", "timestamps"): "it shows the producer's timestamp where the log's counts",
    ("@platformatic/kafka", "error_partition"): "it takes a partition modulo their number",
}
