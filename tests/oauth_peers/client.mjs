// Does with `openid-client` of the npm registry what a program does with the auth service, from nothing but its address:
// from the issuer, and (with `oauth4webapi` beneath it) from the resource, which leads to the issuer.
// Arguments: issuer, a client's id and secret, another's id and private key, and the refresh token of a user.
// Says a line for each thing that was done.

import assert from "node:assert/strict";
import * as oauth4webapi from "oauth4webapi";
import * as oauth from "openid-client";

const [issuer, id, secret, signingId, pkcs8, refreshToken] = process.argv.slice(2);
const p256 = { name: "ECDSA", namedCurve: "P-256" };
const key = await crypto.subtle.importKey("pkcs8", Buffer.from(pkcs8, "base64"), p256, false, ["sign"]);
const how = { algorithm: "oauth2", execute: [oauth.allowInsecureRequests] };
const discovered = (client, authentication) => oauth.discovery(new URL(issuer), client, undefined, authentication, how);

// What a library throws where the answer is an error of OAuth.
const error = async (promise) => {
  const thrown = await promise.then(() => assert.fail("it was answered"), (reason) => reason);
  return [thrown.status, thrown.error];
};

for (const [name, as, authentication] of [
  ["client_secret_basic", id, oauth.ClientSecretBasic(secret)],
  ["client_secret_post", id, oauth.ClientSecretPost(secret)],
  ["private_key_jwt", signingId, oauth.PrivateKeyJwt(key)],
]) {
  const client = await discovered(as, authentication);
  const issued = await oauth.clientCredentialsGrant(client, { resource: "hotel" });
  assert.equal(issued.scope, "hotel:read");
  const told = await oauth.tokenIntrospection(client, issued.access_token);
  assert.deepEqual([told.active, told.client_id, told.aud], [true, as, "hotel"]);
  await oauth.tokenRevocation(client, issued.access_token);
  assert.deepEqual(await oauth.tokenIntrospection(client, issued.access_token), { active: false });
  await oauth.tokenRevocation(client, "unknown", { token_type_hint: "refresh_token" });
  assert.deepEqual(await error(oauth.clientCredentialsGrant(client, { scope: "hotel:write" })), [400, "invalid_scope"]);
  assert.deepEqual(await error(oauth.clientCredentialsGrant(client, { resource: "x" })), [400, "invalid_target"]);
  const password = oauth.genericGrantRequest(client, "password", { username: "alice", password: "x" });
  assert.deepEqual(await error(password), [400, "unsupported_grant_type"]);
  console.log(`${name}: got a token, asked about it, gave it back`);
}

const stranger = await discovered(id, oauth.ClientSecretBasic("wrong"));
const refused = await oauth.clientCredentialsGrant(stranger, {}).catch((reason) => reason);
assert.equal(refused.status, 401);
console.log("a wrong secret: refused");

const person = await discovered("portcullis", oauth.None());
const first = await oauth.refreshTokenGrant(person, refreshToken);
assert.notEqual(first.refresh_token, refreshToken);
const second = await oauth.refreshTokenGrant(person, first.refresh_token);
await oauth.tokenRevocation(person, second.refresh_token);
assert.deepEqual(await error(oauth.refreshTokenGrant(person, second.refresh_token)), [400, "invalid_grant"]);
const service = await discovered(id, oauth.ClientSecretBasic(secret));
for (const token of [second.access_token, second.refresh_token]) {
  assert.deepEqual(await oauth.tokenIntrospection(service, token), { active: false });
}
console.log("refresh_token: rotated twice, gave it back, and was signed out");

const resource = new URL(issuer);
const asked = await oauth4webapi.resourceDiscoveryRequest(resource, { [oauth4webapi.allowInsecureRequests]: true });
const metadata = await oauth4webapi.processResourceDiscoveryResponse(resource, asked);
assert.deepEqual(metadata.authorization_servers, [issuer]);
console.log("the resource: led to the issuer");
