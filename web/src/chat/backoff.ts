// How long is waited before a lost connection is opened again.

const FIRST_MS = 500;
const LONGEST_MS = 8_000;
/** How long the rest of an answer is asked for. No answer takes longer. */
const GIVE_UP_MS = 12 * 60_000;

export class Backoff {
  #pause = FIRST_MS;
  #ends = performance.now() + GIVE_UP_MS;

  /** Whether it is too late for another attempt. */
  get over(): boolean {
    return performance.now() > this.#ends;
  }

  /** Something has come: the next pause is short. */
  reset(): void {
    this.#pause = FIRST_MS;
  }

  /** Wait some time, at least `least` milliseconds; until then, or until `signal` aborts. */
  async wait(signal: AbortSignal, least = 0): Promise<void> {
    const milliseconds = Math.max(least, this.#pause);
    this.#pause = Math.min(2 * this.#pause, LONGEST_MS);
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        removeEventListener("online", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      // While the browser is offline, its return is waited for, and looked for now and then.
      const timer = setTimeout(done, navigator.onLine ? milliseconds : LONGEST_MS);
      addEventListener("online", done);
      signal.addEventListener("abort", done);
    });
  }
}
