/** The React binding: in StrictMode, on a server, and against the real service. */

import { build } from 'esbuild';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Person, TestCall, World } from '../support/world.js';
import { until } from '../support/stack.js';

let world: World;
beforeAll(async () => (world = await World.open()));
afterAll(() => world?.close());

const APP = `
import { StrictMode, createElement, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { createOnRecord } from '/dist/index.js';
import { RecordingBanner, useOnRecord } from '/dist/react.js';
import { Call, Features } from '/test/support/stand_in.js';
const query = new URLSearchParams(location.search);
window.legs = []; window.renders = 0;
window.call = new Call(query.get('server'), query.get('participant'));
const onrecord = createOnRecord({ url: query.get('url'), features: Features,
  getToken: () => fetch('/onrecord-token?user=' + encodeURIComponent(query.get('user'))).then((answer) => answer.json()) });
window.onrecord = onrecord;
function App() {
  const [shown, setShown] = useState(true);
  window.setShown = setShown;
  return shown ? createElement(InCall) : null;
}
function InCall() {
  window.renders++;
  const { leg, indication, status, phase } = useOnRecord(onrecord, call);
  if (leg && !window.legs.includes(leg.attachment)) window.legs.push(leg.attachment);
  return createElement('div', null, createElement(RecordingBanner, { source: leg, locale: 'fr' }), createElement('output', null, [phase, status, indication.recording].join(' ')));
}
createRoot(document.querySelector('#root')).render(createElement(StrictMode, null, createElement(App)));
`;

test('a banner in StrictMode: one leg, the words, and the end of the leg with the component', async () => {
  const person = new Person('Ada');
  const call = new TestCall(world.node, [person]);
  await call.start();
  const bundled = await build({
    stdin: { contents: APP, resolveDir: process.cwd(), loader: 'js' },
    bundle: true,
    format: 'esm',
    write: false,
    define: { 'process.env.NODE_ENV': '"development"' },
    plugins: [
      {
        name: 'root',
        setup(own) {
          own.onResolve({ filter: /^\/(dist|test)\// }, ({ path }) => ({ path: process.cwd() + path }));
        },
      },
    ],
  });
  world.pages.html.set('/app.js', bundled.outputFiles[0]!.text);
  world.pages.html.set('/react', '<!doctype html><html lang="en"><title>react</title><div id="root"></div><script type="module" src="/app.js"></script></html>');
  const page = await (await world.context()).newPage();
  const query = new URLSearchParams({ url: world.proxy.url, user: person.rawId, server: call.serverCallId, participant: person.participantId });
  await page.goto(`${world.pages.origin}/react?${query}`);
  await page.getByText('ringing live unknown').waitFor();
  expect(await page.getByRole('alert').count()).toBe(0);
  await page.evaluate(() => (window as any).call.to('Connected'));
  await page.getByText('connected live off').waitFor();
  await page.evaluate(() => (window as any).call.record(true));
  await page.getByText('Cet appel est enregistré.').waitFor();
  await page.getByText('connected live on').waitFor();
  expect(await page.evaluate(() => (window as any).legs.length)).toBe(1);
  expect(await page.evaluate(() => (window as any).renders)).toBeLessThan(40);
  await page.waitForTimeout(2500);
  await page.evaluate(() => (window as any).call.record(false));
  await page.waitForTimeout(500);
  await page.evaluate(() => (window as any).setShown(false));
  await until('the leg ends', () => page.evaluate(() => (window as any).onrecord.legs.length === 0));
  await call.end();
  const evidence = await call.evidence((each) => each.verdict === 'COMPLIANT');
  expect(evidence.report.obligations[0]).toMatchObject({ status: 'MET' });
  expect(evidence.report.sessions).toHaveLength(1);
});

test('a server renders the elements, and nothing of a browser', async () => {
  const { RecordingBanner, useOnRecord } = await import('../../dist/react.js' as string);
  await import('../../dist/banner.js' as string);
  const App = () => {
    const { status } = useOnRecord(undefined, undefined);
    return createElement('div', null, createElement(RecordingBanner, { source: undefined, locale: 'de' }), status);
  };
  expect(renderToString(createElement(App))).toBe(
    '<div><div style="display:contents"><onrecord-banner locale="de"></onrecord-banner><onrecord-consent locale="de"></onrecord-consent></div>connecting</div>',
  );
});
