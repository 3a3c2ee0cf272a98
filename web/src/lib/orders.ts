// The manager's table as data: what a pushed change does to it, what is shown of it and
// in which order. Pure; the page draws it and the tests need no browser.

export interface OrderLine {
  productCode: string;
  productName?: string;
  quantityOrdered: number;
  priceEach: number;
  orderLineNumber: number;
}

export interface Order {
  orderNumber: number;
  orderDate: string;
  requiredDate: string;
  shippedDate: string | null;
  status: string;
  comments: string | null;
  customerNumber: number;
  lines: OrderLine[];
  /** Grows with every change of the order. */
  version?: number | string;
  /** When the change was committed at its source, microseconds since the epoch. */
  origin?: number | string;
}

export interface OrderRow {
  order: Order;
  /** Counts what was pushed for this row; 0 for what was there before the page looked. */
  changes: number;
  /** Whether the last change was one of the status. */
  turned?: boolean;
  /** Microseconds from the commit of the last change to its painting. */
  took?: number;
}

export type Rows = ReadonlyMap<number, OrderRow>;

export const STATUSES = ["In Process", "Shipped", "On Hold", "Disputed", "Resolved", "Cancelled"];

/** How a status is told in colour as well. */
export const tone = (status: string) =>
  ({ Shipped: "good", Resolved: "good", "On Hold": "warn", Disputed: "bad", Cancelled: "bad" })[
    status
  ] ?? "";

const versionOf = (order: Order) => Number(order.version ?? 0);

/** The rows of an answer; what was pushed meanwhile and is newer stays. */
export function fromAnswer(rows: Rows, orders: readonly Order[]): Rows {
  const next = new Map<number, OrderRow>();
  for (const order of orders) {
    const known = rows.get(order.orderNumber);
    const keep = known && versionOf(known.order) >= versionOf(order);
    next.set(order.orderNumber, keep ? known : { order, changes: 0 });
  }
  return next;
}

/** Puts a created or changed order in; an older version than the known one changes nothing. */
export function put(rows: Map<number, OrderRow>, order: Order): boolean {
  const known = rows.get(order.orderNumber);
  if (known && versionOf(known.order) > versionOf(order)) return false;
  const turned = known !== undefined && known.order.status !== order.status;
  rows.set(order.orderNumber, { order, changes: (known?.changes ?? 0) + 1, turned });
  return true;
}

/** Takes the rows of the lowest numbers out, down to `max` rows. */
export function trim(rows: Map<number, OrderRow>, max: number): void {
  if (rows.size <= max) return;
  const numbers = [...rows.keys()].sort((a, b) => a - b);
  for (const number of numbers.slice(0, rows.size - max)) rows.delete(number);
}

/** Notes how many microseconds the last changes of rows took to be painted. */
export function painted(rows: Rows, took: ReadonlyMap<number, number>): Rows {
  const next = new Map(rows);
  for (const [orderNumber, micros] of took) {
    const known = next.get(orderNumber);
    if (known) next.set(orderNumber, { ...known, took: micros });
  }
  return next;
}

export const COLUMNS = [
  { field: "orderNumber", name: "Order", right: true },
  { field: "orderDate", name: "Ordered", right: false },
  { field: "requiredDate", name: "Required", right: false },
  { field: "shippedDate", name: "Shipped", right: false },
  { field: "status", name: "Status", right: false },
  { field: "customerNumber", name: "Customer", right: true },
  { field: "comments", name: "Comments", right: false },
] as const;

export type Field = (typeof COLUMNS)[number]["field"];

export interface View {
  /** Words that all occur in a row. */
  search: string;
  /** Empty: all. */
  status: string;
  sort: Field;
  descending: boolean;
}

/** The rows to show, in order; those without a value come last either way. */
export function shown(rows: Rows, view: View): OrderRow[] {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = ({ order }: OrderRow) => {
    if (view.status && order.status !== view.status) return false;
    if (words.length === 0) return true;
    const text = COLUMNS.map(({ field }) => order[field] ?? "").join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const way = view.descending ? -1 : 1;
  const compare = (left: OrderRow, right: OrderRow) => {
    const a = left.order[view.sort];
    const b = right.order[view.sort];
    if (a === b || (!a && !b)) return right.order.orderNumber - left.order.orderNumber;
    if (!a) return 1;
    if (!b) return -1;
    return (a < b ? -1 : 1) * way;
  };
  return [...rows.values()].filter(matches).sort(compare);
}

/** The middle of the latest times; undefined without any. */
export function median(times: readonly number[]): number | undefined {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
