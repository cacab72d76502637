/** Requests to the service: with a token, a timeout, and an outcome that says what the caller must do. */

import { retryAfter } from './timing.js';
import { OnRecordError, problemOf, type Problem } from './problem.js';
import type { Tokens } from './token.js';

/** Timeout of a request, in milliseconds. */
const TIMEOUT = 10_000;
/** Minimum interval between two questions why the service cannot be reached, in milliseconds. */
const PROBE_INTERVAL = 60_000;
/** Maximum size of a body that a browser sends after the page is gone. */
const KEEPALIVE_MAX = 60_000;

export type Outcome =
  | { readonly kind: 'ok'; readonly body: unknown }
  /** The same request may succeed later. */
  | { readonly kind: 'retry'; readonly after: number; readonly problem: Problem }
  /** It never will. */
  | { readonly kind: 'refused'; readonly problem: Problem };

export class Service {
  #probedAt = -PROBE_INTERVAL;

  constructor(
    readonly url: string,
    readonly tokens: Tokens,
  ) {}

  /** Sends a body; a rejected token is replaced once. */
  async post(path: string, body: string): Promise<Outcome> {
    for (let renewed = false; ; renewed = true) {
      const token = await this.tokens.get();
      let response: Response;
      let answer: unknown;
      try {
        response = await fetch(this.url + path, {
          ...request(token.value, body),
          signal: AbortSignal.timeout(TIMEOUT),
        });
        if (response.ok) answer = await response.json().catch(() => undefined);
      } catch (cause) {
        return { kind: 'retry', after: 0, problem: await this.unreachable(cause) };
      }
      if (response.ok) return { kind: 'ok', body: answer };
      const { status } = response;
      if (status === 401 || status === 403) {
        this.tokens.reject(token);
        if (!renewed) continue;
      }
      const problem = await problemOf(response);
      const later = [401, 403, 408, 425, 429].includes(status) || status >= 500;
      const after = retryAfter(response.headers.get('retry-after'), Date.now());
      return later ? { kind: 'retry', after, problem } : { kind: 'refused', problem };
    }
  }

  /** Sends a body from a page that is about to go; nothing is heard of it. */
  farewell(path: string, body: string): void {
    const token = this.tokens.peek();
    if (!token || body.length > KEEPALIVE_MAX) return;
    // The page is gone before a rejection; what must not be lost is stored.
    fetch(this.url + path, request(token.value, body)).catch(() => {});
  }

  /** Why a request failed without an answer: a browser does not tell a page that its origin is refused. */
  async unreachable(cause: unknown): Promise<Problem> {
    const now = Date.now();
    if (globalThis.navigator?.onLine !== false && now - this.#probedAt >= PROBE_INTERVAL) {
      this.#probedAt = now;
      const opaque = await fetch(`${this.url}/healthz`, {
        mode: 'no-cors',
        cache: 'no-store',
        signal: AbortSignal.timeout(TIMEOUT),
      }).catch(() => undefined);
      if (opaque && (cause as Error | undefined)?.name === 'TypeError') {
        return new OnRecordError('origin', `name ${globalThis.location?.origin} in cors.origins of the service`);
      }
    }
    return new OnRecordError('network', cause);
  }
}

function request(token: string, body: string): RequestInit {
  return {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body,
    keepalive: body.length <= KEEPALIVE_MAX,
    credentials: 'omit',
    cache: 'no-store',
  };
}
