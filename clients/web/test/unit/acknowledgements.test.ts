import { expect, test } from 'vitest';
import { batchOf, enqueue, nextBatch, parseQueue, settle, shownInReport, type QueuedItem } from '../../src/core/acknowledgements.js';
import { QUEUE_MAX } from '../../src/core/limits.js';

const item = (id: string, at = 0, more: Partial<QueuedItem['item']> = {}): QueuedItem => ({
  at,
  item: { id, attachment: 'a', kind: 'displayed', type: 'recording', state: 'on', visible: true, ...more },
});

test('a repetition is the same byte for byte', () => {
  const first = nextBatch([item('1', 100)], 140.6);
  expect(batchOf(first)[0]!.elapsed_ms).toBe(41);
  const later = nextBatch(first, 90_000);
  expect(JSON.stringify(batchOf(later))).toBe(JSON.stringify(batchOf(first)));
});

test('a report repeats a showing that waits with its true time', () => {
  const queue = nextBatch([item('1', 100), item('2', 100, { visible: false }), item('3', 100, { kind: 'hidden' })], 140);
  expect(shownInReport(queue, 20_100)).toEqual([{ type: 'recording', state: 'on', elapsed_ms: 20_000 }]);
});

test('the queue is bounded, and says what it dropped', () => {
  let queue: QueuedItem[] = [];
  let count = 0;
  for (let n = 0; n < QUEUE_MAX + 2; n++) {
    const { kept, dropped } = enqueue(queue, item(String(n)));
    queue = kept;
    count += dropped;
  }
  expect(queue).toHaveLength(QUEUE_MAX);
  expect(queue[0]!.item.id).toBe('2');
  expect(count).toBe(2);
});

test('what is answered leaves the queue, what was added meanwhile stays', () => {
  const queue = [item('1'), item('2'), item('3')];
  expect(settle(queue, new Set(['1', '2'])).map(({ item: { id } }) => id)).toEqual(['3']);
});

test('a batch is bounded', () => {
  const queue = Array.from({ length: 300 }, (_, n) => item(String(n)));
  expect(batchOf(queue)).toHaveLength(100);
  expect(nextBatch(queue, 5)[150]!.item.elapsed_ms).toBeUndefined();
});

test('a stored queue survives, what cannot be read or is a day old does not', () => {
  const queue = [item('1', 1000)];
  const stored = JSON.stringify({ subject: 'p', queue });
  expect(parseQueue(stored, 2000)).toEqual({ subject: 'p', queue });
  expect(parseQueue(stored, 90_000_000)).toEqual({ subject: 'p', queue: [] });
  const bad = ['', '{', 'null', '{}', '[]', '{"queue":1}', '{"queue":[null,1,{"at":"x"},{"at":0}]}', null, undefined];
  for (const text of bad) expect(parseQueue(text, 0).queue).toEqual([]);
});
