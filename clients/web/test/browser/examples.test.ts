/** The example backend, run as it stands, and what a page tells when it goes. */

import type { Server } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBackend } from '../../examples/backend-node/server.js';
import { Person, TestCall, World } from '../support/world.js';

let world: World;
let backend: Server;
let url: string;
const person = new Person('Ada');
beforeAll(async () => {
  world = await World.open();
  backend = createBackend({
    onrecordUrl: world.node.url,
    apiKey: world.node.key('app'),
    userOf: (request) => (request.headers['x-user'] === 'u1' ? { rawId: person.rawId } : undefined),
    callsOf: (visit, rawId) => (visit === 'v1' && rawId === person.rawId ? ['99445276259151407'] : undefined),
  });
  await new Promise<void>((done) => backend.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(backend.address() as { port: number }).port}`;
});
afterAll(async () => {
  backend?.close();
  await world?.close();
});

test('the Node example mints a token for the user who is signed in and takes part, and for no one else', async () => {
  const ask = (visit: string, user: string, method = 'POST') => fetch(`${url}/visits/${visit}/onrecord-token`, { method, headers: { 'x-user': user } });
  const answer = await ask('v1', 'u1');
  expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store']);
  const { token, expires_at } = await answer.json();
  expect(Date.parse(expires_at)).toBeGreaterThan(Date.now());
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
  expect(claims).toMatchObject({ sub: person.rawId, grant: { calls: ['99445276259151407'] } });
  expect((await ask('v2', 'u1')).status).toBe(403);
  expect((await ask('v1', 'u2')).status).toBe(403);
  expect((await ask('v1', 'u1', 'GET')).status).toBe(404);
});

test('a page that goes tells it, and its session ends', async () => {
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call);
  await page.waitForFunction(() => (window as any).onrecord.status === 'live');
  await page.evaluate(() => (window as any).call.record(true));
  await page.waitForTimeout(2500);
  const goneAt = Date.now();
  await page.goto('about:blank');
  const { report } = await call.evidence(({ report: { sessions } }) => sessions[0].left_at !== null && !sessions[0].left_inferred);
  expect(Math.abs(report.sessions[0].left_at - goneAt)).toBeLessThan(1500);
  await page.context().close();
});
