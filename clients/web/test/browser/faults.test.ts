/** Networks that fail, nodes that die, tokens that expire: what is shown, what is told, and how often the service is asked. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { Person, TestCall, World } from '../support/world.js';
import { Proxy } from '../support/proxy.js';
import { until } from '../support/stack.js';
import { Pages } from '../support/pages.js';

let world: World;
beforeAll(async () => (world = await World.open()));
afterAll(() => world?.close());

const statusIs = (page: Page, status: string, ms = 40_000) =>
  page.waitForFunction((wanted) => (window as any).onrecord.status === wanted, status, { timeout: ms, polling: 50 });
const statuses = (page: Page): Promise<Array<[string, number]>> => page.evaluate(() => (window as any).statuses);
const problems = (page: Page): Promise<Array<{ type: string; detail: string; at: number }>> => page.evaluate(() => (window as any).errors);
const variantAfter = (page: Page, variant: string, start: number): Promise<number> =>
  page.waitForFunction((wanted) => (window as any).seen.find(([each]: [string]) => each === wanted)?.[1], variant, { timeout: 30_000, polling: 50 })
    .then(async (at) => ((await at.jsonValue()) as number) - start);
const obligation = (evidence: any) => evidence.report.obligations.find((each: any) => each.type === 'recording');
const attachmentOf = (page: Page): Promise<string> => page.evaluate(() => (window as any).leg.attachment);
const startRecording = (page: Page): Promise<number> =>
  page.evaluate(() => {
    const now = Date.now();
    (window as any).call.record(true);
    return now;
  });

async function displayed(call: TestCall, attachment: string): Promise<number> {
  const { events } = (await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`)) ?? { events: [] };
  return events.filter((event: any) => event.type === 'notice.displayed' && JSON.stringify(event).includes(attachment)).length;
}

async function inCall(name: string, more = ''): Promise<{ page: Page; call: TestCall; person: Person }> {
  const person = new Person(name);
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(await world.context(), person, call, more);
  return { page, call, person };
}

async function end(page: Page, call: TestCall, statuses = ['MET']): Promise<any> {
  await page.evaluate(() => (window as any).call.to('Disconnected'));
  await page.waitForTimeout(500);
  await call.end();
  // A killed node holds its part of the log for ten seconds more.
  return call.evidence((each) => statuses.includes(obligation(each)?.status), 40_000);
}

test('a network that is cut for 20 s: the own SDK shows the recording at once, and the evidence has it in time', async () => {
  const { page, call } = await inCall('Ada');
  await statusIs(page, 'live');
  await page.waitForTimeout(500);
  world.proxy.requests.length = 0;
  world.proxy.cut();
  const connections = world.proxy.connections;
  await statusIs(page, 'offline');
  const startedAt = await startRecording(page);
  const delay = await variantAfter(page, 'recording_on', startedAt);
  expect(delay).toBeLessThan(100);
  await page.waitForTimeout(20_000);
  // Reports, acknowledgements, the stream and one question why: each at most as often as the backoff allows.
  const tries = world.proxy.connections - connections;
  console.log('cut: shown after', delay, 'ms;', tries, 'connections were tried in 20 s');
  expect(tries).toBeLessThan(60);
  world.proxy.pass();
  const backAt = Date.now();
  await statusIs(page, 'live');
  console.log('cut: live again after', Date.now() - backAt, 'ms');
  await page.waitForTimeout(3000);
  const evidence = await end(page, call);
  expect(obligation(evidence)).toMatchObject({ status: 'MET' });
  expect(obligation(evidence).exposure_ms).toBeLessThan(200);
  await page.context().close();
});

test('a recording that others report during the cut is shown at once when the network is back', async () => {
  const people = [new Person('Ada'), new Person('Grace')];
  const call = new TestCall(world.node, people);
  await call.start();
  const page = await world.join(await world.context(), people[0]!, call);
  const other = await world.join(await world.context(), people[1]!, call, '', world.node.url);
  await statusIs(page, 'live');
  await statusIs(other, 'live');
  await page.waitForTimeout(500);
  world.proxy.cut();
  await statusIs(page, 'offline');
  await startRecording(other);
  await page.waitForTimeout(2000);
  expect(await page.evaluate(() => (window as any).seen)).toEqual([]);
  world.proxy.pass();
  await variantAfter(page, 'recording_on', 0);
  await page.context().close();
  await other.context().close();
});

test('a recording that all own SDKs show while one network is cut: the evidence has the instant of the display as the earliest reading', async () => {
  const people = [new Person('Ada'), new Person('Grace')];
  const call = new TestCall(world.node, people);
  await call.start();
  const page = await world.join(await world.context(), people[0]!, call);
  const other = await world.join(await world.context(), people[1]!, call, '', world.node.url);
  await statusIs(page, 'live');
  await statusIs(other, 'live');
  await page.waitForTimeout(500);
  world.proxy.cut();
  await statusIs(page, 'offline');
  const [own, others] = await Promise.all([startRecording(page), startRecording(other)]);
  await page.waitForTimeout(5000);
  // The reports fail for longer: an acknowledgement that is repeated waits for them, because only they state the true time.
  await page.route('**/v1/reports', (route) => route.abort());
  world.proxy.pass();
  await statusIs(page, 'live');
  await page.waitForTimeout(1500);
  await page.unroute('**/v1/reports');
  await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('onrecord.queue.')), undefined, { timeout: 30_000, polling: 100 });
  await Promise.all([page, other].map((each) => each.evaluate(() => (window as any).call.to('Disconnected'))));
  await call.end();
  const cut = (each: any) => each.report.obligations.find(({ session }: any) => session.includes(people[0]!.participantId));
  const evidence = await call.evidence((each) => cut(each)?.shown_at && each.verdict !== 'PENDING');
  // The verdict takes the latest reading: the statement arrived only when the network was back.
  const { exposure_min_ms, exposure_ms, status } = cut(evidence);
  console.log('cut beside another client:', { exposure_min_ms, exposure_ms, status });
  // The page may be told later than the other one, on a busy machine by seconds.
  expect(exposure_min_ms).toBeLessThan(500 + Math.max(0, own! - others!));
  expect(status).toBe('LATE');
  await page.context().close();
  await other.context().close();
});

for (const transport of ['WebSocket', 'server-sent events'] as const) {
  test(`a half-open connection by ${transport} is noticed within 35 s`, async () => {
    const person = new Person('Ada');
    const call = new TestCall(world.node, [person]);
    await call.start();
    const context = await world.context();
    if (transport !== 'WebSocket') await context.addInitScript('delete window.WebSocket');
    const page = await world.join(context, person, call);
    await statusIs(page, 'live');
    const swallowedAt = Date.now();
    world.proxy.swallow();
    await page.waitForFunction(() => (window as any).onrecord.status !== 'live', undefined, { timeout: 36_000, polling: 50 });
    const noticed = Date.now() - swallowedAt;
    console.log(`half-open by ${transport}: noticed after`, noticed, 'ms');
    expect(noticed).toBeLessThan(35_000);
    world.proxy.pass();
    await statusIs(page, 'live');
    await context.close();
  });
}

test('a node that is killed and started again', async () => {
  const { page, call } = await inCall('Ada');
  await statusIs(page, 'live');
  await page.waitForTimeout(500);
  await world.node.kill();
  await statusIs(page, 'offline', 5000);
  const startedAt = await startRecording(page);
  expect(await variantAfter(page, 'recording_on', startedAt)).toBeLessThan(100);
  await world.node.start();
  const backAt = Date.now();
  await statusIs(page, 'live');
  console.log('restart: live again after', Date.now() - backAt, 'ms');
  await page.waitForTimeout(3000);
  const evidence = await end(page, call);
  expect(obligation(evidence)).toMatchObject({ status: 'MET' });
  await page.context().close();
});

test('a token that expires in mid-stream is renewed, and the stream goes on', async () => {
  world.pages.tokenRequests.length = 0;
  const backend = world.pages.onToken;
  // Too short to be renewed in time: the service ends the stream.
  world.pages.onToken = (user) => world.node.token(user, world.pages.tokenRequests.length === 1 ? 60 : 3600);
  const { page } = await inCall('Ada');
  await statusIs(page, 'live');
  await page.waitForTimeout(35_000);
  expect(world.pages.tokenRequests).toHaveLength(2);
  expect((await statuses(page)).map(([status]) => status)).toEqual(['live']);
  await page.waitForTimeout(30_000);
  // The stream outlived the first token.
  expect((await statuses(page)).map(([status]) => status)).toEqual(['live']);
  expect(await problems(page)).toEqual([]);
  world.pages.onToken = backend;
  await page.context().close();
});

test('a token that the service rejects is replaced once, then with the backoff, and the app is told', async () => {
  const backend = world.pages.onToken;
  world.pages.onToken = async () => ({ token: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.eA' });
  world.pages.tokenRequests.length = 0;
  const { page } = await inCall('Ada');
  await page.waitForTimeout(10_000);
  const requests = world.pages.tokenRequests.length;
  console.log('rejected tokens:', requests, 'token requests in 10 s');
  expect(requests).toBeLessThan(40);
  expect((await problems(page)).map(({ type }) => type)).toContain('urn:onrecord:problem:unauthorized');
  expect(await page.evaluate(() => (window as any).onrecord.status)).toBe('offline');
  world.pages.onToken = backend;
  await page.context().close();
});

test('a token endpoint that is down for a minute at the start: the own SDK is shown, the app is told, no storm', async () => {
  const backend = world.pages.onToken;
  world.pages.onToken = async () => {
    throw new Error('down');
  };
  world.pages.tokenRequests.length = 0;
  const { page, call } = await inCall('Ada');
  await statusIs(page, 'offline');
  const startedAt = await startRecording(page);
  expect(await variantAfter(page, 'recording_on', startedAt)).toBeLessThan(100);
  await page.waitForTimeout(60_000);
  const requests = world.pages.tokenRequests.length;
  console.log('token endpoint down:', requests, 'requests in 60 s');
  expect(requests).toBeGreaterThan(2);
  expect(requests).toBeLessThan(30);
  expect((await problems(page)).every(({ type }) => type === 'urn:onrecord:client:token')).toBe(true);
  world.pages.onToken = backend;
  await statusIs(page, 'live');
  await page.waitForTimeout(3000);
  expect(obligation(await end(page, call))).toMatchObject({ status: 'MET' });
  await page.context().close();
});

test('a wrong origin: the own SDK is shown, and the app is told which setting names it', async () => {
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const stranger = await Pages.start();
  stranger.onToken = (user) => world.node.token(user);
  const own = await Proxy.start(world.node.port);
  const page = await world.join(await world.context(), person, call, '', own.url, stranger);
  await page.waitForFunction(() => (window as any).errors.some((problem: any) => problem.type === 'urn:onrecord:client:origin'), undefined, { timeout: 20_000 });
  const startedAt = await startRecording(page);
  expect(await variantAfter(page, 'recording_on', startedAt)).toBeLessThan(100);
  expect(await page.evaluate(() => (window as any).onrecord.status)).toBe('offline');
  expect((await problems(page)).find(({ type }) => type.endsWith('origin'))!.detail).toContain(stranger.origin);
  await page.waitForTimeout(10_000);
  console.log('wrong origin:', own.requests.length, 'requests in 10 s and the start');
  expect(own.requests.length).toBeLessThan(60);
  await page.context().close();
  await own.stop();
  await stranger.stop();
});

test('a service that answers nonsense: the app is told, and the own SDK is shown', async () => {
  const { createServer } = await import('node:http');
  const nonsense = createServer((request, response) => {
    response.setHeader('access-control-allow-origin', '*').setHeader('access-control-allow-headers', '*');
    if (request.method === 'OPTIONS') return void response.writeHead(204).end();
    if (request.url!.includes('/stream')) return void response.writeHead(200, { 'content-type': 'text/event-stream' }).write('event: notice\ndata: {"indication":"yes"}\n\nevent: notice\ndata: <html>\n\n');
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hello</html>');
  });
  await new Promise<void>((done) => nonsense.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(nonsense.address() as { port: number }).port}`;
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  const page = await world.join(await world.context(), person, call, '', url);
  const startedAt = await startRecording(page);
  expect(await variantAfter(page, 'recording_on', startedAt)).toBeLessThan(100);
  await page.waitForFunction(() => (window as any).errors.filter((problem: any) => problem.type === 'urn:onrecord:client:answer').length >= 3);
  await page.context().close();
  nonsense.closeAllConnections();
  nonsense.close();
});

test('acknowledgements that wait survive a reload: none lost, none doubled', async () => {
  const { page, call, person } = await inCall('Ada');
  await statusIs(page, 'live');
  await page.waitForTimeout(500);
  // Reports pass, acknowledgements do not.
  await page.route('**/v1/acknowledgements', (route) => route.abort());
  await startRecording(page);
  await variantAfter(page, 'recording_on', 0);
  await page.waitForTimeout(1500);
  const stored = await page.evaluate(() =>
    Object.entries(localStorage).filter(([key]) => key.startsWith('onrecord.queue.')).flatMap(([, value]) => JSON.parse(value).queue.map((each: any) => each.item.id)),
  );
  expect(stored.length).toBeGreaterThan(0);
  await page.unroute('**/v1/acknowledgements');
  await page.reload();
  await page.waitForFunction(() => 'leg' in window);
  await page.waitForFunction(() => !Object.keys(localStorage).some((key) => key.startsWith('onrecord.queue.')), undefined, { timeout: 15_000, polling: 100 });
  await page.waitForTimeout(1500);
  // They arrive after the reload, which may take longer than the two seconds of the rule.
  await end(page, call, ['MET', 'LATE']);
  const { events } = await world.node.read(`/v1/calls/${call.correlationId}/timeline?limit=1000`);
  for (const id of stored) {
    const found = events.filter((event: any) => JSON.stringify(event).includes(id));
    expect(found, `acknowledgement ${id} of ${person.name}`).toHaveLength(1);
    expect(found[0].flags ?? []).not.toContain('conflict');
  }
  await page.context().close();
});

test.each(['full', 'forbidden'])('a storage that is %s: it works in memory', async (how) => {
  const context = await world.context();
  await context.addInitScript((forbidden) => {
    if (forbidden) {
      Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('forbidden', 'SecurityError'); } });
      return;
    }
    for (let length = 2 ** 20; length >= 1; ) {
      try {
        localStorage.setItem(`other${length}-${Math.random()}`, 'x'.repeat(length));
      } catch {
        length = Math.floor(length / 2);
      }
    }
  }, how === 'forbidden');
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const page = await world.join(context, person, call);
  await statusIs(page, 'live');
  await startRecording(page);
  await page.waitForTimeout(3000);
  expect(obligation(await end(page, call))).toMatchObject({ status: 'MET' });
  expect(await problems(page)).toEqual([]);
  await context.close();
});

test('an attachment that another participant has (409): another one is drawn, and the evidence has the banner under it', async () => {
  const people = [new Person('Ada'), new Person('Grace')];
  const call = new TestCall(world.node, people);
  await call.start();
  const first = await world.join(await world.context(), people[0]!, call);
  await statusIs(first, 'live');
  const taken = await attachmentOf(first);
  await first.waitForTimeout(1000);

  const context = await world.context();
  await context.addInitScript((id) => {
    // The page before the first one has none.
    const draw = crypto.randomUUID?.bind(crypto);
    if (!draw) return;
    crypto.randomUUID = () => {
      crypto.randomUUID = draw;
      return id as ReturnType<typeof draw>;
    };
  }, taken);
  const page = await world.join(context, people[1]!, call);
  await page.waitForFunction((id) => (window as any).leg.attachment !== id, taken);
  const own = await attachmentOf(page);
  const conflicts = async () => (await problems(page)).filter(({ type }) => type === 'urn:onrecord:problem:conflict').length;
  expect(await conflicts()).toBe(1);
  await startRecording(page);
  await until('the banner under the attachment that was drawn', async () => (await displayed(call, own)) > 0);
  expect(await attachmentOf(page)).toBe(own);
  expect(await conflicts()).toBe(1);
  await page.waitForTimeout(2500);
  for (const each of [first, page]) await each.evaluate(() => (window as any).call.to('Disconnected'));
  await call.end();
  const evidence = await call.evidence(({ report }) => report.obligations.length === 2 && report.obligations.every((each: any) => each.status !== 'PENDING'));
  const status = evidence.report.obligations.find(({ session }: any) => session.includes(people[1]!.participantId)).status;
  expect(status).toBe('MET');
  await first.context().close();
  await context.close();
});
