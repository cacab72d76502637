/** A TCP proxy that cuts, or swallows, what passes, and counts connections. */

import { connect, createServer, type Server, type Socket } from 'node:net';

export class Proxy {
  #server: Server;
  #pairs = new Set<[Socket, Socket]>();
  #mode: 'pass' | 'cut' | 'swallow' = 'pass';
  /** Connections that were tried, and the first line of each request that was seen. */
  connections = 0;
  requests: string[] = [];
  private constructor(private readonly target: number) {
    this.#server = createServer((client) => this.#accept(client));
  }

  static async start(target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((done) => proxy.#server.listen(0, '127.0.0.1', done));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Refuses everything, and breaks what is open. */
  cut(): void {
    this.#mode = 'cut';
    for (const [client, server] of this.#pairs) {
      client.destroy();
      server.destroy();
    }
  }

  /** Keeps connections open, and passes nothing on. */
  swallow(): void {
    this.#mode = 'swallow';
  }

  pass(): void {
    // What was swallowed is gone: such connections never work again.
    if (this.#mode === 'swallow') this.cut();
    this.#mode = 'pass';
  }

  #accept(client: Socket): void {
    this.connections++;
    if (this.#mode === 'cut') return void client.destroy();
    const server = connect(this.target, '127.0.0.1');
    const pair: [Socket, Socket] = [client, server];
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const [from, to] of [[client, server], [server, client]] as const) {
      from.on('data', (chunk: Buffer) => {
        if (this.#mode !== 'pass') return;
        if (from === client) {
          const line = chunk.toString('latin1').match(/^(GET|POST|OPTIONS) \S+/)?.[0];
          if (line) this.requests.push(line);
        }
        to.write(chunk);
      });
      from.on('error', () => {});
      // A half-open connection does not end with its other side.
      from.on('close', () => {
        if (this.#mode !== 'swallow') end();
      });
    }
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((done) => this.#server.close(done));
  }
}
