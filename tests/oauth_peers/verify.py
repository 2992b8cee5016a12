"""Verifies tokens with PyJWT or joserfc, from nothing but the address of their issuer.

Arguments: library, issuer, audience. A token a line on standard input, a verdict a line on standard output.
"""

import json
import sys
import urllib.request

ALGORITHMS = ["ES256", "EdDSA", "RS256"]


def fetched(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def with_pyjwt(metadata, audience):
    import jwt

    keys = jwt.PyJWKClient(metadata["jwks_uri"])

    def verify(token):
        key = keys.get_signing_key_from_jwt(token)
        expected = {"issuer": metadata["issuer"], "audience": audience}
        required = {"require": ["exp", "iat", "iss", "aud", "sub", "jti"]}
        verified = jwt.decode_complete(token, key, algorithms=ALGORITHMS, options=required, **expected)
        return verified["header"], verified["payload"]

    return verify


def with_joserfc(metadata, audience):
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(fetched(metadata["jwks_uri"]))
    essential = {name: {"essential": True} for name in ["exp", "iat", "sub", "jti"]}
    expected = {
        "iss": {"essential": True, "value": metadata["issuer"]},
        "aud": {"essential": True, "value": audience},
    }
    claims = jwt.JWTClaimsRegistry(**essential, **expected)

    def verify(token):
        verified = jwt.decode(token, keys, algorithms=ALGORITHMS)
        claims.validate(verified.claims)
        return verified.header, verified.claims

    return verify


library, issuer, audience = sys.argv[1:]
metadata = fetched(f"{issuer}/.well-known/oauth-authorization-server")
verify = {"pyjwt": with_pyjwt, "joserfc": with_joserfc}[library](metadata, audience)

for line in sys.stdin:
    try:
        header, payload = verify(line.strip())
        assert header["typ"] == "at+jwt", header
        print("good", header["alg"], payload["sub"])
    except Exception as error:
        print("refused", type(error).__name__)
