// Verifies tokens with `jose` of the npm registry, from nothing but the address of their issuer.
// Arguments: issuer, audience. A token a line on standard input, a verdict a line on standard output.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { calculateJwkThumbprint, createRemoteJWKSet, jwtVerify } from "jose";

const [issuer, audience] = process.argv.slice(2);
const found = await fetch(`${issuer}/.well-known/oauth-authorization-server`);
const metadata = await found.json();
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));

const published = await (await fetch(metadata.jwks_uri)).json();
for (const key of published.keys) {
  assert.equal(key.kid, await calculateJwkThumbprint(key));
}

for await (const token of createInterface({ input: process.stdin })) {
  try {
    const expected = { issuer: metadata.issuer, audience, typ: "at+jwt", requiredClaims: ["sub", "exp", "iat", "jti"] };
    const { payload, protectedHeader } = await jwtVerify(token, keys, expected);
    console.log(`good ${protectedHeader.alg} ${payload.sub}`);
  } catch (error) {
    console.log(`refused ${error.code ?? error}`);
  }
}
