// pusher-js and laravel-echo, unchanged, in headless Chromium against a push server:
// node browser.mjs '{"host", "port", "id", "key", "secret"}'. A small server gives the page
// its scripts, signs for it and publishes for it; the page says one line a case. With
// "listen": {"channel", "event"} the page says what it hears instead, until standard input
// ends. Ends with 3 when there is no Chromium.
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Server from 'pusher'

const place = JSON.parse(process.argv[2])
const chromium = process.env.CHROMIUM ?? 'chromium'
if (spawnSync(chromium, ['--version']).status !== 0) {
  console.log(`skipped browser: ${chromium} cannot be run; install it with: apt-get install chromium`)
  process.exit(3)
}

const app = { appId: place.id, key: place.key, host: place.host, port: place.port }
const server = new Server({ ...app, secret: place.secret, encryptionMasterKeyBase64: randomBytes(32).toString('base64') })
const other = new Server({ ...app, secret: 'guess' })
const script = path => readFileSync(new URL(path, import.meta.url))
const FILES = {
  '/': ['text/html', '<!doctype html><title>push</title><script src="/pusher.js"></script><script src="/echo.js"></script><script type="module" src="/page.mjs"></script>'],
  '/pusher.js': ['text/javascript', script('node_modules/pusher-js/dist/web/pusher-with-encryption.min.js')],
  '/echo.js': ['text/javascript', script('node_modules/laravel-echo/dist/echo.iife.js')],
  '/resume.mjs': ['text/javascript', script('resume.mjs')],
  '/page.mjs': ['text/javascript', script(place.listen ? 'listen.mjs' : 'page.mjs')],
  '/place.json': ['application/json', JSON.stringify({ host: place.host, port: place.port, key: place.key, listen: place.listen })],
  '/favicon.ico': ['image/x-icon', '']
}

const ACTIONS = {
  '/auth': (body, signer = server) => {
    const form = new URLSearchParams(body)
    const member = { user_id: form.get('user'), user_info: { name: form.get('user') } }
    const channel = form.get('channel_name')
    return signer.authorizeChannel(form.get('socket_id'), channel, channel.startsWith('presence-') ? member : undefined)
  },
  '/wrong': body => ACTIONS['/auth'](body, other),
  '/trigger': async body => {
    const { channel, event, data } = JSON.parse(body)
    await server.trigger(channel, event, data)
    return {}
  },
  '/said': body => {
    console.log(body)
    failed = failed || !body.startsWith('ok ')
    return {}
  },
  '/done': () => {
    done()
    return {}
  }
}

let failed = false
let done
const finished = new Promise(resolve => { done = resolve })
const web = createServer(async (request, response) => {
  if (request.method === 'GET') {
    const [type, text] = FILES[request.url] ?? ['text/plain', '']
    return response.writeHead(type === 'text/plain' ? 404 : 200, { 'content-type': type }).end(text)
  }
  let body = ''
  for await (const chunk of request) body += chunk
  try {
    response.end(JSON.stringify(await ACTIONS[request.url](body)))
  } catch (error) {
    response.writeHead(500).end(error.stack)
  }
})
await new Promise(resolve => web.listen(0, '127.0.0.1', resolve))

const profile = mkdtempSync(join(tmpdir(), 'push-browser-'))
const browser = spawn(chromium, ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', `--user-data-dir=${profile}`,
  '--remote-debugging-port=0', `http://127.0.0.1:${web.address().port}/`], { stdio: 'ignore' })
const late = setTimeout(() => {
  console.log('not ok browser: not done within 300 s')
  failed = true
  done()
}, 300_000)
if (place.listen) process.stdin.on('end', () => done()).resume()
browser.on('exit', () => done())
await finished
clearTimeout(late)
const gone = new Promise(resolve => browser.exitCode === null ? browser.on('exit', resolve) : resolve())
browser.kill()
await gone
rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
process.exit(failed ? 1 : 0)
