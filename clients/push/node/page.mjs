// The page of browser.mjs: the libraries as a page loads them, each case said to the server.
import { resumable } from './resume.mjs'

const { host, port, key } = await (await fetch('/place.json')).json()
const say = text => fetch('/said', { method: 'POST', body: text })
const trigger = (channel, event, data) => fetch('/trigger', { method: 'POST', body: JSON.stringify({ channel, event, data }) })

function page(user = 'mia', endpoint = '/auth') {
  return new Pusher(key, {
    cluster: 'none', wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true,
    channelAuthorization: { endpoint, params: { user } }
  })
}

function once(target, event) {
  return new Promise(resolve => {
    const heard = data => {
      target.unbind(event, heard)
      resolve(data)
    }
    target.bind(event, heard)
  })
}

async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name)
  await once(channel, 'pusher:subscription_succeeded')
  return channel
}

function same(found, expected) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) throw new Error(`expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`)
}

const CASES = {
  async 'channels of every kind'() {
    const pusher = page()
    for (const name of ['web', 'private-web', 'private-encrypted-web', 'presence-web', 'cache-web']) {
      const heard = once(await subscribed(pusher, name), 'created')
      await trigger(name, 'created', { name })
      same(await heard, { name })
    }
    same(await once(page().subscribe('cache-web'), 'created'), { name: 'cache-web' })
  },
  async 'presence and client events'() {
    const room = await subscribed(page('eva'), 'presence-hall')
    const added = once(room, 'pusher:member_added')
    const guest = page('tom')
    const theirs = await subscribed(guest, 'presence-hall')
    same(await added, { id: 'tom', info: { name: 'tom' } })
    const heard = once(room, 'client-hi')
    theirs.trigger('client-hi', { n: 1 })
    same(await heard, { n: 1 })
    const removed = once(room, 'pusher:member_removed')
    guest.disconnect()
    same((await removed).id, 'tom')
  },
  async 'a wrong signature is refused'() {
    same((await once(page('mia', '/wrong').subscribe('private-web'), 'pusher:subscription_error')).status, 401)
  },
  async 'a page that comes back gets what it missed, once'() {
    const pusher = page()
    resumable(pusher)
    const heard = []
    const channel = await subscribed(pusher, 'web-ledger')
    channel.bind('entry', n => heard.push(n))
    for (let round = 0; round < 3; round++) {
      pusher.disconnect()
      await trigger('web-ledger', 'entry', 2 * round)
      const resumed = once(channel, 'courant:resumed')
      pusher.connect()
      same(await resumed, { missed: 1 })
      const live = once(channel, 'live')
      await trigger('web-ledger', 'entry', 2 * round + 1)
      await trigger('web-ledger', 'live', {})
      await live
    }
    same(heard, [0, 1, 2, 3, 4, 5])
  },
  async 'laravel-echo: channels and presence'() {
    const echo = new Echo.default({ broadcaster: 'pusher', client: page('mia'), namespace: 'App.Events' })
    const orders = await new Promise(resolve => {
      const channel = echo.private('web')
      channel.subscribed(() => resolve(channel))
    })
    const created = new Promise(resolve => orders.listen('OrderCreated', resolve))
    await trigger('private-web', 'App\\Events\\OrderCreated', { id: 5 })
    same(await created, { id: 5 })
    same(await new Promise(resolve => echo.join('web-echo').here(resolve)), [{ name: 'mia' }])
  }
}

for (const [name, run] of Object.entries(CASES)) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error('not done within 20 s')), 20_000))
  try {
    await Promise.race([run(), late])
    await say(`ok Chromium: ${name}`)
  } catch (error) {
    await say(`not ok Chromium: ${name}: ${error.stack}`)
  }
}
await fetch('/done', { method: 'POST' })
