// The Jolt page in a real browser, against a running Courant.
//
//   BASE_URL=http://127.0.0.1:8080 node --test e2e

import assert from "node:assert/strict";
import { test } from "node:test";
import { looks, open, pictures, withBrowser } from "../browser.mjs";

withBrowser();

const spec = (page) => page.getByLabel("Specification", { exact: true });
const input = (page) => page.getByLabel("Input", { exact: true });

/** Waits until the output is this JSON. */
function outputIs(page, expected) {
  return page.waitForFunction(
    (wanted) => {
      const text = document.querySelector('textarea[aria-label="Output"]').value;
      try {
        return JSON.stringify(JSON.parse(text)) === wanted;
      } catch {
        return false;
      }
    },
    JSON.stringify(expected),
  );
}

test("what is typed is transformed at once, and its matches are shown", async () => {
  const { page, context, errors } = await open("/tools/jolt");
  await spec(page).fill('[{ "operation": "shift", "spec": { "user": { "*": "&" } } }]');
  await input(page).fill('{ "user": { "id": 7, "big": 123456789012345678901234567890 } }');
  await page.waitForFunction(() =>
    document.querySelector('textarea[aria-label="Output"]').value.includes("123456789012345678901234567890"),
  );
  const row = page.getByRole("row").filter({ hasText: "/user/id" });
  assert.match(await row.textContent(), /user › \*/);
  assert.match(await row.textContent(), /wrote/);
  assert.deepEqual(errors, []);
  await context.close();
});

test("every sample gives something and nothing is wrong with it", async () => {
  const { page, context, errors } = await open("/tools/jolt");
  const choice = page.getByLabel("Sample");
  const names = await choice.locator("option").allTextContents();
  assert.ok(names.length >= 5, names.join(", "));
  // The first is there already, so it comes last.
  for (const name of [...names.slice(1), names[0]]) {
    const answered = page.waitForResponse((answer) => answer.url().endsWith("/api/v1/jolt"));
    await choice.selectOption({ label: name });
    const outcome = await (await answered).json();
    assert.deepEqual(outcome.errors, [], name);
    assert.ok(outcome.output.length > 10, name);
    assert.ok(outcome.matches.every((match) => match.line > 0), name);
  }
  assert.deepEqual(errors, []);
  await context.close();
});

test("what is wrong is told at its operation and key, and leads there", async () => {
  const { page, context } = await open("/tools/jolt");
  await spec(page).fill(
    '[\n  { "operation": "sort" },\n  { "operation": "shift",\n    "spec": { "a": { "b": "x*" } } }\n]',
  );
  const wrong = page.getByRole("region", { name: "What is wrong" });
  await wrong.getByText("cannot contain '*'").waitFor();
  assert.match(await wrong.textContent(), /operation 1 › a › b/);
  assert.equal(await page.locator(".line.bad").count(), 1);
  assert.match(await page.locator(".line.bad").textContent(), /x\*/);
  assert.equal(await spec(page).getAttribute("aria-invalid"), "true");
  await wrong.getByRole("button").click();
  const at = await spec(page).evaluate((area) => area.value.slice(area.selectionStart, area.selectionStart + 3));
  assert.equal(at, '"b"');
  if (pictures) await page.screenshot({ path: `${pictures}/jolt-wrong.png` });

  await spec(page).fill('[{ "operation": "sort" }]');
  await input(page).fill('{\n "a": ]');
  await wrong.getByText("no JSON").waitFor();
  await wrong.getByRole("button").click();
  assert.ok(await input(page).evaluate((area) => area === document.activeElement));
  await context.close();
});

test("a link brings the state back, and so does another link on the same page", async () => {
  const { page, context } = await open("/tools/jolt");
  await spec(page).fill('[{ "operation": "default", "spec": { "by": "ü" } }]');
  await input(page).fill("{}");
  await outputIs(page, { by: "ü" });
  await page.waitForFunction(() => location.hash.startsWith("#1:"));
  const hash = await page.evaluate(() => location.hash);
  const other = await open(`/tools/jolt${hash}`);
  await outputIs(other.page, { by: "ü" });
  assert.equal(await input(other.page).inputValue(), "{}");
  await other.page.getByLabel("Sample").selectOption({ index: 1 });
  await other.page.waitForFunction((before) => location.hash !== before, hash);
  await other.page.evaluate((back) => {
    location.hash = back;
  }, hash);
  await outputIs(other.page, { by: "ü" });
  await other.context.close();
  await context.close();
});

test("a person works with the keyboard alone", async () => {
  const { page, context } = await open("/tools/jolt");
  await spec(page).focus();
  await page.keyboard.press("Control+A");
  await page.keyboard.type('[{"operation":"sort"}]');
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.ok(await input(page).evaluate((area) => area === document.activeElement), "Tab leaves the text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type('{"b":1,"a":2}');
  await outputIs(page, { a: 2, b: 1 });
  await context.close();
});

test("the context is what ^ means", async () => {
  const { page, context } = await open("/tools/jolt");
  await spec(page).fill('[{ "operation": "modify-overwrite-beta", "spec": { "shop": "^shop" } }]');
  await input(page).fill("{}");
  await page.getByLabel("context").check();
  await page.getByLabel("Context", { exact: true }).fill('{ "shop": "north" }');
  await outputIs(page, { shop: "north" });
  await context.close();
});

for (const look of looks) {
  test(`the Jolt page reads well: ${look.name}`, async () => {
    const { page, context, errors } = await open("/tools/jolt", look);
    await page.getByRole("row").filter({ hasText: /wrote/ }).first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= look.viewport.width, `the page is ${width} px wide`);
    assert.deepEqual(errors, []);
    if (pictures) await page.screenshot({ path: `${pictures}/jolt-${look.name}.png`, fullPage: true });
    await context.close();
  });
}
