//! Mistakes in the endpoints of an upstream, the choice among them, and what takes one of them out.

use insta::assert_snapshot;

use super::table;

#[test]
fn endpoints() {
    let cases = [
        "upstreams: { hotel: { endpoints: [{ address: a:1, weight: 101 }, { address: b:1, weight: -1 }, { weight: 1 }] } }",
        "upstreams: { hotel: { endpoints: [{ address: a:1, weight: 0 }, { address: b:1, weight: 0 }] } }",
        "upstreams: { hotel: { endpoints: [a:1], balance: 'hash:name' } }",
        "upstreams: { hotel: { endpoints: [a:1], balance: { hash: 'header:X Y' } } }",
        "upstreams: { hotel: { endpoints: [a:1], balance: { hash: 'cookie:' } } }",
        "upstreams: { hotel: { endpoints: [a:1], balance: {} } }",
        "upstreams: { hotel: { endpoints: [a:1], health_check: { interval: 5s } } }",
        "upstreams: { hotel: { endpoints: [a:1], health_check: { path: healthz, interval: 0s, timeout: 1, healthy: 0, unhealthy: x, port: 1 } } }",
        "upstreams: { hotel: { endpoints: [a:1], health_check: { path: '/a b' } } }",
        "upstreams: { hotel: { endpoints: [a:1], outlier: { consecutive_failures: 0, eject_for: 0s, max_ejected: 50 } } }",
        "upstreams: { hotel: { endpoints: [a:1], outlier: { max_ejected: 0% } } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:59: upstreams.hotel.endpoints[0].weight: `101` must be a whole number, from 0 to 100
    g.yaml:2:90: upstreams.hotel.endpoints[1].weight: `-1` must be a whole number, from 0 to 100
    g.yaml:2:96: upstreams.hotel.endpoints[2]: `address` is missing: write host:port
    g.yaml:2:34: upstreams.hotel.endpoints: every endpoint has the weight 0: nothing could be sent to any of them
    g.yaml:2:50: upstreams.hotel.balance: `hash:name` cannot be hashed by: write ip, user, header:NAME or cookie:NAME
    g.yaml:2:58: upstreams.hotel.balance.hash: `header:X Y` cannot be hashed by: write ip, user, header:NAME or cookie:NAME
    g.yaml:2:58: upstreams.hotel.balance.hash: `cookie:` cannot be hashed by: write ip, user, header:NAME or cookie:NAME
    g.yaml:2:50: upstreams.hotel.balance: `hash` is missing: write ip, user, header:NAME or cookie:NAME
    g.yaml:2:55: upstreams.hotel.health_check: `path` is missing: write what to ask for, such as /healthz
    g.yaml:2:63: upstreams.hotel.health_check.path: `healthz` is not a path: begin it with `/` and write no spaces, such as /healthz
    g.yaml:2:82: upstreams.hotel.health_check.interval: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:95: upstreams.hotel.health_check.timeout: `1` is not a duration: write a number and ms, s, m, h or d, such as 500ms or 15m
    g.yaml:2:107: upstreams.hotel.health_check.healthy: `0` must be a whole number, from 1 to 1000000
    g.yaml:2:121: upstreams.hotel.health_check.unhealthy: `x` must be a whole number, from 1 to 1000000
    g.yaml:2:124: upstreams.hotel.health_check.port: this key is not known: remove it, or use path, interval, timeout, healthy or unhealthy
    g.yaml:2:63: upstreams.hotel.health_check.path: `/a b` is not a path: begin it with `/` and write no spaces, such as /healthz
    g.yaml:2:74: upstreams.hotel.outlier.consecutive_failures: `0` must be a whole number, from 1 to 1000000
    g.yaml:2:88: upstreams.hotel.outlier.eject_for: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:105: upstreams.hotel.outlier.max_ejected: `50` is not a share: write 1% to 100%
    g.yaml:2:65: upstreams.hotel.outlier.max_ejected: `0%` is not a share: write 1% to 100%
    "#);
}

#[test]
fn how_they_are_reached() {
    let cases = [
        "upstreams: { hotel: { endpoints: [a:1], balance: random, protocol: http3 } }",
        "upstreams: { hotel: { endpoints: [a:1], protocol: h2 } }",
        "upstreams: { hotel: { endpoints: [a:1], protocol: h2c, tls: { server_name: a } } }",
        "upstreams: { hotel: { endpoints: [a:1], tls: { ca: ca.crt } } }",
        "upstreams: { hotel: { endpoints: [a:1], tls: { server_name: '' } } }",
        "upstreams: { hotel: { endpoints: [a:1], tls: { server_name: '*.a', verify: false } } }",
        "upstreams: { hotel: { endpoints: [a:1], tls: { server_name: a, key: tls.key } } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:50: upstreams.hotel.balance: `random` is not known here: write least_requests, round_robin or { hash: ip }
    g.yaml:2:68: upstreams.hotel.protocol: `http3` is not known here: write http1, h2 or h2c
    g.yaml:2:51: upstreams.hotel.protocol: needs `tls`: write it, or h2c for HTTP/2 without TLS
    g.yaml:2:51: upstreams.hotel.protocol: is HTTP/2 without TLS: write h2, or remove `tls`
    g.yaml:2:46: upstreams.hotel.tls: `server_name` is missing: write the name that the endpoints' certificates are for, such as hotel.internal
    g.yaml:2:52: upstreams.hotel.tls.ca: `ca.crt` cannot be read: it is not set
    g.yaml:2:61: upstreams.hotel.tls.server_name: an empty text is no name that a certificate is for: write a host name or an address, without port and wildcard
    g.yaml:2:61: upstreams.hotel.tls.server_name: `*.a` is no name that a certificate is for: write a host name or an address, without port and wildcard
    g.yaml:2:68: upstreams.hotel.tls.verify: this key is not known: remove it, or use server_name, certificate, key or ca
    g.yaml:2:46: upstreams.hotel.tls: `certificate` is missing: name its PEM file, such as /etc/tls/tls.crt
    "#);
}
