/**
 * The queue of what an app states about notices. Pure: what is sent next, and what an answer settles.
 *
 * # Why
 *
 * A repetition must be the same byte for byte, because other content under one id is a conflict.
 * Therefore `elapsed_ms` is fixed at the first attempt. The true time of a display that could not be
 * sent at once goes out with the next report (`shown`), which is a new statement each time.
 */

import { BATCH_MAX, QUEUE_MAX } from './limits.js';
import { elapsed, ELAPSED_MAX } from './timing.js';
import type { CaptureType, Level } from './levels.js';

export type AcknowledgementKind = 'displayed' | 'hidden' | 'acknowledged' | 'consented' | 'declined';

/** The words that were shown: registered by `onrecord-client texts`. */
export interface ShownText {
  readonly version: string;
  readonly sha256: string;
  readonly locale: string;
}

/** An item as the service reads it. */
export interface AcknowledgementItem {
  readonly id: string;
  readonly attachment: string;
  readonly kind: AcknowledgementKind;
  readonly type: CaptureType;
  readonly state?: Level | undefined;
  readonly notice?: string | undefined;
  readonly text?: ShownText | undefined;
  readonly visible?: boolean;
  readonly elapsed_ms?: number;
}

export interface QueuedItem {
  /** When it happened, by the clock of this machine. */
  readonly at: number;
  readonly item: AcknowledgementItem;
}

/** Adds an item. Beyond the maximum the oldest are dropped, and counted, because a later one states more. */
export function enqueue(queue: readonly QueuedItem[], added: QueuedItem): { kept: QueuedItem[]; dropped: number } {
  const kept = [...queue, added].slice(-QUEUE_MAX);
  return { kept, dropped: queue.length + 1 - kept.length };
}

/** Fixes the first items for their first attempt, and leaves those that were sent before as they are. */
export function nextBatch(queue: readonly QueuedItem[], now: number): QueuedItem[] {
  return queue.map(({ at, item }, place) =>
    place >= BATCH_MAX || item.elapsed_ms !== undefined
      ? { at, item }
      : { at, item: { ...item, elapsed_ms: elapsed(at, now) } },
  );
}

export function batchOf(queue: readonly QueuedItem[]): AcknowledgementItem[] {
  return queue.slice(0, BATCH_MAX).map(({ item }) => item);
}

/** What is left when these ids are answered. */
export function settle(queue: readonly QueuedItem[], answered: ReadonlySet<string>): QueuedItem[] {
  return queue.filter(({ item }) => !answered.has(item.id));
}

/** The showings that a report repeats with their true time, because they wait for an answer. */
export function shownInReport(queue: readonly QueuedItem[], now: number) {
  return queue
    .filter(({ item }) => item.kind === 'displayed' && item.visible !== false)
    .slice(-16)
    .map(({ at, item: { type, state, text } }) => ({
      type,
      state,
      elapsed_ms: elapsed(at, now),
      text,
    }));
}

/** Reads a queue that an earlier page of a participant stored; what cannot be read, or is too old, is left out. */
export function parseQueue(text: string | null | undefined, now: number): { subject: unknown; queue: QueuedItem[] } {
  try {
    const { subject, queue } = JSON.parse(text!) as { subject: unknown; queue: QueuedItem[] };
    return { subject, queue: queue.filter((queued) => now - queued?.at < ELAPSED_MAX && queued.item?.id) };
  } catch {
    return { subject: undefined, queue: [] };
  }
}
