/** One leg of a call: reports what its Calling SDK states, and holds what is to be shown. */

import { shownInReport, type AcknowledgementKind, type ShownText } from './acknowledgements.js';
import type { CallAccess } from './call.js';
import { Emitter } from './emitter.js';
import type { Service } from './http.js';
import { NEW_LEG, reduce, type LegEvent, type LegState } from './leg_state.js';
import { statementsOf, type CaptureType, type Level, type Variant } from './levels.js';
import { readLevels, type Message } from './message.js';
import { Outbox } from './outbox.js';
import { onPage, pause } from './page.js';
import { OnRecordError, type Problem } from './problem.js';
import { backoff, REPORT_INTERVAL } from './timing.js';

/** Maximum time for the last report, in milliseconds: then the client counts as silent anyway. */
const LEAVING_MAX = 90_000;

export type Status = 'connecting' | 'live' | 'offline' | 'unknown';

export interface Indication {
  readonly recording: Level;
  readonly transcription: Level;
  /** The banner that the levels and their change call for. */
  readonly variant: Variant;
}

export interface Asked {
  /** The words by which the participant was asked. */
  readonly text?: ShownText | undefined;
}

export interface Consent {
  /** Whether the Calling SDK waits for an explicit consent. */
  readonly required: boolean;
  readonly types: readonly CaptureType[];
  readonly answer: 'given' | 'declined' | undefined;
  /** Gives the consent to the Calling SDK, then reports it. Rejects if the SDK does. */
  grant(asked?: Asked): Promise<void>;
  decline(asked?: Asked): void;
}

/** What a user interface shows; the same object until something changes. */
export interface LegView {
  readonly phase: LegState['phase'];
  readonly status: Status;
  readonly indication: Indication;
  readonly consent: Consent;
  /** The id of the notice that is shown, if the service sent one. */
  readonly notice: string | undefined;
}

export interface LegEvents {
  indication: Indication;
  consent: Consent;
  status: Status;
  /** Any of them, or another notice of the same level. */
  change: LegView;
}

export interface Shown {
  /** The words that were shown; register them, so that the evidence knows them. */
  readonly text?: ShownText | undefined;
  /** `false` where they could not be seen; by default whether the page is visible. */
  readonly visible?: boolean;
}

export interface LegContext {
  readonly service: Service;
  readonly app: string | undefined;
  status(): Status;
  /** The latest message of each call that this browser has received. */
  recent(): Iterable<Message>;
  onError(problem: Problem): void;
  /** A request had no answer since this instant. */
  suspect(since: number): void;
}

export class Leg {
  readonly attachment: string = crypto.randomUUID();
  readonly #emitter: Emitter<LegEvents>;
  readonly #controller = new AbortController();
  readonly #attached = new AbortController();
  readonly #outbox: Outbox;
  readonly #unwatch: () => void;
  /** The ids by which the service calls this leg's call. */
  readonly #calls = new Set<string>();
  #state = NEW_LEG;
  #consentTypes: readonly CaptureType[] = [];
  #consentAnswer: Consent['answer'];
  #view: LegView;
  #sequence = 0;
  #dirty = false;
  #reporting: Promise<void> | undefined;
  #timers: Array<ReturnType<typeof setTimeout>> = [];
  #stated = new Map<CaptureType, string>();
  #heardAt = 0;
  #references = 0;
  #over = false;
  #serverCallId: string | undefined;

  constructor(
    private readonly access: CallAccess,
    private readonly context: LegContext,
    private readonly onOver: () => void,
  ) {
    this.#emitter = new Emitter(context.onError);
    this.#outbox = new Outbox(context.service, this.attachment, context.onError, this.#controller.signal);
    this.#view = this.#makeView();
    this.#unwatch = access.watch(() => this.#look());
    onPage('pagehide', () => this.#pagehide(), this.#attached.signal);
    onPage('pageshow', ({ persisted }) => persisted && this.#look(true), this.#attached.signal);
    this.#look(true);
  }

  /** The call of the Calling SDK. */
  get call() {
    return this.access.call;
  }

  get view(): LegView {
    return this.#view;
  }

  get indication(): Indication {
    return this.#view.indication;
  }

  get status(): Status {
    return this.#view.status;
  }

  get consent(): Consent {
    return this.#view.consent;
  }

  /** Listens; returns the end of it. */
  on<Name extends keyof LegEvents>(name: Name, listener: (event: LegEvents[Name]) => void): () => void {
    return this.#emitter.on(name, listener);
  }

  /** The banner of the current variant is on the screen. Call it again when that changes, or becomes visible. */
  shown({ text, visible = globalThis.document?.visibilityState !== 'hidden' }: Shown = {}): void {
    const { variant, notice } = this.#state;
    for (const { type, state } of statementsOf(variant)) {
      const key = [state, notice, visible, text?.sha256].join();
      if (this.#stated.get(type) === key) continue;
      this.#stated.set(type, key);
      this.#acknowledge('displayed', type, { state, visible, text });
    }
  }

  /** The banner is no longer on the screen, or only a part of it. */
  hidden(): void {
    for (const type of this.#stated.keys()) {
      this.#acknowledge('hidden', type, { state: this.#state.levels[type] === 'paused' ? 'paused' : 'on' });
    }
    this.#stated.clear();
  }

  /** The participant has confirmed the notice. */
  acknowledged({ text }: Shown = {}): void {
    for (const { type, state } of statementsOf(this.#state.variant)) {
      this.#acknowledge('acknowledged', type, { state, text });
    }
  }

  /** Ends the leg, unless another part of the page has attached the same call. */
  detach(): void {
    this.#references--;
    // React's StrictMode detaches and attaches again at once: that is the same leg.
    setTimeout(() => {
      if (this.#references <= 0) this.#end();
    });
  }

  /** @internal */
  retain(): this {
    this.#references++;
    return this;
  }

  /** @internal A message of the stream. */
  receive(message: Message): void {
    if (!message.levels || !message.calls.some((id) => this.#calls.has(id))) return;
    message.calls.forEach((id) => this.#calls.add(id));
    this.#heardAt = Math.max(this.#heardAt, message.at);
    const announce = message.type === 'notice';
    this.#apply({ kind: 'server', levels: message.levels, notice: message.id, announce, now: Date.now() });
  }

  /** @internal The status of the connection has changed. */
  statusChanged(): void {
    this.#refresh();
  }

  // Looks at the SDK, and reports if it says something else than before, or has to be told again.
  #look(always = false): void {
    if (this.#over) return;
    const before = this.#state;
    const { phase, levels, consentRequired } = this.access.read();
    const consentChanged = consentRequired.join() !== this.#consentTypes.join();
    if (consentRequired.length > 0 && this.#consentTypes.length === 0) this.#consentAnswer = undefined;
    this.#consentTypes = consentRequired;
    this.#apply({ kind: 'sdk', phase, levels, now: Date.now() });
    const changed = before.phase !== phase || before.sdk.recording !== levels.recording || before.sdk.transcription !== levels.transcription;
    if (phase === 'ended') return this.#end();
    if (always || changed || consentChanged) this.#report();
  }

  #apply(event: LegEvent): void {
    this.#state = reduce(this.#state, event);
    const { announcedUntil } = this.#state;
    if (announcedUntil !== undefined && event.kind !== 'time') {
      this.#timers.push(setTimeout(() => this.#apply({ kind: 'time', now: Date.now() }), announcedUntil - Date.now() + 1));
    }
    this.#refresh();
  }

  #refresh(): void {
    const old = this.#view;
    const next = this.#makeView();
    const changed = <T extends object>(a: T, b: T) => JSON.stringify(a) !== JSON.stringify(b);
    const indication = changed(old.indication, next.indication);
    const consent = changed(old.consent, next.consent);
    const status = old.status !== next.status;
    if (!indication && !consent && !status && old.notice === next.notice && old.phase === next.phase) return;
    this.#view = {
      ...next,
      indication: indication ? next.indication : old.indication,
      consent: consent ? next.consent : old.consent,
    };
    if (indication) this.#emitter.emit('indication', this.#view.indication);
    if (consent) this.#emitter.emit('consent', this.#view.consent);
    if (status) this.#emitter.emit('status', this.#view.status);
    this.#emitter.emit('change', this.#view);
  }

  #makeView(): LegView {
    const { phase, levels, variant, notice } = this.#state;
    const types = this.#consentTypes;
    const consent: Consent = {
      required: types.length > 0,
      types,
      answer: this.#consentAnswer,
      grant: (asked) => this.#grant(types, asked),
      decline: (asked) => this.#answer('declined', types, asked),
    };
    return { phase, status: this.context.status(), indication: { ...levels, variant }, consent, notice };
  }

  async #grant(types: readonly CaptureType[], asked?: Asked): Promise<void> {
    try {
      await this.access.grant(types);
    } catch (cause) {
      this.context.onError(new OnRecordError('consent', cause));
      throw cause;
    }
    this.#answer('consented', types, asked);
    this.#look(true);
  }

  #answer(kind: 'consented' | 'declined', types: readonly CaptureType[], asked?: Asked): void {
    this.#consentAnswer = kind === 'consented' ? 'given' : 'declined';
    for (const type of types) this.#acknowledge(kind, type, { text: asked?.text });
    this.#refresh();
  }

  #acknowledge(
    kind: AcknowledgementKind,
    type: CaptureType,
    more: { state?: Level; visible?: boolean; text?: ShownText | undefined },
  ): void {
    const item = { id: crypto.randomUUID(), attachment: this.attachment, kind, type, ...more, notice: this.#state.notice };
    this.#outbox.add(Date.now(), item);
  }

  #report(): void {
    this.#dirty = true;
    this.#reporting ??= this.#sendReports().finally(() => (this.#reporting = undefined));
  }

  // A report states everything, so only the newest is sent.
  async #sendReports(): Promise<void> {
    const { signal } = this.#controller;
    let failures = 0;
    while (this.#dirty && !signal.aborted) {
      this.#dirty = false;
      if (this.#state.phase !== 'ringing') {
        // Until the SDK has the id the report forms a call by its attachment.
        this.#serverCallId ??= await this.call.info.getServerCallId().catch(() => undefined);
      }
      if (signal.aborted) return;
      const body = JSON.stringify(this.#statement(false));
      const sentAt = Date.now();
      const outcome = await this.context.service.post('/v1/reports', body).catch(() => undefined);
      if (!outcome || signal.aborted) return;
      if (outcome.kind === 'ok') {
        failures = 0;
        this.#answered(outcome.body);
        continue;
      }
      this.context.onError(outcome.problem);
      if (outcome.kind === 'refused') continue;
      if (!outcome.problem.status) this.context.suspect(sentAt);
      failures++;
      this.#dirty = true;
      await pause(backoff(failures, Math.random(), outcome.after), signal);
    }
    if (!signal.aborted) this.#timers.push(setTimeout(() => this.#lookAgain(), REPORT_INTERVAL));
  }

  #lookAgain(): void {
    this.#look(!this.#reporting);
  }

  #answered(body: unknown): void {
    const { call, indication, server_time } = (body ?? {}) as { call?: unknown; indication?: unknown; server_time?: unknown };
    const levels = readLevels(indication);
    if (typeof call !== 'string' || !levels) {
      return this.context.onError(new OnRecordError('answer', 'the answer to a report has no call or no indication'));
    }
    this.#calls.add(call);
    for (const message of this.context.recent()) if (message.at >= this.#heardAt) this.receive(message);
    // While the stream is live it announces each change; without it the answer is what there is.
    const at = Date.parse(String(server_time)) || 0;
    if (this.context.status() !== 'live' && at >= this.#heardAt) {
      this.#apply({ kind: 'server', levels, announce: true, now: Date.now() });
    }
  }


  #statement(leaving: boolean) {
    const { phase, sdk } = this.#state;
    const { info } = this.access.call;
    return {
      report_id: crypto.randomUUID(),
      attachment: this.attachment,
      sequence: ++this.#sequence,
      // JSON leaves out what is undefined.
      server_call_id: this.#serverCallId,
      participant_id: phase === 'ringing' ? undefined : info.participantId || undefined,
      group_id: info.groupId || undefined,
      thread_id: info.threadId || undefined,
      recording: stated(sdk.recording),
      transcription: stated(sdk.transcription),
      consent_required: this.#consentTypes,
      shown: shownInReport(this.#outbox.waiting, Date.now()),
      leaving,
      app: this.context.app,
    };
  }

  // Nothing asynchronous happens in a page that goes.
  #pagehide(): void {
    this.context.service.farewell('/v1/reports', JSON.stringify(this.#statement(true)));
    this.#outbox.farewell();
  }

  /** @internal Ends the leg now. */
  end(): void {
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#unwatch();
    this.#timers.forEach(clearTimeout);
    this.#attached.abort();
    if (this.#state.phase !== 'ended') this.#apply({ kind: 'sdk', phase: 'ended', levels: this.#state.sdk, now: Date.now() });
    this.onOver();
    void this.#leave();
  }

  async #leave(): Promise<void> {
    const giveUp = setTimeout(() => this.#controller.abort(), LEAVING_MAX);
    const body = JSON.stringify(this.#statement(true));
    await this.#outbox.flush();
    for (let failures = 1; !this.#controller.signal.aborted; failures++) {
      const outcome = await this.context.service.post('/v1/reports', body).catch(() => undefined);
      if (outcome?.kind !== 'retry') break;
      this.context.onError(outcome.problem);
      await pause(backoff(failures, Math.random(), outcome.after), this.#controller.signal);
    }
    clearTimeout(giveUp);
    this.#controller.abort();
    this.#outbox.release();
  }
}

const stated = (level: Level) => (level === 'unknown' ? undefined : level);
