/** The events and locks of the page; nothing where there is no page, as on a server. */

export const locks: LockManager | undefined = globalThis.navigator?.locks;

/** Listens to an event of the page until the signal. */
export function onPage(event: string, listener: (event: PageTransitionEvent) => void, signal: AbortSignal): void {
  // `visibilitychange` is an event of the document, and bubbles.
  globalThis.addEventListener?.(event, listener as EventListener, { signal });
}

/** The result of `work`, or a rejection after `length`. */
export function within<T>(length: number, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${length / 1000} s`)), length);
    Promise.resolve()
      .then(work)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

const sleepers = new Set<() => void>();

/** The network works again: no pause goes on for long. */
export function wake(): void {
  sleepers.forEach((end) => end());
}

/** A pause that ends early when it is aborted, and when the network works again. */
export function pause(length: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      sleepers.delete(soon);
      over.abort();
      done();
    };
    const timer = setTimeout(end, length);
    // A network that flaps must not cause a storm of requests.
    const soon = () => void setTimeout(end, Math.min(length, Math.random() * 500));
    sleepers.add(soon);
    signal.addEventListener('abort', end, { signal: over.signal });
    onPage('online', soon, over.signal);
  });
}
