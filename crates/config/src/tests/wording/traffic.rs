//! Mistakes in `upstreams`, `rate_limits` and `routes`.

use insta::assert_snapshot;

use super::table;

#[test]
fn upstreams() {
    let cases = [
        "upstreams: { hotel: {} }",
        "upstreams: { hotel: { endpoints: [] } }",
        "upstreams: { hotel: { endpoints: [localhost, 127.0.0.1:0, 300.0.0.1:80, 'unix:relative', a:1, a:1] } }",
        "upstreams: { hotel: { endpoints: [a:1], timeouts: { connect: 0s, request: 1w } } }",
        "upstreams: { hotel: { endpoints: [a:1], retries: { attempts: 0, when: [connect, 502, '502', always, '500'], budget: 120% } } }",
        "upstreams: { hotel: { endpoints: [a:1], max_in_flight: 0 } }",
        "upstreams: { hotel: { endpoints: [a:1], circuit_breaker: { consecutive_failures: 0, open_for: 0s, half_open_requests: -1 } } }",
        "upstreams: { hotel: { endpoints: [a:1], circuit_breaker: { failure_rate: { percent: 0 }, slow_calls: { percent: 101 } } } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:21: upstreams.hotel: `endpoints` is missing: name at least one, such as [127.0.0.1:9001]
    g.yaml:2:34: upstreams.hotel.endpoints: is empty: name at least one, such as [127.0.0.1:9001]
    g.yaml:2:35: upstreams.hotel.endpoints[0]: `localhost` is not an endpoint: write host:port or unix:/path, without http://
    g.yaml:2:46: upstreams.hotel.endpoints[1]: `127.0.0.1:0` is not an endpoint: write host:port or unix:/path, without http://
    g.yaml:2:59: upstreams.hotel.endpoints[2]: `300.0.0.1:80` is not an endpoint: write host:port or unix:/path, without http://
    g.yaml:2:73: upstreams.hotel.endpoints[3]: `unix:relative` is not an endpoint: write host:port or unix:/path, without http://
    g.yaml:2:95: upstreams.hotel.endpoints[5]: is written twice: keep one, with a `weight` if it is to get more
    g.yaml:2:62: upstreams.hotel.timeouts.connect: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:75: upstreams.hotel.timeouts.request: `1w` is not a duration: write a number and ms, s, m, h or d, such as 500ms or 15m
    g.yaml:2:62: upstreams.hotel.retries.attempts: `0` must be a whole number, from 1 to 5
    g.yaml:2:86: upstreams.hotel.retries.when[2]: is written twice: keep one
    g.yaml:2:93: upstreams.hotel.retries.when[3]: `always` is no reason to try again: write connect, 502, 503 or 504
    g.yaml:2:101: upstreams.hotel.retries.when[4]: `500` is no reason to try again: write connect, 502, 503 or 504
    g.yaml:2:117: upstreams.hotel.retries.budget: `120%` is not a share: write 0% to 100%
    g.yaml:2:56: upstreams.hotel.max_in_flight: `0` must be a whole number, at least 1
    g.yaml:2:82: upstreams.hotel.circuit_breaker.consecutive_failures: `0` must be a whole number, from 1 to 1000000
    g.yaml:2:95: upstreams.hotel.circuit_breaker.open_for: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:119: upstreams.hotel.circuit_breaker.half_open_requests: `-1` must be a whole number, from 1 to 1000000
    g.yaml:2:85: upstreams.hotel.circuit_breaker.failure_rate.percent: `0` must be a whole number, from 1 to 100
    g.yaml:2:102: upstreams.hotel.circuit_breaker.slow_calls: `slower_than` is missing: write what counts as slow, such as 5s
    g.yaml:2:113: upstreams.hotel.circuit_breaker.slow_calls.percent: `101` must be a whole number, from 1 to 100
    "#);
}

#[test]
fn rate_limits() {
    let cases = [
        "rate_limits: { a: {} }",
        "rate_limits: { a: { key: ip, limit: 60 } }",
        "rate_limits: { a: { key: ip, limit: 0/1m } }",
        "rate_limits: { a: { key: ip, limit: 60/0s, burst: 0 } }",
        "rate_limits: { a: { key: [], limit: 60/1m, ipv6_prefix: 8 } }",
        "rate_limits: { a: { key: [user, user, 'header:X-Key', 'header:x-key', cookie], limit: 60/1m } }",
        "rate_limits: { a: { key: ['header:', 'header:X Y', 'header:Host', 'claim:', 'claim:a b', 'claim:jti'], limit: 60/1m } }",
        "rate_limits: { a: { key: user, limit: 60/1m, tiers: { gest: 600/1m, guest: most } } }",
        "rate_limits: { a: { key: user, in_flight: 0, limit: 60/1m, burst: 5, tiers: {} } }",
        "rate_limits: { sharing: { key: ip, limit: 60/1m } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:19: rate_limits.a: `limit` is missing: write so many in so long, such as 60/1m
    g.yaml:2:19: rate_limits.a: `key` is missing: write what is counted apart: ip, user, route, header:Name, claim:name, or a list of them
    g.yaml:2:37: rate_limits.a.limit: `60` is not a rate: write so many in so long, such as 60/1m
    g.yaml:2:37: rate_limits.a.limit: `0/1m` lets nothing pass: to close a route, remove it
    g.yaml:2:37: rate_limits.a.limit: `60/0s` is out of range: the count goes up to 1000000000, the period from 1ms to 3650d
    g.yaml:2:51: rate_limits.a.burst: `0` must be a whole number, from 1 to 1000000000
    g.yaml:2:26: rate_limits.a.key: is empty: write ip, user, route, header:Name, claim:name, or a list of them
    g.yaml:2:57: rate_limits.a.ipv6_prefix: `8` must be a whole number, from 32 to 128
    g.yaml:2:33: rate_limits.a.key[1]: is written twice: keep one
    g.yaml:2:55: rate_limits.a.key[3]: is written twice: keep one
    g.yaml:2:71: rate_limits.a.key[4]: `cookie` cannot be counted by: write ip, user, route, header:Name or claim:name
    g.yaml:2:27: rate_limits.a.key[0]: `header:` names no header: write one, as in header:X-Api-Client
    g.yaml:2:38: rate_limits.a.key[1]: `header:X Y` names no header: write one, as in header:X-Api-Client
    g.yaml:2:52: rate_limits.a.key[2]: `header:Host` differs between versions of HTTP: match hosts in routes, and write route
    g.yaml:2:67: rate_limits.a.key[3]: `claim:` names no claim: write one, as in claim:tenant
    g.yaml:2:77: rate_limits.a.key[4]: `claim:a b` names no claim: write one, as in claim:tenant
    g.yaml:2:90: rate_limits.a.key[5]: `claim:jti` is another one in every token, and would limit nobody: write user
    g.yaml:2:61: rate_limits.a.tiers.gest: there is no role `gest`: did you mean `guest`?
    g.yaml:2:76: rate_limits.a.tiers.guest: `most` is not a rate: write so many in so long, such as 60/1m, or unlimited
    g.yaml:2:43: rate_limits.a.in_flight: `0` must be a whole number, at least 1
    g.yaml:2:53: rate_limits.a.limit: goes with a rate: write a limit of its own for it, or leave `in_flight` out
    g.yaml:2:67: rate_limits.a.burst: goes with a rate: write a limit of its own for it, or leave `in_flight` out
    g.yaml:2:77: rate_limits.a.tiers: goes with a rate: write a limit of its own for it, or leave `in_flight` out
    g.yaml:2:27: rate_limits.sharing.key: this key is not known: remove it, or use mode, timeout, on_store_failure or replicas
    g.yaml:2:36: rate_limits.sharing.limit: this key is not known: remove it, or use mode, timeout, on_store_failure or replicas
    "#);
}

#[test]
fn routes() {
    let cases = [
        "routes: []",
        "routes: [{}]",
        "routes: [{ name: a, match: {}, upstream: hotel, auth: open }]",
        "routes: [{ name: a, match: { path: hotel }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a/**/b }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a//b }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a/../b }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a*/b }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: '/a%2Fb' }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a, methods: [get, CONNECT, 'A B'], hosts: ['a:80', '*.a'] }, upstream: hotel, auth: public }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotl, auth: public, timeout: 0s, audit: none, body: big }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rewrite: { strip_prefix: /b, add_prefix: x } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rewrite: { strip_prefix: /, add_prefix: '/x/*' } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, ip: { allow: [all] } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, forward: { user: Host, roles: X-A, scopes: x-a, token: 1 } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, forward: { user: X Y, roles: Authorization } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, upgrade: h2c, max_connection_life: 0s }]",
        "upstreams: { hotel: { endpoints: [a:1], protocol: h2c } }\n\
         routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, upgrade: websocket }]",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:9: routes: is empty: nothing is let through that no route names; write at least one
    g.yaml:2:10: routes[0]: `name` is missing: it stands in metrics and in the audit log
    g.yaml:2:10: routes[0]: `match` is missing: write `match: { path: /x/** }`
    g.yaml:2:10: routes[0]: `upstream` is missing: name one of `upstreams`, or builtin:auth; or write `redirect`
    g.yaml:2:10: routes[0]: `auth` is missing: say which resource a token must be for, or say `auth: public` to leave it open
    g.yaml:2:28: routes[0].match: `path` is missing: write a path such as /hotel-db/**
    g.yaml:2:55: routes[0].auth: `open` is not known here: write public, or `resource: …` below it
    g.yaml:2:36: routes[0].match.path: `hotel` is not a path: begin it with `/`
    g.yaml:2:36: routes[0].match.path: `/a/**/b` has `**` in the middle: it stands for everything below and goes last
    g.yaml:2:36: routes[0].match.path: `/a//b` has an empty segment: write single slashes
    g.yaml:2:36: routes[0].match.path: `/a/../b` has a dot segment: no request with one is let in
    g.yaml:2:36: routes[0].match.path: `/a*/b` has `*` within a segment: it stands for a whole one
    g.yaml:2:36: routes[0].match.path: `/a%2Fb` has a character that no path in canonical form has: use letters, digits and -._~!$&'()+,=:@
    g.yaml:2:50: routes[0].match.methods[0]: `get` never comes: methods are upper case, as in GET
    g.yaml:2:55: routes[0].match.methods[1]: `CONNECT` is never let through: remove it
    g.yaml:2:64: routes[0].match.methods[2]: `A B` is no method: write one such as GET
    g.yaml:2:80: routes[0].match.hosts[0]: `a:80` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:2:88: routes[0].match.hosts[1]: `*.a` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:2:52: routes[0].upstream: there is no upstream `hotl`: did you mean `hotel`?
    g.yaml:2:81: routes[0].timeout: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:92: routes[0].audit: `none` is not known here: write refusals or all
    g.yaml:2:104: routes[0].body: `big` is not a size: write a number of bytes, or one with KiB, MiB or GiB, such as 16KiB
    g.yaml:2:98: routes[0].rewrite.strip_prefix: is not how the paths of this route begin: nothing would be stripped
    g.yaml:2:114: routes[0].rewrite.add_prefix: `x` is not a path: begin it with `/`
    g.yaml:2:98: routes[0].rewrite.strip_prefix: `/` is no prefix: write whole segments without `*` and without a `/` at the end, such as /api
    g.yaml:2:113: routes[0].rewrite.add_prefix: `/x/*` is no prefix: write whole segments without `*` and without a `/` at the end, such as /api
    g.yaml:2:87: routes[0].ip.allow[0]: `all` is not a network: write 10.0.0.0/8, 2001:db8::/32 or a single address
    g.yaml:2:90: routes[0].forward.user: `Host` has a meaning of its own in HTTP or for the gateway: choose another name
    g.yaml:2:116: routes[0].forward.scopes: carries something else already: give each its own header
    g.yaml:2:128: routes[0].forward.token: `1` must be true or false
    g.yaml:2:90: routes[0].forward.user: `X Y` is no header name: use letters, digits and `-`
    g.yaml:2:102: routes[0].forward.roles: `Authorization` tells the upstream something else already: choose a name such as X-User-Id
    g.yaml:2:82: routes[0].upgrade: `h2c` is not known here: write none or websocket
    g.yaml:2:108: routes[0].max_connection_life: `0s` is out of range: write 1ms to 3650d
    g.yaml:3:82: routes[0].upgrade: needs an upstream that is spoken to in HTTP/1.1: write `protocol: http1` there
    "#);
}

#[test]
fn what_a_route_names() {
    let cases = [
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: {} }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: hotle } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: hotel, scopes: { all: [hotel:reed], any: [x] } } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: portcullis, scopes: { all: [users:red] } } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: hotel, roles: { any: [guests] }, issuers: [corp] } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: hotel, tenant: always, fresh: maybe, optional: maybe } }]",
        "routes: [{ name: a, match: { path: /a/*/b }, upstream: hotel, auth: { resource: hotel, tenant: { segment: 1 } } }, { name: b, match: { path: /b/* }, upstream: hotel, auth: { resource: hotel, tenant: { segment: 3 } } },\
         { name: c, match: { path: /c/** }, upstream: hotel, auth: { resource: hotel, tenant: { segment: 0 } } }, { name: d, match: { path: /d/** }, upstream: hotel, auth: { resource: hotel, tenant: {} } }]",
        "issuers: [{ name: c, issuer: c, audiences: [hotel], algorithms: [RS256], public_key_file: a.pem }, { name: d, issuer: d, audiences: [inn], algorithms: [RS256], public_key_file: a.pem }]\n\
         routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: hotel, fresh: true } },\
         { name: b, match: { path: /b }, upstream: hotel, auth: { resource: hotel, fresh: true, issuers: [local] } }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rate_limits: [per_up, sharing] }]",
        "rate_limits: { a: { key: ip, in_flight: 2 } }\nroutes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rate_limits: [a, { limit: a, cost: 2 }] }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rate_limits: [per_ip, { limit: per_ip, cost: 6 }, { cost: 0 }] }]",
        "auth: ~\nroutes: [{ name: a, match: { path: /a }, upstream: builtin:auth, auth: { resource: hotel } }]",
        "auth: ~\nissuers: [{ name: c, issuer: c, audiences: [inn], algorithms: [RS256], public_key_file: a.pem }]\n\
         routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: { resource: portcullis, issuers: [local] } }]",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:65: routes[0].auth: `resource` is missing: name what a token must be for
    g.yaml:2:77: routes[0].auth.resource: there is no resource `hotle`: did you mean `hotel`?
    g.yaml:2:100: routes[0].auth.scopes.all[0]: there is no scope `hotel:reed`: did you mean `hotel:read`?
    g.yaml:2:119: routes[0].auth.scopes.any[0]: there is no scope `x`: declare it in the scopes of `hotel`
    g.yaml:2:105: routes[0].auth.scopes.all[0]: there is no scope `users:red`: did you mean `users:read`?
    g.yaml:2:99: routes[0].auth.roles.any[0]: there is no role `guests`: did you mean `guest`?
    g.yaml:2:120: routes[0].auth.issuers[0]: there is no issuer `corp`: declare it under `issuers`
    g.yaml:2:92: routes[0].auth.tenant: `always` is not known here: write required, or { segment: 2 } for the second one of the path
    g.yaml:2:107: routes[0].auth.fresh: `maybe` must be true or false
    g.yaml:2:124: routes[0].auth.optional: `maybe` must be true or false
    g.yaml:2:107: routes[0].auth.tenant.segment: is the same in every path of this route: name one that `*` stands for
    g.yaml:2:211: routes[1].auth.tenant.segment: is in no path of this route: they are shorter
    g.yaml:2:315: routes[2].auth.tenant.segment: `0` must be a whole number, from 1 to 32
    g.yaml:2:409: routes[3].auth.tenant: `segment` is missing: say which one of the path: the first is 1
    g.yaml:3:91: routes[0].auth.fresh: can never be met by tokens of `c`, whose revocations are not followed: give it a `revocations_url`, or leave it out of `issuers` here, as in [local]
    g.yaml:2:87: routes[0].rate_limits[0]: there is no rate limit `per_up`: did you mean `per_ip`?
    g.yaml:2:95: routes[0].rate_limits[1]: there is no rate limit `sharing`: declare it under `rate_limits`
    g.yaml:3:90: routes[0].rate_limits[1]: is spent on twice: keep one, and raise its `cost` if that was meant
    g.yaml:3:108: routes[0].rate_limits[1].cost: goes with a rate: a request in flight takes one place, so remove it
    g.yaml:2:95: routes[0].rate_limits[1]: is spent on twice: keep one, and raise its `cost` if that was meant
    g.yaml:2:118: routes[0].rate_limits[1].cost: is more than `per_ip` holds at once (5): no request would ever pass
    g.yaml:2:123: routes[0].rate_limits[2]: `limit` is missing: name one of `rate_limits`
    g.yaml:2:131: routes[0].rate_limits[2].cost: `0` must be a whole number, at least 1
    g.yaml:3:52: routes[0].upstream: the embedded auth service needs its section: write `auth:`, or remove this route
    g.yaml:3:72: routes[0].auth: no token could be accepted: write `auth:` or `issuers:`, or `auth: public` here
    g.yaml:4:77: routes[0].auth.resource: is opened by our own tokens only: write `auth:`, or name another resource
    g.yaml:4:99: routes[0].auth.issuers[0]: there is no issuer `local`: declare it under `issuers`
    "#);
}

#[test]
fn a_route_for_all_hosts_or_methods_gives_way_to_one_that_names_them() {
    super::super::valid(
        "routes:\n\
         - { name: a, match: { path: /a }, upstream: hotel, auth: public }\n\
         - { name: b, match: { path: /a, methods: [GET] }, upstream: hotel, auth: public }\n\
         - { name: c, match: { path: /a, hosts: [a.example] }, upstream: hotel, auth: public }",
    );
}

#[test]
fn routes_that_match_the_same() {
    let cases = [
        "routes:\n\
         - { name: a, match: { path: /a }, upstream: hotel, auth: public }\n\
         - { name: a, match: { path: /b }, upstream: hotel, auth: public }",
        "routes:\n\
         - { name: a, match: { path: /a/* }, upstream: hotel, auth: public }\n\
         - { name: b, match: { path: /a/* }, upstream: hotel, auth: public }",
        "routes:\n\
         - { name: a, match: { path: /a, methods: [GET, HEAD], hosts: [a.b] }, upstream: hotel, auth: public }\n\
         - { name: b, match: { path: /a, methods: [HEAD], hosts: [c.d, A.B] }, upstream: hotel, auth: public }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:4:3: routes[1]: there are two routes named `a`: give each its own name
    g.yaml:4:3: routes[1]: matches the same requests as the route `a`: tell them apart by path, method or host
    g.yaml:4:3: routes[1]: matches the same requests as the route `a`: tell them apart by path, method or host
    "#);
}
