// The pages of the `orders` example in real browsers, against `courant demo orders`.
//
//   BASE_URL=http://127.0.0.1:8080 node --test e2e/orders.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { base, looks, open, pictures, withBrowser } from "../browser.mjs";

withBrowser();

const live = (page) => page.getByRole("status").filter({ hasText: "live" }).waitFor();
const row = (page, number) => page.locator(`tr[data-order="${number}"]`);
// Of this run, so that a test may run again on the same data.
const customer = 900_000 + (Date.now() % 90_000);

async function post(order) {
  const answer = await fetch(`${base}/orders`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(order),
  });
  assert.ok(answer.ok, `POST /orders answered ${answer.status}`);
  return answer.json();
}

const anOrder = (more = {}) => ({
  orderDate: "2026-01-31",
  requiredDate: "2026-02-07",
  shippedDate: null,
  status: "In Process",
  comments: null,
  customerNumber: customer,
  lines: [{ productCode: "S10_1678", quantityOrdered: 2, priceEach: 95.7, orderLineNumber: 1 }],
  ...more,
});

async function cached(number) {
  const answer = await fetch(`${base}/customers/${customer}/orders`);
  return answer.ok ? (await answer.json())[number] : undefined;
}

test("an order created in one browser appears in another and in the cache, without a reload", async () => {
  const manager = await open("/demo/orders");
  const clerk = await open("/demo/orders");
  await live(manager.page);
  await live(clerk.page);
  await manager.page.evaluate(() => {
    window.stillHere = true;
  });

  await clerk.page.getByRole("button", { name: "New order" }).click();
  const dialog = clerk.page.getByRole("dialog");
  await dialog.getByLabel("Customer number").fill(String(customer));
  await dialog.getByLabel("Comments").fill("Typed by a person");
  await dialog.getByLabel("Product of line 1").fill("S10_1678");
  await dialog.getByLabel("Quantity of line 1").fill("3");
  if (pictures) await clerk.page.screenshot({ path: `${pictures}/orders-form.png` });
  await dialog.getByRole("button", { name: "Create the order" }).click();
  const told = clerk.page.getByText("Order has been created successfully.");
  await told.waitFor();
  const number = Number((await told.textContent()).match(/number is (\d+)/)[1]);
  assert.ok(number >= 50_001, `it has the number ${number}`);

  for (const { page } of [manager, clerk]) {
    await row(page, number).waitFor();
    assert.match(await row(page, number).textContent(), /In Process.*Typed by a person/);
    await row(page, number).getByTestId("took").filter({ hasText: /\d (µs|ms|s)/ }).waitFor();
  }
  assert.equal(await manager.page.evaluate(() => window.stillHere), true, "the page was loaded again");
  assert.equal((await cached(number)).comments, "Typed by a person");
  assert.deepEqual(manager.errors, []);
  assert.deepEqual(clerk.errors, []);
  await manager.context.close();
  await clerk.context.close();
});

test("a changed order changes its row everywhere, and its customer's page", async () => {
  const { orderNumber } = await post(anOrder());
  const manager = await open("/demo/orders");
  const reader = await open(`/demo/orders/customer/${customer}`);
  await row(manager.page, orderNumber).waitFor();
  const card = reader.page.locator(`article[data-order="${orderNumber}"]`);
  await card.waitFor();
  assert.match(await card.textContent(), /191\.40/);

  await row(manager.page, orderNumber).getByRole("button", { name: "Change order" }).click();
  const dialog = manager.page.getByRole("dialog");
  await dialog.getByLabel("Status").selectOption("Shipped");
  await dialog.getByRole("textbox", { name: "Shipped" }).fill("2026-02-03");
  await dialog.getByRole("button", { name: "Add a line" }).click();
  await dialog.getByLabel("Product of line 2").fill("S18_2325");
  await dialog.getByLabel("Price of line 2").fill("12.5");
  await dialog.getByRole("button", { name: "Save" }).click();
  await row(manager.page, orderNumber).getByText("Shipped").waitFor();
  await card.getByText("Shipped", { exact: true }).waitFor();
  await card.getByText("S18_2325").waitFor();
  assert.equal(await row(manager.page, orderNumber).count(), 1);

  const versions = await (
    await fetch(`${base}/orders/versions?filter=${encodeURIComponent(JSON.stringify({ orderNumber }))}`)
  ).json();
  assert.deepEqual(versions.data.map((one) => one.status), ["Shipped", "In Process"]);
  assert.deepEqual(manager.errors, []);
  assert.deepEqual(reader.errors, []);
  await manager.context.close();
  await reader.context.close();
});

test("orders are found, filtered and sorted with the keyboard alone", async () => {
  const word = `needle${Date.now()}`;
  const first = await post(anOrder({ comments: word, requiredDate: "2026-03-01" }));
  const second = await post(anOrder({ comments: word, requiredDate: "2026-02-01", status: "On Hold" }));
  const { page, context } = await open("/demo/orders");
  await row(page, second.orderNumber).waitFor();
  await page.getByLabel("Search the orders").focus();
  await page.keyboard.type(word);
  const numbers = () =>
    page.locator("tbody tr").evaluateAll((rows) => rows.map((one) => Number(one.dataset.order)));
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 2);
  assert.deepEqual(await numbers(), [second.orderNumber, first.orderNumber]);
  const required = page.getByRole("button", { name: "Required" });
  await required.focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction((wanted) => Number(document.querySelector("tbody tr").dataset.order) === wanted, first.orderNumber);
  assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
  await page.keyboard.press("Enter");
  await page.waitForFunction((wanted) => Number(document.querySelector("tbody tr").dataset.order) === wanted, second.orderNumber);
  await page.getByRole("combobox", { name: "Status" }).first().selectOption("On Hold");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.deepEqual(await numbers(), [second.orderNumber]);
  await page.getByLabel("Search the orders").fill("nothing has this");
  await page.getByText("No order matches.").waitFor();
  await context.close();
});

test("a burst of orders is shown whole", async () => {
  const { page, context, errors } = await open("/demo/orders");
  await live(page);
  const word = `burst${Date.now()}`;
  await page.getByLabel("Search the orders").fill(word);
  const lines = Array.from({ length: 300 }, () => JSON.stringify(anOrder({ comments: word })));
  const answer = await fetch(`${base}/orders`, {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: lines.join("\n"),
  });
  assert.ok(answer.ok, await answer.text());
  const shown = page.getByText(/^\d+ of 300$/);
  await shown.waitFor();
  const rows = Number.parseInt(await shown.textContent(), 10);
  assert.ok(rows >= 10 && rows <= 20, `${rows} rows are laid out on a screen of 860 px`);
  await page.getByRole("button", { name: "Show more" }).click();
  await page.getByText(`${rows + 100} of 300`).waitFor();
  assert.deepEqual(errors, []);
  await context.close();
});

test("a customer without orders is told so", async () => {
  const { page, context } = await open("/demo/orders/customer/1");
  await page.getByText("This customer has no orders.").waitFor();
  await context.close();
});

for (const look of looks) {
  test(`the table of orders reads well: ${look.name}`, async () => {
    const { page, context, errors } = await open("/demo/orders", look);
    await page.locator("tbody tr").first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= look.viewport.width, `the page is ${width} px wide`);
    assert.deepEqual(errors, []);
    if (pictures) {
      await page.waitForTimeout(4_000);
      await page.screenshot({ path: `${pictures}/orders-${look.name}.png` });
    }
    await context.close();
  });

  test(`the page of a customer reads well: ${look.name}`, async () => {
    await post(anOrder({ comments: "Gift wrapping" }));
    const { page, context, errors } = await open(`/demo/orders/customer/${customer}`, look);
    await page.locator("article").first().waitFor();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= look.viewport.width, `the page is ${width} px wide`);
    assert.deepEqual(errors, []);
    if (pictures) await page.screenshot({ path: `${pictures}/orders-customer-${look.name}.png` });
    await context.close();
  });
}
