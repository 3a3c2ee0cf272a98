// What the three streams of the `pages` example tell, put together. Pure: what a message
// does to the table is decided here and tested without a browser.

/** Page → number, as `/analytics` and its sisters send it. */
export type Numbers = Record<string, number>;

/** The streams, by what their numbers are. */
export const STREAMS = {
  visits: "/analytics",
  average: "/analyticsAggregate",
  calm: "/averages",
} as const;

export type Measure = keyof typeof STREAMS;

/** One line of the table and one line of the chart. */
export interface Page {
  name: string;
  /** Its place among the colours; it keeps it while this page is open. */
  colour: number;
  /** Visits in the last 5 s. */
  visits: number;
  /** Average duration over the last 5 s, in ms; none without a visit. */
  average?: number;
  /** The same over the last 30 s. */
  calm?: number;
}

export type Pages = ReadonlyMap<string, Page>;

/** Pages that are shown; more would be no picture any more. */
export const PAGES_MAX = 12;

/** The table after a message: pages that it leaves out have no visit in its window. */
export function take(pages: Pages, measure: Measure, numbers: Numbers): Pages {
  const next = new Map<string, Page>();
  for (const page of pages.values()) {
    next.set(page.name, { ...page, [measure]: numbers[page.name] ?? (measure === "visits" ? 0 : undefined) });
  }
  for (const name of Object.keys(numbers).sort()) {
    if (next.has(name) || next.size >= PAGES_MAX) continue;
    next.set(name, { name, colour: next.size, visits: 0, [measure]: numbers[name] });
  }
  return next;
}

/** A window of a page, as the view's store has it. */
export interface Window {
  name: string;
  window_end: string;
  visits: number;
}

/** The visits of each page by the end of the window, oldest first, of windows that have ended. */
export function past(windows: Window[], nowMs: number): [number, Numbers][] {
  const ends = new Map<number, Numbers>();
  for (const { name, window_end, visits } of windows) {
    const end = Date.parse(window_end);
    if (end > nowMs) continue;
    const numbers = ends.get(end) ?? {};
    numbers[name] = visits;
    ends.set(end, numbers);
  }
  return [...ends].sort(([one], [other]) => one - other);
}

/** How many pages a message tells of that the table has no room for. */
export function leftOut(pages: Pages, numbers: Numbers): number {
  return Object.keys(numbers).filter((name) => !pages.has(name)).length;
}

/** Visits of all pages in the last 5 s. */
export function visits(pages: Pages): number {
  return [...pages.values()].reduce((sum, page) => sum + page.visits, 0);
}

/** The page where people stayed longest over the last 30 s. */
export function longestStay(pages: Pages): Page | undefined {
  const known = [...pages.values()].filter((page) => page.calm !== undefined);
  return known.sort((a, b) => (b.calm ?? 0) - (a.calm ?? 0))[0];
}

/** In words, for those who do not see the chart. */
export function told(pages: Pages): string {
  const parts = [...pages.values()].map((page) => `${page.name} ${page.visits}`);
  return parts.length > 0 ? `Visits in the last 5 seconds: ${parts.join(", ")}` : "No visit in the last 5 seconds";
}
