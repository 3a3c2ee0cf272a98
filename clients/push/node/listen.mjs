// The page of browser.mjs when it is to listen: pusher-js with `resumable`, and laravel-echo
// on the same connection. Every event of one channel is said as it comes, in order,
// whatever happens to the server meanwhile.
import { resumable } from './resume.mjs'

const { host, port, key, listen } = await (await fetch('/place.json')).json()
let said = Promise.resolve()
const say = text => { said = said.then(() => fetch('/said', { method: 'POST', body: text })) }

const pusher = new Pusher(key, {
  cluster: 'none', wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true
})
resumable(pusher)
const channel = pusher.subscribe(listen.channel)
channel.bind('pusher:subscription_succeeded', () => say('ok subscribed'))
channel.bind('courant:reset', () => say('not ok: told to fetch the state'))
channel.bind(listen.event, data => say(`ok pusher-js ${JSON.stringify(data)}`))
const echo = new Echo.default({ broadcaster: 'pusher', client: pusher })
echo.channel(listen.channel).listen(`.${listen.event}`, data => say(`ok laravel-echo ${JSON.stringify(data)}`))
