// Numbers and times as people read them. Widths stay the same while values move.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 12,345 */
export function count(value: number): string {
  return whole.format(value);
}

/** 0.9/s, 12/s, 1,204/s */
export function rate(perSecond: number): string {
  return `${perSecond < 10 ? perSecond.toFixed(1) : whole.format(perSecond)}/s`;
}

/** 840 µs, 3.2 ms, 45 ms, 1.2 s, 3 min, 2 h, 5 d */
export function span(micros: number): string {
  const value = Math.max(0, micros);
  if (value < 1_000) return `${Math.round(value)} µs`;
  const ms = value / 1_000;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const s = ms / 1_000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** How old something is, in whole steps so that it ticks calmly: now, 4 s, 3 min */
export function age(thenMs: number, nowMs: number): string {
  const seconds = Math.floor((nowMs - thenMs) / 1_000);
  return seconds < 1 ? "now" : span(seconds * 1_000_000).replace(".0 s", " s");
}

/** 14:03:27 in the reader's zone */
export function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** 512 B, 3.4 KiB, 12 MiB */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let rest = value;
  let unit = 0;
  while (rest >= 1_024 && unit < units.length - 1) {
    rest /= 1_024;
    unit += 1;
  }
  return `${unit > 0 && rest < 10 ? rest.toFixed(1) : Math.round(rest)} ${units[unit]}`;
}
