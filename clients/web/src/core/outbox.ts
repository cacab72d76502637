/** The acknowledgements of one attachment: kept across reloads, and sent until they are answered. */

import { batchOf, enqueue, nextBatch, parseQueue, settle, type AcknowledgementItem, type QueuedItem } from './acknowledgements.js';
import { backoff } from './timing.js';
import { locks, pause } from './page.js';
import { OnRecordError, type Problem } from './problem.js';
import type { Service } from './http.js';

const PREFIX = 'onrecord.queue.';

/** Local storage may be forbidden, absent or full: then the queue lives in memory. */
function store(): Storage | undefined {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
}

interface Stored {
  readonly subject: string;
  readonly queue: readonly QueuedItem[];
}

export class Outbox {
  #queue: QueuedItem[] = [];
  #sending: Promise<void> | undefined;
  #release: () => void = () => {};

  constructor(
    private readonly service: Service,
    readonly attachment: string,
    private readonly onError: (problem: Problem) => void,
    private readonly signal: AbortSignal,
  ) {
    // Another page that finds the stored queue knows by the lock that it is in use.
    locks
      ?.request(PREFIX + attachment, () => new Promise<void>((released) => (this.#release = released)))
      .catch(() => {});
  }

  get waiting(): readonly QueuedItem[] {
    return this.#queue;
  }

  add(at: number, item: AcknowledgementItem): void {
    const { queue, dropped } = enqueue(this.#queue, { at, item });
    this.#queue = queue;
    if (dropped.length > 0) this.onError(new OnRecordError('queue', `${dropped.length} of ${this.attachment}`));
    this.#save();
    void this.flush();
  }

  /** Takes over what an earlier page left. */
  adopt(queue: readonly QueuedItem[]): Promise<void> {
    this.#queue = [...queue];
    return this.flush();
  }

  flush(): Promise<void> {
    return (this.#sending ??= this.#send().finally(() => (this.#sending = undefined)));
  }

  /** Sends what waits from a page that is about to go. It stays stored, because nothing is heard of it. */
  farewell(): void {
    if (this.#queue.length === 0) return;
    this.service.farewell('/v1/acknowledgements', this.#fixed());
  }

  /** Gives the queue free for another page. */
  release(): void {
    this.#release();
  }

  async #send(): Promise<void> {
    // Items of one moment go out together.
    await Promise.resolve();
    for (let failures = 0; this.#queue.length > 0 && !this.signal.aborted; ) {
      const body = this.#fixed();
      const sent = batchOf(this.#queue);
      const outcome = await this.service.post('/v1/acknowledgements', body).catch(() => undefined);
      if (!outcome) return;
      if (outcome.kind === 'ok') {
        failures = 0;
        this.#answered(sent, outcome.body);
        continue;
      }
      this.onError(outcome.problem);
      if (outcome.kind === 'refused') {
        // The batch can never be accepted; keeping it would stop everything behind it.
        this.#settle(sent.map(({ id }) => id));
        continue;
      }
      failures++;
      await pause(backoff(failures, Math.random(), outcome.after), this.signal);
    }
  }

  #answered(sent: readonly AcknowledgementItem[], body: unknown): void {
    const results = Array.isArray(body) ? (body as Array<{ status?: string; problem?: Problem } | null>) : [];
    if (results.length !== sent.length) this.onError(new OnRecordError('answer', 'the results do not match the batch'));
    for (const result of results) if (result?.problem) this.onError(result.problem);
    this.#settle(sent.map(({ id }) => id));
  }

  #fixed(): string {
    this.#queue = nextBatch(this.#queue, Date.now());
    this.#save();
    return JSON.stringify(batchOf(this.#queue));
  }

  #settle(ids: readonly string[]): void {
    this.#queue = settle(this.#queue, new Set(ids));
    this.#save();
  }

  #save(): void {
    const key = PREFIX + this.attachment;
    try {
      if (this.#queue.length === 0) store()?.removeItem(key);
      else {
        const stored: Stored = { subject: this.service.tokens.subject, queue: this.#queue };
        store()?.setItem(key, JSON.stringify(stored));
      }
    } catch {
      // Full or forbidden: the queue in memory is complete; only a reload would lose it.
    }
  }
}

/** Sends the queues that earlier pages of the same participant left. */
export async function sendLeftQueues(
  service: Service,
  onError: (problem: Problem) => void,
  signal: AbortSignal,
): Promise<void> {
  const found: string[] = [];
  try {
    found.push(...Object.keys(store() ?? {}).filter((key) => key.startsWith(PREFIX)));
  } catch {
    return;
  }
  for (const key of found) {
    const send = async (lock: unknown) => {
      if (!lock) return;
      const text = store()?.getItem(key) ?? null;
      const { subject } = await service.tokens.get();
      const stored = parseStored(text);
      // Acknowledgements of another participant wait for a page of that one.
      if (stored && stored.subject !== subject) return;
      const queue = parseQueue(JSON.stringify(stored?.queue ?? []), Date.now());
      if (queue.length === 0) return void store()?.removeItem(key);
      await new Outbox(service, key.slice(PREFIX.length), onError, signal).adopt(queue);
    };
    // The ids make a second sending harmless where there are no locks.
    await (locks ? locks.request(key, { ifAvailable: true }, send) : send(true));
  }
}

function parseStored(text: string | null): Partial<Stored> | undefined {
  try {
    return JSON.parse(text ?? 'null') ?? undefined;
  } catch {
    return undefined;
  }
}
