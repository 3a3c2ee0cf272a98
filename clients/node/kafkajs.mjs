// Driver of kafkajs for the client matrix. It brings gzip itself and takes other codecs as
// plug-ins; those given here are the usual ones.
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import zlib from 'node:zlib'
import kafkajs from 'kafkajs'
import lz4 from 'lz4-napi'
import snappy from 'snappy'
import { Handles, Inbox, Lacks, Said, decode, encode, serve } from './wire.mjs'

const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = kafkajs
const { version } = createRequire(import.meta.url)('kafkajs/package.json')
const CODECS = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD
}

// Java's snappy streams begin with a header and hold blocks, each after its length.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
async function unsnappy(data) {
  if (!data.subarray(0, 8).equals(XERIAL)) return snappy.uncompress(data)
  const blocks = []
  for (let at = 16; at < data.length;) {
    const size = data.readUInt32BE(at)
    blocks.push(await snappy.uncompress(data.subarray(at + 4, at + 4 + size)))
    at += 4 + size
  }
  return Buffer.concat(blocks)
}
CompressionCodecs[CompressionTypes.Snappy] = () => ({ compress: e => snappy.compress(e.buffer), decompress: unsnappy })
CompressionCodecs[CompressionTypes.LZ4] = () => ({ compress: e => lz4.compressFrame(e.buffer), decompress: d => lz4.decompressFrame(d) })
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async e => zlib.zstdCompressSync(e.buffer), decompress: async d => zlib.zstdDecompressSync(d)
})

function codeOf(error) {
  for (const one of [error, error.cause, error.originalError, ...(error.errors ?? [])]) {
    if (one?.type === 'INVALID_TOPIC_EXCEPTION' || (one?.type && /^[A-Z_]+$/.test(one.type))) return one.type
  }
  if (error.groups?.[0]?.error) return codeOf(error.groups[0].error)
  return error.cause ? codeOf(error.cause) : error.name
}

class Driver {
  open = new Handles()

  constructor(bootstrap) {
    this.kafka = new Kafka({
      clientId: 'matrix', brokers: bootstrap.split(','), logLevel: logLevel.ERROR, retry: { retries: 6, initialRetryTime: 100 },
      logCreator: () => entry => process.stderr.write(`${JSON.stringify(entry)}\n`)
    })
  }

  async admin() {
    if (!this.connected) {
      this.connected = this.kafka.admin()
      await this.connected.connect()
    }
    return this.connected
  }

  hello() {
    return { version }
  }

  // producers

  async producer({ acks = 'all', compression = 'none', idempotent = false, transactional_id: transactionalId }) {
    const producer = this.kafka.producer({
      idempotent: idempotent || Boolean(transactionalId), transactionalId, maxInFlightRequests: 1, allowAutoTopicCreation: false
    })
    await producer.connect()
    const handle = { producer, acks: acks === 'all' ? -1 : acks, compression: CODECS[compression], transaction: null }
    // The transactional id is claimed by its first transaction.
    if (transactionalId) handle.transaction = await producer.transaction()
    return this.open.add(handle)
  }

  async send({ producer: number, records }) {
    const { producer, transaction, acks, compression } = this.open.get(number)
    const topics = new Map()
    for (const r of records) {
      const headers = {}
      for (const [name, data] of r.headers) {
        if (data === null) throw new Lacks('kafkajs sends no headers without a value')
        headers[name] = name in headers ? [].concat(headers[name], decode(data)) : decode(data)
      }
      const message = {
        key: decode(r.key), value: decode(r.value), partition: r.partition ?? undefined, headers,
        timestamp: r.timestamp === null ? undefined : String(r.timestamp)
      }
      topics.set(r.topic, [...(topics.get(r.topic) ?? []), message])
    }
    const topicMessages = [...topics].map(([topic, messages]) => ({ topic, messages }))
    const said = await (transaction ?? producer).sendBatch({ acks, compression, topicMessages })
    // A record to a partition that kafkajs does not know is left out without a word.
    const written = new Set(said.map(s => s.partition))
    if (acks !== 0 && records.some(r => !written.has(r.partition))) throw new Said('CLIENT_UNKNOWN_PARTITION', 'the record was left out')
    return records.map(r => ({ partition: r.partition, offset: null }))
  }

  async begin({ producer: number }) {
    const handle = this.open.get(number)
    if (!handle.transaction?.isActive()) handle.transaction = await handle.producer.transaction()
  }

  async end({ producer: number, commit }) {
    const { transaction } = this.open.get(number)
    await (commit ? transaction.commit() : transaction.abort())
  }

  async send_offsets({ producer: number, group, offsets }) {
    const topics = offsets.map(([topic, partition, offset]) => ({ topic, partitions: [{ partition, offset: String(offset) }] }))
    await this.open.get(number).transaction.sendOffsets({ consumerGroupId: group, topics })
  }

  async close_producer({ producer: number }) {
    await this.open.pop(number).producer.disconnect()
  }

  // consumers

  async consumer(given) {
    const { topics, group, start = 'earliest', reset, isolation = 'read_uncommitted', protocol = 'classic' } = given
    if (protocol !== 'classic') throw new Lacks('kafkajs has no KIP-848 groups')
    if (given.strategy === 'cooperative') throw new Lacks('kafkajs has no cooperative rebalance')
    if (given.instance) throw new Lacks('kafkajs has no static members')
    if (reset === 'none') throw new Lacks('kafkajs resets an offset out of range by itself')
    const consumer = this.kafka.consumer({
      groupId: group ?? `matrix-${randomUUID()}`, sessionTimeout: 10000, heartbeatInterval: 300, maxWaitTimeInMs: 100,
      readUncommitted: isolation === 'read_uncommitted', allowAutoTopicCreation: false,
      ...(given.max_bytes ? { maxBytesPerPartition: given.max_bytes, maxBytes: 2 * given.max_bytes } : {})
    })
    const handle = { consumer, inbox: new Inbox(), assigned: [], positions: new Map() }
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      handle.assigned = Object.entries(payload.memberAssignment).flatMap(([topic, parts]) => parts.map(p => [topic, p]))
    })
    consumer.on(consumer.events.REBALANCING, () => { handle.assigned = [] })
    await consumer.connect()
    await consumer.subscribe({ topics, fromBeginning: start !== 'latest' })
    const only = Array.isArray(start) ? new Set(start.map(([topic, partition]) => `${topic}:${partition}`)) : null
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        const first = only && start.find(([t, p]) => t === topic && p === partition)
        // A seek takes effect while records of before may still come.
        if (!only || (first && Number(message.offset) >= first[2])) handle.inbox.push({ topic, partition, message })
      }
    })
    if (only) for (const [topic, partition, offset] of start) consumer.seek({ topic, partition, offset: String(offset) })
    return this.open.add(handle)
  }

  async poll({ consumer: number, timeout_ms: timeoutMs }) {
    const { inbox, positions } = this.open.get(number)
    return (await inbox.take(timeoutMs)).map(({ topic, partition, message: m }) => {
      positions.set(`${topic}:${partition}`, { topic, partition, offset: String(BigInt(m.offset) + 1n) })
      const headers = Object.entries(m.headers ?? {}).flatMap(([name, data]) => [].concat(data).map(d => [name, encode(d)]))
      return {
        topic, partition, offset: Number(m.offset), key: encode(m.key), value: encode(m.value), headers,
        timestamp: Number(m.timestamp), timestamp_type: (m.attributes & 8) / 8 || null
      }
    })
  }

  assignment({ consumer: number }) {
    return this.open.get(number).assigned
  }

  async commit({ consumer: number }) {
    const { consumer, positions } = this.open.get(number)
    await consumer.commitOffsets([...positions.values()])
  }

  async close_consumer({ consumer: number }) {
    await this.open.pop(number).consumer.disconnect()
  }

  async offsets_for_times({ topic, partition, timestamps }) {
    const admin = await this.admin()
    const { high } = (await admin.fetchTopicOffsets(topic)).find(o => o.partition === partition)
    const offsets = []
    for (const timestamp of timestamps) {
      // After the last record kafkajs gives the end.
      const { offset } = (await admin.fetchTopicOffsetsByTimestamp(topic, timestamp)).find(o => o.partition === partition)
      offsets.push(offset === high ? null : Number(offset))
    }
    return offsets
  }

  // admin

  async create_topic({ topic, partitions, configs, replicas = 1 }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const topics = [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }]
    // kafkajs tells with `false` that the topic exists.
    if (!(await (await this.admin()).createTopics({ topics }))) throw new Said('TOPIC_ALREADY_EXISTS', 'createTopics gave false')
  }

  async delete_topic({ topic }) {
    await (await this.admin()).deleteTopics({ topics: [topic] })
  }

  async list_topics() {
    const { topics } = await (await this.admin()).fetchTopicMetadata()
    return Object.fromEntries(topics.map(t => [t.name, t.partitions.length]))
  }

  async create_partitions({ topic, count }) {
    await (await this.admin()).createPartitions({ topicPartitions: [{ topic, count }] })
  }

  async describe_configs({ topic }) {
    const { resources } = await (await this.admin()).describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }], includeSynonyms: false })
    return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
  }

  async alter_config({ topic, name, value }) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }]
    await (await this.admin()).alterConfigs({ resources, validateOnly: false })
  }

  async delete_records({ topic, partition, before }) {
    const admin = await this.admin()
    // The client deletes records only of topics whose leaders it has asked for before.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
    return null
  }

  async list_groups() {
    return (await (await this.admin()).listGroups()).groups.map(g => g.groupId)
  }

  async describe_group({ group }) {
    const { groups } = await (await this.admin()).describeGroups([group])
    return { state: groups[0].state, members: groups[0].members.length }
  }

  async group_offsets({ group }) {
    const topics = await (await this.admin()).fetchOffsets({ groupId: group })
    return topics.flatMap(t => t.partitions.map(p => [t.topic, p.partition, Number(p.offset)]))
  }

  async delete_group({ group }) {
    await (await this.admin()).deleteGroups([group])
  }

  async cluster() {
    const { brokers, clusterId } = await (await this.admin()).describeCluster()
    return { id: clusterId, brokers: brokers.length }
  }
}

await serve(new Driver(process.argv[2]), codeOf)
