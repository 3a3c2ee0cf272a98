// The page of the `pages` example in a real browser, against `courant demo pages`: the chart
// moves, and what it shows is what the records of the topic say.
//
//   BASE_URL=http://127.0.0.1:8080 node --test e2e/pages.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { base, looks, open, pictures, withBrowser } from "../browser.mjs";

withBrowser();

const WIDTH_MS = 5_000;
const live = (page) => page.getByRole("status").filter({ hasText: "live" }).waitFor();
const row = (page, name) => page.locator(`tr[data-page="${name}"]`);
// Of this run, so that a test may run again on the same data.
const own = (word) => `${word}${Date.now() % 1_000_000}`;

async function json(path) {
  const answer = await fetch(base + path);
  assert.ok(answer.ok, `GET ${path} answered ${answer.status}`);
  return answer.json();
}

/** All events of R2, by reading the topic to its end. */
async function events() {
  const found = [];
  let from = "earliest";
  for (;;) {
    const page = await json(`/api/v1/topics/R2/records?from=${from}&limit=1000`);
    found.push(...page.records.map((record) => record.value));
    if (page.records.length === 0) return found;
    from = page.next;
  }
}

/** Page → visits and average duration in the window that ends then. */
function recomputed(all, end) {
  const pages = {};
  for (const event of all) {
    const at = Date.parse(event.date);
    if (at < end - WIDTH_MS || at >= end) continue;
    pages[event.name] ??= { visits: 0, sum: 0 };
    pages[event.name].visits += 1;
    pages[event.name].sum += event.duration;
  }
  return Object.fromEntries(
    Object.entries(pages).map(([name, { visits, sum }]) => [name, { visits, average: Math.round(sum / visits) }]),
  );
}

/** What the table shows now, with the end of its window. */
const shown = (page) =>
  page.evaluate(() => {
    const number = (row, what) => Number(row.querySelector(`[data-testid=${what}]`).textContent.replace(/[^\d]/g, ""));
    const rows = [...document.querySelectorAll("tr[data-page]")];
    return {
      end: Number(document.querySelector("table").dataset.end),
      pages: Object.fromEntries(rows.map((row) => [row.dataset.page, number(row, "count")])),
    };
  });

/** Of several windows, what the page showed for each. */
async function watched(page, windows) {
  const seen = new Map();
  const begun = Date.now();
  while (seen.size < windows) {
    assert.ok(Date.now() - begun < 60_000, `only ${seen.size} windows in a minute`);
    const { end, pages } = await shown(page);
    if (end) seen.set(end, pages);
    await page.waitForTimeout(150);
  }
  return seen;
}

test("the numbers are those of the topic's records, window by window", async () => {
  const { page, context, errors } = await open("/demo/pages");
  await live(page);
  await row(page, "P1").waitFor();
  const seen = await watched(page, 8);
  const all = await events();
  for (const [end, pages] of seen) {
    const expected = recomputed(all, end);
    const counts = Object.fromEntries(Object.entries(expected).map(([name, { visits }]) => [name, visits]));
    const visited = Object.fromEntries(Object.entries(pages).filter(([, visits]) => visits > 0));
    assert.deepEqual(visited, counts, `the window that ends at ${new Date(end).toISOString()}`);
  }
  assert.deepEqual(errors, []);
  await context.close();
});

test("the chart moves, and its line is as high as the numbers say", async () => {
  const { page, context, errors } = await open("/demo/pages");
  await live(page);
  await row(page, "P1").waitFor();
  await page.waitForTimeout(5_000);
  const picture = () => page.evaluate(() => document.querySelector("canvas").toDataURL());
  const pictures = new Set();
  for (let round = 0; round < 5; round += 1) {
    pictures.add(await picture());
    await page.waitForTimeout(300);
  }
  assert.equal(pictures.size, 5, "the chart stood still");
  // The line of each page has its own colour somewhere on the canvas.
  const found = await page.evaluate(() => {
    const canvas = document.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = [...document.querySelectorAll(".legend i")].map((one) => getComputedStyle(one).backgroundColor.match(/\d+/g).map(Number));
    return colours.map(([r, g, b]) => {
      let count = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (Math.abs(data[at] - r) < 6 && Math.abs(data[at + 1] - g) < 6 && Math.abs(data[at + 2] - b) < 6) count += 1;
      }
      return count;
    });
  });
  assert.ok(found.length >= 2 && found.every((count) => count > 40), `points of each colour: ${found}`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("a visit of a new page gets a line of its own, with the keyboard alone", async () => {
  const { page, context, errors } = await open("/demo/pages");
  await live(page);
  await row(page, "P1").waitFor();
  const name = own("new");
  await page.getByLabel("Another page").focus();
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByText(`visited ${name}`).waitFor();
  await row(page, name).waitFor({ timeout: 10_000 });
  await row(page, name).getByTestId("count").filter({ hasText: /^1$/ }).waitFor();
  await page.locator(".legend").getByText(name).waitFor();
  // Half a minute later nobody has visited it for long: its average is gone as well.
  await row(page, name).getByTestId("count").filter({ hasText: /^0$/ }).waitFor({ timeout: 15_000 });
  assert.match(await row(page, name).getByTestId("calm").textContent(), /\d ms/);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the averages are those of the topic's records", async () => {
  const { page, context } = await open("/demo/pages");
  await live(page);
  const averages = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const source = new EventSource("/analyticsAggregate");
        source.onmessage = (event) => {
          source.close();
          resolve({ end: Number(event.lastEventId), pages: JSON.parse(event.data) });
        };
      }),
  );
  const expected = recomputed(await events(), averages.end);
  const rounded = Object.fromEntries(Object.entries(averages.pages).map(([name, value]) => [name, Math.round(value)]));
  assert.deepEqual(rounded, Object.fromEntries(Object.entries(expected).map(([name, { average }]) => [name, average])));
  await context.close();
});

test("without an answer the page says so, and goes on by itself", async () => {
  const { page, context } = await open("/demo/messages");
  await page.route("**/analytics", (route) => route.abort());
  await page.getByRole("link", { name: "Demo: pages" }).click();
  await page.getByRole("status").filter({ hasText: "reconnecting" }).waitFor();
  assert.equal(await page.locator("table").getAttribute("data-end"), null);
  await page.unroute("**/analytics");
  await live(page);
  await row(page, "P1").waitFor();
  await page.waitForFunction(() => Number(document.querySelector("table").dataset.end) > 0);
  await context.close();
});

test("with reduced motion the chart is drawn once a message, not with every frame", async () => {
  const { page, context } = await open("/demo/pages", looks[0], { reducedMotion: "reduce" });
  await live(page);
  await row(page, "P1").waitFor();
  await page.waitForTimeout(2_500);
  const changes = await page.evaluate(async () => {
    const canvas = document.querySelector("canvas");
    let [before, changes] = [canvas.toDataURL(), 0];
    for (let round = 0; round < 30; round += 1) {
      await new Promise((done) => setTimeout(done, 100));
      const now = canvas.toDataURL();
      if (now !== before) changes += 1;
      before = now;
    }
    return changes;
  });
  assert.ok(changes >= 1 && changes <= 6, `it changed ${changes} times in 3 s`);
  await context.close();
});

for (const look of looks) {
  test(`the page reads well: ${look.name}`, async () => {
    const { page, context, errors } = await open("/demo/pages", look);
    await live(page);
    await row(page, "P2").waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= look.viewport.width, `the page is ${width} px wide`);
    assert.deepEqual(errors, []);
    if (pictures) {
      await page.waitForTimeout(35_000);
      await page.screenshot({ path: `${pictures}/pages-${look.name}.png` });
    }
    await context.close();
  });
}
