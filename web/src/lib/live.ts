// A list of documents that follows a history's change stream. Pure: what an event
// does to the list is decided here and tested without a browser.

export interface Document {
  _id: string;
  [field: string]: unknown;
}

/** One change as the stream sends it. */
export interface Change {
  token: string;
  kind: "insert" | "update" | "delete";
  id: string;
  document: Document | null;
  /** When the history committed it, microseconds since the epoch. */
  committed_micros: number;
}

export interface Row {
  id: string;
  document: Document;
  /** False for what was there before the page looked. */
  fresh: boolean;
}

/** Newest first, at most `max` rows, one for each id. */
export function applyChange(rows: readonly Row[], change: Change, max: number): Row[] {
  if (change.kind === "delete" || !change.document) {
    return rows.filter((row) => row.id !== change.id);
  }
  const row: Row = { id: change.id, document: change.document, fresh: true };
  const at = rows.findIndex((known) => known.id === change.id);
  if (at >= 0) return rows.with(at, row);
  return [row, ...rows].slice(0, max);
}

/** The rows of a snapshot, which comes newest first. */
export function fromSnapshot(documents: readonly Document[], max: number): Row[] {
  return documents.slice(0, max).map((document) => ({ id: document._id, document, fresh: false }));
}
