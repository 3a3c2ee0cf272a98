// pusher-js, laravel-echo and the server library `pusher`, unchanged, against a push server:
// node run.mjs '{"host", "port", "id", "key", "secret"}'. Says one line a case.
import { randomBytes } from 'node:crypto'
import assert from 'node:assert/strict'
import Echo from 'laravel-echo'
import PusherJs from 'pusher-js'
import Server from 'pusher'
import { resumable } from './resume.mjs'

const { host, port, id: appId, key, secret } = JSON.parse(process.argv[2])
const encryptionMasterKeyBase64 = randomBytes(32).toString('base64')
const server = new Server({ appId, key, secret, host, port, useTLS: false, encryptionMasterKeyBase64 })
const open = new Set()

// A page whose user is `user`, with another secret when it is to be refused.
function page(user = 'mia', signer = server) {
  const pusher = new PusherJs(key, {
    cluster: 'none', wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => {
        const member = channelName.startsWith('presence-') ? { user_id: user, user_info: { name: user.toUpperCase() } } : undefined
        done(null, signer.authorizeChannel(socketId, channelName, member))
      }
    },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, signer.authenticateUser(socketId, { id: user })) }
  })
  open.add(pusher)
  return pusher
}

// The next `event` of something that can be bound.
function once(target, event) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${event} within 20 s`)), 20_000)
    const heard = data => {
      clearTimeout(late)
      target.unbind(event, heard)
      resolve(data)
    }
    target.bind(event, heard)
  })
}

async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name)
  const members = await once(channel, 'pusher:subscription_succeeded')
  return Object.assign(channel, { seen: members })
}

const json = async response => (await response).json()

const CASES = {
  async 'pusher-js: a public channel, and the sender left out'() {
    const [one, two] = [page(), page()]
    const [first, second] = await Promise.all([subscribed(one, 'orders'), subscribed(two, 'orders')])
    const heard = once(first, 'created')
    let echoed = false
    second.bind('created', () => { echoed = true })
    await server.trigger('orders', 'created', { n: 1, text: 'é"\n' }, { socket_id: two.connection.socket_id })
    assert.deepEqual(await heard, { n: 1, text: 'é"\n' })
    const after = once(second, 'after')
    await server.trigger(['orders', 'other'], 'after', {})
    await after
    assert.equal(echoed, false)
  },

  async 'pusher-js: a private channel, and client events'() {
    const [one, two] = await Promise.all([subscribed(page(), 'private-room'), subscribed(page(), 'private-room')])
    const heard = once(two, 'client-typing')
    assert.ok(one.trigger('client-typing', { who: 'mia' }))
    assert.deepEqual(await heard, { who: 'mia' })
  },

  async 'pusher-js: a wrong signature is refused'() {
    const other = new Server({ appId, key, secret: 'guess', host, port })
    const pusher = page('mia', other)
    for (const name of ['private-room', 'presence-room']) {
      const error = await once(pusher.subscribe(name), 'pusher:subscription_error')
      assert.equal(error.type, 'AuthError')
      assert.equal(error.status, 401)
    }
  },

  async 'pusher-js: an encrypted channel'() {
    const channel = await subscribed(page(), 'private-encrypted-room')
    const heard = once(channel, 'created')
    await server.trigger('private-encrypted-room', 'created', { secret: 'plan' })
    assert.deepEqual(await heard, { secret: 'plan' })
  },

  async 'pusher-js: a presence channel'() {
    const room = await subscribed(page('mia'), 'presence-room')
    assert.equal(room.members.count, 1)
    assert.deepEqual(room.members.me, { id: 'mia', info: { name: 'MIA' } })
    const added = once(room, 'pusher:member_added')
    const guest = page('tom')
    await subscribed(guest, 'presence-room')
    assert.deepEqual(await added, { id: 'tom', info: { name: 'TOM' } })
    const { users } = await json(server.get({ path: '/channels/presence-room/users' }))
    assert.deepEqual(users, [{ id: 'mia' }, { id: 'tom' }])
    const heard = new Promise(resolve => room.bind('client-hi', (data, metadata) => resolve([data, metadata])))
    guest.channel('presence-room').trigger('client-hi', 'x')
    assert.deepEqual(await heard, ['x', { user_id: 'tom' }])
    const removed = once(room, 'pusher:member_removed')
    guest.disconnect()
    assert.equal((await removed).id, 'tom')
    assert.equal(room.members.count, 1)
  },

  async 'pusher-js: a cache channel'() {
    const early = page().subscribe('cache-rate')
    await once(early, 'pusher:cache_miss')
    await server.trigger('cache-rate', 'rate', 7)
    assert.equal(await once(page().subscribe('cache-rate'), 'rate'), 7)
    const found = await json(server.get({ path: '/channels/cache-rate', params: { info: 'cache,subscription_count' } }))
    assert.equal(found.cache.data, '7')
    assert.equal(found.subscription_count, 2)
  },

  async 'pusher-js: a user who signs in is reached, and sent away'() {
    const pusher = page('eva')
    pusher.signin()
    await pusher.user.signinDonePromise
    const heard = once(pusher.user, 'note')
    // The user's own channel is subscribed to after the sign-in.
    for (;;) {
      const { channels } = await json(server.get({ path: '/channels' }))
      if ('#server-to-user-eva' in channels) break
    }
    await server.sendToUser('eva', 'note', { text: 'hi' })
    assert.deepEqual(await heard, { text: 'hi' })
    const error = once(pusher.connection, 'error')
    await server.terminateUserConnections('eva')
    assert.equal((await error).data.code, 4009)
  },

  async 'pusher-js: an unknown key is refused with its code'() {
    const pusher = new PusherJs('unknown', { cluster: 'none', wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'] })
    open.add(pusher)
    assert.equal((await once(pusher.connection, 'error')).error.data.code, 4001)
  },

  async 'pusher-js: a page that comes back gets what it missed, once'() {
    const pusher = page()
    resumable(pusher)
    const heard = []
    const channel = await subscribed(pusher, 'ledger')
    channel.bind('entry', n => heard.push(n))
    for (let round = 0; round < 5; round++) {
      const live = once(channel, 'entry')
      await server.trigger('ledger', 'entry', 3 * round)
      await live
      pusher.disconnect()
      await server.trigger('ledger', 'entry', 3 * round + 1)
      await server.trigger('ledger', 'entry', 3 * round + 2)
      const resumed = once(channel, 'courant:resumed')
      pusher.connect()
      assert.deepEqual(await resumed, { missed: 2 })
    }
    const last = once(channel, 'last')
    await server.trigger('ledger', 'last', {})
    await last
    assert.deepEqual(heard, [...Array(15).keys()])
  },

  async 'pusher-js: a page whose past is forgotten is told so'() {
    const pusher = page()
    resumable(pusher, { ledger: '1-1' })
    await once(pusher.subscribe('ledger'), 'courant:reset')
  },

  async 'pusher (npm): batches, questions and refusals'() {
    const [a, b] = await Promise.all([subscribed(page(), 'a'), subscribed(page(), 'b')])
    const heard = Promise.all([once(a, 'one'), once(b, 'two')])
    await server.triggerBatch([{ channel: 'a', name: 'one', data: 1 }, { channel: 'b', name: 'two', data: { n: 2 } }])
    assert.deepEqual(await heard, [1, { n: 2 }])
    const answer = await json(server.trigger('a', 'one', {}, { info: 'subscription_count' }))
    assert.deepEqual(answer, { channels: { a: { subscription_count: 1 } } })
    const other = new Server({ appId, key, secret: 'guess', host, port })
    await assert.rejects(other.trigger('a', 'one', {}), { status: 401 })
    await assert.rejects(other.get({ path: '/channels' }), { status: 401 })
    await assert.rejects(server.trigger('a', 'one', 'x'.repeat(200_000)), { status: 413 })
  },

  async 'laravel-echo: channels, notifications, presence and whispers'() {
    const [echo, other] = ['mia', 'tom'].map(user => new Echo({ broadcaster: 'pusher', client: page(user), namespace: 'App.Events' }))
    const ready = channel => new Promise((resolve, reject) => channel.subscribed(() => resolve(channel)).error(reject))
    const orders = await ready(echo.channel('shop'))
    const created = new Promise(resolve => orders.listen('OrderCreated', resolve))
    await server.trigger('shop', 'App\\Events\\OrderCreated', { id: 5 })
    assert.deepEqual(await created, { id: 5 })

    const [mine, theirs] = await Promise.all([ready(echo.private('shop')), ready(other.private('shop'))])
    const whispered = new Promise(resolve => theirs.listenForWhisper('typing', resolve))
    const notified = new Promise(resolve => mine.notification(resolve))
    mine.whisper('typing', { who: 'mia' })
    assert.deepEqual(await whispered, { who: 'mia' })
    await server.trigger('private-shop', 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated', { text: 'paid' })
    assert.deepEqual(await notified, { text: 'paid' })

    const encrypted = await ready(echo.encryptedPrivate('shop'))
    const opened = new Promise(resolve => encrypted.listen('.plain', resolve))
    await server.trigger('private-encrypted-shop', 'plain', { n: 1 })
    assert.deepEqual(await opened, { n: 1 })

    const room = echo.join('shop')
    const here = await new Promise(resolve => room.here(resolve))
    assert.deepEqual(here, [{ name: 'MIA' }])
    const joining = new Promise(resolve => room.joining(resolve))
    const leaving = new Promise(resolve => room.leaving(resolve))
    await ready(other.join('shop'))
    assert.deepEqual(await joining, { name: 'TOM' })
    other.leave('shop')
    assert.deepEqual(await leaving, { name: 'TOM' })
  },

  async 'laravel-echo: a wrong signature is an error'() {
    const refused = new Server({ appId, key, secret: 'guess', host, port })
    const echo = new Echo({ broadcaster: 'pusher', client: page('mia', refused) })
    const error = await new Promise(resolve => echo.private('shop').error(resolve))
    assert.equal(error.status, 401)
  }
}

let failed = 0
for (const [name, run] of Object.entries(CASES)) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error('not done within 60 s')), 60_000).unref())
  try {
    await Promise.race([run(), late])
    console.log(`ok ${name}`)
  } catch (error) {
    failed += 1
    console.log(`not ok ${name}: ${error.stack}`)
  }
  for (const pusher of open) pusher.disconnect()
  open.clear()
}
process.exit(failed > 0 ? 1 : 0)
