/**
 * The levels of one leg of a call, and what is shown. Pure: a reducer over the statements of the own Calling SDK,
 * the messages of the service, and time.
 */

import { OFF_SHOWN } from './timing.js';
import { UNKNOWN, sameLevels, strongerLevels, variantOf, type Levels, type Variant } from './levels.js';

/** Before it is connected a call rings, or waits in a lobby; then nothing is shown. */
export type Phase = 'ringing' | 'connected' | 'ended';

export interface LegState {
  readonly phase: Phase;
  /** What the own SDK states. */
  readonly sdk: Levels;
  /** What the service stated last; silence does not change it. */
  readonly server: Levels;
  /** The id of the last message of the service. */
  readonly notice?: string | undefined;
  /** The levels before the last change, as long as it is announced. */
  readonly before?: Levels | undefined;
  /** When the announcement of an off ends. */
  readonly announcedUntil?: number | undefined;
  /** The stronger of the two statements. */
  readonly levels: Levels;
  readonly variant: Variant;
}

export type LegEvent =
  | { readonly kind: 'sdk'; readonly phase: Phase; readonly levels: Levels; readonly now: number }
  | {
      readonly kind: 'server';
      readonly levels: Levels;
      readonly notice?: string | undefined;
      /** Whether a change is to be announced: a snapshot states the present only. */
      readonly announce: boolean;
      readonly now: number;
    }
  | { readonly kind: 'time'; readonly now: number };

export const NEW_LEG: LegState = {
  phase: 'ringing',
  sdk: UNKNOWN,
  server: UNKNOWN,
  levels: UNKNOWN,
  variant: 'none',
};

export function reduce(state: LegState, event: LegEvent): LegState {
  if (event.kind === 'time') {
    return event.now >= state.announcedUntil! ? shown({ ...state, before: undefined, announcedUntil: undefined }) : state;
  }
  const next =
    event.kind === 'sdk'
      ? { ...state, phase: event.phase, sdk: event.levels }
      : { ...state, server: event.levels, notice: event.notice ?? state.notice };
  const levels = strongerLevels(next.sdk, next.server);
  if (sameLevels(levels, state.levels)) return shown(next);
  const announce = event.kind === 'sdk' || event.announce;
  return shown({
    ...next,
    levels,
    // A call that connects, or ends, has changed nothing.
    before: announce && state.phase === 'connected' && next.phase === 'connected' ? state.levels : undefined,
    announcedUntil: announce ? event.now + OFF_SHOWN : undefined,
  });
}

function shown(state: LegState): LegState {
  const variant = state.phase === 'connected' ? variantOf(state.before ?? state.levels, state.levels) : 'none';
  return { ...state, variant, announcedUntil: variant.includes('_off') ? state.announcedUntil : undefined };
}
