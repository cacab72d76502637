/** Subscriber tokens: fetched when needed, one at a time across the tabs of a browser, renewed before they expire. */

import { backoff, renewAfter } from './timing.js';
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

/** Timeout of the app's `getToken`, in milliseconds. */
const TIMEOUT = 15_000;
/** Lifetime that a token counts to have if it does not say, in milliseconds. */
const UNKNOWN_LIFETIME = 10 * 60_000;

/** Reads a token. Its life is counted from now where it says when it was issued, because clocks differ. */
export function readToken(answer: string | TokenAnswer, now: number): Token {
  const value = typeof answer === 'string' ? answer : answer?.token;
  if (typeof value !== 'string' || !value) throw new Error('getToken returned no token');
  let claims: { sub?: string; iat?: number; exp?: number } = {};
  try {
    const text = atob(value.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'));
    claims = JSON.parse(decodeURIComponent(escape(text))) ?? {};
  } catch {
    // The service decides whether the token is valid.
  }
  const stated = typeof answer === 'object' && answer.expires_at ? Date.parse(answer.expires_at) : NaN;
  const end = claims.exp ? claims.exp * 1000 : stated;
  const lifetime = claims.exp && claims.iat ? (claims.exp - claims.iat) * 1000 : end - now;
  // A clock that is wrong must not make every token an expired one; the service says when it is.
  const life = lifetime > 0 ? lifetime : UNKNOWN_LIFETIME;
  return { value, subject: claims.sub ?? value, renewAt: now + renewAfter(life), expiresAt: now + life };
}

export class Tokens {
  /** Called with each new token. */
  onToken: (token: Token) => void = () => {};
  #current: Token | undefined;
  #fetching: Promise<Token> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly getToken: GetToken,
    /** The lock that lets one tab fetch at a time. */
    private readonly lock: string | undefined,
    private readonly signal: AbortSignal,
    private readonly onError: (problem: Problem) => void,
  ) {
    signal.addEventListener('abort', () => clearTimeout(this.#timer));
  }

  /** The current token, if it is valid; for a page that is about to go. */
  peek(): Token | undefined {
    return this.#current && Date.now() < this.#current.expiresAt ? this.#current : undefined;
  }

  /** The participant of the tokens; empty before the first one. */
  get subject(): string {
    return this.#current?.subject ?? '';
  }

  /** Takes a token that another tab fetched for the same participant. */
  offer(token: Token): void {
    if (token.subject === this.#current?.subject && token.expiresAt > this.#current.expiresAt) this.#take(token);
  }

  /** The service rejected this token. */
  reject(token: Token): void {
    // Its participant is kept: the next token must be for the same one to be taken from another tab.
    if (this.#current?.value === token.value) this.#current = { ...token, renewAt: 0, expiresAt: 0 };
  }

  /** A valid token, when there is one; rejects only at the end. */
  async get(): Promise<Token> {
    const current = this.peek();
    if (current && Date.now() < current.renewAt) return current;
    this.#fetching ??= this.#fetch().finally(() => (this.#fetching = undefined));
    return current ?? this.#fetching;
  }

  async #fetch(): Promise<Token> {
    const old = this.#current?.value;
    for (let attempt = 1; !this.signal.aborted; attempt++) {
      try {
        return await this.#locked(async () => {
          // While this tab waited for the lock, another one may have fetched.
          const offered = this.peek();
          if (offered && offered.value !== old && Date.now() < offered.renewAt) return offered;
          const token = readToken(await within(TIMEOUT, Promise.resolve(this.getToken())), Date.now());
          this.#take(token);
          this.onToken(token);
          return token;
        });
      } catch (cause) {
        if (this.signal.aborted) break;
        this.onError(new OnRecordError('token', cause));
        await pause(backoff(attempt, Math.random()), this.signal);
      }
    }
    throw new OnRecordError('token', 'the client is closed');
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    if (!this.lock || !locks) return work();
    return locks.request(this.lock, { signal: this.signal }, work) as Promise<T>;
  }

  #take(token: Token): void {
    this.#current = token;
    clearTimeout(this.#timer);
    const wait = Math.min(token.renewAt - Date.now(), 2 ** 31 - 1);
    this.#timer = setTimeout(() => void this.get().catch(() => {}), wait);
  }
}
