//! Mistakes in `auth` and `issuers`.

use insta::assert_snapshot;

use super::table;

#[test]
fn auth() {
    let cases = [
        "auth: { issuer: /relative }",
        "auth: { issuer: '' }",
        "auth: { signing: { algorithm: HS256 } }",
        "auth: { signing: { algorithm: HS256, secret: short } }",
        "auth: { signing: { algorithm: ES256, secret: 0123456789abcdef0123456789abcdef } }",
        "auth: { signing: { algorithm: none, rotate_every: 30m } }",
        "auth: { signing: { algorithm: HS256, rotate_every: 30d, secret: 0123456789abcdef0123456789abcdef } }",
        "auth: { access_token: { lifetime: 5s } }",
        "auth: { access_token: { lifetime: 2h } }",
        "auth: { registration: closed, sessions: redis }",
        "auth: { sessions: memory }",
        "auth: { default_resource: hotel, default_role: guest }",
        "auth: { throttle: { address: 0/1m, account: many } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:17: auth.issuer: `/relative` is not an absolute URL: write https://host, without a query or a fragment
    g.yaml:2:17: auth.issuer: an empty text is not an absolute URL: write https://host, without a query or a fragment
    g.yaml:2:18: auth.signing: `secret` is missing: HS256 signs with one, of at least 32 bytes
    g.yaml:2:46: auth.signing.secret: must be at least 32 bytes: make one with `head -c 32 /dev/urandom | base64`
    g.yaml:2:46: auth.signing.secret: is for HS256 alone: remove it, the other algorithms make their own keys
    g.yaml:2:31: auth.signing.algorithm: `none` is not known here: write ES256, EdDSA, RS256 or HS256
    g.yaml:2:51: auth.signing.rotate_every: `30m` is out of range: write 1h to 3650d
    g.yaml:2:52: auth.signing.rotate_every: is for keys that the gateway makes: HS256 signs with `secret`, remove it
    g.yaml:2:35: auth.access_token.lifetime: must be at least 30s: a shorter one expires on the way
    g.yaml:2:35: auth.access_token.lifetime: must be at most 1h: an access token that leaks is good until it expires
    g.yaml:2:23: auth.registration: `closed` is not known here: write open or admin
    g.yaml:2:41: auth.sessions: needs a Redis to keep them in: name it in `storage.redis`
    g.yaml:2:19: auth.sessions: `memory` is not known here: write database or redis
    g.yaml:2:27: auth.default_resource: there is no resource `hotel`: declare it under `auth.resources`
    g.yaml:2:48: auth.default_role: there is no role `guest`: declare it under `auth.roles`
    g.yaml:2:30: auth.throttle.address: `0/1m` lets nothing pass: to close a route, remove it
    g.yaml:2:45: auth.throttle.account: `many` is not a rate: write so many in so long, such as 60/1m
    "#);
}

#[test]
fn providers() {
    let good = "name: google, issuer: https://accounts.google.com, client_id: us, client_secret: s";
    let one = |more: &str| format!("auth: {{ providers: [{{ {good}, {more} }}] }}");
    let cases = [
        "auth: { providers: google }".to_owned(),
        "auth: { providers: [{}] }".to_owned(),
        format!("auth: {{ providers: [{{ {good} }}, {{ {good} }}] }}"),
        format!("auth: {{ issuer: 'http://gw.example', providers: [{{ {good} }}] }}"),
        one("scopes: [email, 'a b']"),
        one("create_users: maybe"),
        one("allowed_domains: ['@example.com', example..com]"),
        one("return_to: /signed-in"),
        one("return_to: 'http://app.example.com/'"),
        one("return_to: 'https://app.example.com/#x'"),
        one("return_to: 'https://app.example.com/'"),
        one("colour: red"),
        "auth: { providers: [{ name: a/b, issuer: 'http://p.example', client_id: '', client_secret: s }] }"
            .to_owned(),
    ];
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:20: auth.providers: must be a list: write [a, b], or one `- ` line for each
    g.yaml:2:21: auth.providers[0]: `name` is missing: it stands in /v1/auth/providers/NAME
    g.yaml:2:21: auth.providers[0]: `issuer` is missing: write its address, such as https://accounts.google.com
    g.yaml:2:21: auth.providers[0]: `client_id` is missing: the provider gave it to you
    g.yaml:2:21: auth.providers[0]: `client_secret` is missing: the provider gave it to you
    g.yaml:2:109: auth.providers[1]: there are two providers named `google`: give each its own name
    g.yaml:2:49: auth.providers: needs `auth.issuer` to be https://…, since browsers come back to it; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:115: auth.providers[0].scopes: lacks `openid`: without it the provider does not say who signed in
    g.yaml:2:123: auth.providers[0].scopes[1]: `a b` is no scope: use visible characters without space, quote and backslash
    g.yaml:2:121: auth.providers[0].create_users: `maybe` must be true or false
    g.yaml:2:125: auth.providers[0].allowed_domains[0]: `@example.com` is no domain: write what stands behind the @, such as example.com
    g.yaml:2:141: auth.providers[0].allowed_domains[1]: `example..com` is no domain: write what stands behind the @, such as example.com
    g.yaml:2:118: auth.providers[0].return_to: `/signed-in` is no page that a browser may be sent to: write https://… without a fragment; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:118: auth.providers[0].return_to: `http://app.example.com/` is no page that a browser may be sent to: write https://… without a fragment; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:118: auth.providers[0].return_to: `https://app.example.com/#x` is no page that a browser may be sent to: write https://… without a fragment; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:118: auth.providers[0].return_to: needs the refresh token in a cookie: write `transport: cookie` or `transport: both` in `auth.refresh_token`
    g.yaml:2:107: auth.providers[0].colour: this key is not known: remove it, or use name, issuer, client_id, client_secret, scopes, create_users, allowed_domains or return_to
    g.yaml:2:29: auth.providers[0].name: `a/b` is not a name: use 1 to 64 letters, digits, `_`, `-` and `.`
    g.yaml:2:42: auth.providers[0].issuer: `http://p.example` is not the address of a provider: write https://… without a query; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:73: auth.providers[0].client_id: an empty text says nothing: write what the provider gave to you
    "#);
}

#[test]
fn refresh_tokens() {
    let cases = [
        "auth: { refresh_token: { idle: 31d } }",
        "auth: { access_token: { lifetime: 1h }, refresh_token: { idle: 10m } }",
        "auth: { refresh_token: { idle: 5s, absolute: 2000d, grace: 10m } }",
        "auth: { refresh_token: { transport: header } }",
        "auth: { refresh_token: { origins: ['*', 'https://app.example.com/', 'http://localhost:8080'] } }",
        "auth: { issuer: 'https://a.example/x;y', refresh_token: { transport: cookie } }",
    ];
    assert_snapshot!(table(&cases), @"
    g.yaml:2:24: auth.refresh_token: `idle` (31d) is longer than `absolute` (30d), which ends the session anyway: lower it, or raise the other
    g.yaml:2:56: auth.refresh_token: `idle` (10m) is shorter than `auth.access_token.lifetime` (1h): sessions would end before there is anything to refresh; raise it
    g.yaml:2:32: auth.refresh_token.idle: `5s` is out of range: write 1m to 366d
    g.yaml:2:46: auth.refresh_token.absolute: `2000d` is out of range: write 1m to 366d
    g.yaml:2:60: auth.refresh_token.grace: `10m` is out of range: write 0ms to 5m
    g.yaml:2:37: auth.refresh_token.transport: `header` is not known here: write body, cookie or both
    g.yaml:2:36: auth.refresh_token.origins[0]: `*` would let any page sign somebody in: list the origins of your own pages
    g.yaml:2:41: auth.refresh_token.origins[1]: `https://app.example.com/` is no origin: write scheme and host, such as https://app.example.com or http://localhost:3000, without a `/` at the end
    g.yaml:2:69: auth.refresh_token.origins[2]: is there already, as the origin of `auth.issuer` always is: remove it
    g.yaml:2:57: auth.refresh_token: `auth.issuer` has a `;` or a `,` in its path, which no cookie can be limited to: use another path, or `transport: body`
    ");
}

#[test]
fn passwords() {
    let cases = [
        "auth: { password: { min_length: 4 } }",
        "auth: { password: { hash: { memory: 1MiB, iterations: 11, parallelism: 0 } } }",
        "auth: { password: { hash: { memory: 128MiB }, hashing_memory: 64MiB } }",
        "auth: { mail: {} }",
        "auth: { mail: { smtp: 'http://a', from: nobody } }",
        "auth: { mail: { smtp: 'smtp://a:secret@mail.example', from: 'a@b.c' } }",
        "auth: { mail: { smtp: 'smtp://mail.example?tls=maybe', from: 'a@b.c' } }",
        "auth: { mail: { smtp: 'smtp://localhost', from: 'a@b.c', reset_link: /reset, verify_link: 'https://a/ b' } }",
        "auth: { password: { min_score: 5, breached: {} } }",
        "auth: { password: { breached: { file: /nowhere.txt } } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:33: auth.password.min_length: `4` must be a whole number, from 8 to 64
    g.yaml:2:37: auth.password.hash.memory: `1MiB` is out of range: write 8MiB to 1GiB
    g.yaml:2:55: auth.password.hash.iterations: `11` must be a whole number, from 1 to 10
    g.yaml:2:72: auth.password.hash.parallelism: `0` must be a whole number, from 1 to 16
    g.yaml:2:19: auth.password: `hashing_memory` (64MiB) is smaller than `hash.memory` (128MiB): no password could be checked; raise it
    g.yaml:2:15: auth.mail: `smtp` is missing: name the mail server, such as smtp://localhost:25
    g.yaml:2:15: auth.mail: `from` is missing: write whom mail is from, such as no-reply@example.com
    g.yaml:2:23: auth.mail.smtp: is no mail server: write smtp://host:25, smtp://user:password@host:587?tls=required or smtps://user:password@host
    g.yaml:2:41: auth.mail.from: `nobody` is no sender: write no-reply@example.com, or Example <no-reply@example.com>
    g.yaml:2:23: auth.mail.smtp: would send its password where anybody on the way can read it: write smtps://, or ?tls=required at the end
    g.yaml:2:23: auth.mail.smtp: is no mail server: write smtp://host:25, smtp://user:password@host:587?tls=required or smtps://user:password@host
    g.yaml:2:70: auth.mail.reset_link: `/reset` is not an absolute URL: write https://host, without a query or a fragment
    g.yaml:2:91: auth.mail.verify_link: `https://a/ b` is not an absolute URL: write https://host, without a query or a fragment
    g.yaml:2:32: auth.password.min_score: `5` must be a whole number, from 0 to 4
    g.yaml:2:45: auth.password.breached: `file` is missing: name the list of SHA-1 hashes, ordered by hash
    g.yaml:2:39: auth.password.breached.file: `/nowhere.txt` it is not set
    "#);
}

#[test]
fn resources_and_roles() {
    let cases = [
        "auth: { resources: { hotel: { scopes: [] } } }",
        "auth: { resources: { hotel: {} } }",
        "auth: { resources: { hotel: { scopes: [a b, '*', x, x], max_token_lifetime: 0s } } }",
        "auth: { resources: { hotel: { scopes: [users:read] } } }",
        "auth: { resources: { portcullis: { scopes: [x] } } }",
        "auth: { resources: { hotel: { scopes: [hotel:read] } }, roles: { guest: [hotel:write], all: ['*', hotel:read], desk: [users:raed] } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:39: auth.resources.hotel.scopes: is empty: without a scope nobody can be allowed anything here
    g.yaml:2:29: auth.resources.hotel: `scopes` is missing: name what can be allowed, such as [hotel:read]
    g.yaml:2:40: auth.resources.hotel.scopes[0]: `a b` is no scope: use up to 128 visible characters without space, quote and backslash
    g.yaml:2:45: auth.resources.hotel.scopes[1]: `*` means every scope and is for roles: name the scope
    g.yaml:2:53: auth.resources.hotel.scopes[3]: is written twice: keep one
    g.yaml:2:77: auth.resources.hotel.max_token_lifetime: `0s` is out of range: write 1s to 1h
    g.yaml:2:40: auth.resources.hotel.scopes[0]: `users:read` is a scope of the gateway's own administration: choose another name
    g.yaml:2:34: auth.resources.portcullis: this name is reserved for the administration of the gateway: choose another
    g.yaml:2:74: auth.roles.guest[0]: there is no scope `hotel:write`: declare it in one of `auth.resources`
    g.yaml:2:94: auth.roles.all[0]: means every scope: write it alone, or name the scopes
    g.yaml:2:119: auth.roles.desk[0]: there is no scope `users:raed`: did you mean `users:read`?
    "#);
}

#[test]
fn issuers() {
    let cases = [
        "issuers: [{}]",
        "issuers: [{ name: a, issuer: '', audiences: [], algorithms: [], types: [], secret: x }]",
        "issuers: [{ name: 'a:b', issuer: a, audiences: [hotel], algorithms: [RS1], jwks_url: https://a/jwks }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [RS256], jwks_url: http://a.example/jwks }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [RS256], jwks_url: https://u@a.example/jwks, jwks_file: a.json }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [HS256], jwks_file: a.json }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [RS256], discovery: true }]",
        "issuers: [{ name: a, issuer: 'https://a?b', audiences: [hotel], algorithms: [RS256], discovery: true, secret: x }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [RS256], discovery: false }]",
        "issuers: [{ name: a, issuer: 'https://a', audiences: [hotel], algorithms: [RS256], discovery: maybe }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [HS256, RS256], public_key_file: a.pem }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [ES256], secret: 0123456789abcdef0123456789abcdef }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [HS512], secret: 0123456789abcdef0123456789abcdef }]",
        "issuers: [{ name: a, issuer: a, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, secret: b }]",
        "issuers: [{ name: local, issuer: a, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem }]",
        "issuers: [{ name: a, issuer: 'http://localhost:8080', audiences: [hotel], algorithms: [RS256], public_key_file: a.pem }]",
        "issuers:\n\
         - { name: a, issuer: a, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem }\n\
         - { name: a, issuer: b, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem }\n\
         - { name: c, issuer: a, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, revocations_url: https://a }",
        "issuers:\n\
         - { name: a, issuer: a, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, revocations_url: http://a.example/x, revocations_client: { id: a, secret: b } }\n\
         - { name: b, issuer: b, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, revocations_url: https://a/x?after=1, revocations_client: { id: a, secret: b } }\n\
         - { name: c, issuer: c, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, revocations_client: { id: a, secret: b } }\n\
         - { name: d, issuer: d, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem, revocations_url: https://a/x, revocations_client: { id: '' } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:11: issuers[0]: `algorithms` is missing: name what its tokens are signed with, such as [RS256]
    g.yaml:2:11: issuers[0]: `issuer` is missing: write the `iss` of its tokens, byte for byte
    g.yaml:2:11: issuers[0]: `name` is missing: it marks this issuer's users, as in `corp:alice`
    g.yaml:2:11: issuers[0]: `audiences` is missing: name the `aud` values that are meant for us
    g.yaml:2:11: issuers[0]: no source of keys: write `jwks_url`, `discovery: true`, `jwks_file`, `public_key_file` or `secret`
    g.yaml:2:30: issuers[0].issuer: an empty text says nothing: write what stands in the token
    g.yaml:2:45: issuers[0].audiences: is empty: no token could be accepted
    g.yaml:2:61: issuers[0].algorithms: is empty: no token could be accepted
    g.yaml:2:72: issuers[0].types: is empty: no token could be accepted
    g.yaml:2:84: issuers[0].secret: must be at least 32 bytes: make one with `head -c 32 /dev/urandom | base64`
    g.yaml:2:19: issuers[0].name: `a:b` is not a name: use 1 to 64 letters, digits, `_`, `-` and `.`
    g.yaml:2:70: issuers[0].algorithms[0]: `RS1` is not known here: write HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA
    g.yaml:2:84: issuers[0].jwks_url: `http://a.example/jwks` is not an address that keys may be fetched from: write https://…; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:84: issuers[0].jwks_url: `https://u@a.example/jwks` is not an address that keys may be fetched from: write https://…; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:2:121: issuers[0].jwks_file: stands beside `jwks_url`: an issuer has one source of keys, remove one
    g.yaml:2:85: issuers[0].jwks_file: does not fit HMAC algorithms: write `secret`, or name RS, PS, ES or EdDSA algorithms
    g.yaml:2:85: issuers[0].discovery: asks the issuer at its own address, but `issuer` is none: make it https://… without a query, or write `jwks_url`
    g.yaml:2:97: issuers[0].discovery: asks the issuer at its own address, but `issuer` is none: make it https://… without a query, or write `jwks_url`
    g.yaml:2:111: issuers[0].secret: stands beside `discovery`: an issuer has one source of keys, remove one
    g.yaml:2:11: issuers[0]: no source of keys: write `jwks_url`, `discovery: true`, `jwks_file`, `public_key_file` or `secret`
    g.yaml:2:95: issuers[0].discovery: `maybe` must be true or false
    g.yaml:2:65: issuers[0].algorithms: must all fit one kind of key: HMAC, RSA, one elliptic curve, or EdDSA
    g.yaml:2:98: issuers[0].public_key_file: does not fit HMAC algorithms: write `secret`, or name RS, PS, ES or EdDSA algorithms
    g.yaml:2:82: issuers[0].secret: fits HMAC algorithms only: write `public_key_file` or `jwks_url`, or name HS256, HS384 or HS512
    g.yaml:2:82: issuers[0].secret: must be at least 64 bytes: make one with `head -c 64 /dev/urandom | base64`
    g.yaml:2:106: issuers[0].secret: stands beside `public_key_file`: an issuer has one source of keys, remove one
    g.yaml:2:11: issuers[0]: the name `local` stands for our own auth service: choose another
    g.yaml:2:11: issuers[0]: its `issuer` is that of `auth`, whose keys are known already: remove one
    g.yaml:4:3: issuers[1]: there are two issuers named `a`: give each its own name
    g.yaml:5:3: issuers[2]: another entry has the same `issuer`: keep one, with the audiences of both
    g.yaml:5:107: issuers[2].revocations_url: needs `revocations_client: { id, secret }` beside it: `portcullis client add NAME --scope revocations:read` there prints both
    g.yaml:3:107: issuers[0].revocations_url: `http://a.example/x` is not an address that revocations may be read from: write https://…/v1/revocations; plain http is for 127.0.0.1, ::1 and localhost alone
    g.yaml:4:107: issuers[1].revocations_url: `https://a/x?after=1` has a query or a fragment: remove it, the gateway adds its own
    g.yaml:5:110: issuers[2].revocations_client: means nothing without `revocations_url`: write where the log is read
    g.yaml:6:140: issuers[3].revocations_client: `secret` is missing: `portcullis client add` printed it
    g.yaml:6:146: issuers[3].revocations_client.id: an empty text says nothing: write what stands in the token
    "#);
}
