/**
 * Levels of recording and transcription, and the banner that they call for. Pure.
 *
 * # Why
 *
 * What is shown is the maximum of what the page's own Calling SDK states and what the service states.
 * So the variant cannot be taken from a message of the service: it is computed here, by the same
 * rules (docs/clients.md, "What to show"), from the levels that this leg has shown before and now.
 */

export type CaptureType = 'recording' | 'transcription';
export type Level = 'on' | 'paused' | 'off' | 'unknown';
/** The level of each type. */
export type Levels = Readonly<Record<CaptureType, Level>>;

export type Variant =
  | 'none'
  | 'recording_on'
  | 'transcription_on'
  | 'both_on'
  | 'recording_paused'
  | 'recording_off'
  | 'transcription_off'
  | 'both_off'
  | 'recording_off_transcription_on'
  | 'transcription_off_recording_on'
  | 'unknown';

export const TYPES: readonly CaptureType[] = ['recording', 'transcription'];
export const UNKNOWN: Levels = { recording: 'unknown', transcription: 'unknown' };

const ORDER: readonly Level[] = ['unknown', 'off', 'paused', 'on'];

export function isLevel(value: unknown): value is Level {
  return ORDER.includes(value as Level);
}

/** The stronger of two levels: on, paused, off, unknown. */
export function strongerLevel(a: Level, b: Level): Level {
  return ORDER[Math.max(ORDER.indexOf(a), ORDER.indexOf(b))]!;
}

export function strongerLevels(a: Levels, b: Levels): Levels {
  return {
    recording: strongerLevel(a.recording, b.recording),
    transcription: strongerLevel(a.transcription, b.transcription),
  };
}

export function sameLevels(a: Levels, b: Levels): boolean {
  return TYPES.every((type) => a[type] === b[type]);
}

/** The banner for `now`. Where `before` equals it, nothing has changed, and the banner names the levels only. */
export function variantOf(before: Levels, now: Levels): Variant {
  const { recording } = now;
  // Nothing is transcribed while a transcription is paused, and no banner names that state.
  const transcription = now.transcription === 'paused' ? 'off' : now.transcription;
  const recordingEnded = (before.recording === 'on' || before.recording === 'paused') && recording;
  const transcriptionEnded = before.transcription === 'on' && transcription;
  const recordingOff = recordingEnded === 'off';
  const transcriptionOff = transcriptionEnded === 'off';
  if (recording === 'on') {
    if (transcription === 'on') return 'both_on';
    return transcriptionOff ? 'transcription_off_recording_on' : 'recording_on';
  }
  if (transcription === 'on') return recordingOff ? 'recording_off_transcription_on' : 'transcription_on';
  if (recording === 'paused') return 'recording_paused';
  if (recordingOff) return transcriptionOff ? 'both_off' : 'recording_off';
  if (transcriptionOff) return 'transcription_off';
  const lost = recordingEnded === 'unknown' || transcriptionEnded === 'unknown';
  return lost || (recording === 'unknown' && transcription === 'unknown') ? 'unknown' : 'none';
}

/** What a banner of this variant states, and an acknowledgement of it may state. */
export function statementsOf(variant: Variant): ReadonlyArray<{ type: CaptureType; state: Exclude<Level, 'unknown'> }> {
  const said: Array<{ type: CaptureType; state: Exclude<Level, 'unknown'> }> = [];
  for (const type of TYPES) {
    for (const state of ['on', 'paused', 'off'] as const) {
      if (variant === `both_${state}` || variant.includes(`${type}_${state}`)) said.push({ type, state });
    }
  }
  return said;
}
