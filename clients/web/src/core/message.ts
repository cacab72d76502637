/** Messages of a stream, read once at the edge. Pure. */

import { isLevel, TYPES, type Levels } from './levels.js';

export interface Message {
  readonly type: 'snapshot' | 'notice' | 'gap' | 'bye' | 'beat' | 'error';
  readonly cursor?: string | undefined;
  readonly id?: string | undefined;
  /** The ids of the call. */
  readonly calls: readonly string[];
  readonly levels?: Levels | undefined;
  /** Of a bye. */
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
  /** The clock of the service, in Unix milliseconds. */
  readonly at: number;
}

const KINDS = ['snapshot', 'notice', 'gap', 'bye', 'beat', 'error'];

/** Reads the levels of an `indication`; `undefined` if it is none. */
export function readLevels(indication: unknown): Levels | undefined {
  const given = indication as Record<string, { state?: unknown } | undefined> | null | undefined;
  const [recording, transcription] = TYPES.map((type) => given?.[type]?.state);
  return isLevel(recording) && isLevel(transcription) ? { recording, transcription } : undefined;
}

/** Reads a message. `undefined`: of a kind that a later service may add. Throws what cannot be read. */
export function readMessage(text: string, kind?: string): Message | undefined {
  const data = JSON.parse(text) as Record<string, unknown>;
  const type = kind ?? data.type;
  if (!type) throw new Error('a message has no type');
  if (!KINDS.includes(type as string)) return undefined;
  const string = (value: unknown) => (value ? String(value) : undefined);
  const levels = readLevels(data.indication);
  if (!levels && (type === 'snapshot' || type === 'notice')) throw new Error(`a ${type} has no indication`);
  const calls = [data.call, ...(Array.isArray(data.aliases) ? data.aliases : [])];
  const problem = data.problem as { detail?: unknown } | undefined;
  return {
    type: type as Message['type'],
    cursor: string(data.cursor),
    id: string(data.id),
    code: string(data.code),
    reason: string(problem?.detail ?? data.reason),
    calls: calls.flatMap((id) => string(id) ?? []),
    levels,
    at: Date.parse(String(data.server_time)) || 0,
  };
}
