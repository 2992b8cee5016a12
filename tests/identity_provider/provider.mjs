// An identity provider as others run them (oidc-provider), for the tests: `node provider.mjs PORT ALGORITHM…` is an
// issuer on 127.0.0.1 that grants client credentials as signed access tokens, for the resource `urn:hotel:ALGORITHM`
// with that algorithm. Its keys are new with each start, and so are their names.
//
// It also signs people in, anybody under any name, for the client `gateway` on this machine: its own development pages
// ask for a name and for consent.
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, ...algorithms] = process.argv.slice(2);

const kinds = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};
// The provider names each key by its thumbprint.
const key = (kind) => ({ ...kinds[kind]().privateKey.export({ format: 'jwk' }), use: 'sig' });
const keys = Object.keys(kinds).map(key);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'desk',
    client_secret: 'a secret of the tests',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
  }, {
    client_id: 'gateway',
    client_secret: 'another secret of the tests',
    // Of a native application any port of this machine will do.
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/v1/auth/providers/corp/callback'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  jwks: { keys },
  scopes: ['openid', 'email', 'profile', 'hotel:read'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: false,
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: id !== 'unverified', name: id }),
  }),
  enabledJWA: { idTokenSigningAlgValues: ['RS256', ...algorithms] },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: 'hotel:read',
        audience: 'hotel',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg: resource.split(':').at(-1) } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
