// The driver's side of the matrix for clients in JavaScript: reads operations from stdin,
// answers on stdout (see clients/matrix/client.py). Operations are answered one at a time.
import { createInterface } from 'node:readline'

export class Lacks extends Error {}

export class Said extends Error {
  constructor(code, text) {
    super(text)
    this.code = code
  }
}

export const decode = text => (text === null ? null : Buffer.from(text, 'base64'))
export const encode = data => (data === null || data === undefined ? null : Buffer.from(data).toString('base64'))

/** Open producers and consumers by number. */
export class Handles {
  #open = new Map()
  #next = 0

  add(thing) {
    this.#open.set(++this.#next, thing)
    return this.#next
  }

  get(number) {
    return this.#open.get(number)
  }

  pop(number) {
    const thing = this.#open.get(number)
    this.#open.delete(number)
    return thing
  }
}

/** Records that came and were not polled yet. */
export class Inbox {
  #records = []
  #wake = () => {}

  push(record) {
    this.#records.push(record)
    this.#wake()
  }

  async take(timeoutMs) {
    if (this.#records.length === 0) {
      let timer
      await Promise.race([
        new Promise(resolve => { this.#wake = resolve }),
        new Promise(resolve => { timer = setTimeout(resolve, timeoutMs) })
      ])
      clearTimeout(timer)
    }
    return this.#records.splice(0)
  }
}

async function answer(driver, codeOf, line) {
  const { op, ...request } = JSON.parse(line)
  try {
    if (typeof driver[op] !== 'function') throw new Lacks(`the client has no operation for ${op}`)
    return { ok: (await driver[op](request)) ?? null }
  } catch (error) {
    if (error instanceof Lacks) return { lacks: error.message }
    process.stderr.write(`${error.stack}\n`)
    return { error: error instanceof Said ? error.code : codeOf(error), text: String(error.message) }
  }
}

/** Answers operations until stdin ends, then leaves at once, open clients or not. */
export async function serve(driver, codeOf) {
  process.on('unhandledRejection', error => process.stderr.write(`${error?.stack}\n`))
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    process.stdout.write(`${JSON.stringify(await answer(driver, codeOf, line))}\n`)
  }
  process.exit(0)
}
