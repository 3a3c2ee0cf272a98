"""Driver of kafka-python for the client matrix."""

import re
import sys

import kafka
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata, TopicPartition
from wire import NAMES, Handles, Lacks, decode, found, named, serve

SECONDS = 30


def code_of(error):
    for one in (error, error.__cause__, *error.args):
        if getattr(one, "errno", None) in NAMES:
            return NAMES[one.errno]
    if "partition" in str(error).lower() and isinstance(error, (AssertionError, ValueError)):
        return "CLIENT_UNKNOWN_PARTITION"
    return type(error).__name__


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self._admin = None
        self.open = Handles()

    @property
    def admin(self):
        if self._admin is None:
            self._admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self._admin

    def hello(self):
        return {"version": kafka.__version__}

    # producers

    def producer(self, acks="all", compression="none", idempotent=False, transactional_id=None, max_bytes=None):
        options = {}
        if transactional_id:
            options["transactional_id"] = transactional_id
        if max_bytes:
            options |= {"max_request_size": max_bytes}
        producer = kafka.KafkaProducer(
            bootstrap_servers=self.bootstrap, acks=acks, linger_ms=5, max_block_ms=20000,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=bool(idempotent or transactional_id), **options)
        if transactional_id:
            producer.init_transactions()
        return self.open.add(producer)

    def send(self, producer, records):
        producer = self.open[producer]
        if any(data is None for r in records for _, data in r["headers"]):
            raise Lacks("kafka-python sends no headers without a value")
        futures = [
            producer.send(
                r["topic"], key=decode(r["key"]), value=decode(r["value"]), partition=r["partition"],
                headers=[(n, decode(v)) for n, v in r["headers"]], timestamp_ms=r["timestamp"])
            for r in records
        ]
        producer.flush(SECONDS)
        said = [f.get(SECONDS) for f in futures]
        return [{"partition": s.partition, "offset": s.offset if s.offset >= 0 else None} for s in said]

    def begin(self, producer):
        self.open[producer].begin_transaction()

    def end(self, producer, commit):
        producer = self.open[producer]
        producer.commit_transaction() if commit else producer.abort_transaction()

    def send_offsets(self, producer, consumer, group, offsets):
        self.open[producer].send_offsets_to_transaction(
            {TopicPartition(t, p): OffsetAndMetadata(o, "", -1) for t, p, o in offsets},
            self.open[consumer].group_metadata())

    def close_producer(self, producer):
        self.open.pop(producer).close(timeout=5)

    # consumers

    def consumer(self, topics, group=None, start="earliest", reset=None, isolation="read_uncommitted", protocol="classic",
                 strategy=None, instance=None, max_records=None, max_bytes=None):
        if protocol != "classic":
            raise Lacks("kafka-python has no KIP-848 groups")
        options = {}
        if strategy == "cooperative":
            options["partition_assignment_strategy"] = [CooperativeStickyAssignor]
        if instance:
            options["group_instance_id"] = instance
        if max_bytes:
            options |= {"max_partition_fetch_bytes": max_bytes, "fetch_max_bytes": 2 * max_bytes}
        reset = reset or (start if isinstance(start, str) else "earliest")
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, auto_offset_reset=reset, enable_auto_commit=False,
            isolation_level=isolation, fetch_max_wait_ms=100, session_timeout_ms=10000, heartbeat_interval_ms=300,
            max_poll_records=5000, **options)
        if isinstance(start, list):
            consumer.assign([TopicPartition(t, p) for t, p, _ in start])
            for topic, partition, offset in start:
                consumer.seek(TopicPartition(topic, partition), offset)
        elif group:
            # Has the topic's metadata before it joins: see REMARKS in clients/matrix/faults.py.
            consumer.partitions_for_topic(topics[0])
            consumer.subscribe(topics)
        else:
            partitions = [TopicPartition(topics[0], p) for p in consumer.partitions_for_topic(topics[0])]
            consumer.assign(partitions)
            if start == "latest":
                consumer.seek_to_end()
                for partition in partitions:
                    consumer.position(partition)
        return self.open.add(consumer)

    def poll(self, consumer, timeout_ms):
        return [
            found(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp, r.timestamp_type)
            for batch in self.open[consumer].poll(timeout_ms=timeout_ms).values()
            for r in batch
        ]

    def assignment(self, consumer):
        return [[t.topic, t.partition] for t in self.open[consumer].assignment()]

    def commit(self, consumer):
        self.open[consumer].commit()

    def close_consumer(self, consumer):
        self.open.pop(consumer).close(autocommit=False)

    def offsets_for_times(self, topic, partition, timestamps):
        consumer = kafka.KafkaConsumer(bootstrap_servers=self.bootstrap)
        at = TopicPartition(topic, partition)
        offsets = [consumer.offsets_for_times({at: t})[at] for t in timestamps]
        consumer.close()
        return [o.offset if o else None for o in offsets]

    # admin

    def create_topic(self, topic, partitions, configs, replicas=1):
        self.admin.create_topics(
            {topic: {"num_partitions": partitions, "replication_factor": replicas, "configs": configs}})

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def list_topics(self):
        return {t["name"]: len(t["partitions"]) for t in self.admin.describe_topics()}

    def create_partitions(self, topic, count):
        self.admin.create_partitions({topic: count})

    def describe_configs(self, topic):
        found = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {name: entry["value"] for name, entry in found["topic"][topic].items()}

    def alter_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        said = self.admin.alter_configs([resource])["topic"][topic]
        # The client gives the error as text: "[Error 40] InvalidConfigurationError: …".
        code = re.match(r"\[Error (\d+)\]", said)
        named(int(code[1]) if code else said != "OK", said)

    def delete_records(self, topic, partition, before):
        at = TopicPartition(topic, partition)
        result = self.admin.delete_records({at: before})[at]
        return result["low_watermark"]

    def list_groups(self):
        return [g["group_id"] for g in self.admin.list_groups()]

    def describe_group(self, group):
        described = self.admin.describe_groups([group])[group]
        return {"state": str(described["group_state"]), "members": len(described["members"])}

    def group_offsets(self, group):
        offsets = self.admin.list_group_offsets([group])[group]
        return [[t.topic, t.partition, o.offset] for t, o in offsets.items()]

    def delete_group(self, group):
        said = self.admin.delete_groups([group])[group]
        named(getattr(errors, said).errno if said != "OK" else 0, said)

    def cluster(self):
        described = self.admin.describe_cluster()
        return {"id": described["cluster_id"], "brokers": len(described["brokers"])}


serve(Driver(sys.argv[1]), code_of)
