/** What a browser test needs: a node of the service, pages with a backend, a browser. */

import { inject } from 'vitest';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { Pages } from './pages.js';
import { Proxy } from './proxy.js';
import { Stack, TestCall, Person, type Node } from './stack.js';

/** A Chromium of its own. */
export function launch(...args: string[]): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', ...args] });
}

export class World {
  private constructor(
    readonly node: Node,
    readonly pages: Pages,
    readonly proxy: Proxy,
    readonly browser: Browser,
  ) {}

  static async open(): Promise<World> {
    const pages = await Pages.start();
    const stack = Stack.on(inject('stack'));
    const node = await stack.node([pages.origin]);
    const proxy = await Proxy.start(node.port);
    const browser = await launch();
    pages.onToken = (user) => node.token(user);
    return new World(node, pages, proxy, browser);
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.proxy.stop();
    await this.pages.stop();
    await this.node.stop();
  }

  /** A context (one browser profile), whose pages tell their console to the test's output. */
  async context(options: Parameters<Browser['newContext']>[0] = {}): Promise<BrowserContext> {
    const context = await this.browser.newContext(options);
    context.on('page', (page) => {
      page.on('pageerror', (error) => console.error('page error:', error));
      if (process.env.KIT_LOG) page.on('console', (line) => console.log('page:', line.text()));
    });
    return context;
  }

  /** The page of one participant, in the call. `more` are further options of createOnRecord. */
  address(person: Person, call: TestCall, more = '', url = this.proxy.url, pages = this.pages): string {
    pages.html.set('/call', pageOf());
    const query = new URLSearchParams({ url, user: person.rawId, server: call.serverCallId, participant: person.participantId, more });
    return `${pages.origin}/call?${query}`;
  }

  async join(context: BrowserContext, ...page: Parameters<World['address']>): Promise<Page> {
    const opened = await context.newPage();
    await opened.goto(this.address(...page));
    await opened.waitForFunction(() => 'leg' in window);
    return opened;
  }
}

export { Person, TestCall };

function pageOf(): string {
  return `<!doctype html><html lang="en"><title>call</title><meta name="viewport" content="width=device-width">
<onrecord-banner></onrecord-banner><onrecord-consent></onrecord-consent><main><p>A call.</p></main>
<script type="module">
import { createOnRecord } from '/dist/index.js';
import '/dist/banner.js';
import { Features, Call } from '/test/support/stand_in.js';
const query = new URLSearchParams(location.search);
const more = new Function('return {' + query.get('more') + '}')();
window.errors = []; window.statuses = []; window.seen = [];
window.call = new Call(query.get('server'), query.get('participant'));
window.onrecord = createOnRecord({
  url: query.get('url'), features: Features,
  getToken: async () => {
    const answer = await fetch('/onrecord-token?user=' + encodeURIComponent(query.get('user')));
    if (!answer.ok) throw new Error('HTTP ' + answer.status);
    return answer.json();
  },
  onStatus: (status) => { statuses.push([status, Date.now()]); console.log('status', status); },
  onError: (problem) => { errors.push({ ...problem, type: problem.type, detail: problem.detail, at: Date.now() }); console.log('problem', problem.type, problem.detail); },
  ...more,
});
const banner = document.querySelector('onrecord-banner');
banner.addEventListener('onrecord-variant', ({ detail }) => { seen.push([detail, Date.now()]); console.log('variant', detail); });
window.words = () => { const s = banner.shadowRoot.querySelector('section'); return s.hidden ? '' : s.querySelector('.text').innerText.trim(); };
banner.source = document.querySelector('onrecord-consent').source = onrecord;
call.to('Connected');
window.leg = onrecord.attach(call);
</script></html>`;
}
