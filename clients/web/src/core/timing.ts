/** Backoff, watchdog and token lifetimes: pure decisions about time. All lengths are in milliseconds. */

/** Minimum of the upper bound of a pause. */
const BACKOFF_FIRST = 500;
/** Maximum pause. */
export const BACKOFF_MAX = 20_000;
/** Interval of the heartbeats of the service. */
export const BEAT_INTERVAL = 15_000;
/** Maximum time without a sign of life on a connection: two heartbeats and their delay. */
export const SILENCE_MAX = 2 * BEAT_INTERVAL + 2_000;
/** Interval between two reports. */
export const REPORT_INTERVAL = 30_000;
/** Time before its end at which a token is renewed. */
const RENEW_BEFORE = 30_000;
/** Time that an off message is shown. */
export const OFF_SHOWN = 10_000;
/** Timeout of opening a connection. */
export const OPEN_TIMEOUT = 10_000;
/** Interval between two looks at the watchdog. */
export const WATCH_INTERVAL = 1_000;
/** Time after which a connection counts as good, and the backoff begins anew. */
export const GOOD_AFTER = 10_000;
/** Timeout of the SDK's server call id: a report without it is better than none. */
export const ID_TIMEOUT = 2_000;
/** Maximum time for the last report: then the client counts as silent anyway. */
export const LEAVING_MAX = 90_000;
/** Timeout of a request. */
export const REQUEST_TIMEOUT = 10_000;
/** Minimum interval between two questions why the service cannot be reached. */
export const PROBE_INTERVAL = 60_000;
/** Timeout of the app's `getToken`. */
export const TOKEN_TIMEOUT = 15_000;
/** Lifetime that a token counts to have if it does not say. */
export const UNKNOWN_LIFETIME = 10 * 60_000;
/** Interval of the leader's sign of life; a hidden tab may send it once in a minute. */
export const SIGN_INTERVAL = 15_000;
/** Maximum silence of a leader. Then a follower opens a connection of its own. */
export const LEADER_SILENCE_MAX = 75_000;
/** Maximum of `elapsed_ms` that the service accepts, and so the maximum age of an acknowledgement. */
export const ELAPSED_MAX = 24 * 60 * 60 * 1000;

/**
 * The pause before attempt `attempt + 1` (`attempt` failures so far, 1 or more): full jitter below a
 * bound that doubles from 0.5 s to 20 s. `chance` is from 0 to 1. A `Retry-After` is a minimum.
 */
export function backoff(attempt: number, chance: number, retryAfter = 0): number {
  const bound = Math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** (attempt - 1));
  return Math.max(Math.round(bound * chance), retryAfter);
}

/** The value of `Retry-After` in seconds, as the service states it; 0 if there is none. */
export function retryAfter(response: Response): number {
  const pause = Number(response.headers.get('retry-after')) * 1000;
  return pause > 0 ? Math.min(pause, 300_000) : 0;
}

/** Whether a connection whose last sign of life came at `heardAt` counts as dead. */
export function isSilent(heardAt: number, now: number): boolean {
  return now - heardAt > SILENCE_MAX;
}

/** How long a token may be used before it is renewed: until 30 s before its end, of a short one half of its life. */
export function renewAfter(lifetime: number): number {
  return Math.max(lifetime - RENEW_BEFORE, lifetime / 2, 1000);
}

/** `elapsed_ms` of something that happened at `at`: whole milliseconds from 0 to 24 h. */
export function elapsed(at: number, now: number): number {
  return Math.min(Math.max(Math.round(now - at), 0), ELAPSED_MAX);
}
