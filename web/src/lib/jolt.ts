// What the Jolt page does with texts: colours for JSON, and a link that keeps the state.

/** What a person tries out. */
export interface Trial {
  spec: string;
  input: string;
  context: string;
}

export type Kind = "key" | "text" | "word" | "comment" | "plain";

/** A part of a line, with how it is coloured. */
export interface Piece {
  kind: Kind;
  text: string;
}

const TOKEN =
  /("(?:[^"\\]|\\.)*"?)(\s*:)?|(\/\/.*)|(\/\*.*?(?:\*\/|$))|(-?\d[\d.eE+-]*|\b(?:true|false|null)\b)/g;

/** The lines of a text in pieces. JSON with comments is coloured; anything else stays plain. */
export function pieces(text: string): Piece[][] {
  let inComment = false;
  return text.split("\n").map((line) => {
    const found: Piece[] = [];
    let at = 0;
    if (inComment) {
      const end = line.indexOf("*/");
      inComment = end < 0;
      at = inComment ? line.length : end + 2;
      found.push({ kind: "comment", text: line.slice(0, at) });
    }
    TOKEN.lastIndex = at;
    for (let match = TOKEN.exec(line); match; match = TOKEN.exec(line)) {
      const [whole, string, colon, comment, block, word] = match;
      if (match.index > at) found.push({ kind: "plain", text: line.slice(at, match.index) });
      at = match.index + whole.length;
      if (string !== undefined) {
        found.push({ kind: colon === undefined ? "text" : "key", text: string });
        if (colon !== undefined) found.push({ kind: "plain", text: colon });
      } else if (word !== undefined) found.push({ kind: "word", text: word });
      else found.push({ kind: "comment", text: comment ?? block ?? "" });
      inComment = block !== undefined && !block.endsWith("*/");
    }
    if (at < line.length) found.push({ kind: "plain", text: line.slice(at) });
    return found;
  });
}

/** Where a line and column (both from 1) stand in a text. */
export function indexOf(text: string, line: number, column: number): number {
  const lines = text.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  return Math.min(text.length, before + Math.min(column - 1, lines[line - 1]?.length ?? 0));
}

/** Characters of a link that every browser and most messengers take. */
const LINK_CHARS_MAX = 32_000;
/** Bytes that a link may unpack to: what the server tries out. */
const UNPACKED_BYTES_MAX = 1024 * 1024;
/** Marks the form of the link, so that it can change one day. */
const FORM = "#1:";

/** The fragment of a link with this state; null where it would be too long. */
export async function pack(trial: Trial): Promise<string | null> {
  const bytes = new TextEncoder().encode(JSON.stringify([trial.spec, trial.input, trial.context]));
  const packed = await through(bytes, new CompressionStream("deflate-raw"));
  let binary = "";
  for (const byte of packed) binary += String.fromCharCode(byte);
  const text = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return text.length > LINK_CHARS_MAX ? null : FORM + text;
}

/** The state of a fragment; null where it holds none. */
export async function unpack(fragment: string): Promise<Trial | null> {
  if (!fragment.startsWith(FORM)) return null;
  try {
    const text = fragment.slice(FORM.length).replaceAll("-", "+").replaceAll("_", "/");
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const bytes = await through(packed, new DecompressionStream("deflate-raw"));
    const parts: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!Array.isArray(parts) || parts.length !== 3) return null;
    const [spec, input, context] = parts;
    const areTexts = [spec, input, context].every((part) => typeof part === "string");
    return areTexts ? { spec, input, context } : null;
  } catch {
    return null;
  }
}

async function through(
  bytes: Uint8Array,
  transform: CompressionStream | DecompressionStream,
): Promise<Uint8Array> {
  const source = new Blob([bytes as BlobPart]).stream();
  const reader = source.pipeThrough(transform as ReadableWritablePair).getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value);
    length += next.value.length;
    if (length > UNPACKED_BYTES_MAX) {
      await reader.cancel();
      throw new Error("link is too large");
    }
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
