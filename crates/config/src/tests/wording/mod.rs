//! The words of every mistake: a table of wrong files, and what an operator reads about each.

mod endpoints;
mod identity;
mod routing;
mod sharing;
mod traffic;

use insta::assert_snapshot;

use super::{whole, wrong};

/// The mistakes of each case, which begins in line 2 of its file.
fn table(cases: &[&str]) -> String {
    let answers: Vec<String> = cases.iter().map(|case| wrong(case)).collect();
    answers.join("\n")
}

#[test]
fn ten_mistakes_are_reported_at_once_in_the_order_of_their_lines() {
    let text = "\
version: 2
sever: {}
server:
  threads: many
  listeners: [{ address: 0.0.0.0:8080 }, { address: 127.0.0.1:8080 }]
auth:
  resources: { hotel: { scopes: [hotel:read] } }
  roles: { guest: [hotel:raed] }
upstreams:
  hotel: { endpoints: [http://127.0.0.1:9001], retries: { attempts: 9 } }
rate_limits:
  per_ip: { key: ip, limit: 0/1m }
routes:
  - { name: open, match: { path: /open }, upstream: hotel }
  - { name: hotel, match: { path: /hotel/** }, upstream: hotl, auth: public, rate_limits: [per_user] }
";
    assert_snapshot!(whole(text), @r#"
    g.yaml:1:10: version: `2` is not a version this gateway reads: write 1
    g.yaml:2:1: sever: this key is not known: did you mean `server`?
    g.yaml:4:12: server.threads: `many` is not a number of threads: write auto, or 1 to 1024
    g.yaml:5:53: server.listeners[1].address: this address is bound twice: give each listener and `server.admin` its own port
    g.yaml:8:20: auth.roles.guest[0]: there is no scope `hotel:raed`: did you mean `hotel:read`?
    g.yaml:10:24: upstreams.hotel.endpoints[0]: `http://127.0.0.1:9001` is not an endpoint: write host:port or unix:/path, without http://
    g.yaml:10:69: upstreams.hotel.retries.attempts: `9` must be a whole number, from 1 to 5
    g.yaml:12:29: rate_limits.per_ip.limit: `0/1m` lets nothing pass: to close a route, remove it
    g.yaml:14:5: routes[0]: `auth` is missing: say which resource a token must be for, or say `auth: public` to leave it open
    g.yaml:15:58: routes[1].upstream: there is no upstream `hotl`: did you mean `hotel`?
    g.yaml:15:92: routes[1].rate_limits[0]: there is no rate limit `per_user`: declare it under `rate_limits`
    "#);
}

#[test]
fn texts_that_are_no_configuration() {
    let texts = [
        "",
        "# only a comment\n",
        "\u{feff}\n",
        "just words",
        "- version: 1",
        "version: 1\n\u{0}hidden: true",
        "version: 1\nserver:\n\tadmin: 127.0.0.1:9090",
        "version: 1\nserver: [",
        "version: 1\n---\nversion: 1",
        "version: &v 1\nserver: { threads: *v }\nroutes: []",
        "version: !!int 1\nroutes: []",
        "{[a]: b, version: 1, routes: []}",
        "version: 1\nversion: 1\nroutes: ~",
    ];
    let answers: Vec<String> = texts.iter().map(|text| whole(text)).collect();
    assert_snapshot!(answers.join("\n"), @r#"
    g.yaml:1:1: the file is empty: begin with `version: 1` and name at least one route
    g.yaml:1:1: the file is empty: begin with `version: 1` and name at least one route
    g.yaml:1:1: the file is empty: begin with `version: 1` and name at least one route
    g.yaml:1:1: must be a section with keys: write `key: value` lines below it
    g.yaml:1:1: must be a section with keys: write `key: value` lines below it
    g.yaml:2:1: the character U+0000 has no place in a YAML file: remove it
    g.yaml:3:2: this is not YAML: tabs disallowed within this context (block indentation)
    g.yaml:3:1: this is not YAML: while parsing a node, did not find expected node content
    g.yaml:2:1: a second document begins here: keep one in a file
    g.yaml:2:20: aliases are not read here: write the value out
    g.yaml:3:9: routes: is empty: nothing is let through that no route names; write at least one
    g.yaml:1:10: tags (`!…`) are not read here: remove it
    g.yaml:2:9: routes: is empty: nothing is let through that no route names; write at least one
    g.yaml:1:2: a key must be a plain word; put quotes around a value that begins with { or [
    g.yaml:1:30: routes: is empty: nothing is let through that no route names; write at least one
    g.yaml:1:1: `routes` is missing: nothing is let through that no route names; write at least one
    g.yaml:2:1: version: is written twice, first in line 1: keep one
    "#);
    assert_snapshot!(whole(&"a".repeat(2 << 20)), @r#"g.yaml:1:1: the file is larger than 1MiB: this is no configuration"#);
    assert_snapshot!(whole(&format!("version: {}", "[".repeat(60))), @r#"g.yaml:1:42: nested deeper than 32 levels: nothing here is"#);
}

#[test]
fn keys_that_are_unknown_written_twice_or_of_another_shape() {
    let cases = [
        "server: { listener: [] }",
        "server: { colour: blue }",
        "server: { admin: 127.0.0.1:9090, admin: 127.0.0.1:9091 }",
        "server: 5",
        "server: { listeners: 0.0.0.0:8080 }",
        "server: { admin: [127.0.0.1:9090] }",
        "upstreams: [hotel]",
        "upstreams: { ho tel: { endpoints: [a:1] } }\nroutes: [{ name: r, match: { path: / }, upstream: ho tel, auth: public }]",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:11: server.listener: this key is not known: did you mean `listeners`?
    g.yaml:2:11: server.colour: this key is not known: remove it, or use admin, listeners, trusted_proxies, threads, limits, shutdown, headers, access_log or tracing
    g.yaml:2:34: server.admin: is written twice, first in line 2: keep one
    g.yaml:2:9: server: must be a section with keys: write `key: value` lines below it
    g.yaml:2:22: server.listeners: must be a list: write [a, b], or one `- ` line for each
    g.yaml:2:22: server.listeners: is empty: name at least one, such as `- address: 0.0.0.0:8080`
    g.yaml:2:18: server.admin: must be a single value, not a list or a section
    g.yaml:2:12: upstreams: must be a mapping of names: write `key: value` lines below it
    g.yaml:5:60: routes[0].upstream: there is no upstream `hotel`: declare it under `upstreams`
    g.yaml:2:22: upstreams.ho tel: `ho tel` is not a name: use 1 to 64 letters, digits, `_`, `-` and `.`
    "#);
}

#[test]
fn server() {
    let cases = [
        "server: { listeners: [] }",
        "server: { listeners: [{}] }",
        "server: { listeners: [{ address: localhost }] }",
        "server: { listeners: [{ address: 0.0.0.0:9090 }] }",
        "server: { listeners: [{ address: 0.0.0.0:8443, tls: { certificate: a, key: b } }] }",
        "server: { listeners: [{ address: 127.0.0.1:1, proxy_protocol: true }] }",
        "server: { threads: 0 }",
        "server: { trusted_proxies: [10.0.0.1/8, proxy] }",
        "server: { limits: { header_bytes: 1KB, headers: 300, body: 1e3, header_timeout: 0s, idle_timeout: 60 } }",
        "server: { limits: { connections: 0, connections_per_ip: lots } }",
        "server: { shutdown: { drain_delay: 30s, timeout: 20s } }",
        "server: { headers: { security: strict, rate_limit: all, process_time: yes } }",
        "server: { headers: { security: { Transfer-Encoding: a, 'X Y': b } } }",
        "server: { access_log: some }",
        "server: { access_log: { format: text, to: 'file:', sample: 0 } }",
        "server: { tracing: { otlp: 'localhost:4317' } }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:22: server.listeners: is empty: name at least one, such as `- address: 0.0.0.0:8080`
    g.yaml:2:23: server.listeners[0]: `address` is missing: write `address: 0.0.0.0:8080`
    g.yaml:2:34: server.listeners[0].address: `localhost` is not an address to bind: write an IP address and a port, such as 127.0.0.1:8080 or [::]:8080
    g.yaml:2:34: server.listeners[0].address: this address is bound twice: give each listener and `server.admin` its own port
    g.yaml:2:68: server.listeners[0].tls.certificate: `a` cannot be read: it is not set
    g.yaml:2:76: server.listeners[0].tls.key: `b` cannot be read: it is not set
    g.yaml:2:9: server: `trusted_proxies` names nobody who may speak `proxy_protocol`: add the networks of the load balancer
    g.yaml:2:20: server.threads: `0` is not a number of threads: write auto, or 1 to 1024
    g.yaml:2:29: server.trusted_proxies[0]: `10.0.0.1/8` has bits beyond its prefix: write the first address of the network, as in 10.0.0.0/8
    g.yaml:2:41: server.trusted_proxies[1]: `proxy` is not a network: write 10.0.0.0/8, 2001:db8::/32 or a single address
    g.yaml:2:35: server.limits.header_bytes: `1KB` is not a size: write a number of bytes, or one with KiB, MiB or GiB, such as 16KiB
    g.yaml:2:49: server.limits.headers: `300` must be a whole number, from 1 to 256
    g.yaml:2:60: server.limits.body: `1e3` is not a size: write a number of bytes, or one with KiB, MiB or GiB, such as 16KiB
    g.yaml:2:81: server.limits.header_timeout: `0s` is out of range: write 1ms to 3650d
    g.yaml:2:99: server.limits.idle_timeout: `60` is not a duration: write a number and ms, s, m, h or d, such as 500ms or 15m
    g.yaml:2:34: server.limits.connections: `0` must be a whole number, at least 1
    g.yaml:2:57: server.limits.connections_per_ip: `lots` must be a whole number, at least 1
    g.yaml:2:36: server.shutdown.drain_delay: must be shorter than `timeout`, which counts from the signal too
    g.yaml:2:32: server.headers.security: `strict` is not known here: write owasp, none, or `Header-Name: value` lines
    g.yaml:2:52: server.headers.rate_limit: `all` is not known here: write ietf, x, both or none
    g.yaml:2:71: server.headers.process_time: `yes` must be true or false
    g.yaml:2:53: server.headers.security.Transfer-Encoding: `Transfer-Encoding` has a meaning of its own in HTTP or for the gateway: choose another name
    g.yaml:2:63: server.headers.security.X Y: `X Y` is no header name: use letters, digits and `-`
    g.yaml:2:23: server.access_log: `some` is not known here: write none, or a section such as { format: json, to: stdout }
    g.yaml:2:33: server.access_log.format: `text` is not known here: write json
    g.yaml:2:43: server.access_log.to: `file:` names no file: write file:/var/log/portcullis.log
    g.yaml:2:60: server.access_log.sample: must be above 0 and at most 1; for no log at all write `access_log: none`
    g.yaml:2:28: server.tracing.otlp: `localhost:4317` is no collector: write the address of its OTLP/HTTP receiver, such as http://localhost:4318
    "#);
}

#[test]
fn storage() {
    let cases = [
        "storage: { database: mysql://localhost/a }",
        "storage: { database: 'sqlite://' }",
        "storage: { database: postgres://localhost/portcullis }",
        "storage: { database: 'postgres://', key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= }",
        "storage: { key: c2hvcnQ= }",
        "storage: { key: '${file:/run/secrets/key}' }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:22: storage.database: `mysql://localhost/a` is not a database: write sqlite://path/to/file.db or postgres://user:password@host/name
    g.yaml:2:22: storage.database: `sqlite://` names no file: write sqlite:// and a path, such as sqlite://data/portcullis.db
    g.yaml:2:10: storage: `key` is missing: PostgreSQL has no folder to keep a key file in; name the root key, such as "${file:/run/secrets/portcullis.key}"
    g.yaml:2:22: storage.database: `postgres://` is not a PostgreSQL URL: write postgres://user:password@host:5432/name
    g.yaml:2:17: storage.key: must be 32 bytes in base64: make one with `head -c 32 /dev/urandom | base64`
    g.yaml:2:17: storage.key: `${file:/run/secrets/key}` does not resolve: it is not set
    "#);
}

#[test]
fn references() {
    let cases = [
        "auth: { issuer: '${env:ISSUER}' }",
        "auth: { issuer: '${env:IS SUER}' }",
        "auth: { issuer: '${ISSUER}' }",
        "auth: { issuer: 'https://${env:ISSUER' }",
        "auth: { issuer: '${aws-secret:issuer}' }",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:17: auth.issuer: `${env:ISSUER}` does not resolve: it is not set; set it, or write ${env:ISSUER:-default}
    g.yaml:2:17: auth.issuer: names no environment variable: write ${env:NAME} with letters, digits and `_`
    g.yaml:2:17: auth.issuer: is no reference that is known: write ${env:NAME}, ${env:NAME:-default} or ${file:/path}
    g.yaml:2:17: auth.issuer: a reference has no end: `${` needs a `}`
    g.yaml:2:17: auth.issuer: `${aws-secret:…}` is not supported yet: use env or file
    "#);
}

#[test]
fn audit_and_alerts() {
    let cases = [
        "audit: { retention: 365d, sinks: [{ file: a }] }",
        "alerts: [{ on: login_failure }]",
        "audit: 1",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:21: audit.retention: is not supported yet: remove it
    g.yaml:2:34: audit.sinks: is not supported yet: remove it
    g.yaml:2:9: alerts: is not supported yet: remove it
    g.yaml:2:8: audit: must be a section with keys: write `key: value` lines below it
    "#);
}

#[test]
fn a_hostile_value_is_shown_in_one_short_line() {
    let long = format!(
        "server: {{ threads: \"a\\n\\e[31m\\u202e{}\" }}",
        "x".repeat(500)
    );
    assert_snapshot!(wrong(&long), @r#"g.yaml:2:20: server.threads: `a\n\u{1b}[31m\u{202e}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not a number of threads: write auto, or 1 to 1024"#);
}
