"""The cases of the client matrix: what every Kafka client must be able to do.

Each case is one function: its first line is the row of the table. It gets a client and
asserts; what it returns (the codes of errors) is what two brokers are compared by. Every
case holds against Apache Kafka, which is the judge of them. A case makes its own topics,
so that cases run in any order and side by side.
"""

import time
import uuid

from .client import KafkaSaid, record
from .wire import codecs_of

CASES = []


def case(function):
    CASES.append(function)
    return function


def values(records, partition=None):
    return [r.value for r in records if partition is None or r.partition == partition]


def numbered(topic, count, partitions=1, start=0):
    return [record(topic, b"v%d" % n, key=b"k%d" % n, partition=n % partitions) for n in range(start, start + count)]


def until(condition, what, seconds=40):
    """Repeats `condition` (which polls) until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"


def refused(call, *codes):
    """Runs `call`, which must be refused with one of `codes`; gives the code."""
    try:
        call()
    except KafkaSaid as said:
        assert said.code in codes, f"expected {' or '.join(codes)}, found {said}"
        return said.code
    raise AssertionError(f"expected {' or '.join(codes)}, but it was accepted")


@case
def produce(c):
    """produce with acks 0, 1 and all"""
    topic = c.topic()
    c.produce(numbered(topic, 3), acks=0)
    c.read(topic, 3)
    for acks, first in ((1, 3), ("all", 6)):
        said = c.produce(numbered(topic, 3, start=first), acks=acks)
        offsets = [s["offset"] for s in said]
        assert offsets in ([first, first + 1, first + 2], [None] * 3), f"acks {acks}: offsets {offsets}"
    assert values(c.read(topic, 9)) == [b"v%d" % n for n in range(9)]


@case
def consume(c):
    """consume from the beginning, an offset and the end, in order"""
    topic = c.topic(partitions=3)
    c.produce(numbered(topic, 300, partitions=3))
    records = c.read(topic, 300)
    for partition in range(3):
        own = [r for r in records if r.partition == partition]
        assert [r.offset for r in own] == list(range(100)), f"offsets of partition {partition}"
        assert values(own) == [b"v%d" % n for n in range(partition, 300, 3)], f"order of partition {partition}"
    consumer = c.consumer(topics=[topic], start=[[topic, 1, 95]])
    assert [r.offset for r in c.take(consumer, 5)] == [95, 96, 97, 98, 99]
    c.close_consumer(consumer=consumer)
    late = c.topic()
    c.produce(numbered(late, 1))
    consumer, seen = c.consumer(topics=[late], start="latest"), []

    def came():
        # Clients find the end in the background: what they then see has come since.
        c.produce([record(late, b"new")])
        seen.extend(values(c.records(consumer)))
        return seen

    until(came, "a record at the end")
    assert set(seen) == {b"new"}, f"from the end came {seen}"
    c.close_consumer(consumer=consumer)


def compression(codec):
    def run(c):
        topic = c.topic()
        sent = [record(topic, b"%d " % n + b"courant " * 40) for n in range(400)]
        c.produce(sent, compression=codec)
        found = codecs_of(c.bootstrap, topic)
        assert found == {codec}, f"the log holds batches compressed with {found}"
        records = c.read(topic, 400)
        assert values(records) == [b"%d " % n + b"courant " * 40 for n in range(400)]

    run.__name__ = f"compression_{codec}"
    run.__doc__ = f"compression {codec}"
    return run


for name in ("none", "gzip", "snappy", "lz4", "zstd"):
    case(compression(name))


def rebalance(c, **options):
    """Two members share four partitions, then one has them all; no record is missed."""
    topic, group = c.topic(partitions=4), f"g-{uuid.uuid4().hex[:8]}"
    seen = []

    def owned(consumer):
        seen.extend(values(c.records(consumer, timeout_ms=200)))
        return {p for _, p in c.assignment(consumer=consumer)}

    def came(count, *members):
        for member in members:
            owned(member)
        return len(set(seen)) == count

    first = c.consumer(topics=[topic], group=group, start="earliest", **options)
    until(lambda: owned(first) == {0, 1, 2, 3}, "one member owns all four partitions")
    c.produce(numbered(topic, 40, partitions=4))
    until(lambda: came(40, first), "40 records at the first member")
    second = c.consumer(topics=[topic], group=group, start="earliest", **options)

    def shared():
        a, b = owned(first), owned(second)
        return len(a) == 2 and len(b) == 2 and a | b == {0, 1, 2, 3}

    until(shared, "two members own two partitions each")
    c.produce(numbered(topic, 40, partitions=4, start=40))
    until(lambda: came(80, first, second), "80 records at both members")
    c.close_consumer(consumer=first)
    until(lambda: owned(second) == {0, 1, 2, 3}, "the member that stays owns all four partitions")
    c.produce(numbered(topic, 40, partitions=4, start=80))
    until(lambda: came(120, second), "120 records at the member that stays")
    c.close_consumer(consumer=second)


@case
def group_rebalance(c):
    """group: members join and leave, partitions move"""
    rebalance(c)


@case
def group_cooperative(c):
    """group: cooperative (incremental) rebalance"""
    rebalance(c, strategy="cooperative")


@case
def group_next(c):
    """group: the protocol of KIP-848"""
    rebalance(c, protocol="consumer")


@case
def group_static(c):
    """group: a static member comes back to its partitions"""
    topic, group = c.topic(partitions=4), f"g-{uuid.uuid4().hex[:8]}"

    def owned(consumer):
        c.records(consumer, timeout_ms=200)
        return {p for _, p in c.assignment(consumer=consumer)}

    members = [c.consumer(topics=[topic], group=group, start="earliest", instance=f"i{n}") for n in range(2)]
    before = []

    def shared():
        before[:] = [owned(m) for m in members]
        return [len(b) for b in before] == [2, 2]

    until(shared, "two static members own two partitions each")
    c.close_consumer(consumer=members[0])
    assert owned(members[1]) == before[1], "a static member that stopped keeps its partitions"
    members[0] = c.consumer(topics=[topic], group=group, start="earliest", instance="i0")
    until(lambda: owned(members[0]) == before[0] and owned(members[1]) == before[1], "the partitions from before")
    for member in members:
        c.close_consumer(consumer=member)


@case
def commit_resume(c):
    """commit, and resume after the last commit"""
    topic, group = c.topic(), f"g-{uuid.uuid4().hex[:8]}"
    c.produce(numbered(topic, 10))
    consumer = c.consumer(topics=[topic], group=group, start="earliest", max_records=5)
    assert len(c.take(consumer, 10)) == 10
    c.commit(consumer=consumer)
    c.close_consumer(consumer=consumer)
    c.produce(numbered(topic, 5, start=10))
    consumer = c.consumer(topics=[topic], group=group, start="earliest")
    assert values(c.take(consumer, 5)) == [b"v%d" % n for n in range(10, 15)]
    c.close_consumer(consumer=consumer)
    # Nothing was committed of these five: they come again.
    consumer = c.consumer(topics=[topic], group=group, start="earliest")
    assert values(c.take(consumer, 5)) == [b"v%d" % n for n in range(10, 15)]
    c.close_consumer(consumer=consumer)


@case
def idempotent(c):
    """idempotent producer"""
    topic = c.topic(partitions=2)
    c.produce(numbered(topic, 1000, partitions=2), idempotent=True, acks="all")
    c.produce(numbered(topic, 10, partitions=2, start=1000), idempotent=True, acks="all")
    records = c.read(topic, 1010)
    for partition in range(2):
        assert values(records, partition) == [b"v%d" % n for n in range(partition, 1010, 2)]


@case
def transactions(c):
    """transactions, read-committed and read-uncommitted"""
    topic = c.topic(partitions=2)
    producer = c.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    for what, word in (("commit", b"a"), ("abort", b"b"), ("commit", b"c")):
        c.begin(producer=producer)
        c.send(producer=producer, records=[record(topic, word + b"%d" % n, partition=n % 2) for n in range(10)])
        c.end(producer=producer, commit=what == "commit")
    c.begin(producer=producer)
    c.send(producer=producer, records=[record(topic, b"open", partition=n) for n in range(2)])
    expected = sorted(word + b"%d" % n for word in (b"a", b"c") for n in range(10))
    reader = c.consumer(topics=[topic], start="earliest", isolation="read_committed")
    assert sorted(values(c.take(reader, 20))) == expected
    assert not c.records(reader, timeout_ms=1000), "an open transaction is not read"
    assert len(c.read(topic, 32, isolation="read_uncommitted")) == 32
    c.end(producer=producer, commit=True)
    assert values(c.take(reader, 2)) == [b"open", b"open"]
    c.close_consumer(consumer=reader)
    c.close_producer(producer=producer)


@case
def transaction_offsets(c):
    """transactions with consumed offsets inside"""
    source, sink, group = c.topic(), c.topic(), f"g-{uuid.uuid4().hex[:8]}"
    c.produce(numbered(source, 10))
    producer = c.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    for commit, expected in ((False, range(10)), (True, range(10))):
        consumer = c.consumer(topics=[source], group=group, start="earliest")
        taken = c.take(consumer, 10)
        assert values(taken) == [b"v%d" % n for n in expected]
        c.begin(producer=producer)
        c.send(producer=producer, records=[record(sink, r.value.upper()) for r in taken])
        c.send_offsets(producer=producer, consumer=consumer, group=group, offsets=[[source, 0, 10]])
        c.end(producer=producer, commit=commit)
        c.close_consumer(consumer=consumer)
    c.produce(numbered(source, 1, start=10))
    consumer = c.consumer(topics=[source], group=group, start="earliest")
    assert values(c.take(consumer, 1)) == [b"v10"]
    c.close_consumer(consumer=consumer)
    assert values(c.read(sink, 10, isolation="read_committed")) == [b"V%d" % n for n in range(10)]
    c.close_producer(producer=producer)


@case
def transaction_fencing(c):
    """a newer producer fences the older one"""
    topic, name = c.topic(), f"x-{uuid.uuid4().hex[:8]}"
    old = c.producer(transactional_id=name)
    c.begin(producer=old)
    c.send(producer=old, records=[record(topic, b"old")])
    new = c.producer(transactional_id=name)
    fenced = ("PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "FENCED")

    def go_on():
        c.send(producer=old, records=[record(topic, b"old again")])
        c.end(producer=old, commit=True)

    refused(go_on, *fenced)
    c.begin(producer=new)
    c.send(producer=new, records=[record(topic, b"new")])
    c.end(producer=new, commit=True)
    assert values(c.read(topic, 1, isolation="read_committed")) == [b"new"]
    c.close_producer(producer=new)


@case
def headers(c):
    """headers: text, empty, the same name twice"""
    topic = c.topic()
    given = [("a", b"1"), ("b", b"two words"), ("a", b"2"), ("empty", b"")]
    c.produce([record(topic, b"x", headers=given), record(topic, b"y")])
    records = c.read(topic, 2)
    # Some clients keep headers by name: the order of different names is not theirs.
    assert sorted(records[0].headers) == sorted(given) and records[1].headers == [], f"found {records[0].headers}"
    assert [data for name, data in records[0].headers if name == "a"] == [b"1", b"2"]


@case
def headers_binary(c):
    """headers: any bytes"""
    topic = c.topic()
    given = [("bytes", bytes(range(256)))]
    c.produce([record(topic, b"x", headers=given)])
    found = c.read(topic, 1)[0].headers
    assert found == given, f"found {found}"


@case
def headers_null(c):
    """headers: null values"""
    topic = c.topic()
    c.produce([record(topic, b"x", headers=[("null", None)])])
    found = c.read(topic, 1)[0].headers
    assert found == [("null", None)], f"found {found}"


@case
def timestamps(c):
    """timestamps: the producer's, the log's, offsets by time"""
    topic = c.topic()
    base = int(time.time() * 1000) - 60_000
    c.produce([record(topic, b"%d" % n, timestamp=base + 1000 * n) for n in range(10)])
    assert [r.timestamp for r in c.read(topic, 10)] == [base + 1000 * n for n in range(10)]
    log_time = c.topic(configs={"message.timestamp.type": "LogAppendTime"})
    c.produce([record(log_time, b"x", timestamp=base)])
    found = c.read(log_time, 1)[0]
    assert found.timestamp > base + 30_000, "the log's time replaces the producer's"
    assert found.timestamp_type in (None, 1), f"timestamp type {found.timestamp_type}"
    asked = [base - 5, base + 3000, base + 3001, base + 20_000]
    assert c.offsets_for_times(topic=topic, partition=0, timestamps=asked) == [0, 3, 4, None]


@case
def tombstones(c):
    """tombstones: null is not the same as empty"""
    topic = c.topic(configs={"cleanup.policy": "compact"})
    c.produce([record(topic, b"", key=b"a"), record(topic, None, key=b"a"), record(topic, b"x", key=b"b")])
    assert values(c.read(topic, 3)) == [b"", None, b"x"]


@case
def large(c):
    """messages of 10 MB"""
    topic = c.topic(configs={"max.message.bytes": "11000000"})
    value = bytes(range(256)) * 40960
    for n in range(2):
        c.produce([record(topic, value, key=b"%d" % n)], max_bytes=11_000_000)
    assert values(c.read(topic, 2, max_bytes=11_000_000)) == [value, value]


@case
def admin_topics(c):
    """admin: topics are made, listed, given partitions, deleted"""
    topic = c.topic(partitions=2)
    assert c.list_topics()[topic] == 2
    c.create_partitions(topic=topic, count=5)
    until(lambda: c.list_topics().get(topic) == 5, "five partitions")
    c.delete_topic(topic=topic)
    until(lambda: topic not in c.list_topics(), "the topic is gone")


@case
def admin_configs(c):
    """admin: configs are described and changed"""
    topic = c.topic(configs={"retention.ms": "123000"})
    assert c.describe_configs(topic=topic)["retention.ms"] == "123000"
    c.alter_config(topic=topic, name="retention.ms", value="456000")
    until(lambda: c.describe_configs(topic=topic)["retention.ms"] == "456000", "the changed config")
    assert c.describe_configs(topic=topic)["cleanup.policy"] == "delete"


@case
def admin_records(c):
    """admin: records are deleted up to an offset"""
    topic = c.topic()
    c.produce(numbered(topic, 10))
    assert c.delete_records(topic=topic, partition=0, before=7) in (7, None)
    assert c.read(topic, 3)[0].offset == 7


@case
def admin_groups(c):
    """admin: groups are listed and described, their offsets read"""
    topic, group = c.topic(), f"g-{uuid.uuid4().hex[:8]}"
    c.produce(numbered(topic, 4))
    consumer = c.consumer(topics=[topic], group=group, start="earliest")
    c.take(consumer, 4)
    c.commit(consumer=consumer)
    assert group in c.list_groups()
    described = c.describe_group(group=group)
    assert described["state"].upper() == "STABLE" and described["members"] == 1, described
    assert c.group_offsets(group=group) == [[topic, 0, 4]]
    c.close_consumer(consumer=consumer)
    until(lambda: c.describe_group(group=group)["state"].upper() == "EMPTY", "an empty group")


@case
def admin_group_delete(c):
    """admin: an empty group is deleted, one with members is not"""
    topic, group = c.topic(), f"g-{uuid.uuid4().hex[:8]}"
    c.produce(numbered(topic, 4))
    consumer = c.consumer(topics=[topic], group=group, start="earliest")
    c.take(consumer, 4)
    c.commit(consumer=consumer)
    seen = refused(lambda: c.delete_group(group=group), "NON_EMPTY_GROUP")
    c.close_consumer(consumer=consumer)
    until(lambda: c.describe_group(group=group)["state"].upper() == "EMPTY", "an empty group")
    c.delete_group(group=group)
    assert group not in c.list_groups()
    return [seen]


@case
def admin_cluster(c):
    """admin: the cluster is described"""
    cluster = c.cluster()
    assert cluster["brokers"] >= 1 and len(cluster["id"] or "") == 22, cluster


@case
def error_unknown_topic(c):
    """error: the topic does not exist"""
    return [refused(lambda: c.delete_topic(topic="no-such-topic"), "UNKNOWN_TOPIC_OR_PARTITION")]


@case
def error_topic(c):
    """error: a topic that exists, a bad name, count or config"""
    topic = c.topic()
    expected = [
        (dict(topic=topic, partitions=1, configs={}), "TOPIC_ALREADY_EXISTS"),
        (dict(topic="no/such name", partitions=1, configs={}), "INVALID_TOPIC_EXCEPTION"),
        (dict(topic=f"{topic}-r", partitions=1, configs={}, replicas=9), "INVALID_REPLICATION_FACTOR"),
        (dict(topic=f"{topic}-c", partitions=1, configs={"retention.ms": "soon"}), "INVALID_CONFIG"),
        (dict(topic=f"{topic}-n", partitions=1, configs={"no.such.config": "1"}), "INVALID_CONFIG"),
    ]
    seen = [refused(lambda given=given: c.create_topic(**given), code) for given, code in expected]
    return seen


@case
def error_config(c):
    """error: an alteration to an invalid config"""
    topic = c.topic()
    return [refused(lambda: c.alter_config(topic=topic, name="cleanup.policy", value="burn"), "INVALID_CONFIG")]


@case
def error_too_large(c):
    """error: a record larger than the topic takes"""
    topic = c.topic(configs={"max.message.bytes": "2000"})
    big = [record(topic, b"x" * 50_000)]
    seen = refused(lambda: c.produce(big), "MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE")
    c.produce([record(topic, b"small")])
    assert values(c.read(topic, 1)) == [b"small"]
    return [seen]


@case
def error_partition(c):
    """error: the partition does not exist"""
    topic = c.topic()
    lost = [record(topic, b"x", partition=7)]
    # Clients know the partitions from the metadata and mostly refuse by themselves.
    return [refused(lambda: c.produce(lost), "UNKNOWN_TOPIC_OR_PARTITION", "CLIENT_UNKNOWN_PARTITION")]


@case
def error_offset(c):
    """error: the offset is out of range"""
    topic = c.topic()
    c.produce(numbered(topic, 3))

    def beyond():
        consumer = c.consumer(topics=[topic], start=[[topic, 0, 1000]], reset="none")
        for _ in range(20):
            c.records(consumer)

    return [refused(beyond, "OFFSET_OUT_OF_RANGE")]


@case
def error_group(c):
    """error: the group does not exist"""
    return [refused(lambda: c.delete_group(group="no-such-group"), "GROUP_ID_NOT_FOUND")]
