// A client that signs for itself, with `openid-client` and `jose` of the npm registry.
// `keys ALGORITHM FILE` makes a key: its private half goes into the file, the public one to standard output.
// `use ISSUER ID FILE` gets a token with it, in every way, and says a line for each.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { exportJWK, generateKeyPair, importJWK, SignJWT } from "jose";
import * as oauth from "openid-client";

const [verb, ...rest] = process.argv.slice(2);

const keys = async (algorithm, file) => {
  const pair = await generateKeyPair(algorithm, { extractable: true });
  writeFileSync(file, JSON.stringify({ ...(await exportJWK(pair.privateKey)), alg: algorithm }));
  console.log(JSON.stringify(await exportJWK(pair.publicKey)));
};

const use = async (issuer, id, file) => {
  const jwk = JSON.parse(readFileSync(file, "utf8"));
  const key = await importJWK(jwk, jwk.alg);
  const how = { algorithm: "oauth2", execute: [oauth.allowInsecureRequests] };
  // openid-client calls EdDSA by its newer name, Ed25519, which is not taken here.
  if (jwk.alg !== "EdDSA") {
    const client = await oauth.discovery(new URL(issuer), id, undefined, oauth.PrivateKeyJwt(key), how);
    assert(client.serverMetadata().token_endpoint_auth_signing_alg_values_supported.includes(jwk.alg));
    const issued = await oauth.clientCredentialsGrant(client, { resource: "hotel" });
    assert.equal(issued.scope, "hotel:read");
    const told = await oauth.tokenIntrospection(client, issued.access_token);
    assert.deepEqual([told.active, told.client_id], [true, id]);
    await oauth.tokenRevocation(client, issued.access_token);
    assert.deepEqual(await oauth.tokenIntrospection(client, issued.access_token), { active: false });
    console.log("openid-client: got a token, asked about it, gave it back");
  }
  const assertion = await new SignJWT({})
    .setProtectedHeader({ alg: jwk.alg }).setIssuer(id).setSubject(id).setAudience(`${issuer}/oauth/token`)
    .setJti(crypto.randomUUID()).setIssuedAt().setExpirationTime("1m").sign(key);
  const ask = () => fetch(`${issuer}/oauth/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      client_assertion: assertion,
    }),
  });
  assert.equal((await ask()).status, 200);
  const again = await ask();
  assert.deepEqual([again.status, (await again.json()).error], [401, "invalid_client"]);
  console.log("jose: got a token once");
};

await (verb === "keys" ? keys(...rest) : use(...rest));
