// An OpenID provider for the tests of the console: oidc-provider, a certified one, with accounts that a test
// sets. Its argument is JSON: the port, the clients, and whether claims are in the ID token or only in the answer
// about the user.
//
//   PUT  /accounts/{id}   sets the claims of an account
//   GET  /interaction/…   the form of the sign-in, which has no password
//   POST /interaction/…   account=…, or cancel=1

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { port, clients, claimsInIdToken } = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const accounts = new Map();

const provider = new Provider(issuer, {
  clients,
  claims: { profile: ['name', 'preferred_username', 'roles', 'tenants'], email: ['email'] },
  conformIdTokenClaims: !claimsInIdToken,
  cookies: { keys: ['the cookies of the tests'] },
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_context, id) => accounts.has(id) && { accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) },
  interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
  // What is asked for is granted without a question.
  loadExistingGrant: async (context) => {
    const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client.clientId, accountId: context.oidc.session.accountId });
    grant.addOIDCScope('openid profile email');
    await grant.save();
    return grant;
  },
  pkce: { required: () => true },
  ttl: { AccessToken: 300, AuthorizationCode: 60, IdToken: 300, Interaction: 300, Session: 3600, Grant: 3600 },
});

async function body(request) {
  let text = '';
  for await (const part of request) text += part;
  return text;
}

const answer = provider.callback();
const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  try {
    if (request.method === 'PUT' && pathname.startsWith('/accounts/')) {
      accounts.set(decodeURIComponent(pathname.slice(10)), JSON.parse(await body(request)));
      response.writeHead(204).end();
    } else if (request.method === 'GET' && pathname.startsWith('/interaction/')) {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end(`<!doctype html><title>Sign in</title><form method="post"><label>Account <input name="account"></label><button>Sign in</button></form>`);
    } else if (request.method === 'POST' && pathname.startsWith('/interaction/')) {
      const fields = new URLSearchParams(await body(request));
      const result = fields.has('cancel')
        ? { error: 'access_denied', error_description: 'the user cancelled the sign-in' }
        : { login: { accountId: fields.get('account') } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    } else {
      answer(request, response);
    }
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
server.listen(port, '127.0.0.1', () => console.log('listening'));
// It ends with the test that started it.
process.stdin.on('end', () => process.exit(0)).resume();
