/** The backend route that gets a subscriber token for the user who is signed in. Node 20 or later, without dependencies. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

export interface BackendOptions {
  /** The address of the service: `https://onrecord.contoso.com`. */
  readonly onrecordUrl: string;
  /** An API key of role app. */
  readonly apiKey: string;
  /** Your session: the user who is signed in. */
  userOf(request: IncomingMessage): { rawId: string; teamsRawId?: string } | undefined;
  /** Your data: what the call of this visit was created with, if this user takes part in it. */
  callsOf(visit: string, rawId: string): readonly string[] | undefined;
}

export function createBackend(options: BackendOptions): Server {
  return createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      console.error('no subscriber token', error);
      response.writeHead(503, { 'retry-after': '2' }).end();
    });
  });
}

async function answer(options: BackendOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const visit = /^\/visits\/([^/]+)\/onrecord-token$/.exec(new URL(request.url ?? '/', 'http://localhost').pathname)?.[1];
  if (request.method !== 'POST' || !visit) return void response.writeHead(404).end();
  const user = options.userOf(request);
  const calls = user && options.callsOf(decodeURIComponent(visit), user.rawId);
  if (!user || !calls) return void response.writeHead(403).end();

  const minted = await fetch(`${options.onrecordUrl}/v1/subscriber-tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      participant: { raw_id: user.rawId, other_raw_ids: user.teamsRawId ? [user.teamsRawId] : [] },
      grant: { calls },
      app: 'visits-web 1.0',
    }),
    signal: AbortSignal.timeout(10_000),
  });
  if (minted.status !== 201) {
    console.error('no subscriber token', minted.status, await minted.text());
    return void response.writeHead(502).end();
  }
  // {token, expires_at}
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(await minted.text());
}
