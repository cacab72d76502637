/** The events and locks of the page; nothing where there is no page, as on a server. */

export const locks: LockManager | undefined = globalThis.navigator?.locks;

/** Listens to an event of the page until the signal. */
export function onPage(event: string, listener: (event: PageTransitionEvent) => void, signal: AbortSignal): void {
  // `visibilitychange` is an event of the document, and bubbles.
  globalThis.addEventListener?.(event, listener as EventListener, { signal });
}

/** The result of `work`, or a rejection after `length`. */
export function within<T>(length: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${length / 1000} s`)), length);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** A pause that ends early when it is aborted, or when the browser is online again. */
export function pause(length: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      over.abort();
      done();
    };
    const timer = setTimeout(end, length);
    signal.addEventListener('abort', end, { signal: over.signal });
    // A network that flaps must not cause a storm of requests.
    onPage('online', () => void setTimeout(end, Math.min(length, Math.random() * 500)), over.signal);
  });
}
