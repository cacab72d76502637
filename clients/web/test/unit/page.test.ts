import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { pause, wake, within } from '../../src/core/page.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const state = async (work: Promise<unknown>) => {
  let found = 'pending';
  void work.then(() => (found = 'resolved'), () => (found = 'rejected'));
  await vi.advanceTimersByTimeAsync(0);
  return () => found;
};

test('what takes too long, throws, or rejects is a rejection', async () => {
  const slow = await state(within(2000, () => new Promise(() => {})));
  await vi.advanceTimersByTimeAsync(1999);
  expect(slow()).toBe('pending');
  await vi.advanceTimersByTimeAsync(1);
  expect(slow()).toBe('rejected');
  expect((await state(within(1, () => { throw new Error('at once'); })))()).toBe('rejected');
  expect((await state(within(1, async () => 'done')))()).toBe('resolved');
});

test('a pause ends in time, when it is aborted, and soon after the network works again', async () => {
  const controller = new AbortController();
  const full = await state(pause(20_000, new AbortController().signal));
  const aborted = await state(pause(20_000, controller.signal));
  controller.abort();
  await vi.advanceTimersByTimeAsync(0);
  expect([full(), aborted()]).toEqual(['pending', 'resolved']);
  wake();
  await vi.advanceTimersByTimeAsync(500);
  expect(full()).toBe('resolved');
  const after = await state(pause(20_000, new AbortController().signal));
  await vi.advanceTimersByTimeAsync(19_999);
  expect(after()).toBe('pending');
  await vi.advanceTimersByTimeAsync(1);
  expect(after()).toBe('resolved');
});

test('a pause of a client that is closed is none', async () => {
  expect((await state(pause(20_000, AbortSignal.abort())))()).toBe('resolved');
});
