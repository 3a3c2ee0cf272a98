// Everything the page asks of Courant, in one place: shapes and routes of /api/v1.

import type { Graph } from "./graph";
import type { Change, Document } from "./live";
import type { Order } from "./orders";

export interface Info {
  name: string;
  version: string;
  profile: string;
  uptime_seconds: number;
  /** By protocol: `http`, `kafka`. */
  ports: Record<string, number>;
}

export interface Topic {
  name: string;
  partitions: { start: number; end: number; size_bytes: number }[];
}

export interface LogRecord {
  partition: number;
  offset: number;
  timestamp: number;
  key: unknown;
  value: unknown;
}

export interface Group {
  id: string;
  state: string;
  generation: number;
  strategy: string;
  members: { id: string; client_id: string; partitions: { topic: string; partition: number }[] }[];
  offsets: { topic: string; partition: number; committed: number; end: number; lag: number }[];
}

export interface Pipeline {
  name: string;
  state: string;
  group: string;
  records_in: number;
  records_out: number;
  dead_letters: number;
  lag: number;
  last_error: string | null;
  freshness_p50_micros: number | null;
  freshness_p99_micros: number | null;
}

export interface Collection {
  name: string;
  documents: number;
}

export interface JoltMatch {
  operation: number;
  name: string;
  key: string[];
  /** JSON pointers: of the place that was met, and of those that were written. */
  input: string;
  output: string[];
  action: string;
  value: string | null;
  /** The line of the key in the specification. */
  line?: number;
}

export interface JoltError {
  part: "spec" | "input" | "context" | "transform";
  operation: number | null;
  path: string[];
  message: string;
  line: number | null;
  column: number | null;
}

export interface JoltOutcome {
  output: unknown;
  matches: JoltMatch[];
  truncated: boolean;
  errors: JoltError[];
}

/** A failure as the API tells it. */
interface Problem {
  error?: string | { message?: string; remedy?: string; retryable?: boolean };
}

/** Why there is no answer, and whether asking again may help. */
export class Failure extends Error {
  constructor(
    message: string,
    readonly retryable = false,
  ) {
    super(message);
  }
}

async function ask<T>(path: string, init?: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new Failure("Courant does not answer; is it running?");
  }
  if (answer.ok) return (await answer.json()) as T;
  const problem = (await answer.json().catch(() => ({}))) as Problem;
  const error = typeof problem.error === "string" ? { message: problem.error } : problem.error;
  throw new Failure(error?.message ?? `${answer.status} ${answer.statusText}`, error?.retryable);
}

const get = <T>(path: string, signal?: AbortSignal) => ask<T>(path, { signal });
const post = <T>(path: string, body: unknown, signal?: AbortSignal) =>
  ask<T>(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
const name = encodeURIComponent;

export const api = {
  info: (signal?: AbortSignal) => get<Info>("/api/v1/info", signal),
  topics: async (signal?: AbortSignal) =>
    (await get<{ topics: Topic[] }>("/api/v1/topics", signal)).topics,
  latestRecords: async (topic: string, limit: number, signal?: AbortSignal) =>
    (
      await get<{ records: LogRecord[] }>(
        `/api/v1/topics/${name(topic)}/records?from=latest&limit=${limit}`,
        signal,
      )
    ).records,
  groups: async (signal?: AbortSignal) =>
    (await get<{ groups: { id: string }[] }>("/api/v1/groups", signal)).groups,
  group: (id: string, signal?: AbortSignal) => get<Group>(`/api/v1/groups/${name(id)}`, signal),
  pipelines: async (signal?: AbortSignal) =>
    (await get<{ pipelines: Pipeline[] }>("/api/v1/pipelines", signal)).pipelines,
  graph: (signal?: AbortSignal) => get<Graph>("/api/v1/pipelines/graph", signal),
  setPipeline: (pipeline: string, action: "pause" | "resume") =>
    ask<unknown>(`/api/v1/pipelines/${name(pipeline)}/${action}`, { method: "POST" }),
  collections: async (signal?: AbortSignal) =>
    (await get<{ collections: Collection[] }>("/api/v1/history", signal)).collections,
  /** Tries a specification out; the parts are texts. */
  jolt: (trial: { spec: string; input: string; context: string }, signal?: AbortSignal) =>
    post<JoltOutcome>("/api/v1/jolt", { ...trial, text: true }, signal),
  orders: async (limit: number) =>
    (await get<{ data: Order[] }>(`/orders?sort=-orderNumber&limit=${limit}`)).data,
  /** A customer's orders, from the cache; none where the cache does not know the customer. */
  ordersOf: async (customer: string): Promise<Order[]> => {
    const answer = await fetch(`/customers/${name(customer)}/orders?as=list`);
    if (answer.status === 404) return [];
    if (!answer.ok) throw new Failure(`the cache answered ${answer.status}`);
    return ((await answer.json()) as { data: Order[] }).data;
  },
  /** Creates an order, or changes the one that has its number. */
  putOrder: (order: Omit<Order, "orderNumber"> & { orderNumber?: number }) => post<Order>("/orders", order),
  postMessage: (text: string) => post<unknown>("/messages", { text, source: "page" }),
  /** The rows of a view's store whose windows start then or later. */
  windows: async <T>(view: string, fromMs: number) =>
    (await get<{ rows: T[] }>(`/api/v1/views/${name(view)}/store?window_from=@${fromMs}&limit=10000`)).rows,
  /** Sends one visit of a page, by somebody, to a topic. */
  visit: (topic: string, page: string) => get<PageEvent>(`/publish/${name(topic)}/${name(page)}`),
};

/** The event of the `pages` example. */
export interface PageEvent {
  name: string;
  user: string;
  /** RFC 3339 with milliseconds. */
  date: string;
  /** Milliseconds. */
  duration: number;
}

export type Connection = "connecting" | "live" | "reconnecting";

export interface Watcher {
  snapshot: (documents: Document[]) => void;
  change: (change: Change) => void;
  connection: (state: Connection) => void;
}

/**
 * Follows a history collection: the latest `snapshot` documents, then every change.
 * The browser reconnects by itself and continues after the last event it saw.
 */
export function watch(collection: string, snapshot: number, watcher: Watcher): () => void {
  watcher.connection("connecting");
  const source = new EventSource(
    `/api/v1/history/${name(collection)}/stream?snapshot=${snapshot}`,
  );
  source.addEventListener("open", () => watcher.connection("live"));
  source.addEventListener("error", () => watcher.connection("reconnecting"));
  source.addEventListener("snapshot", (event) => watcher.snapshot(JSON.parse(event.data)));
  source.addEventListener("change", (event) => watcher.change(JSON.parse(event.data)));
  return () => source.close();
}

export interface NumbersWatcher {
  /** The numbers by name, and the end of the window that they are of. */
  numbers: (values: Record<string, number>, endMs: number) => void;
  connection: (state: Connection) => void;
}

/** Follows an endpoint that tells numbers by name; it begins anew after a cut. */
export function numbers(path: string, watcher: NumbersWatcher): () => void {
  watcher.connection("connecting");
  const source = new EventSource(path);
  source.addEventListener("open", () => watcher.connection("live"));
  source.addEventListener("error", () => watcher.connection("reconnecting"));
  source.addEventListener("message", (event) => watcher.numbers(JSON.parse(event.data), Number(event.lastEventId)));
  return () => source.close();
}
