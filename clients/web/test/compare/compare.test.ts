/**
 * The client kit beside three known clients: sizes, and what each does when the network is cut for 20 s
 * and when a connection is half open for 60 s. `npm run compare` prints the figures of the table in
 * docs/clients.md. fetch-event-source and partysocket use the streams of the service; centrifuge-js
 * speaks a protocol of its own, so it is connected to a server that answers its first command and pings.
 */

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { WebSocketServer } from 'ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Page } from 'playwright-core';
import { OPTIONS } from '../../scripts/entries.mjs';
import { Person, TestCall, World } from '../support/world.js';
import { Proxy } from '../support/proxy.js';

const HALF_OPEN = 60_000;

interface Contender {
  readonly name: string;
  /** What an app imports of it. */
  readonly bundled: string;
  /** A module that sets window.log: ['up' | 'down' | 'on', time]. */
  readonly script: string;
}

const LOG = `
const query = new URLSearchParams(location.search);
window.log = [];
const note = (what) => log.push([what, Date.now()]);
const url = query.get('url');
const heard = (text) => { const { indication } = JSON.parse(text); if (indication?.recording.state === 'on') note('on'); };
const token = (await (await fetch('/onrecord-token?user=' + encodeURIComponent(query.get('user')))).json()).token;
`;
const CONTENDERS: Contender[] = [
  {
    name: '@onrecord/client',
    bundled: 'export * from "./src/index.ts"',
    script: `import { createOnRecord } from './dist/index.js'; import { Call, Features } from './test/support/stand_in.js';
${LOG}
const call = new Call(query.get('server'), query.get('participant'));
call.to('Connected');
let up = false;
const onrecord = createOnRecord({ url, features: Features, getToken: async () => token, share: false, onError: () => {},
  onStatus: (status) => { if ((status === 'live') !== up) note((up = !up) ? 'up' : 'down'); } });
onrecord.attach(call).on('indication', ({ recording }) => { if (recording === 'on') note('on'); });`,
  },
  {
    name: 'fetch-event-source',
    bundled: 'export { fetchEventSource } from "@microsoft/fetch-event-source"',
    script: `import { fetchEventSource } from '@microsoft/fetch-event-source';
${LOG}
const query2 = new URLSearchParams({ server_call_id: query.get('server') });
fetchEventSource(url + '/v1/notices/stream?' + query2, { headers: { authorization: 'Bearer ' + token },
  onopen: async () => note('up'), onerror: () => note('down'), onmessage: ({ data }) => { if (data) heard(data); } });`,
  },
  {
    name: 'partysocket',
    bundled: 'export { WebSocket } from "partysocket"',
    script: `import { WebSocket as PartyWebSocket } from 'partysocket';
${LOG}
const address = url.replace('http', 'ws') + '/v1/notices/ws?' + new URLSearchParams({ server_call_id: query.get('server') });
const socket = new PartyWebSocket(address, ['onrecord.v1', 'onrecord.token.' + token]);
socket.addEventListener('open', () => note('up')); socket.addEventListener('close', () => note('down'));
socket.addEventListener('message', ({ data }) => heard(data));`,
  },
  {
    name: 'centrifuge-js',
    bundled: 'export { Centrifuge } from "centrifuge"',
    script: `import { Centrifuge } from 'centrifuge';
${LOG}
const centrifuge = new Centrifuge(url.replace('http', 'ws') + '/connection/websocket');
centrifuge.on('connected', () => note('up')); centrifuge.on('connecting', () => note('down'));
centrifuge.connect();`,
  },
];

let world: World;
let centrifugo: WebSocketServer;
beforeAll(async () => {
  world = await World.open();
  centrifugo = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  centrifugo.on('connection', (socket) => {
    const ping = setInterval(() => socket.send('{}'), 15_000);
    socket.on('close', () => clearInterval(ping));
    socket.on('message', (data) => {
      for (const line of String(data).split('\n')) {
        const { id, connect } = JSON.parse(line) as { id?: number; connect?: object };
        if (connect) socket.send(JSON.stringify({ id, connect: { client: 'c', version: '0', ping: 15, pong: true } }));
      }
    });
  });
});
afterAll(async () => {
  centrifugo?.close();
  await world?.close();
});

async function sizeOf(bundled: string, own: boolean): Promise<number> {
  const { outputFiles } = await build({ ...OPTIONS, ...(own ? {} : { mangleProps: undefined as never }), stdin: { contents: bundled, resolveDir: process.cwd(), loader: 'ts' }, write: false });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}

const first = (log: Array<[string, number]>, what: string, since: number) => {
  const found = log.find(([each, at]) => each === what && at >= since);
  return found ? found[1] - since : undefined;
};

test('four clients when the network is cut, and when a connection is half open', async () => {
  const call = new TestCall(world.node, [...CONTENDERS.map(({ name }) => new Person(name)), new Person('other')]);
  await call.start();
  const runs: Array<{ contender: Contender; proxy: Proxy; page: Page }> = [];
  for (const [place, contender] of CONTENDERS.entries()) {
    const proxy = await Proxy.start(contender.name === 'centrifuge-js' ? (centrifugo.address() as { port: number }).port : world.node.port);
    const { outputFiles } = await build({ bundle: true, format: 'esm', write: false, stdin: { contents: contender.script, resolveDir: process.cwd(), loader: 'js' } });
    world.pages.html.set(`/compare-${place}.js`, outputFiles[0]!.text);
    world.pages.html.set(`/compare-${place}`, `<!doctype html><html lang="en"><title>c</title><script type="module" src="/compare-${place}.js"></script></html>`);
    const page = await (await world.context()).newPage();
    const person = call.people[place]!;
    const query = new URLSearchParams({ url: proxy.url, user: person.rawId, server: call.serverCallId, participant: person.participantId });
    await page.goto(`${world.pages.origin}/compare-${place}?${query}`);
    await page.waitForFunction(() => (window as any).log?.some(([what]: [string]) => what === 'up'));
    runs.push({ contender, proxy, page });
  }
  const other = await world.join(await world.context(), call.people.at(-1)!, call, 'share: false', world.node.url);
  await other.waitForTimeout(16_000);
  const read = (page: Page): Promise<Array<[string, number]>> => page.evaluate(() => (window as any).log);

  const before = runs.map(({ proxy }) => proxy.connections);
  const cutAt = Date.now();
  runs.forEach(({ proxy }) => proxy.cut());
  await other.waitForTimeout(10_000);
  await other.evaluate(() => (window as any).call.record(true));
  await other.waitForTimeout(10_000);
  const backAt = Date.now();
  runs.forEach(({ proxy }) => proxy.pass());
  const tries = runs.map(({ proxy }, place) => proxy.connections - before[place]!);
  await other.waitForTimeout(30_000);
  const cut = await Promise.all(runs.map(async ({ page }) => {
    const log = await read(page);
    return { known: first(log, 'down', cutAt), back: first(log, 'up', backAt), told: first(log, 'on', backAt) };
  }));

  const swallowedAt = Date.now();
  runs.forEach(({ proxy }) => proxy.swallow());
  await other.waitForTimeout(HALF_OPEN);
  const silent = await Promise.all(runs.map(async ({ page }) => first(await read(page), 'down', swallowedAt)));

  const ms = (value: number | undefined, none: string) => (value === undefined ? none : `${(value / 1000).toFixed(1)} s`);
  const rows = await Promise.all(runs.map(async ({ contender: { name, bundled } }, place) => {
    const { known, back, told } = cut[place]!;
    const size = await sizeOf(bundled, place === 0);
    return `| ${name} | ${(size / 1000).toFixed(1)} kB | ${ms(known, 'never')} | ${tries[place]} | ${ms(back, 'not in 30 s')} | ${ms(told, '–')} | ${ms(silent[place], 'not in 60 s')} |`;
  }));
  console.log(['| | size | cut: known after | attempts in 20 s | back after | told after | half open: known after |', '|---|---|---|---|---|---|---|', ...rows].join('\n'));
  expect(cut[0]!.told).toBeLessThan(20_000);
  expect(silent[0]).toBeLessThan(35_000);
  for (const { proxy } of runs) await proxy.stop();
}, 300_000);
