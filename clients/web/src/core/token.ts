/** Subscriber tokens: fetched when needed, one at a time across the tabs of a browser, renewed before they expire. */

import { TOKEN_TIMEOUT, UNKNOWN_LIFETIME, backoff, renewAfter } from './timing.js';
import { locks, pause, within } from './page.js';
import { OnRecordError, type Problem } from './problem.js';

export interface TokenAnswer {
  readonly token: string;
  readonly expires_at?: string;
}
export type GetToken = () => Promise<string | TokenAnswer>;

export interface Token {
  readonly value: string;
  /** The participant, or the token itself where it cannot be read. */
  readonly subject: string;
  readonly renewAt: number;
  readonly expiresAt: number;
}

export interface Tokens {
  /** A valid token, when there is one; rejects only at the end. */
  get(): Promise<Token>;
  /** The current token, if it is valid; for a page that is about to go. */
  peek(): Token | undefined;
  /** The participant of the tokens; empty before the first one. */
  readonly subject: string;
  /** Takes a token that another tab fetched for the same participant. */
  offer(token: Token): void;
  /** The service rejected this token. */
  reject(token: Token): void;
}

/** Reads a token. Its life is counted from now where it says when it was issued, because clocks differ. */
export function readToken(answer: string | TokenAnswer, now: number): Token {
  const value = (answer as TokenAnswer | undefined)?.token ?? answer;
  if (typeof value !== 'string' || !value) throw new Error('getToken returned no token');
  let claims: { sub?: string; iat?: number; exp?: number } = {};
  try {
    // The text is not decoded from UTF-8: its participant is compared, and not shown.
    claims = JSON.parse(atob(value.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'))) ?? {};
  } catch {
    // The service decides whether the token is valid.
  }
  const { sub, iat, exp } = claims;
  const end = exp ? exp * 1000 : Date.parse((answer as TokenAnswer).expires_at!);
  const lifetime = exp && iat ? (exp - iat) * 1000 : end - now;
  // A clock that is wrong must not make every token an expired one; the service says when it is.
  const life = lifetime > 0 ? lifetime : UNKNOWN_LIFETIME;
  return { value, subject: sub ?? value, renewAt: now + renewAfter(life), expiresAt: now + life };
}

/** `lock` is the lock that lets one tab fetch at a time; `onToken` is called with each token that this tab fetched. */
export function openTokens(
  getToken: GetToken,
  lock: string | undefined,
  signal: AbortSignal,
  fail: (problem: Problem) => void,
  onToken: (token: Token) => void,
): Tokens {
  let current: Token | undefined;
  let fetching: Promise<Token> | undefined;
  let timer: ReturnType<typeof setTimeout>;

  const take = (token: Token) => {
    current = token;
    clearTimeout(timer);
    // A timer has 31 bits.
    timer = setTimeout(() => void get().catch(() => {}), Math.min(token.renewAt - Date.now(), 2e9));
  };
  const peek = () => (current && Date.now() < current.expiresAt ? current : undefined);
  const fresh = () => (current && Date.now() < current.renewAt ? current : undefined);

  const fetchToken = async () => {
    const old = current?.value;
    const attempt = async () => {
      // While this tab waited for the lock, another one may have fetched.
      const offered = fresh();
      if (offered && offered.value !== old) return offered;
      const token = readToken(await within(TOKEN_TIMEOUT, getToken), Date.now());
      take(token);
      onToken(token);
      return token;
    };
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        return (await (lock && locks ? locks.request(lock, { signal }, attempt) : attempt())) as Token;
      } catch (cause) {
        if (signal.aborted) break;
        fail(new OnRecordError('token', cause));
        await pause(backoff(failures, Math.random()), signal);
      }
    }
    throw new OnRecordError('token', 'it is closed');
  };
  const get = async (): Promise<Token> => {
    const usable = fresh();
    if (usable) return usable;
    fetching ??= fetchToken().finally(() => (fetching = undefined));
    // What is about to expire is good until then.
    return peek() ?? fetching;
  };

  return {
    get,
    peek,
    get subject() {
      return current?.subject ?? '';
    },
    offer(token) {
      if (token.subject === current?.subject && token.expiresAt > current.expiresAt) take(token);
    },
    reject(token) {
      // Its participant is kept: a token of another tab must be for the same one.
      if (current?.value === token.value) current = { ...token, renewAt: 0, expiresAt: 0 };
    },
  };
}
