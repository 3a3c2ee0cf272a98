"""Driver of confluent-kafka (librdkafka) for the client matrix."""

import sys
import uuid

import confluent_kafka as ck
from confluent_kafka import admin as adm
from wire import Handles, Said, decode, found, serve

SECONDS = 30
# librdkafka's names that are not the protocol's.
NAMES = {
    "_UNKNOWN_PARTITION": "CLIENT_UNKNOWN_PARTITION",
    "_FENCED": "PRODUCER_FENCED",
    "_AUTO_OFFSET_RESET": "OFFSET_OUT_OF_RANGE",
    "UNKNOWN_TOPIC_OR_PART": "UNKNOWN_TOPIC_OR_PARTITION",
    "MSG_SIZE_TOO_LARGE": "MESSAGE_TOO_LARGE",
    "TOPIC_EXCEPTION": "INVALID_TOPIC_EXCEPTION",
}


def code_of(error):
    inner = error.args[0] if error.args else None
    if not isinstance(inner, ck.KafkaError):
        return type(error).__name__
    name = inner.name()
    return NAMES.get(name, name)


class Driver:
    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap, "socket.timeout.ms": 20000}
        self.admin = adm.AdminClient(self.common)
        self.open = Handles()

    def hello(self):
        return {"version": f"{ck.__version__} (librdkafka {ck.libversion()[0]})"}

    # producers

    def producer(self, acks="all", compression="none", idempotent=False, transactional_id=None, max_bytes=None):
        config = {**self.common, "compression.type": compression, "linger.ms": 5, "message.timeout.ms": 30000}
        if idempotent or transactional_id:
            config["enable.idempotence"] = True
        else:
            config["acks"] = acks
        if max_bytes:
            config["message.max.bytes"] = max_bytes
        if transactional_id:
            config["transactional.id"] = transactional_id
        producer = ck.Producer(config)
        if transactional_id:
            producer.init_transactions(SECONDS)
        return self.open.add(producer)

    def send(self, producer, records):
        producer, said = self.open[producer], [None] * len(records)
        for index, r in enumerate(records):
            def delivered(error, message, index=index):
                offset = message.offset()
                if offset is not None and offset < 0:
                    offset = None
                said[index] = error or {"partition": message.partition(), "offset": offset}

            options = {}
            if r["partition"] is not None:
                options["partition"] = r["partition"]
            if r["timestamp"] is not None:
                options["timestamp"] = r["timestamp"]
            producer.produce(
                r["topic"], key=decode(r["key"]), value=decode(r["value"]),
                headers=[(n, decode(v)) for n, v in r["headers"]] or None, on_delivery=delivered, **options,
            )
            producer.poll(0)
        producer.flush(SECONDS)
        for one in said:
            if isinstance(one, ck.KafkaError):
                raise ck.KafkaException(one)
            if one is None:
                raise Said("CLIENT_TIMEOUT", "a record was not delivered")
        return said

    def begin(self, producer):
        self.open[producer].begin_transaction()

    def end(self, producer, commit):
        producer = self.open[producer]
        producer.commit_transaction(SECONDS) if commit else producer.abort_transaction(SECONDS)

    def send_offsets(self, producer, consumer, group, offsets):
        self.open[producer].send_offsets_to_transaction(
            [ck.TopicPartition(*o) for o in offsets], self.open[consumer].consumer_group_metadata(), SECONDS)

    def close_producer(self, producer):
        self.open.pop(producer)

    # consumers

    def consumer(self, topics, group=None, start="earliest", reset=None, isolation="read_uncommitted", protocol="classic",
                 strategy=None, instance=None, max_records=None, max_bytes=None):
        config = {
            **self.common, "group.id": group or f"matrix-{uuid.uuid4()}", "enable.auto.commit": False,
            "auto.offset.reset": "error" if reset == "none" else "latest" if start == "latest" else "earliest",
            "isolation.level": isolation, "fetch.wait.max.ms": 100, "group.protocol": protocol,
        }
        if protocol == "classic":
            config |= {"session.timeout.ms": 10000, "heartbeat.interval.ms": 300}
            if strategy == "cooperative":
                config["partition.assignment.strategy"] = "cooperative-sticky"
        if instance:
            config["group.instance.id"] = instance
        if max_bytes:
            config |= {"fetch.message.max.bytes": max_bytes, "fetch.max.bytes": 2 * max_bytes}
        consumer = ck.Consumer(config)
        if isinstance(start, list):
            consumer.assign([ck.TopicPartition(*s) for s in start])
        elif group or start == "latest":
            consumer.subscribe(topics)
        else:
            parts = consumer.list_topics(topics[0], SECONDS).topics[topics[0]].partitions
            consumer.assign([ck.TopicPartition(topics[0], p, ck.OFFSET_BEGINNING) for p in parts])
        return self.open.add(consumer)

    def poll(self, consumer, timeout_ms):
        consumer, records = self.open[consumer], []
        message = consumer.poll(timeout_ms / 1000)
        while message is not None:
            if message.error():
                raise ck.KafkaException(message.error())
            kind, timestamp = message.timestamp()
            records.append(found(
                message.topic(), message.partition(), message.offset(), message.key(), message.value(),
                message.headers(), timestamp, {1: 0, 2: 1}.get(kind)))
            message = consumer.poll(0) if len(records) < 5000 else None
        return records

    def assignment(self, consumer):
        return [[t.topic, t.partition] for t in self.open[consumer].assignment()]

    def commit(self, consumer):
        self.open[consumer].commit(asynchronous=False)

    def close_consumer(self, consumer):
        self.open.pop(consumer).close()

    def offsets_for_times(self, topic, partition, timestamps):
        consumer = ck.Consumer({**self.common, "group.id": "matrix-times"})
        # librdkafka takes one timestamp for each partition and call.
        offsets = [consumer.offsets_for_times([ck.TopicPartition(topic, partition, t)], SECONDS)[0].offset
                   for t in timestamps]
        consumer.close()
        return [o if o >= 0 else None for o in offsets]

    # admin

    def _done(self, futures):
        return {key: future.result(SECONDS) for key, future in futures.items()}

    def create_topic(self, topic, partitions, configs, replicas=1):
        self._done(self.admin.create_topics([adm.NewTopic(topic, partitions, replicas, config=configs)]))

    def delete_topic(self, topic):
        self._done(self.admin.delete_topics([topic]))

    def list_topics(self):
        return {name: len(t.partitions) for name, t in self.admin.list_topics(timeout=SECONDS).topics.items()}

    def create_partitions(self, topic, count):
        self._done(self.admin.create_partitions([adm.NewPartitions(topic, count)]))

    def describe_configs(self, topic):
        resource = adm.ConfigResource(adm.RESOURCE_TOPIC, topic)
        entries = self._done(self.admin.describe_configs([resource]))[resource]
        return {name: entry.value for name, entry in entries.items()}

    def alter_config(self, topic, name, value):
        entry = adm.ConfigEntry(name, value, incremental_operation=adm.AlterConfigOpType.SET)
        self._done(self.admin.incremental_alter_configs(
            [adm.ConfigResource(adm.RESOURCE_TOPIC, topic, incremental_configs=[entry])]))

    def delete_records(self, topic, partition, before):
        (result,) = self._done(self.admin.delete_records([ck.TopicPartition(topic, partition, before)])).values()
        return result.low_watermark

    def list_groups(self):
        result = self.admin.list_consumer_groups().result(SECONDS)
        return [g.group_id for g in result.valid]

    def describe_group(self, group):
        described = self._done(self.admin.describe_consumer_groups([group]))[group]
        return {"state": described.state.name, "members": len(described.members)}

    def group_offsets(self, group):
        result = self._done(self.admin.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)]))[group]
        return [[t.topic, t.partition, t.offset] for t in result.topic_partitions]

    def delete_group(self, group):
        self._done(self.admin.delete_consumer_groups([group]))

    def cluster(self):
        described = self.admin.describe_cluster().result(SECONDS)
        return {"id": described.cluster_id, "brokers": len(described.nodes)}


serve(Driver(sys.argv[1]), code_of)
