/** Requests to the service: with a token, a timeout, and repetition with backoff. */

import { PROBE_INTERVAL, REQUEST_TIMEOUT, backoff, retryAfter } from './timing.js';
import { KEEPALIVE_MAX } from './limits.js';
import { pause, wake } from './page.js';
import { OnRecordError, problemOf, type Problem } from './problem.js';
import type { Tokens } from './token.js';

/** `spent`: the attachment can state nothing more, and another one may. */
export type Outcome = { readonly answer: unknown } | 'refused' | 'spent' | 'aborted';

export interface Service {
  readonly url: string;
  readonly tokens: Tokens;
  readonly fail: (problem: Problem) => void;
  /** Sends a body, and repeats that until it is accepted or refused. Each attempt has the body of its moment. */
  deliver(path: string, body: () => string | Promise<string>, signal: AbortSignal): Promise<Outcome>;
  /** Sends a body from a page that is about to go. No answer reaches the page; what must not be lost is stored. */
  farewell(path: string, body: string): void;
  /** Why a request failed without an answer: a browser does not tell a page that its origin is refused. */
  unreachable(cause: unknown): Promise<Problem>;
}

/** `suspect` is called with the instant since which a request has had no answer. */
export function openService(url: string, tokens: Tokens, fail: (problem: Problem) => void, suspect: (since: number) => void): Service {
  let probedAt = -PROBE_INTERVAL;

  const unreachable = async (cause: unknown): Promise<Problem> => {
    const now = Date.now();
    if (now - probedAt >= PROBE_INTERVAL && (cause as Error).name === 'TypeError') {
      probedAt = now;
      const opaque = await fetch(`${url}/healthz`, { mode: 'no-cors', signal: AbortSignal.timeout(REQUEST_TIMEOUT) }).catch(() => undefined);
      if (opaque) return new OnRecordError('origin', `name ${globalThis.location?.origin} in cors.origins`);
    }
    return new OnRecordError('network', cause);
  };

  return {
    url,
    tokens,
    fail,
    unreachable,
    async deliver(path, body, signal) {
      let renewed = false;
      for (let failures = 0; !signal.aborted; ) {
        const token = await tokens.get().catch(() => undefined);
        if (!token) break;
        const sent = await body();
        const sentAt = Date.now();
        let after = 0;
        try {
          const response = await fetch(url + path, { ...request(token.value, sent), signal: AbortSignal.timeout(REQUEST_TIMEOUT) });
          const { status, ok } = response;
          if (ok) {
            wake();
            return { answer: await response.json().catch(() => undefined) };
          }
          const problem = await problemOf(response);
          fail(problem);
          if (status === 409 || (status === 429 && problem.member)) return 'spent';
          const aboutToken = status === 401 || status === 403;
          if (aboutToken) {
            tokens.reject(token);
            // A rejected token is replaced at once, but only once.
            if (!renewed) {
              renewed = true;
              continue;
            }
          }
          if (!aboutToken && status < 500 && status !== 429 && status !== 408) return 'refused';
          after = retryAfter(response);
        } catch (cause) {
          suspect(sentAt);
          fail(await unreachable(cause));
        }
        await pause(backoff(++failures, Math.random(), after), signal);
      }
      return 'aborted';
    },
    farewell(path, body) {
      const token = tokens.peek();
      if (token && body.length < KEEPALIVE_MAX) fetch(url + path, request(token.value, body)).catch(() => {});
    },
  };
}

function request(token: string, body: string): RequestInit {
  return {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body,
    keepalive: body.length < KEEPALIVE_MAX,
  };
}
