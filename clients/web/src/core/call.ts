/**
 * The part of `@azure/communication-calling` (1.31.2 or later, before 3) that this package uses, typed
 * by its structure, and what its features state.
 */

import { TYPES, UNKNOWN, type CaptureType, type Level, type Levels } from './levels.js';
import type { Phase } from './leg_state.js';
import { OnRecordError } from './problem.js';

type Listener = (...event: never[]) => void;
interface Emitter {
  on(event: string, listener: Listener): void;
  off(event: string, listener: Listener): void;
}

/** A feature of a call, by its factory in the SDK's `Features`. */
export interface CallLike {
  readonly state: string;
  readonly info: {
    getServerCallId(): Promise<string>;
    readonly participantId?: string | undefined;
    readonly threadId?: string | undefined;
    readonly groupId?: string | undefined;
  };
  // The factories and features of the SDK have private parts; they are checked at run time.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  feature(factory: any): any;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on(event: 'stateChanged', listener: any): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  off(event: 'stateChanged', listener: any): void;
}

export interface CallAgentLike {
  readonly calls: ReadonlyArray<CallLike>;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on(event: 'callsUpdated', listener: any): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  off(event: 'callsUpdated', listener: any): void;
}

/** `Features` of `@azure/communication-calling`. */
export interface FeaturesLike {
  readonly Recording: unknown;
  readonly Transcription: unknown;
  readonly Capabilities?: unknown;
}

interface RecordingInfoLike extends Emitter {
  readonly state: number;
}
interface ConsentFeature extends Emitter {
  readonly isTeamsConsentRequired?: boolean;
  grantTeamsConsent?(): Promise<void>;
}
interface RecordingFeature extends ConsentFeature {
  readonly isRecordingActive: boolean;
  readonly recordings?: ReadonlyArray<RecordingInfoLike>;
}
interface TranscriptionFeature extends ConsentFeature {
  readonly isTranscriptionActive: boolean;
}

/** The values of the SDK's `RecordingState`. */
const STARTED = 1;
const PAUSED = 2;

export interface CallStatement {
  readonly phase: Phase;
  readonly levels: Levels;
  readonly consentRequired: readonly CaptureType[];
}

/** The features of one call, checked. */
export interface CallAccess {
  readonly call: CallLike;
  state(): CallStatement;
  /** Calls `changed` on every event that may change what `state` returns; returns the end of it. */
  watch(changed: () => void): () => void;
  /** Gives the consent for these types to the SDK. */
  grant(types: readonly CaptureType[]): Promise<void>;
}

/** Throws an `OnRecordError` if the call lacks what is needed. */
export function accessCall(call: CallLike, features: FeaturesLike | undefined): CallAccess {
  const refuse = (detail: string) => new OnRecordError('call', detail);
  const isEmitter = (value: unknown): value is Emitter => !!((value as Emitter | undefined)?.on && (value as Emitter).off);
  if (!isEmitter(call) || !call.feature || !call.info?.getServerCallId) {
    throw refuse('attach needs a Call or TeamsCall of @azure/communication-calling');
  }
  if (!features?.Recording || !features.Transcription) {
    throw refuse('createOnRecord needs features: Features of @azure/communication-calling');
  }
  const featureOf = <T extends Emitter>(name: 'Recording' | 'Transcription', member: keyof T): T => {
    let feature: T | undefined;
    try {
      feature = call.feature(features[name]) as T;
    } catch (cause) {
      throw refuse(`the call has no feature ${name}: ${cause}`);
    }
    if (!isEmitter(feature) || typeof feature[member] !== 'boolean') {
      throw refuse(`the feature ${name} of the call has no ${member as string}`);
    }
    return feature;
  };
  const recording = featureOf<RecordingFeature>('Recording', 'isRecordingActive');
  const transcription = featureOf<TranscriptionFeature>('Transcription', 'isTranscriptionActive');
  // A call type may have no capabilities; then the flags are looked at with each report only.
  let capabilities: Emitter | undefined;
  try {
    capabilities = call.feature(features.Capabilities) as Emitter;
  } catch {
    // The events of the two features, and the reports, remain.
  }
  const consent: Record<CaptureType, ConsentFeature> = { recording, transcription };

  return {
    call,
    state() {
      const phase = phaseOf(call.state);
      if (phase !== 'connected') return { phase, levels: UNKNOWN, consentRequired: [] };
      return {
        phase,
        levels: {
          recording: recordingLevel(recording.isRecordingActive, (recording.recordings ?? []).map((info) => info.state)),
          transcription: transcription.isTranscriptionActive ? 'on' : 'off',
        },
        consentRequired: TYPES.filter((type) => consent[type].isTeamsConsentRequired),
      };
    },
    watch(changed) {
      const ends: Array<() => void> = [];
      const listen = (emitter: Emitter | undefined, event: string, listener: Listener = changed) => {
        if (!isEmitter(emitter)) return;
        emitter.on(event, listener);
        ends.push(() => emitter.off(event, listener));
      };
      listen(call, 'stateChanged');
      listen(recording, 'isRecordingActiveChanged');
      listen(transcription, 'isTranscriptionActiveChanged');
      listen(capabilities, 'capabilitiesChanged');
      const watched = new Set<RecordingInfoLike>();
      const watchRecordings = () => {
        for (const info of recording.recordings ?? []) {
          if (watched.has(info)) continue;
          watched.add(info);
          listen(info, 'recordingStateChanged');
        }
      };
      listen(recording, 'recordingsUpdated', () => {
        watchRecordings();
        changed();
      });
      watchRecordings();
      return () => ends.forEach((end) => end());
    },
    async grant(types) {
      for (const type of types) {
        // One consent may answer for both features.
        if (consent[type].isTeamsConsentRequired) await consent[type].grantTeamsConsent?.();
      }
    },
  };
}

export function phaseOf(state: string): Phase {
  // Connected, LocalHold, RemoteHold; Disconnecting, Disconnected.
  if (/^Connected|Hold$/.test(state)) return 'connected';
  return state.startsWith('Disconnect') ? 'ended' : 'ringing';
}

/**
 * The level of recording. The SDK states `isRecordingActive` and a list; where the list has a
 * recording that runs, it counts more, because a missed notice weighs more than a false one.
 */
export function recordingLevel(active: boolean, states: readonly number[]): Level {
  if (states.includes(STARTED)) return 'on';
  if (active && !(states.length > 0 && states.every((state) => state === PAUSED))) return 'on';
  return states.includes(PAUSED) ? 'paused' : 'off';
}
