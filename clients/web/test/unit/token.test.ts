import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openTokens, readToken } from '../../src/core/token.js';
import type { Problem } from '../../src/core/problem.js';

function tokenOf(sub: string, iat: number, exp: number, mark = ''): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part({ sub, iat, exp, mark })}.x`;
}

beforeEach(() => void vi.useFakeTimers({ now: 1_000_000_000_000 }));
afterEach(() => void vi.useRealTimers());

test('the life of a token is counted from its receipt, because clocks differ', () => {
  const token = readToken(tokenOf('8:acs:1', 5000, 8600), 100);
  expect(token).toMatchObject({ subject: '8:acs:1', expiresAt: 3_600_100, renewAt: 3_570_100 });
});

test('a token that cannot be read is used as it is', () => {
  expect(readToken('opaque', 0)).toMatchObject({ value: 'opaque', subject: 'opaque', expiresAt: 600_000 });
  expect(readToken({ token: 'opaque', expires_at: '1970-01-01T01:00:00Z' }, 0).expiresAt).toBe(3_600_000);
});

test('a clock that is wrong makes no token an expired one', () => {
  expect(readToken({ token: 'opaque', expires_at: '1970-01-01T01:00:00Z' }, 2e12).expiresAt).toBe(2e12 + 600_000);
});

test.each([undefined, null, '', {}, { token: 1 }])('what is no token is refused: %o', (answer) => {
  expect(() => readToken(answer as never, 0)).toThrow('no token');
});

function tokens(getToken: () => Promise<string>) {
  const problems: Problem[] = [];
  const controller = new AbortController();
  const told = vi.fn();
  const own = openTokens(getToken, undefined, controller.signal, (problem) => problems.push(problem), told);
  return { tokens: own, problems, controller, told };
}

test('many who need a token cause one request', async () => {
  const getToken = vi.fn(async () => tokenOf('p', 1000, 4600));
  const { tokens: own } = tokens(getToken);
  await Promise.all([own.get(), own.get(), own.get()]);
  await own.get();
  expect(getToken).toHaveBeenCalledTimes(1);
});

test('a token is renewed 30 s before its end, and the streams are told', async () => {
  let count = 0;
  const { tokens: own, told } = tokens(async () => tokenOf('p', 1000, 4600, String(count++)));
  await own.get();
  await vi.advanceTimersByTimeAsync(3_569_000);
  expect(told).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(told).toHaveBeenCalledTimes(2);
});

test('a failing backend is asked as often as the backoff allows, and each failure is told', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(1);
  const getToken = vi.fn(async () => {
    if (getToken.mock.calls.length < 6) throw new Error('down');
    return tokenOf('p', 1000, 4600);
  });
  const { tokens: own, problems } = tokens(getToken);
  const got = own.get();
  await vi.advanceTimersByTimeAsync(500 + 1000 + 2000 + 4000);
  expect(getToken).toHaveBeenCalledTimes(5);
  await vi.advanceTimersByTimeAsync(8000);
  expect((await got).subject).toBe('p');
  expect(problems.map(({ type }) => type)).toEqual(Array(5).fill('urn:onrecord:client:token'));
});

test('a backend that does not answer is a failure after 15 s', async () => {
  const { tokens: own, problems, controller } = tokens(() => new Promise<string>(() => {}));
  const got = own.get().catch(() => 'closed');
  await vi.advanceTimersByTimeAsync(15_000);
  expect(problems[0]?.detail).toBe('no answer within 15 s');
  controller.abort();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await got).toBe('closed');
});

test('a rejected token is replaced', async () => {
  let count = 0;
  const { tokens: own } = tokens(async () => tokenOf('p', 1000, 4600, String(count++)));
  const first = await own.get();
  own.reject(first);
  const second = await own.get();
  expect(second.value).not.toBe(first.value);
  own.reject(first);
  expect((await own.get()).value).toBe(second.value);
});

test('the token of another tab is taken for the same participant only', async () => {
  const { tokens: own } = tokens(async () => tokenOf('p', 1000, 1600));
  const foreign = readToken(tokenOf('q', 1000, 4600), Date.now());
  own.offer(foreign);
  expect(own.peek()).toBeUndefined();
  await own.get();
  own.offer(foreign);
  expect(own.peek()?.subject).toBe('p');
  const newer = readToken(tokenOf('p', 1000, 4600, 'newer'), Date.now());
  own.offer(newer);
  expect(own.peek()?.value).toBe(newer.value);
});
