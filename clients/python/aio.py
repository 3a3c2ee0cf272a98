"""Driver of aiokafka for the client matrix. Its event loop runs on a thread of its own, so
that heartbeats go on between operations."""

import asyncio
import sys
import threading

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from wire import NAMES, Handles, Lacks, decode, found, named, serve


def code_of(error):
    for one in (error, error.__cause__):
        if getattr(one, "errno", None) in NAMES:
            return NAMES[one.errno]
    if isinstance(error, (AssertionError, ValueError)) and "partition" in str(error).lower():
        return "CLIENT_UNKNOWN_PARTITION"
    return {"ProducerFenced": "PRODUCER_FENCED"}.get(type(error).__name__, type(error).__name__)


class Operations:
    """The operations as coroutines."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self._admin = None
        self.open = Handles()

    async def admin(self):
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await self._admin.start()
        return self._admin

    async def hello(self):
        return {"version": aiokafka.__version__}

    # producers

    async def producer(self, acks="all", compression="none", idempotent=False, transactional_id=None, max_bytes=None):
        options = {"max_request_size": max_bytes} if max_bytes else {}
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks=acks, linger_ms=5, request_timeout_ms=20000,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=bool(idempotent or transactional_id), transactional_id=transactional_id, **options)
        await producer.start()
        return self.open.add(producer)

    async def send(self, producer, records):
        producer, futures = self.open[producer], []
        for r in records:
            futures.append(await producer.send(
                r["topic"], key=decode(r["key"]), value=decode(r["value"]), partition=r["partition"],
                headers=[(n, decode(v)) for n, v in r["headers"]], timestamp_ms=r["timestamp"]))
        said = await asyncio.gather(*futures)
        return [{"partition": s.partition if s else None, "offset": s.offset if s and s.offset >= 0 else None} for s in said]

    async def begin(self, producer):
        await self.open[producer].begin_transaction()

    async def end(self, producer, commit):
        producer = self.open[producer]
        await (producer.commit_transaction() if commit else producer.abort_transaction())

    async def send_offsets(self, producer, consumer, group, offsets):
        await self.open[producer].send_offsets_to_transaction(
            {TopicPartition(t, p): OffsetAndMetadata(o, "") for t, p, o in offsets}, group)

    async def close_producer(self, producer):
        await asyncio.wait_for(self.open.pop(producer).stop(), 10)

    # consumers

    async def consumer(self, topics, group=None, start="earliest", reset=None, isolation="read_uncommitted",
                       protocol="classic", strategy=None, instance=None, max_records=None, max_bytes=None):
        if protocol != "classic":
            raise Lacks("aiokafka has no KIP-848 groups")
        if strategy == "cooperative":
            raise Lacks("aiokafka has no cooperative assignor")
        options = {"max_partition_fetch_bytes": max_bytes} if max_bytes else {}
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False, isolation_level=isolation,
            auto_offset_reset=reset or ("latest" if start == "latest" else "earliest"), fetch_max_wait_ms=100,
            session_timeout_ms=10000, heartbeat_interval_ms=300, group_instance_id=instance, **options)
        if isinstance(start, list):
            consumer.assign([TopicPartition(t, p) for t, p, _ in start])
            await consumer.start()
            for topic, partition, offset in start:
                consumer.seek(TopicPartition(topic, partition), offset)
        else:
            consumer.subscribe(topics)
            # start() of a group waits for the join, which may need the other member to be polled.
            await consumer.start()
        return self.open.add(consumer)

    async def poll(self, consumer, timeout_ms):
        batches = await self.open[consumer].getmany(timeout_ms=timeout_ms)
        return [
            found(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp, r.timestamp_type)
            for batch in batches.values() for r in batch
        ]

    async def assignment(self, consumer):
        return [[t.topic, t.partition] for t in self.open[consumer].assignment()]

    async def commit(self, consumer):
        await self.open[consumer].commit()

    async def close_consumer(self, consumer):
        await self.open.pop(consumer).stop()

    async def offsets_for_times(self, topic, partition, timestamps):
        consumer = aiokafka.AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap)
        await consumer.start()
        at = TopicPartition(topic, partition)
        offsets = [(await consumer.offsets_for_times({at: t}))[at] for t in timestamps]
        await consumer.stop()
        return [o.offset if o else None for o in offsets]

    # admin

    async def create_topic(self, topic, partitions, configs, replicas=1):
        new = NewTopic(topic, partitions, replicas, topic_configs=configs)
        said = await (await self.admin()).create_topics([new])
        for _, code, *text in said.topic_errors:
            named(code, text[0] if text else "")

    async def delete_topic(self, topic):
        said = await (await self.admin()).delete_topics([topic])
        for _, code in said.topic_error_codes:
            named(code)

    async def list_topics(self):
        return {t["topic"]: len(t["partitions"]) for t in await (await self.admin()).describe_topics()}

    async def create_partitions(self, topic, count):
        await (await self.admin()).create_partitions({topic: NewPartitions(count)})

    async def describe_configs(self, topic):
        said = await (await self.admin()).describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for answer in said for resource in answer.resources for entry in resource[4]}

    async def alter_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})
        for answer in await (await self.admin()).alter_configs([resource]):
            for code, text, *_ in answer.resources:
                named(code, text)

    async def delete_records(self, topic, partition, before):
        at = TopicPartition(topic, partition)
        return (await (await self.admin()).delete_records({at: RecordsToDelete(before_offset=before)}))[at]

    async def list_groups(self):
        return [g[0] for g in await (await self.admin()).list_consumer_groups()]

    async def describe_group(self, group):
        (answer,) = await (await self.admin()).describe_consumer_groups([group])
        _, _, state, _, _, members, *_ = answer.groups[0]
        return {"state": state, "members": len(members)}

    async def group_offsets(self, group):
        offsets = await (await self.admin()).list_consumer_group_offsets(group)
        return [[t.topic, t.partition, o.offset] for t, o in offsets.items()]

    async def delete_group(self, group):
        raise Lacks("aiokafka's admin client cannot delete groups")

    async def cluster(self):
        described = await (await self.admin()).describe_cluster()
        return {"id": described["cluster_id"], "brokers": len(described["brokers"])}


class Driver:
    """Runs the operations on the event loop's thread."""

    def __init__(self, bootstrap):
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._operations = Operations(bootstrap)

    def __getattr__(self, op):
        operation = getattr(self._operations, op)
        return lambda **arguments: asyncio.run_coroutine_threadsafe(operation(**arguments), self._loop).result(80)


serve(Driver(sys.argv[1]), code_of)
