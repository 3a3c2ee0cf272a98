// Gathers what comes between two frames, so that a burst is drawn once; and what may wait.

/** Hands over all that was given since the last frame; in a hidden page four times a second. */
export function frames<T>(take: (items: T[]) => void): (item: T) => void {
  let waiting: T[] = [];
  let frame = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    timer = undefined;
    const items = waiting;
    waiting = [];
    take(items);
  };
  return (item) => {
    waiting.push(item);
    if (timer !== undefined) return;
    frame = requestAnimationFrame(flush);
    timer = setTimeout(flush, 250);
  };
}

/** Calls back once the frame that is being drawn is on the screen, with the time in microseconds. */
export function afterPaint(seen: (micros: number) => void): void {
  // The frame ends before the next task begins.
  setTimeout(() => seen((performance.timeOrigin + performance.now()) * 1_000));
}

/** Hands over all that was given within some milliseconds, in one go. */
export function gathered<T>(milliseconds: number, take: (items: T[]) => void): (items: T[]) => void {
  let waiting: T[] = [];
  return (items) => {
    if (items.length === 0) return;
    if (waiting.length === 0) {
      setTimeout(() => {
        const all = waiting;
        waiting = [];
        take(all);
      }, milliseconds);
    }
    waiting.push(...items);
  };
}
