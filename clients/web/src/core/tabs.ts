/**
 * One connection for all tabs of a browser. Web Locks choose the leader, which holds the connection; the
 * others follow by BroadcastChannel. Where either is missing each tab has a connection.
 *
 * # Why
 *
 * A browser opens six connections to one host over HTTP/1.1, and every tab with a stream takes one of
 * them. A lock, unlike a heartbeat among tabs, is released by the browser whatever happens to the tab.
 */

import type { Message } from './message.js';
import { locks, onPage } from './page.js';
import type { Service } from './http.js';
import { openStream, type Stream, type StreamEvents } from './stream.js';
import { LEADER_SILENCE_MAX, SIGN_INTERVAL } from './timing.js';
import type { Token } from './token.js';

type Told =
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'state'; readonly up: boolean; readonly cursor: string }
  | { readonly kind: 'token'; readonly token: Token }
  /** A tab that has begun asks for the latest messages. */
  | { readonly kind: 'hello' };

export interface Tabs {
  /** A token was fetched by this tab. */
  token(token: Token): void;
  /** A request had no answer since this instant. */
  suspect(since: number): void;
  stop(): void;
}

/** Opens the connection of this tab, shared under `name`; without a name it is its own. */
export function openTabs(
  service: Service,
  name: string | undefined,
  events: StreamEvents & { onToken(token: Token): void; recent(): Iterable<Message> },
): Tabs {
  if (!name || !locks || !globalThis.BroadcastChannel) {
    const { renew, suspect, stop } = openStream(service, events, '');
    return { token: renew, suspect, stop };
  }

  const lockManager = locks;
  const channel = new BroadcastChannel(name);
  const tell = (told: Told) => channel.postMessage(told);
  let stream: Stream | undefined;
  let leads = false;
  let up = false;
  let cursor = '';
  let heardAt = Date.now();
  let controller = new AbortController();

  const tellState = () => {
    if (leads) tell({ kind: 'state', up, cursor });
  };
  const open = () => {
    stream = openStream(
      service,
      {
        onUp(now) {
          up = now;
          events.onUp(now);
          tellState();
        },
        onMessage(message) {
          cursor = message.cursor ?? cursor;
          events.onMessage(message);
          if (leads && message.levels) tell({ kind: 'message', message });
          // Every heartbeat is a sign of life of the leader too; the timers of a hidden tab are slow.
          else tellState();
        },
      },
      cursor,
    );
  };
  const close = () => {
    stream?.stop();
    stream = undefined;
  };

  const stand = () => {
    controller = new AbortController();
    const { signal } = controller;
    lockManager
      .request(name, { signal }, async () => {
        leads = true;
        // A follower that had lost its leader has a connection already.
        if (!stream) open();
        await new Promise((released) => signal.addEventListener('abort', released));
      })
      .catch(() => {});
    tell({ kind: 'hello' });
  };
  // The lock is released in an event, because a page that goes runs no tasks afterwards.
  const leave = () => {
    controller.abort();
    if (leads) close();
    leads = false;
  };
  const back = ({ persisted }: PageTransitionEvent) => {
    if (persisted) stand();
  };

  channel.onmessage = ({ data }: MessageEvent<Told>) => {
    if (data.kind === 'token') return events.onToken(data.token);
    if (data.kind === 'hello') {
      if (leads) for (const message of events.recent()) tell({ kind: 'message', message });
      return tellState();
    }
    heardAt = Date.now();
    if (leads) return;
    close();
    if (data.kind === 'message') {
      cursor = data.message.cursor ?? cursor;
      events.onMessage(data.message);
    } else {
      cursor = data.cursor || cursor;
      if (up !== data.up) events.onUp(data.up);
      up = data.up;
    }
  };

  const timer = setInterval(() => {
    tellState();
    if (!leads && !stream && Date.now() - heardAt > LEADER_SILENCE_MAX) open();
  }, SIGN_INTERVAL);
  const closed = new AbortController();
  onPage('pagehide', leave, closed.signal);
  onPage('pageshow', back, closed.signal);
  stand();

  return {
    token(token) {
      tell({ kind: 'token', token });
      stream?.renew(token);
    },
    suspect: (since) => stream?.suspect(since),
    stop() {
      closed.abort();
      clearInterval(timer);
      leave();
      close();
      channel.close();
    },
  };
}
