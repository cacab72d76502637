/** The client of one page. */

import { accessCall, type CallAgentLike, type CallLike, type FeaturesLike } from './call.js';
import { makeEmitter } from './emitter.js';
import { openService } from './http.js';
import { openLeg, type Leg, type OwnLeg, type Status } from './leg.js';
import { CALLS_MAX } from './limits.js';
import type { Message } from './message.js';
import { sendLeftQueues } from './outbox.js';
import type { Problem } from './problem.js';
import { openTabs, type Tabs } from './tabs.js';
import { openTokens, type GetToken } from './token.js';

export interface OnRecordOptions {
  /** The address of the service. */
  readonly url: string;
  /** `Features` of `@azure/communication-calling`. */
  readonly features: FeaturesLike;
  /** Asks your backend for a subscriber token. */
  readonly getToken: GetToken;
  /** The language of banner and dialog; by default that of the page, else of the browser. */
  readonly locale?: string;
  /** One connection for all tabs of a browser (default), or one each. */
  readonly share?: 'tabs' | false;
  /** Name and version of your app, stored with each report. */
  readonly app?: string;
  readonly onStatus?: (status: Status) => void;
  readonly onError?: (problem: Problem) => void;
}

export interface OnRecordEvents {
  /** A leg was attached or has ended. */
  legs: readonly Leg[];
  status: Status;
}

export interface OnRecord {
  readonly locale: string | undefined;
  /** The legs that are attached, the latest last. */
  readonly legs: readonly Leg[];
  readonly status: Status;
  /** Listens; returns the end of it. */
  on<Name extends keyof OnRecordEvents>(name: Name, listener: (event: OnRecordEvents[Name]) => void): () => void;
  /** Reports and shows one call. The same call gives the same leg. Throws an `OnRecordError` if the call lacks a feature. */
  attach(call: CallLike): Leg;
  /** Attaches every call of an agent; returns the end of it. */
  attachAgent(agent: CallAgentLike): () => void;
  /** Ends all legs and the connection. */
  close(): void;
}

export function createOnRecord(options: OnRecordOptions): OnRecord {
  const url = new URL(options.url, globalThis.location?.href).href.replace(/\/+$/, '');
  const shared = options.share !== false;
  const controller = new AbortController();
  const { signal } = controller;
  const own = new Map<CallLike, OwnLeg>();
  /** The latest message of each call. */
  const latest = new Map<string, Message>();
  let legs: readonly Leg[] = [];
  let tabs: Tabs | undefined;
  let up: boolean | undefined;
  let status: Status = 'connecting';

  // Every failure reaches the app, or the console where the app does not listen.
  const fail = (problem: Problem) => {
    if (up === undefined) {
      up = false;
      setStatus();
    }
    try {
      (options.onError ?? console.warn)(problem);
    } catch (cause) {
      console.error(cause);
    }
  };
  const { on, emit } = makeEmitter<OnRecordEvents>(fail);
  if (options.onStatus) on('status', options.onStatus);
  const token = shared ? `onrecord.token.${url}` : undefined;
  const tokens = openTokens(options.getToken, token, signal, fail, (fetched) => tabs?.token(fetched));
  const service = openService(url, tokens, fail, (since) => tabs?.suspect(since));

  const setStatus = () => {
    const own = legs.some((leg) => leg.view.phase === 'connected') ? 'offline' : 'unknown';
    const now = up ? 'live' : up === undefined ? 'connecting' : own;
    if (now === status) return;
    status = now;
    emit('status', status);
    for (const { statusChanged } of all()) statusChanged();
  };
  const all = () => [...own.values()];
  const legsChanged = () => {
    legs = all().map(({ leg }) => leg);
    emit('legs', legs);
    setStatus();
  };

  const attach = (call: CallLike): Leg => {
    const attached = own.get(call);
    if (attached) return attached.retain();
    const access = accessCall(call, options.features);
    const opened = openLeg(
      access,
      { service, app: options.app, status: () => status, recent: () => latest.values() },
      () => {
        own.delete(call);
        legsChanged();
      },
    );
    if (opened.leg.view.phase !== 'ended') {
      opened.leg.on('change', setStatus);
      own.set(call, opened);
      legsChanged();
    }
    return opened.retain();
  };

  // Two participants share no connection, nor do two versions of what tabs tell each other.
  const begin = async () => {
    const { subject } = await tokens.get();
    if (signal.aborted) return;
    tabs = openTabs(service, shared ? `onrecord.tabs1.${url}.${subject}` : undefined, {
      onUp(now) {
        up = now;
        setStatus();
      },
      onMessage(message) {
        const [call] = message.calls;
        if (call && message.levels) {
          latest.delete(call);
          latest.set(call, message);
          if (latest.size > CALLS_MAX) latest.delete(latest.keys().next().value!);
        }
        for (const { receive } of all()) receive(message);
      },
      onToken: tokens.offer,
      recent: () => latest.values(),
    });
    await sendLeftQueues(service, signal);
  };
  // It fails only when the client is closed.
  begin().catch(() => {});

  return {
    locale: options.locale,
    get legs() {
      return legs;
    },
    get status() {
      return status;
    },
    on,
    attach,
    attachAgent(agent) {
      const attached = new Map<CallLike, Leg>();
      const add = (call: CallLike) => {
        try {
          if (!attached.has(call)) attached.set(call, attach(call));
        } catch (problem) {
          fail(problem as Problem);
        }
      };
      const remove = (call: CallLike) => {
        attached.get(call)?.detach();
        attached.delete(call);
      };
      const updated = ({ added = [], removed = [] }: { added?: CallLike[]; removed?: CallLike[] }) => {
        added.forEach(add);
        removed.forEach(remove);
      };
      agent.calls.forEach(add);
      agent.on('callsUpdated', updated);
      return () => {
        agent.off('callsUpdated', updated);
        [...attached.keys()].forEach(remove);
      };
    },
    close() {
      for (const { end } of all()) end();
      tabs?.stop();
      // The last reports need the tokens; their own time limit ends them.
      setTimeout(() => controller.abort(), 100_000);
    },
  };
}
