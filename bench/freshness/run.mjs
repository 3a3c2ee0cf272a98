// From the database's commit to the screen: how long an order takes, hop by hop.
//
//   node bench/freshness/run.mjs --courant target/release/courant [--rates 1,100,500] [--seconds 20]
//
// Starts MariaDB and Courant (the file of examples/orders with the capture of its profile
// `cluster` and everything else embedded), opens the manager's table in headless Chromium
// and commits orders of two lines at a steady rate. Every hop is a time of one clock: this
// machine's. A second table says who had the processors meanwhile.
//
//   capture  commit sent → the row is in the topic `shop`
//   flow     … → the document is in the topic `cache`
//   store    … → the history committed it
//   push     … → its message reached the page
//   paint    … → its row is on the screen

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import mysql from "mysql2/promise";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const { chromium } = createRequire(join(root, "web/package.json"))("playwright-core");
const { values: flags } = parseArgs({
  options: {
    courant: { type: "string" },
    rates: { type: "string", default: "1,100,500" },
    seconds: { type: "string", default: "20" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
  },
});

const folder = mkdtempSync(join(tmpdir(), "courant-freshness-"));
const children = [];
const micros = () => (performance.timeOrigin + performance.now()) * 1_000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, check, seconds = 60) {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const found = await check().catch(() => undefined);
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what} did not happen within ${seconds} s`);
    await pause(50);
  }
}

function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], ...options });
  children.push(child);
  return child;
}

async function database() {
  const data = join(folder, "mariadb");
  const socket = join(folder, "mariadb.sock");
  const user = process.getuid() === 0 ? ["--user=mysql"] : [];
  if (user.length > 0) spawn("chmod", ["755", folder]);
  const install = spawn("mariadb-install-db", [`--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db", ...user], { stdio: "ignore" });
  await new Promise((done) => install.on("close", done));
  if (user.length > 0) await new Promise((done) => spawn("chown", ["-R", "mysql", folder]).on("close", done));
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const { pid } = start("mariadbd", ["--no-defaults", `--datadir=${data}`, `--socket=${socket}`, `--port=${port}`, "--bind-address=127.0.0.1", "--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--server-id=1", ...user], { stdio: "ignore" });
  const options = { host: "127.0.0.1", port, user: "root", multipleStatements: true };
  const connection = await until("MariaDB", () => mysql.createConnection(options));
  const schema = readFileSync(join(root, "deploy/orders/schema.sql"), "utf8").replace(/^GRANT.*$/gm, "");
  await connection.query(schema);
  await connection.query("USE classicmodels");
  return { connection, pid, url: `mysql://root@127.0.0.1:${port}/classicmodels` };
}

async function courant(url) {
  // The example as it is, with the roles of its profile `cluster` embedded.
  const example = join(root, "examples/orders");
  const text = readFileSync(join(example, "courant.yaml"), "utf8");
  const file = text.replace(/ {2}cluster:\n(?: {4}.*\n)+/, "  cluster: {}\n");
  if (file === text) throw new Error("the example's profile `cluster` was not found");
  writeFileSync(join(folder, "courant.yaml"), file);
  for (const name of ["order.jolt.json", "orders.test.yaml"]) {
    writeFileSync(join(folder, name), readFileSync(join(example, name)));
  }
  const args = ["run", join(folder, "courant.yaml"), "--profile", "cluster", "--data", join(folder, "data"), "--http-port", "0", "--kafka-port", "0", "--log-level", "warn"];
  const child = start(flags.courant, args, { env: { ...process.env, MYSQL_URL: url } });
  let said = "";
  child.stdout.on("data", (data) => {
    said += data;
  });
  const base = await until("Courant", async () => said.match(/http:\/\/[0-9.:]+/)?.[0]);
  return { base, pid: child.pid };
}

/** Seconds of processor time of a process so far. */
function seconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Seconds of processor time so far, by who had it; of Chromium also that of the page's process. */
async function processors(browser, servers) {
  const { processInfo } = await browser.send("SystemInfo.getProcessInfo");
  const sum = (kinds) => kinds.reduce((all, { cpuTime }) => all + cpuTime, 0);
  return {
    MariaDB: seconds(servers.database),
    Courant: seconds(servers.courant),
    "this client": seconds(process.pid),
    "Chromium, the page": sum(processInfo.filter(({ type }) => type === "renderer")),
    "Chromium, the rest": sum(processInfo.filter(({ type }) => type !== "renderer")),
  };
}

/** Follows server-sent events; answers when it is connected. */
async function follow(url, take) {
  const answer = await fetch(url, { headers: { accept: "text/event-stream" } });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  (async () => {
    let rest = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      rest += chunk;
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
        if (data) take(JSON.parse(data));
      }
    }
  })().catch(() => {});
}

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const ms = (value) => (value === undefined ? "–" : (value / 1_000).toFixed(1));

function memory(pid) {
  return Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]) / 1_024;
}

async function main() {
  const { connection, pid, url } = await database();
  const server = await courant(url);
  const servers = { database: pid, courant: server.pid };
  const times = new Map();
  const note = (number, hop, at) => {
    const entry = times.get(Number(number));
    if (entry && entry[hop] === undefined) entry[hop] = at;
  };
  const arrival = (hop) => (record) => {
    if (record?.value?.orderNumber) note(record.value.orderNumber, hop, micros());
  };
  await until("the topics", async () => (await fetch(`${server.base}/api/v1/topics/shop`)).ok);
  await follow(`${server.base}/api/v1/topics/shop/stream`, arrival("capture"));
  await follow(`${server.base}/api/v1/topics/cache/stream`, arrival("flow"));
  await follow(`${server.base}/api/v1/history/orders/stream`, (change) => note(change.id, "store", change.committed_micros));

  const browser = await chromium.launch({ executablePath: flags.chromium, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
  const inner = await browser.newBrowserCDPSession();
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
  await page.addInitScript(() => {
    const now = () => (performance.timeOrigin + performance.now()) * 1_000;
    window.seen = [];
    const Plain = WebSocket;
    window.WebSocket = class extends Plain {
      constructor(...given) {
        super(...given);
        this.addEventListener("message", ({ data }) => {
          const at = now();
          const found = /orderNumber\\?":(\d+)/.exec(data);
          if (found) window.seen.push([found[1], "push", at]);
        });
      }
    };
    new MutationObserver((changes) => {
      const added = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.dataset?.order);
      if (added.length === 0) return;
      // The page changes its rows within a frame, which ends before the next task begins.
      setTimeout(() => {
        const at = now();
        for (const node of added) window.seen.push([node.dataset.order, "paint", at]);
      });
    }).observe(document, { childList: true, subtree: true });
  });
  await page.goto(`${server.base}/demo/orders`);
  await page.getByRole("status").filter({ hasText: "live" }).waitFor();

  let next = 100_000;
  const commit = async () => {
    next += 1;
    const number = next;
    const [customer, product] = [101 + (number % 3), ["S10_0001", "S18_0002", "S24_0003"]];
    const entry = { commit: micros() };
    times.set(number, entry);
    await connection.query(
      `BEGIN; INSERT INTO orders VALUES (${number}, current_date, current_date + INTERVAL 7 DAY, NULL, 'In Process', NULL, ${customer});
       INSERT INTO orderdetails VALUES (${number}, '${product[number % 3]}', 2, 79.9, 1), (${number}, '${product[(number + 1) % 3]}', 1, 44.5, 2); COMMIT`,
    );
  };
  // What is slow once: connections, code, the first rows.
  for (let warm = 0; warm < 20; warm += 1) {
    await commit();
    await pause(20);
  }
  await pause(1_000);

  const hops = ["capture", "flow", "store", "push", "paint"];
  console.log(`| orders/s | painted | ${hops.map((hop) => `${hop} p50 / p99`).join(" | ")} | commit → paint p50 / p99 | memory |`);
  console.log(`|---|---|${hops.map(() => "---|").join("")}---|---|`);
  const shares = [];
  for (const rate of flags.rates.split(",").map(Number)) {
    times.clear();
    await page.evaluate(() => {
      window.seen = [];
    });
    const count = Math.max(20, Math.round(rate * Number(flags.seconds)));
    const before = await processors(inner, servers);
    const started = performance.now();
    for (let index = 0; index < count; index += 1) {
      const wait = started + (index * 1_000) / rate - performance.now();
      if (wait > 1) await pause(wait);
      await commit();
    }
    const took = (performance.now() - started) / 1_000;
    const after = await processors(inner, servers);
    shares.push(Object.keys(after).map((who) => `${(((after[who] - before[who]) / took) * 100).toFixed(0)} %`));
    await pause(2_000);
    for (const [number, hop, at] of await page.evaluate(() => window.seen)) note(number, hop, at);
    const all = [...times.values()];
    const cells = hops.map((hop, index) => {
      const before = ["commit", ...hops][index];
      const spans = all.filter((one) => one[hop] && one[before]).map((one) => one[hop] - one[before]).sort((a, b) => a - b);
      return `${ms(percentile(spans, 0.5))} / ${ms(percentile(spans, 0.99))}`;
    });
    const whole = all.filter((one) => one.paint).map((one) => one.paint - one.commit).sort((a, b) => a - b);
    console.log(
      `| ${(count / took).toFixed(0)} | ${whole.length} of ${all.length} | ${cells.join(" | ")} | ${ms(percentile(whole, 0.5))} / ${ms(percentile(whole, 0.99))} ms | ${memory(server.pid).toFixed(0)} MiB |`,
    );
  }
  const names = Object.keys(await processors(inner, servers));
  console.log(`\n| orders/s | ${names.join(" | ")} |`);
  console.log(`|---|${names.map(() => "---|").join("")}`);
  for (const [index, rate] of flags.rates.split(",").entries()) console.log(`| ${rate} | ${shares[index].join(" | ")} |`);
  await browser.close();
  await connection.end();
}

const stop = () => {
  for (const child of children) child.kill("SIGTERM");
  setTimeout(() => rmSync(folder, { recursive: true, force: true }), 1_500);
};
main()
  .then(stop)
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
    stop();
  });
