import { expect, test } from 'vitest';
import { backoff, elapsed, isSilent, renewAfter, retryAfter } from '../../src/core/timing.js';

test('the bound of a pause doubles from half a second to twenty seconds', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 2000].map((attempt) => backoff(attempt, 1))).toEqual([
    500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000,
  ]);
});

test('the jitter is full', () => {
  expect(backoff(7, 0)).toBe(0);
  expect(backoff(7, 0.25)).toBe(5000);
});

test('a Retry-After is a minimum, and bounded', () => {
  expect(backoff(1, 0, 15_000)).toBe(15_000);
  const stated = (value: string) => retryAfter(new Response('', { headers: { 'retry-after': value } }));
  expect(stated('2')).toBe(2000);
  expect(stated('-1')).toBe(0);
  expect(stated('soon')).toBe(0);
  expect(stated('86400')).toBe(300_000);
  expect(retryAfter(new Response(''))).toBe(0);
});

test('two missed heartbeats are silence, one late one is not', () => {
  expect(isSilent(0, 31_000)).toBe(false);
  expect(isSilent(0, 33_001)).toBe(true);
});

test('a token is renewed 30 s before its end, a short one at half of its life', () => {
  expect(renewAfter(3_600_000)).toBe(3_570_000);
  expect(renewAfter(40_000)).toBe(20_000);
  expect(renewAfter(0)).toBe(1000);
});

test('elapsed_ms is whole, not negative, and at most a day', () => {
  expect(elapsed(0, 40.4)).toBe(40);
  expect(elapsed(1000, 0)).toBe(0);
  expect(elapsed(0, 1e12)).toBe(86_400_000);
});
