// pusher-js, unchanged, in node: says what it hears on one channel, until standard input ends:
// node hear.mjs '{"host", "port", "key", "listen": {"channel", "event"}}'.
import PusherJs from 'pusher-js'

const { host, port, key, listen } = JSON.parse(process.argv[2])
const pusher = new PusherJs(key, {
  cluster: 'none', wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ['ws'], disableStats: true
})
const channel = pusher.subscribe(listen.channel)
channel.bind('pusher:subscription_succeeded', () => console.log('ok subscribed'))
channel.bind(listen.event, data => console.log(`ok pusher-js ${JSON.stringify(data)}`))
process.stdin.resume().on('end', () => process.exit(0))
