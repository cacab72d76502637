/** One leg of a call: reports what its Calling SDK states, and holds what is to be shown. */

import { shownInReport, type AcknowledgementKind, type ShownText } from './acknowledgements.js';
import type { CallAccess, CallLike } from './call.js';
import { makeEmitter } from './emitter.js';
import type { Service } from './http.js';
import { NEW_LEG, reduce, type LegEvent, type LegState } from './leg_state.js';
import { statementsOf, type CaptureType, type Level, type Variant } from './levels.js';
import { readLevels, type Message } from './message.js';
import { holdQueue, openOutbox, type Outbox } from './outbox.js';
import { onPage, within } from './page.js';
import { OnRecordError } from './problem.js';
import { ID_TIMEOUT, LEAVING_MAX, REPORT_INTERVAL } from './timing.js';

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
  /** Any of them, another notice of the same level, or another attachment. */
  change: LegView;
}

export interface Shown {
  /** The words that were shown; register them, so that the evidence contains them. */
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
}

/** One leg of a call. */
export interface Leg {
  /** The id of this leg in reports and acknowledgements; another one after the service has refused it. */
  readonly attachment: string;
  /** The call of the Calling SDK. */
  readonly call: CallLike;
  readonly view: LegView;
  readonly indication: Indication;
  readonly status: Status;
  readonly consent: Consent;
  /** Listens; returns the end of it. */
  on<Name extends keyof LegEvents>(name: Name, listener: (event: LegEvents[Name]) => void): () => void;
  /** The banner of the current variant is on the screen. Call it again when that changes, or becomes visible. */
  shown(shown?: Shown): void;
  /** The banner is no longer on the screen, or only a part of it. */
  hidden(): void;
  /** The participant has confirmed the notice. */
  acknowledged(shown?: Shown): void;
  /** Ends the leg, unless another part of the page has attached the same call. */
  detach(): void;
}

/** A leg as the client that made it uses it. */
export interface OwnLeg {
  readonly leg: Leg;
  /** Another part of the page attaches the same call. */
  retain(): Leg;
  /** A message of the stream. */
  receive(message: Message): void;
  statusChanged(): void;
  end(): void;
}

export function openLeg(access: CallAccess, context: LegContext, onOver: () => void): OwnLeg {
  const { service, app } = context;
  const { call } = access;
  const { on, emit } = makeEmitter<LegEvents>(service.fail);
  /** Until the leg ends. */
  const attached = new AbortController();
  /** Until nothing more is sent for it. */
  const sending = new AbortController();
  /** The ids by which the service calls this leg's call. */
  const calls = new Set<string>();
  /** What the banner has stated, by type. */
  const stated = new Map<CaptureType, string>();
  let attachment: string;
  let outbox: Outbox;
  let state = NEW_LEG;
  let consentTypes: readonly CaptureType[] = [];
  let consentAnswer: Consent['answer'];
  let timer: ReturnType<typeof setTimeout>;
  let offTimer: ReturnType<typeof setTimeout>;
  let serverCallId: string | undefined;
  let sequence = 0;
  let references = 0;
  let heardAt = 0;
  let dirty = false;
  let reporting: Promise<void> | undefined;

  const draw = () => {
    attachment = crypto.randomUUID();
    outbox = openOutbox(service, attachment, sending.signal, report);
    holdQueue(attachment, sending.signal);
  };

  const makeView = (): LegView => ({
    phase: state.phase,
    status: context.status(),
    indication: { ...state.levels, variant: state.variant },
    consent: {
      required: consentTypes.length > 0,
      types: consentTypes,
      answer: consentAnswer,
      grant,
      decline: (asked) => answer('declined', consentTypes, asked),
    },
    notice: state.notice,
  });

  const refresh = () => {
    const old = view;
    const now = makeView();
    const differs = (name?: keyof LegView) => JSON.stringify(name ? old[name] : old) !== JSON.stringify(name ? now[name] : now);
    if (!differs()) return;
    view = now;
    for (const name of ['indication', 'consent', 'status'] as const) if (differs(name)) emit(name, now[name] as never);
    emit('change', now);
  };

  const apply = (event: LegEvent) => {
    state = reduce(state, event);
    clearTimeout(offTimer);
    const { announcedUntil } = state;
    if (announcedUntil) offTimer = setTimeout(() => apply({ kind: 'time', now: Date.now() }), announcedUntil - Date.now() + 1);
    refresh();
  };

  // Looks at the SDK, and reports if it says something else than before, or has to be told again.
  const look = (always = false) => {
    if (attached.signal.aborted) return;
    const before = [state.phase, state.sdk, consentTypes];
    const { phase, levels, consentRequired } = access.state();
    if (consentRequired.length > consentTypes.length) consentAnswer = undefined;
    consentTypes = consentRequired;
    apply({ kind: 'sdk', phase, levels, now: Date.now() });
    if (phase === 'ended') end();
    else if (always || JSON.stringify(before) !== JSON.stringify([phase, levels, consentRequired])) void report();
  };

  const statement = (leaving: boolean) => {
    const { phase, sdk } = state;
    const { info } = call;
    const level = (stated: Level) => (stated === 'unknown' ? undefined : stated);
    return JSON.stringify({
      report_id: crypto.randomUUID(),
      attachment,
      sequence: ++sequence,
      // JSON leaves out what is undefined.
      server_call_id: serverCallId,
      participant_id: (phase !== 'ringing' && info.participantId) || undefined,
      group_id: info.groupId || undefined,
      thread_id: info.threadId || undefined,
      recording: level(sdk.recording),
      transcription: level(sdk.transcription),
      consent_required: consentTypes,
      shown: shownInReport(outbox.waiting, Date.now()),
      leaving,
      app,
    });
  };

  // A report states everything, so only the newest is sent.
  const report = () => {
    dirty = true;
    return (reporting ??= sendReports());
  };
  const sendReports = async () => {
    clearTimeout(timer);
    const newest = async () => {
      // Until the SDK has the id the report forms a call by its attachment.
      if (state.phase !== 'ringing') serverCallId ??= await within(ID_TIMEOUT, () => call.info.getServerCallId()).catch(() => undefined);
      dirty = false;
      return statement(false);
    };
    let drawn = false;
    while (dirty) {
      const outcome = await service.deliver('/v1/reports', newest, attached.signal);
      if (attached.signal.aborted || outcome === 'aborted') return;
      // Another participant has the attachment, or it has stated too many changes. Once, lest requests follow each other for ever.
      if (outcome === 'spent' && !drawn) {
        drawn = dirty = true;
        draw();
        stated.clear();
        // The banner states again what it shows.
        emit('change', view);
      } else if (typeof outcome === 'object') answered(outcome.answer);
    }
    reporting = undefined;
    timer = setTimeout(() => look(true), REPORT_INTERVAL);
  };

  const answered = (body: unknown) => {
    const { call: id, indication, server_time } = (body ?? {}) as Record<string, unknown>;
    const levels = readLevels(indication);
    if (!id || !levels) {
      return service.fail(new OnRecordError('answer', 'no call or indication'));
    }
    const before = calls.size;
    calls.add(String(id));
    // What came before the leg had this id. Later answers repeat nothing: the banner would state it again each time.
    if (calls.size > before) for (const message of context.recent()) if (message.at >= heardAt) receive(message);
    // While the stream is live it announces each change; without it the answer is what there is.
    if (context.status() !== 'live' && Date.parse(server_time as string) >= heardAt) {
      apply({ kind: 'server', levels, announce: true, now: Date.now() });
    }
  };

  const receive = ({ type, id, levels, calls: ids, at }: Message) => {
    if (!levels || !ids.some((known) => calls.has(known))) return;
    ids.forEach((known) => calls.add(known));
    heardAt = Math.max(heardAt, at);
    apply({ kind: 'server', levels, notice: id, announce: type === 'notice', now: Date.now() });
  };

  const acknowledge = (
    kind: AcknowledgementKind,
    type: CaptureType,
    more: { state?: Level; visible?: boolean; text?: ShownText | undefined },
  ) => outbox.add({ id: crypto.randomUUID(), attachment, kind, type, ...more, notice: state.notice });

  const answer = (kind: 'consented' | 'declined', types: readonly CaptureType[], asked?: Asked) => {
    consentAnswer = kind === 'consented' ? 'given' : 'declined';
    for (const type of types) acknowledge(kind, type, { text: asked?.text });
    refresh();
  };

  const grant = async (asked?: Asked) => {
    // The SDK requires nothing any more when it has the consent.
    const types = consentTypes;
    try {
      await access.grant(types);
    } catch (cause) {
      service.fail(new OnRecordError('consent', cause));
      throw cause;
    }
    answer('consented', types, asked);
    look(true);
  };

  const end = () => {
    if (attached.signal.aborted) return;
    attached.abort();
    unwatch();
    clearTimeout(timer);
    apply({ kind: 'sdk', phase: 'ended', levels: state.sdk, now: Date.now() });
    onOver();
    const last = statement(true);
    setTimeout(() => sending.abort(), LEAVING_MAX);
    void outbox
      .flush()
      .then(() => service.deliver('/v1/reports', () => last, sending.signal))
      .then(() => sending.abort());
  };

  let view = makeView();
  draw();
  const unwatch = access.watch(() => look());
  // Nothing asynchronous happens in a page that goes.
  onPage('pagehide', () => (service.farewell('/v1/reports', statement(true)), outbox.farewell()), attached.signal);
  onPage('pageshow', ({ persisted }) => persisted && look(true), attached.signal);

  const leg: Leg = {
    get attachment() {
      return attachment;
    },
    call,
    get view() {
      return view;
    },
    get indication() {
      return view.indication;
    },
    get status() {
      return view.status;
    },
    get consent() {
      return view.consent;
    },
    on,
    shown({ text, visible = !globalThis.document?.hidden } = {}) {
      for (const { type, state: level } of statementsOf(state.variant)) {
        const key = [level, state.notice, visible, text?.sha256].join();
        if (stated.get(type) === key) continue;
        stated.set(type, key);
        acknowledge('displayed', type, { state: level, visible, text });
      }
    },
    hidden() {
      for (const type of stated.keys()) acknowledge('hidden', type, { state: state.levels[type] === 'paused' ? 'paused' : 'on' });
      stated.clear();
    },
    acknowledged({ text } = {}) {
      for (const { type, state: level } of statementsOf(state.variant)) acknowledge('acknowledged', type, { state: level, text });
    },
    detach() {
      references--;
      // React's StrictMode detaches and attaches again at once: that is the same leg.
      setTimeout(() => references > 0 || end());
    },
  };
  look(true);
  return {
    leg,
    retain() {
      references++;
      return leg;
    },
    receive,
    statusChanged: refresh,
    end,
  };
}
