// An identity provider as others run them (oidc-provider), for the tests: `node provider.mjs PORT ALGORITHM…` is an
// issuer on 127.0.0.1 that grants client credentials as signed access tokens, for the resource `urn:hotel:ALGORITHM`
// with that algorithm. Its keys are new with each start.
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, ...algorithms] = process.argv.slice(2);

const kinds = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};
const key = (kind) => ({ ...kinds[kind]().privateKey.export({ format: 'jwk' }), kid: kind, use: 'sig' });
const keys = Object.keys(kinds).map(key);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'desk',
    client_secret: 'a secret of the tests',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  jwks: { keys },
  scopes: ['hotel:read'],
  enabledJWA: { idTokenSigningAlgValues: ['RS256', ...algorithms] },
  features: {
    devInteractions: { enabled: false },
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
