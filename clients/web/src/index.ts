/** The core of the client kit. Banner, dialog and React are entries of their own. */

export { createOnRecord, type OnRecord, type OnRecordOptions, type OnRecordEvents } from './core/onrecord.js';
export type { Consent, Indication, Leg, LegEvents, LegView, Shown, Status } from './core/leg.js';
export type { CallAgentLike, CallLike, FeaturesLike } from './core/call.js';
export type { CaptureType, Level, Levels, Variant } from './core/levels.js';
export type { ShownText } from './core/acknowledgements.js';
export type { GetToken, TokenAnswer } from './core/token.js';
export { OnRecordError, type Problem } from './core/problem.js';
