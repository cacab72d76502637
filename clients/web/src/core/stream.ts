/** The connection to the service: WebSocket, or server-sent events by fetch where that cannot be had. */

import { backoff, isSilent, retryAfter } from './timing.js';
import { onPage, pause } from './page.js';
import { readMessage, type Message } from './message.js';
import { parseEvents } from './sse.js';
import { OnRecordError, problemOf, type Problem } from './problem.js';
import type { Service } from './http.js';
import type { Token } from './token.js';

/** Timeout of opening a connection, in milliseconds. */
const OPEN_TIMEOUT = 10_000;
/** Interval between two looks at the watchdog, in milliseconds. */
const WATCH_INTERVAL = 1_000;
/** Time after which a connection counts as good, and the backoff begins anew, in milliseconds. */
const GOOD_AFTER = 10_000;

export interface StreamEvents {
  onUp(up: boolean): void;
  onMessage(message: Message): void;
  onError(problem: Problem): void;
}

/** Why a connection ended. */
interface End {
  readonly opened: boolean;
  readonly problem: Problem;
  readonly after?: number;
  /** The token is the reason. */
  readonly token?: boolean;
  /** The service asks for an immediate return. */
  readonly atOnce?: boolean;
}

export class Stream {
  cursor = '';
  #controller = new AbortController();
  #heardAt = 0;
  /** Whether this service sends heartbeats that a page can see. */
  #beats = false;
  #suspect: () => void = () => {};
  #renew: (token: Token) => void = () => {};

  constructor(
    private readonly service: Service,
    private readonly events: StreamEvents,
  ) {}

  async run(): Promise<void> {
    const { signal } = this.#controller;
    let webSocket = typeof WebSocket === 'function';
    let failures = 0;
    while (!signal.aborted) {
      let token: Token;
      try {
        token = await this.service.tokens.get();
      } catch {
        return;
      }
      if (signal.aborted) return;
      const openedAt = Date.now();
      const end = await this.#connect(token, webSocket);
      this.#renew = () => {};
      if (signal.aborted) return;
      this.events.onUp(false);
      this.events.onError(end.problem);
      if (end.token) this.service.tokens.reject(token);
      // What was opened stays the first choice; else the other transport has its turn.
      if (!end.opened && typeof WebSocket === 'function') webSocket = !webSocket;
      failures = end.opened && Date.now() - openedAt >= GOOD_AFTER ? 0 : failures;
      if (end.atOnce && failures === 0) {
        // Not all clients of a node at the same moment.
        await pause(Math.random() * 500, signal);
        failures = 1;
        continue;
      }
      failures++;
      await pause(backoff(failures, Math.random(), end.after), signal);
    }
  }

  stop(): void {
    this.#controller.abort();
  }

  /** Continues the stream under a new token. */
  renew(token: Token): void {
    this.#renew(token);
  }

  /** A request had no answer, or the page is back: the connection is looked at now. */
  suspect(since: number): void {
    if (this.#heardAt <= since) this.#suspect();
  }

  /** Opens one connection, and waits for its end. */
  #connect(token: Token, webSocket: boolean): Promise<End> {
    return new Promise((done) => {
      const controller = new AbortController();
      let opened = false;
      let bye: Partial<End> = {};
      this.#heardAt = Date.now();
      const finish = (end: Omit<End, 'opened'>) => {
        if (controller.signal.aborted) return;
        controller.abort();
        clearInterval(watchdog);
        this.#suspect = () => {};
        done({ opened, ...end, ...bye });
      };
      const stop = () => finish({ problem: new OnRecordError('stream', 'the client is closed') });
      const silent = () => finish({ problem: new OnRecordError('silent', 'it is opened again') });
      const look = () => {
        const now = Date.now();
        if (!opened && now - this.#heardAt > OPEN_TIMEOUT) {
          finish({ problem: new OnRecordError('network', 'the connection was not opened in time') });
        } else if (opened && (this.#beats || !webSocket) && isSilent(this.#heardAt, now)) silent();
      };
      const watchdog = setInterval(look, WATCH_INTERVAL);
      onPage('visibilitychange', look, controller.signal);
      onPage('online', look, controller.signal);
      this.#controller.signal.addEventListener('abort', stop, { signal: controller.signal });
      this.#suspect = silent;

      const wire: Wire = {
        token,
        cursor: this.cursor,
        signal: controller.signal,
        open: () => {
          opened = true;
          this.#heardAt = Date.now();
          this.events.onUp(true);
        },
        heard: () => (this.#heardAt = Date.now()),
        at: (cursor) => (this.cursor = cursor),
        text: (text, kind) => {
          let message: Message | undefined;
          try {
            message = readMessage(text, kind);
          } catch (cause) {
            this.events.onError(new OnRecordError('answer', cause));
            return undefined;
          }
          if (message?.cursor) this.cursor = message.cursor;
          if (message?.type === 'beat') this.#beats = true;
          if (message?.type === 'bye') bye = byeOf(message);
          if (message?.type === 'error') this.events.onError(new OnRecordError('stream', message.reason ?? 'error'));
          else if (message) this.events.onMessage(message);
          return message;
        },
        end: finish,
      };
      if (webSocket) this.#renew = openWebSocket(this.service, wire);
      else {
        // A request cannot change its token: the stream is opened again.
        this.#renew = () => finish({ problem: new OnRecordError('stream', 'the token is renewed'), atOnce: true });
        void openEvents(this.service, wire);
      }
    });
  }
}

function byeOf({ code, reason }: Message): Partial<End> {
  return {
    problem: new OnRecordError('stream', `${code}: ${reason}`),
    token: code === 'token_expired' || code === 'token_revoked' || code === 'not_granted',
    atOnce: code === 'stopping' || code === 'token_expired',
  };
}

interface Wire {
  readonly token: Token;
  readonly cursor: string;
  readonly signal: AbortSignal;
  open(): void;
  heard(): void;
  at(cursor: string): void;
  text(text: string, kind?: string): Message | undefined;
  end(end: Omit<End, 'opened'>): void;
}

function openWebSocket(service: Service, wire: Wire): (token: Token) => void {
  const query = wire.cursor ? `?${new URLSearchParams({ last_event_id: wire.cursor })}` : '';
  const address = `${service.url.replace(/^http/, 'ws')}/v1/notices/ws${query}`;
  const socket = new WebSocket(address, ['onrecord.v1', `onrecord.token.${wire.token.value}`]);
  const send = (frame: object) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
  };
  socket.onopen = () => wire.open();
  socket.onmessage = ({ data }) => {
    if (wire.signal.aborted) return;
    wire.heard();
    const message = wire.text(String(data));
    // The receipt: the service stores it as `notice.delivered`.
    if (message?.cursor && message.levels) send({ type: 'ack', cursor: message.cursor });
  };
  socket.onclose = ({ code }) =>
    wire.end({
      problem: new OnRecordError('stream', `the WebSocket was closed with ${code}`),
      token: code === 4401 || code === 4403,
    });
  wire.signal.addEventListener('abort', () => socket.close());
  return (token) => send({ type: 'token', token: token.value });
}

async function openEvents(service: Service, wire: Wire): Promise<void> {
  const query = wire.cursor ? `?${new URLSearchParams({ last_event_id: wire.cursor })}` : '';
  try {
    const response = await fetch(`${service.url}/v1/notices/stream${query}`, {
      headers: { authorization: `Bearer ${wire.token.value}`, accept: 'text/event-stream' },
      credentials: 'omit',
      cache: 'no-store',
      signal: wire.signal,
    });
    if (!response.ok || !response.body) {
      return wire.end({
        problem: await problemOf(response),
        after: retryAfter(response.headers.get('retry-after'), Date.now()),
        token: response.status === 401 || response.status === 403,
      });
    }
    wire.open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      wire.heard();
      const { events, id, rest } = parseEvents(text + value);
      text = rest;
      for (const { event, data } of events) wire.text(data, event);
      if (id) wire.at(id);
    }
    wire.end({ problem: new OnRecordError('stream', 'the service ended the response') });
  } catch (cause) {
    if (!wire.signal.aborted) wire.end({ problem: await service.unreachable(cause) });
  }
}
