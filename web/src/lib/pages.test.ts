import { describe, expect, it } from "vitest";
import { leftOut, longestStay, PAGES_MAX, type Pages, past, take, told, visits } from "./pages";

const none: Pages = new Map();

describe("the table of pages", () => {
  it("gets a line for each page, in the order of names", () => {
    const pages = take(none, "visits", { P2: 24, P1: 26 });
    expect([...pages.values()]).toEqual([
      { name: "P1", colour: 0, visits: 26 },
      { name: "P2", colour: 1, visits: 24 },
    ]);
    expect(visits(pages)).toBe(50);
    expect(told(pages)).toBe("Visits in the last 5 seconds: P1 26, P2 24");
  });

  it("puts the streams together, whichever speaks first", () => {
    const pages = take(take(take(none, "calm", { P1: 5_000 }), "visits", { P1: 3 }), "average", { P1: 4_200 });
    expect(pages.get("P1")).toEqual({ name: "P1", colour: 0, visits: 3, average: 4_200, calm: 5_000 });
  });

  it("has no visits where a message leaves a page out, and keeps its colour", () => {
    const pages = take(take(take(none, "visits", { P1: 3, P2: 1 }), "average", { P2: 9 }), "visits", { P3: 2 });
    expect(pages.get("P2")).toEqual({ name: "P2", colour: 1, visits: 0, average: 9 });
    expect(pages.get("P3")?.colour).toBe(2);
    expect(take(pages, "average", {}).get("P2")?.average).toBeUndefined();
  });

  it("is bounded, and says how many it has no room for", () => {
    const many = Object.fromEntries(Array.from({ length: PAGES_MAX + 3 }, (_, n) => [`page${n + 10}`, n]));
    const pages = take(none, "visits", many);
    expect(pages.size).toBe(PAGES_MAX);
    expect(leftOut(pages, many)).toBe(3);
  });

  it("knows where people stay longest", () => {
    expect(longestStay(none)).toBeUndefined();
    expect(longestStay(take(none, "calm", { P1: 4_000, P2: 5_000 }))?.name).toBe("P2");
  });

  it("begins with the windows that have ended", () => {
    const row = (name: string, second: number, visits: number) => ({ name, window_end: `2026-01-01T00:00:0${second}Z`, visits });
    const now = Date.parse("2026-01-01T00:00:06Z");
    expect(past([row("P1", 6, 3), row("P1", 7, 1), row("P2", 5, 9), row("P2", 6, 2)], now)).toEqual([
      [now - 1_000, { P2: 9 }],
      [now, { P1: 3, P2: 2 }],
    ]);
  });

  it("says so when nothing came", () => {
    expect(told(none)).toBe("No visit in the last 5 seconds");
  });
});
