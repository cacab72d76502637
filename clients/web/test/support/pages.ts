/** Serves the built package, the test pages and the token endpoint of the app's backend. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), '../..');
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.map': 'application/json', '.json': 'application/json' };

export class Pages {
  #server: Server;
  /** Answers the token endpoint. */
  onToken: (rawId: string) => Promise<object> = async () => {
    throw new Error('no backend');
  };
  tokenRequests: number[] = [];
  /** Pages, and scripts, by their path. */
  readonly html = new Map<string, string>();

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<Pages> {
    const pages = new Pages();
    await new Promise<void>((done) => pages.#server.listen(0, '127.0.0.1', done));
    return pages;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, this.origin);
    if (url.pathname === '/onrecord-token') {
      this.tokenRequests.push(Date.now());
      try {
        const answer = JSON.stringify(await this.onToken(url.searchParams.get('user') ?? ''));
        response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
      } catch (error) {
        response.writeHead(503).end(String(error));
      }
      return;
    }
    const html = this.html.get(url.pathname);
    if (html !== undefined) return void response.writeHead(200, { 'content-type': `${TYPES[extname(url.pathname)] ?? 'text/html'}; charset=utf-8` }).end(html);
    const file = join(PACKAGE, normalize(url.pathname));
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': `${TYPES[extname(file)] ?? 'text/plain'}; charset=utf-8` }).end(readFileSync(file));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }
}
