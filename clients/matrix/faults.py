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

# What was seen beside the cases, or is avoided by a driver: it stands below the table.
REMARKS = {
    "kafka-python": "when its first join is answered before it has the topic's metadata, it can drop the assignment that "
    "the broker then sends and wait for ever: 2 of 40 joins with Courant, which answers after 20 ms; 1 of 60 with Apache "
    "Kafka at `group.initial.rebalance.delay.ms=0`; 0 of 40 at 100 ms (Apache Kafka's default is 3 s). "
    "Asking for the topic's partitions before `subscribe` avoids it, and the cases do so",
    "@platformatic/kafka": "a transactional producer must be given `producerId: -1n, producerEpoch: -1`; otherwise it asks "
    "as producer 0, and a second one with the same transactional id is refused, by Apache Kafka too",
}
