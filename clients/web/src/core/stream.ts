/** The connection to the service: WebSocket, or server-sent events by fetch where that cannot be had. */

import { GOOD_AFTER, OPEN_TIMEOUT, WATCH_INTERVAL, backoff, isSilent, retryAfter } from './timing.js';
import { onPage, pause, wake } from './page.js';
import { readMessage, type Message } from './message.js';
import { parseEvents } from './sse.js';
import { OnRecordError, problemOf, type Problem } from './problem.js';
import type { Service } from './http.js';
import type { Token } from './token.js';

export interface StreamEvents {
  onUp(up: boolean): void;
  onMessage(message: Message): void;
}

export interface Stream {
  /** Continues the stream under a new token. */
  renew(token: Token): void;
  /** A request that was sent at this instant had no answer. */
  suspect(since: number): void;
  stop(): void;
}

/** Why a connection ended. */
interface End {
  readonly problem: Problem;
  readonly after?: number;
  /** The token is the reason. */
  readonly aboutToken?: boolean;
}

/** One connection, as its transport sees it. */
interface Wire {
  readonly token: Token;
  readonly query: string;
  readonly signal: AbortSignal;
  opened(): void;
  heard(): void;
  cursorIs(cursor: string | undefined): void;
  text(text: string, kind?: string): Message | undefined;
  end(end: End): void;
}

/** Opens the stream behind this cursor, and opens it again until it is stopped. */
export function openStream(service: Service, events: StreamEvents, cursor: string): Stream {
  const controller = new AbortController();
  const { signal } = controller;
  let webSocket = !!globalThis.WebSocket;
  let heardAt = 0;
  let openedAt = 0;
  let endAsSilent = () => {};
  let renew: (token: Token) => void = () => {};

  const connect = (token: Token) =>
    new Promise<End>((done) => {
      const over = new AbortController();
      let bye: Partial<End> = {};
      heardAt = Date.now();
      openedAt = 0;
      const end = (reason: End) => {
        clearInterval(watchdog);
        over.abort();
        done({ ...reason, ...bye });
      };
      endAsSilent = () => end(ended('silent', 'no beat'));
      const look = () => {
        const now = Date.now();
        if (!openedAt && now - heardAt > OPEN_TIMEOUT) end(ended('network', 'not opened in time'));
        if (openedAt && isSilent(heardAt, now)) endAsSilent();
      };
      const watchdog = setInterval(look, WATCH_INTERVAL);
      onPage('visibilitychange', look, over.signal);
      // A socket may stay open for minutes without a network.
      onPage('offline', endAsSilent, over.signal);
      signal.addEventListener('abort', () => end(ended('stream', 'it is closed')), { signal: over.signal });
      const heard = () => (heardAt = Date.now());
      const cursorIs = (at: string | undefined) => (cursor = at || cursor);
      const wire: Wire = {
        token,
        query: cursor && `?last_event_id=${encodeURIComponent(cursor)}`,
        signal: over.signal,
        heard,
        cursorIs,
        end,
        opened() {
          openedAt = heard();
          wake();
          events.onUp(true);
        },
        text(text, kind) {
          try {
            const message = readMessage(text, kind);
            if (!message) return;
            cursorIs(message.cursor);
            if (message.type === 'bye') bye = byeOf(message);
            if (message.type === 'error') service.fail(new OnRecordError('stream', message.reason));
            else events.onMessage(message);
            return message;
          } catch (cause) {
            service.fail(new OnRecordError('answer', cause));
            return;
          }
        },
      };
      if (webSocket) renew = openWebSocket(service, wire);
      else {
        // A request cannot change its token: the stream is opened again.
        renew = () => end(ended('stream', 'token renewed'));
        void openEvents(service, wire);
      }
    });

  const run = async () => {
    for (let failures = 0; !signal.aborted; ) {
      const token = await service.tokens.get().catch(() => undefined);
      if (!token || signal.aborted) return;
      const { problem, after, aboutToken } = await connect(token);
      if (signal.aborted) return;
      events.onUp(false);
      service.fail(problem);
      if (aboutToken) service.tokens.reject(token);
      // What was opened stays the first choice; else the other transport has its turn.
      if (!openedAt) webSocket = !!globalThis.WebSocket && !webSocket;
      if (openedAt && Date.now() - openedAt > GOOD_AFTER) failures = 0;
      await pause(backoff(++failures, Math.random(), after), signal);
    }
  };
  void run();

  return {
    renew: (token) => renew(token),
    suspect(since) {
      if (openedAt && heardAt <= since) endAsSilent();
    },
    stop: () => controller.abort(),
  };
}

const ended = (kind: 'silent' | 'network' | 'stream', detail: string): End => ({ problem: new OnRecordError(kind, detail) });

function byeOf({ code = '', reason }: Message): End {
  return {
    ...ended('stream', `${code}: ${reason}`),
    aboutToken: /^token|granted/.test(code),
  };
}

function openWebSocket(service: Service, wire: Wire): (token: Token) => void {
  const address = `${service.url.replace('http', 'ws')}/v1/notices/ws${wire.query}`;
  const socket = new WebSocket(address, ['onrecord.v1', `onrecord.token.${wire.token.value}`]);
  const send = (frame: object) => {
    if (socket.readyState === 1) socket.send(JSON.stringify(frame));
  };
  socket.onopen = wire.opened;
  socket.onmessage = ({ data }) => {
    wire.heard();
    const message = wire.text(data as string);
    // The receipt: the service stores it as `notice.delivered`.
    if (message?.levels) send({ type: 'ack', cursor: message.cursor });
  };
  socket.onclose = ({ code }) =>
    wire.end({ ...ended('stream', `WebSocket closed: ${code}`), aboutToken: code === 4401 || code === 4403 });
  wire.signal.addEventListener('abort', () => {
    socket.onmessage = socket.onopen = null;
    socket.close();
  });
  return ({ value }) => send({ type: 'token', token: value });
}

async function openEvents(service: Service, wire: Wire): Promise<void> {
  try {
    const response = await fetch(`${service.url}/v1/notices/stream${wire.query}`, {
      headers: { authorization: `Bearer ${wire.token.value}` },
      signal: wire.signal,
    });
    const { status, body } = response;
    if (!response.ok || !body) {
      const aboutToken = status === 401 || status === 403;
      return wire.end({ problem: await problemOf(response), after: retryAfter(response), aboutToken });
    }
    wire.opened();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; ; ) {
      const { done, value } = await reader.read();
      if (done) return wire.end(ended('stream', 'the response ended'));
      wire.heard();
      const { events, id, rest } = parseEvents(text + value);
      text = rest;
      for (const { event, data } of events) wire.text(data, event);
      wire.cursorIs(id);
    }
  } catch (cause) {
    if (!wire.signal.aborted) wire.end({ problem: await service.unreachable(cause) });
  }
}
