// Driver of @platformatic/kafka for the client matrix.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Admin, Consumer, Producer } from '@platformatic/kafka'
import { Handles, Inbox, Lacks, decode, encode, serve } from './wire.mjs'

const { version } = JSON.parse(readFileSync(new URL('node_modules/@platformatic/kafka/package.json', import.meta.url)))
const TOPIC = 2
const SET = 0

/** The protocol's name of the first error that has one, among causes and collected errors. */
function apiId(error) {
  if (!error) return null
  if (error.apiId) return error.apiId
  for (const inner of [...(error.errors ?? []), error.cause]) {
    const id = apiId(inner)
    if (id) return id
  }
  return null
}

const codeOf = error => apiId(error) ?? error.code ?? error.name

class Driver {
  open = new Handles()

  constructor(bootstrap) {
    this.base = { clientId: 'matrix', bootstrapBrokers: bootstrap.split(','), timeout: 20000, retries: 5, retryDelay: 200 }
    this.admin = new Admin(this.base)
  }

  hello() {
    return { version }
  }

  // producers

  async producer({ acks = 'all', compression = 'none', idempotent = false, transactional_id: transactionalId }) {
    const producer = new Producer({
      ...this.base, acks: acks === 'all' ? -1 : acks, compression,
      ...(idempotent || transactionalId ? { idempotent: true, acks: -1, retries: 0 } : {}),
      // Without these it asks as producer 0, which a second one with the same id may not be.
      ...(transactionalId ? { transactionalId, producerId: -1n, producerEpoch: -1 } : {})
    })
    const handle = { producer, transaction: null, begun: false }
    // The transactional id is claimed by its first transaction.
    if (transactionalId) handle.transaction = await producer.beginTransaction()
    return this.open.add(handle)
  }

  async send({ producer: number, records }) {
    const { producer, transaction } = this.open.get(number)
    const messages = records.map(r => ({
      topic: r.topic, key: decode(r.key) ?? undefined, value: decode(r.value) ?? undefined,
      partition: r.partition ?? undefined, timestamp: r.timestamp === null ? undefined : BigInt(r.timestamp),
      // Keys of a Map are told apart by identity: a name may come twice.
      headers: new Map(r.headers.map(([name, data]) => [Buffer.from(name), decode(data)]))
    }))
    await (transaction ?? producer).send({ messages })
    return records.map(r => ({ partition: r.partition, offset: null }))
  }

  async begin({ producer: number }) {
    const handle = this.open.get(number)
    if (handle.transaction.completed) handle.transaction = await handle.producer.beginTransaction()
  }

  async end({ producer: number, commit }) {
    const { transaction } = this.open.get(number)
    await (commit ? transaction.commit() : transaction.abort())
  }

  async send_offsets({ producer: number, consumer, offsets }) {
    const { transaction } = this.open.get(number)
    const from = this.open.get(consumer)
    await transaction.addConsumer(from.consumer)
    for (const [topic, partition] of offsets) await transaction.addOffset(from.last.get(`${topic}:${partition}`))
  }

  async close_producer({ producer: number }) {
    await this.open.pop(number).producer.close()
  }

  // consumers

  async consumer(given) {
    const { topics, group, start = 'earliest', reset, isolation = 'read_uncommitted', protocol = 'classic' } = given
    if (given.strategy === 'cooperative') throw new Lacks('@platformatic/kafka has no cooperative rebalance')
    const member = protocol === 'consumer'
      ? { groupProtocol: 'consumer' }
      : { sessionTimeout: 10000, heartbeatInterval: 300, rebalanceTimeout: 10000 }
    const consumer = new Consumer({
      ...this.base, groupId: group ?? `matrix-${randomUUID()}`, ...member, autocommit: false, maxWaitTime: 100,
      isolationLevel: isolation === 'read_committed' ? 1 : 0,
      ...(given.instance ? { groupInstanceId: given.instance } : {}),
      ...(given.max_bytes ? { maxBytes: 2 * given.max_bytes, maxBytesPerPartition: given.max_bytes } : {})
    })
    const manual = Array.isArray(start)
    const first = manual ? start.map(([topic, partition, offset]) => ({ topic, partition, offset: BigInt(offset) })) : undefined
    const stream = await consumer.consume({
      topics,
      ...(manual ? { mode: 'manual', offsets: first }
        : group ? { mode: 'committed', fallbackMode: start }
          : { mode: start, fallbackMode: start })
    })
    const handle = { consumer, stream, inbox: new Inbox(), last: new Map(), problem: null, reset }
    const wanted = manual ? new Set(start.map(([topic, partition]) => `${topic}:${partition}`)) : null
    stream.on('data', message => {
      if (!wanted || wanted.has(`${message.topic}:${message.partition}`)) handle.inbox.push(message)
    })
    stream.on('error', error => { handle.problem = error })
    return this.open.add(handle)
  }

  async poll({ consumer: number, timeout_ms: timeoutMs }) {
    const handle = this.open.get(number)
    const messages = await handle.inbox.take(timeoutMs)
    if (messages.length === 0 && handle.problem) throw handle.problem
    return messages.map(m => {
      handle.last.set(`${m.topic}:${m.partition}`, m)
      return {
        topic: m.topic, partition: m.partition, offset: Number(m.offset), key: encode(m.key), value: encode(m.value),
        headers: [...m.headers].map(([name, data]) => [name.toString(), encode(data)]), timestamp: Number(m.timestamp), timestamp_type: null
      }
    })
  }

  assignment({ consumer: number }) {
    const { assignments } = this.open.get(number).consumer
    return (assignments ?? []).flatMap(({ topic, partitions }) => partitions.map(p => [topic, p]))
  }

  async commit({ consumer: number }) {
    for (const message of this.open.get(number).last.values()) await message.commit()
  }

  async close_consumer({ consumer: number }) {
    const { consumer, stream } = this.open.pop(number)
    await stream.close()
    await consumer.close()
  }

  async offsets_for_times({ topic, partition, timestamps }) {
    const offsets = []
    for (const timestamp of timestamps) {
      const said = await this.admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp: BigInt(timestamp) }] }] })
      const { offset } = said[0].partitions[0]
      offsets.push(offset < 0n ? null : Number(offset))
    }
    return offsets
  }

  // admin

  async create_topic({ topic, partitions, configs, replicas = 1 }) {
    await this.admin.createTopics({
      topics: [topic], partitions, replicas, configs: Object.entries(configs).map(([name, value]) => ({ name, value }))
    })
  }

  async delete_topic({ topic }) {
    await this.admin.deleteTopics({ topics: [topic] })
  }

  async list_topics() {
    const topics = await this.admin.listTopics()
    const metadata = await this.admin.metadata({ topics, forceUpdate: true })
    return Object.fromEntries([...metadata.topics].map(([name, t]) => [name, t.partitionsCount]))
  }

  async create_partitions({ topic, count }) {
    await this.admin.createPartitions({ topics: [{ name: topic, count }] })
  }

  async describe_configs({ topic }) {
    const [{ configs }] = await this.admin.describeConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic }] })
    return Object.fromEntries(configs.map(c => [c.name, c.value]))
  }

  async alter_config({ topic, name, value }) {
    const configs = [{ name, configOperation: SET, value }]
    await this.admin.incrementalAlterConfigs({ resources: [{ resourceType: TOPIC, resourceName: topic, configs }] })
  }

  async delete_records({ topic, partition, before }) {
    const [{ partitions }] = await this.admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition, offset: BigInt(before) }] }] })
    return Number(partitions[0].lowWatermark)
  }

  async list_groups() {
    return [...(await this.admin.listGroups()).keys()]
  }

  async describe_group({ group }) {
    const described = (await this.admin.describeGroups({ groups: [group] })).get(group)
    return { state: described.state, members: described.members.size }
  }

  async group_offsets({ group }) {
    const [{ topics }] = await this.admin.listConsumerGroupOffsets({ groups: [group] })
    return topics.flatMap(t => t.partitions.map(p => [t.name, p.partitionIndex, Number(p.committedOffset)]))
  }

  async delete_group({ group }) {
    await this.admin.deleteGroups({ groups: [group] })
  }

  async cluster() {
    const metadata = await this.admin.metadata({ topics: [], forceUpdate: true })
    return { id: metadata.id, brokers: metadata.brokers.size }
  }
}

await serve(new Driver(process.argv[2]), codeOf)
