// A value that is asked for again and again while somebody looks.
//
// The last good answer stays on the screen when a question fails; the error stands
// beside it. Nothing is asked while the page is hidden.

export class Poll<T> {
  value = $state<T>();
  error = $state<string>();

  /** Asks every `everyMs`; must be created within a component's effect. */
  constructor(ask: (signal: AbortSignal) => Promise<T>, everyMs = 1_000) {
    $effect(() => {
      const stop = new AbortController();
      const round = async () => {
        while (!stop.signal.aborted) {
          if (!document.hidden) await this.once(ask, stop.signal);
          await new Promise((done) => setTimeout(done, everyMs));
        }
      };
      void round();
      return () => stop.abort();
    });
  }

  private async once(ask: (signal: AbortSignal) => Promise<T>, signal: AbortSignal) {
    try {
      const value = await ask(signal);
      if (signal.aborted) return;
      this.value = value;
      this.error = undefined;
    } catch (error) {
      if (!signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    }
  }
}

/** The present in milliseconds, moving once a second. */
export class Now {
  ms = $state(Date.now());

  constructor() {
    $effect(() => {
      const timer = setInterval(() => {
        this.ms = Date.now();
      }, 1_000);
      return () => clearInterval(timer);
    });
  }
}
