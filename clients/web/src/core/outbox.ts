/** The acknowledgements of one attachment: kept across reloads, and sent until they are answered. */

import { batchOf, enqueue, nextBatch, parseQueue, settle, type AcknowledgementItem, type QueuedItem } from './acknowledgements.js';
import { locks } from './page.js';
import { OnRecordError, type Problem } from './problem.js';
import type { Service } from './http.js';

const PATH = '/v1/acknowledgements';
const PREFIX = 'onrecord.queue.';

/** Uses the local storage. It may be forbidden, absent or full: then a queue lives in memory only. */
function stored<T>(use: (storage: Storage) => T): T | undefined {
  try {
    return use(localStorage);
  } catch {
    return undefined;
  }
}

export interface Outbox {
  readonly waiting: readonly QueuedItem[];
  add(item: AcknowledgementItem): void;
  /** Sends until nothing waits. */
  flush(): Promise<void>;
  /** Sends what waits from a page that is about to go. It stays stored, because no answer reaches the page. */
  farewell(): void;
}

/** `report` sends a report; `queue` is what an earlier page left. */
export function openOutbox(
  service: Service,
  attachment: string,
  signal: AbortSignal,
  report?: () => Promise<void>,
  queue: readonly QueuedItem[] = [],
): Outbox {
  let sending: Promise<void> | undefined;
  const save = () =>
    stored((storage) => {
      const key = PREFIX + attachment;
      if (queue.length > 0) storage.setItem(key, JSON.stringify({ subject: service.tokens.subject, queue }));
      else storage.removeItem(key);
    });
  let sent: readonly AcknowledgementItem[] = [];
  const body = () => {
    queue = nextBatch(queue, Date.now());
    save();
    sent = batchOf(queue);
    return JSON.stringify(sent);
  };
  const send = async () => {
    // Items of one moment go out together.
    await undefined;
    while (queue.length > 0) {
      const outcome = await service.deliver(
        PATH,
        async () => {
          // A repetition states the time of its first attempt. The report before it states the true one.
          if (queue[0]!.item.elapsed_ms !== undefined) await report?.();
          return body();
        },
        signal,
      );
      if (outcome === 'aborted') return;
      if (typeof outcome === 'object') {
        const results = outcome.answer as Array<{ problem?: Problem } | null> | undefined;
        if (results?.length !== sent.length) service.fail(new OnRecordError('answer', 'results do not match'));
        else for (const result of results) if (result?.problem) service.fail(result.problem);
      }
      // A refused batch can never be accepted; keeping it would stop everything behind it.
      queue = settle(queue, new Set(sent.map(({ id }) => id)));
      save();
    }
  };
  const flush = () => (sending ??= send().finally(() => (sending = undefined)));
  return {
    get waiting() {
      return queue;
    },
    add(item) {
      const { kept, dropped } = enqueue(queue, { at: Date.now(), item });
      queue = kept;
      if (dropped) service.fail(new OnRecordError('queue', `${dropped} of ${attachment}`));
      save();
      void flush();
    },
    flush,
    farewell() {
      if (queue.length > 0) service.farewell(PATH, body());
    },
  };
}

/** Shows other pages that the queue of this attachment is in use, until the signal. */
export function holdQueue(attachment: string, signal: AbortSignal): void {
  locks
    ?.request(PREFIX + attachment, () => new Promise<void>((done) => signal.addEventListener('abort', () => done())))
    .catch(() => {});
}

/** Sends the queues that earlier pages of the same participant left. */
export async function sendLeftQueues(service: Service, signal: AbortSignal): Promise<void> {
  const keys = stored((storage) => Object.keys(storage).filter((key) => key.startsWith(PREFIX))) ?? [];
  for (const key of keys) {
    const send = async (lock: unknown) => {
      const { subject, queue } = parseQueue(stored((storage) => storage.getItem(key)), Date.now());
      // Acknowledgements of another participant wait for a page of that one; before the first token there is no name.
      if (!lock || (queue.length > 0 && subject && subject !== service.tokens.subject)) return;
      if (queue.length === 0) return stored((storage) => storage.removeItem(key));
      await openOutbox(service, key.slice(PREFIX.length), signal, undefined, queue).flush();
    };
    // The ids make a second sending harmless where there are no locks.
    await (locks ? locks.request(key, { ifAvailable: true }, send) : send(true));
  }
}
