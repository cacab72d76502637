/** Errors of this package, in the form of the service's problem documents (RFC 9457). */

export interface Problem {
  /** `urn:onrecord:problem:…` of the service, or `urn:onrecord:client:…` of this package. */
  readonly type: string;
  readonly title: string;
  readonly status?: number;
  readonly detail?: string;
  readonly member?: string;
}

/** What is wrong, the end of the `type`. */
export type ClientProblem =
  /** The call lacks a feature. */
  | 'call'
  /** `getToken` failed. */
  | 'token'
  /** The service cannot be reached. */
  | 'network'
  /** The service does not allow this origin. */
  | 'origin'
  /** The service sent what cannot be understood. */
  | 'answer'
  /** Acknowledgements were dropped. */
  | 'queue'
  /** The Calling SDK did not take the consent. */
  | 'consent'
  /** Two heartbeats were missed. */
  | 'silent'
  /** The stream has ended. */
  | 'stream'
  /** A listener of the app threw. */
  | 'app';

export class OnRecordError extends Error implements Problem {
  readonly type: string;
  readonly title: string;
  readonly detail: string;

  constructor(kind: ClientProblem, cause: unknown) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    super(detail);
    this.name = 'OnRecordError';
    this.type = `urn:onrecord:client:${kind}`;
    this.title = `onrecord: ${kind}`;
    this.detail = detail;
  }
}

/** Reads a problem document of a response; a body that is none becomes one. */
export async function problemOf(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => undefined)) as Problem | undefined;
  if (body?.type) return body;
  return Object.assign(new OnRecordError('answer', `HTTP ${response.status}`), { status: response.status });
}
