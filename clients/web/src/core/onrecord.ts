/** The client of one page. */

import { accessCall, type CallAgentLike, type CallLike, type FeaturesLike } from './call.js';
import { Emitter } from './emitter.js';
import { Service } from './http.js';
import { Leg, type LegContext, type Status } from './leg.js';
import type { Message } from './message.js';
import { sendLeftQueues } from './outbox.js';
import { OnRecordError, type Problem } from './problem.js';
import { openTabs, type Tabs } from './tabs.js';
import { Tokens, type GetToken } from './token.js';

/** Maximum number of calls whose latest message is kept. */
const CALLS_MAX = 64;

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

export class OnRecord {
  readonly locale: string | undefined;
  readonly #emitter: Emitter<OnRecordEvents>;
  readonly #controller = new AbortController();
  readonly #tokens: Tokens;
  readonly #service: Service;
  readonly #attached = new Map<CallLike, Leg>();
  readonly #latest = new Map<string, Message>();
  #legs: readonly Leg[] = [];
  #tabs: Tabs | undefined;
  #up: boolean | undefined;
  #status: Status = 'connecting';

  constructor(private readonly options: OnRecordOptions) {
    const url = new URL(options.url, globalThis.location?.href).href.replace(/\/+$/, '');
    const shared = options.share !== false;
    this.locale = options.locale;
    this.#emitter = new Emitter(this.#fail);
    this.#tokens = new Tokens(options.getToken, shared ? `onrecord.token.${url}` : undefined, this.#controller.signal, this.#fail);
    this.#service = new Service(url, this.#tokens);
    this.#tokens.onToken = (token) => this.#tabs?.token(token);
    void this.#begin(shared ? `onrecord.tabs.${url}.` : undefined);
  }

  /** The legs that are attached, the latest last. */
  get legs(): readonly Leg[] {
    return this.#legs;
  }

  get status(): Status {
    return this.#status;
  }

  on<Name extends keyof OnRecordEvents>(name: Name, listener: (event: OnRecordEvents[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  /** Reports and shows one call. The same call gives the same leg. Throws if the call lacks a feature. */
  attach(call: CallLike): Leg {
    const attached = this.#attached.get(call);
    if (attached) return attached.retain();
    const access = accessCall(call, this.options.features);
    const context: LegContext = {
      service: this.#service,
      app: this.options.app,
      status: () => this.#status,
      recent: () => this.#latest.values(),
      onError: this.#fail,
      suspect: (since) => this.#tabs?.suspect(since),
    };
    const leg: Leg = new Leg(access, context, () => {
      this.#attached.delete(call);
      this.#changeLegs(this.#legs.filter((other) => other !== leg));
    });
    this.#attached.set(call, leg);
    this.#changeLegs([...this.#legs, leg]);
    return leg.retain();
  }

  /** Attaches every call of an agent; returns the end of it. */
  attachAgent(agent: CallAgentLike): () => void {
    const legs = new Map<CallLike, Leg>();
    const add = (call: CallLike) => {
      if (legs.has(call)) return;
      try {
        legs.set(call, this.attach(call));
      } catch (problem) {
        this.#fail(problem as OnRecordError);
      }
    };
    const updated = ({ added, removed }: { added?: CallLike[]; removed?: CallLike[] }) => {
      added?.forEach(add);
      for (const call of removed ?? []) {
        legs.get(call)?.detach();
        legs.delete(call);
      }
    };
    agent.calls.forEach(add);
    agent.on('callsUpdated', updated);
    return () => {
      agent.off('callsUpdated', updated);
      legs.forEach((leg) => leg.detach());
      legs.clear();
    };
  }

  /** Ends all legs and the connection. */
  close(): void {
    for (const leg of this.#legs) leg.end();
    this.#tabs?.stop();
    // The last reports need the tokens; their own time limit ends them.
    setTimeout(() => this.#controller.abort(), 100_000);
  }

  // The lock of the tabs has the participant in its name: two participants share no connection.
  async #begin(prefix: string | undefined): Promise<void> {
    const token = await this.#tokens.get().catch(() => undefined);
    if (!token || this.#controller.signal.aborted) return;
    this.#tabs = openTabs(this.#service, prefix && prefix + token.subject, {
      onUp: (up) => {
        this.#up = up;
        this.#setStatus();
      },
      onMessage: (message) => this.#receive(message),
      onError: this.#fail,
      onToken: (offered) => this.#tokens.offer(offered),
      recent: () => this.#latest.values(),
    });
    await sendLeftQueues(this.#service, this.#fail, this.#controller.signal).catch(() => {});
  }

  #receive(message: Message): void {
    const call = message.calls[0];
    if (call && message.levels) {
      this.#latest.delete(call);
      this.#latest.set(call, message);
      if (this.#latest.size > CALLS_MAX) this.#latest.delete(this.#latest.keys().next().value!);
    }
    for (const leg of this.#legs) leg.receive(message);
  }

  #changeLegs(legs: readonly Leg[]): void {
    this.#legs = legs;
    this.#emitter.emit('legs', legs);
    this.#setStatus();
  }

  #setStatus(): void {
    const knows = this.#legs.some((leg) => leg.view.phase === 'connected');
    const status = this.#up ? 'live' : this.#up === undefined ? 'connecting' : knows ? 'offline' : 'unknown';
    if (status === this.#status) return;
    this.#status = status;
    this.#emitter.emit('status', status);
    for (const leg of this.#legs) leg.statusChanged();
    this.options.onStatus?.(status);
  }

  // Every failure reaches the app, or the console where the app does not listen.
  #fail = (problem: Problem): void => {
    if (this.#up === undefined && !this.#controller.signal.aborted) {
      this.#up = false;
      this.#setStatus();
    }
    if (this.options.onError) this.options.onError(problem);
    else console.warn('onrecord:', problem.title, problem.detail ?? '');
  };
}

export function createOnRecord(options: OnRecordOptions): OnRecord {
  return new OnRecord(options);
}
