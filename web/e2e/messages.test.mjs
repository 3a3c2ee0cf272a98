// The page of the `messages` example in a real browser, against a running Courant.
//
//   BASE_URL=http://127.0.0.1:8080 node --test e2e
//
// SCREENSHOTS names a folder for pictures; CHROMIUM the browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { base, looks, open, pictures, withBrowser } from "../browser.mjs";

withBrowser();

async function post(text) {
  const answer = await fetch(`${base}/messages`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ text, source: "browser-test" }),
  });
  assert.ok(answer.ok, `POST /messages answered ${answer.status}: ${await answer.text()}`);
}

/** Resolves in the page with the wall-clock time at which the text was painted. */
function painted(page, text) {
  return page.evaluate(
    (wanted) =>
      new Promise((resolve) => {
        const look = () => {
          const rows = document.querySelectorAll("ol li .content");
          if (![...rows].some((row) => row.textContent === wanted)) return false;
          requestAnimationFrame(() => setTimeout(() => resolve(performance.timeOrigin + performance.now())));
          return true;
        };
        if (look()) return;
        const observer = new MutationObserver(() => look() && observer.disconnect());
        observer.observe(document.body, { childList: true, subtree: true, characterData: true });
      }),
    text,
  );
}

test("a posted message is painted without a reload", async () => {
  const { page, context, errors } = await open("/demo/messages");
  await page.getByRole("status").filter({ hasText: "live" }).waitFor();
  await page.evaluate(() => {
    window.stillHere = true;
  });
  const took = [];
  for (let round = 0; round < 20; round += 1) {
    const text = `browser test ${round} of ${Date.now()}`;
    const seen = painted(page, text);
    const start = performance.timeOrigin + performance.now();
    await post(text);
    took.push((await seen) - start);
  }
  assert.equal(await page.evaluate(() => window.stillHere), true, "the page was loaded again");
  assert.deepEqual(errors, []);
  took.sort((a, b) => a - b);
  const at = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))].toFixed(1);
  console.log(`# post to paint over ${took.length} messages: p50 ${at(0.5)} ms, max ${at(1)} ms`);
  await context.close();
});

test("the newest message stands first and the list is bounded", async () => {
  const { page, context } = await open("/demo/messages");
  const text = `the newest of ${Date.now()}`;
  const seen = painted(page, text);
  await post(text);
  await seen;
  const rows = await page.locator("ol li .content").allTextContents();
  const first = rows.indexOf(text);
  // The generator may have spoken in between.
  assert.ok(first >= 0 && first <= 2, `it stands at row ${first}`);
  assert.ok(rows.length <= 100, `${rows.length} rows`);
  await context.close();
});

test("a person posts a message with the keyboard alone", async () => {
  const { page, context } = await open("/demo/messages");
  await page.getByRole("status").filter({ hasText: "live" }).waitFor();
  const text = `typed at ${Date.now()}`;
  await page.getByLabel("Message", { exact: true }).focus();
  await page.keyboard.type(text);
  const seen = painted(page, text);
  await page.keyboard.press("Enter");
  await seen;
  assert.equal(await page.getByLabel("Message", { exact: true }).inputValue(), "");
  await context.close();
});

for (const path of ["/", "/console/topics/data-stream", "/console/groups", "/console/pipelines", "/console/history/messages"]) {
  test(`the console's page ${path} shows data and no error`, async () => {
    const { page, context, errors } = await open(path);
    await page.locator("h1").first().waitFor();
    await page.getByText("data-stream").or(page.getByText("messages")).first().waitFor();
    assert.equal(await page.getByRole("alert").count(), 0);
    assert.deepEqual(errors, []);
    if (pictures) {
      const name = path.replaceAll("/", "_").replace(/^_$/, "_overview");
      await page.waitForTimeout(1_500);
      await page.screenshot({ path: `${pictures}/console${name}.png`, fullPage: true });
    }
    await context.close();
  });
}

for (const look of looks) {
  test(`the page reads well: ${look.name}`, async () => {
    const { page, context, errors } = await open("/demo/messages", look);
    await page.locator("ol li").first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= look.viewport.width, `the page is ${width} px wide`);
    const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = ground.match(/\d+/g).slice(0, 3).every((part) => Number(part) > 200);
    assert.equal(light, look.colorScheme === "light", `the ground is ${ground}`);
    assert.deepEqual(errors, []);
    if (pictures) {
      await page.waitForTimeout(2_500);
      await page.screenshot({ path: `${pictures}/messages-${look.name}.png` });
    }
    await context.close();
  });
}
