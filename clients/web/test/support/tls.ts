/** The node under the name that the documents use: TLS in front of it, with a certificate made for the test. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Tls {
  #sockets = new Set<TLSSocket>();
  private constructor(private readonly server: Server) {}

  static async start(name: string, target: number): Promise<Tls> {
    const folder = mkdtempSync(join(tmpdir(), 'onrecord-kit-tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert), ALPNProtocols: ['http/1.1'] });
    rmSync(folder, { recursive: true });
    const tls = new Tls(server);
    server.on('secureConnection', (client) => {
      tls.#sockets.add(client);
      const node = connect(target, '127.0.0.1');
      for (const [from, to] of [[client, node], [node, client]] as const) {
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
        from.pipe(to);
      }
      client.on('close', () => tls.#sockets.delete(client));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return tls;
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.server.close(done));
  }
}
