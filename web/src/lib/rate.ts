// Events counted into seconds, for the moving chart and the number beside it.

export class Rate {
  private readonly seconds: Float64Array;
  private newest: number;

  /** Keeps `length` whole seconds up to `nowMs`. */
  constructor(length: number, nowMs: number) {
    this.seconds = new Float64Array(length);
    this.newest = Math.floor(nowMs / 1_000);
  }

  add(atMs: number, events = 1): void {
    this.advance(atMs);
    const behind = this.newest - Math.floor(atMs / 1_000);
    if (Number.isNaN(behind) || behind >= this.seconds.length) return;
    const index = this.seconds.length - 1 - behind;
    this.seconds[index] = (this.seconds[index] ?? 0) + events;
  }

  /** Events a second over the last `span` whole seconds, the running one left out. */
  perSecond(nowMs: number, span = 5): number {
    this.advance(nowMs);
    const whole = this.seconds.subarray(this.seconds.length - 1 - span, this.seconds.length - 1);
    return whole.reduce((sum, value) => sum + value, 0) / span;
  }

  /** Seconds since the epoch and counts, oldest first, the running second left out. */
  series(nowMs: number): [number[], number[]] {
    this.advance(nowMs);
    const length = this.seconds.length - 1;
    const first = this.newest - length;
    return [
      Array.from({ length }, (_, index) => first + index),
      Array.from(this.seconds.subarray(0, length)),
    ];
  }

  private advance(nowMs: number): void {
    const steps = Math.floor(nowMs / 1_000) - this.newest;
    if (steps <= 0) return;
    if (steps >= this.seconds.length) {
      this.seconds.fill(0);
    } else {
      this.seconds.copyWithin(0, steps);
      this.seconds.fill(0, this.seconds.length - steps);
    }
    this.newest += steps;
  }
}
