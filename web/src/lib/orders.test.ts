import { describe, expect, it } from "vitest";
import { fromAnswer, median, type Order, painted, put, type Rows, shown, trim, type View } from "./orders";

const order = (orderNumber: number, more: Partial<Order> = {}): Order => ({
  orderNumber,
  orderDate: "2026-01-01",
  requiredDate: "2026-01-09",
  shippedDate: null,
  status: "In Process",
  comments: null,
  customerNumber: 103,
  lines: [],
  ...more,
});
const none: Rows = new Map();
const all: View = { search: "", status: "", sort: "orderNumber", descending: true };
const numbers = (rows: Rows, view: Partial<View> = {}) =>
  shown(rows, { ...all, ...view }).map((row) => row.order.orderNumber);

/** Rows that were pushed one after the other. */
function pushed(...orders: Order[]) {
  const rows = new Map();
  for (const one of orders) put(rows, one);
  return rows;
}

describe("the table of orders", () => {
  it("takes a pushed order once for its number and counts its changes", () => {
    const rows = new Map(fromAnswer(none, [order(1), order(2)]));
    expect(put(rows, order(3))).toBe(true);
    put(rows, order(2, { status: "Shipped" }));
    expect(numbers(rows)).toEqual([3, 2, 1]);
    expect([1, 2, 3].map((number) => rows.get(number)?.changes)).toEqual([0, 1, 1]);
    expect([2, 3].map((number) => rows.get(number)?.turned)).toEqual([true, false]);
    put(rows, order(2, { status: "Shipped", comments: "sent" }));
    expect(rows.get(2)?.turned).toBe(false);
  });

  it("never shows an older version over a newer one", () => {
    const rows = pushed(order(1, { version: 10, status: "Shipped" }));
    expect(put(rows, order(1, { version: 9 }))).toBe(false);
    expect(put(rows, order(1, { version: "11", status: "Shipped" }))).toBe(true);
    expect(rows.get(1)?.changes).toBe(2);
    const answered = fromAnswer(rows, [order(1, { version: 8 }), order(2, { version: 1 })]);
    expect(answered.get(1)?.order.status).toBe("Shipped");
    expect(numbers(answered)).toEqual([2, 1]);
  });

  it("drops what an answer no longer has, and the oldest beyond a bound", () => {
    const rows = pushed(order(1), order(3), order(2));
    expect(numbers(fromAnswer(rows, [order(2)]))).toEqual([2]);
    trim(rows, 3);
    expect(numbers(rows)).toEqual([3, 2, 1]);
    trim(rows, 1);
    expect(numbers(rows)).toEqual([3]);
  });

  it("sorts by every column, and what has no value last", () => {
    const rows = pushed(
      order(1, { shippedDate: "2026-01-03" }),
      order(2),
      order(3, { shippedDate: "2026-01-02" }),
    );
    expect(numbers(rows, { sort: "shippedDate", descending: false })).toEqual([3, 1, 2]);
    expect(numbers(rows, { sort: "shippedDate" })).toEqual([1, 3, 2]);
    expect(numbers(rows, { descending: false })).toEqual([1, 2, 3]);
  });

  it("finds by words and by status", () => {
    const rows = fromAnswer(none, [
      order(10, { comments: "Gift wrapping" }),
      order(11, { comments: "Call before", status: "On Hold" }),
    ]);
    expect(numbers(rows, { search: "gift 10" })).toEqual([10]);
    expect(numbers(rows, { search: "gift 11" })).toEqual([]);
    expect(numbers(rows, { status: "On Hold" })).toEqual([11]);
  });

  it("tells the time of the last painting and its median", () => {
    const rows = painted(pushed(order(1)), new Map([[1, 4_000], [2, 1]]));
    expect(rows.get(1)?.took).toBe(4_000);
    expect(rows.size).toBe(1);
    expect(median([9, 1, 5])).toBe(5);
    expect(median([])).toBeUndefined();
  });
});
