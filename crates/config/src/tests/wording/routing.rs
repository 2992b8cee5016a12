//! Mistakes in what a route does beside letting through: `shadow`, `cors`, `headers`.

use insta::assert_snapshot;

use super::table;

#[test]
fn shadows_of_checks() {
    let cases = [
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, shadow: token }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, shadow: [tokn, per_ip] }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, shadow: [token, access, body, address, max_in_flight] }]",
        "routes: [{ name: a, match: { path: /a }, upstream: builtin:auth, auth: public, shadow: [circuit_breaker, max_in_flight] }]",
        "routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rate_limits: [per_ip], shadow: [per_ip, circuit_breaker, per_ip] }]",
        "rate_limits: { body: { key: ip, limit: 60/1m } }\n\
         routes: [{ name: a, match: { path: /a }, upstream: hotel, auth: public, rate_limits: [body], shadow: [body] }]",
    ];
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:81: routes[0].shadow: must be a list: write [a, b], or one `- ` line for each
    g.yaml:2:82: routes[0].shadow[0]: there is no check here `tokn`: did you mean `token`?
    g.yaml:2:88: routes[0].shadow[1]: there is no check here `per_ip`: name a check, or a rate limit that this route spends from
    g.yaml:2:82: routes[0].shadow[0]: would report nothing: this route is public
    g.yaml:2:89: routes[0].shadow[1]: would report nothing: this route is public
    g.yaml:2:97: routes[0].shadow[2]: would report nothing: this route has no `body` of its own, and the server's stays in force
    g.yaml:2:103: routes[0].shadow[3]: would report nothing: this route has no `ip` lists
    g.yaml:2:112: routes[0].shadow[4]: would report nothing: the upstream has no `max_in_flight`
    g.yaml:2:89: routes[0].shadow[0]: would report nothing: only what leads to one of `upstreams` has a breaker
    g.yaml:2:106: routes[0].shadow[1]: would report nothing: the upstream has no `max_in_flight`
    g.yaml:2:130: routes[0].shadow[2]: is written twice: keep one
    g.yaml:3:103: routes[0].shadow[0]: is a check and a rate limit of this route: give the limit another name
    "#);
}

/// A public route to the hotel with this besides.
fn routes(besides: &[&str]) -> String {
    let cases: Vec<String> = besides
        .iter()
        .map(|besides| {
            format!("routes:\n- {{ name: a, match: {{ path: /a }}, upstream: hotel, auth: public }}\n- name: b\n  match: {{ path: /b }}\n  upstream: hotel\n  auth: public\n  {besides}")
        })
        .collect();
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    table(&cases)
}

#[test]
fn pages_of_other_origins() {
    let cases = [
        "cors: {}",
        "cors: { origins: [] }",
        "cors: { origins: ['*'], credentials: true }",
        "cors: { origins: ['*', 'https://a.example'] }",
        "cors: { origins: ['null', 'https://*.example', 'a.example', 'https://a.example/', 'https://a', 'HTTPS://A:443'] }",
        "cors: { origins: ['https://a'], max_age: 2d, headers: ['*', 'X Y'], expose: 5, methods: [GET] }",
    ];
    assert_snapshot!(routes(&cases), @r#"
    g.yaml:8:9: routes[1].cors: `origins` is missing: list them, such as [https://app.example.com]
    g.yaml:8:20: routes[1].cors.origins: is empty: list origins, or remove `cors`
    g.yaml:8:40: routes[1].cors.credentials: with origins `*` any page could act for whoever is signed in: list the origins, or remove this
    g.yaml:8:21: routes[1].cors.origins[0]: stands for every origin: write it alone
    g.yaml:8:21: routes[1].cors.origins[0]: `null` is sent by every sandboxed page and local file: no origin can be told by it; remove it
    g.yaml:8:29: routes[1].cors.origins[1]: `https://*.example` has a wildcard: write each origin out
    g.yaml:8:50: routes[1].cors.origins[2]: `a.example` is no origin: write scheme and host, such as https://app.example.com or http://localhost:3000, without a `/` at the end
    g.yaml:8:63: routes[1].cors.origins[3]: `https://a.example/` is no origin: write scheme and host, such as https://app.example.com or http://localhost:3000, without a `/` at the end
    g.yaml:8:98: routes[1].cors.origins[5]: is written twice: keep one
    g.yaml:8:44: routes[1].cors.max_age: `2d` is out of range: write 0ms to 1d
    g.yaml:8:58: routes[1].cors.headers[0]: `*` does not cover what matters, such as Authorization: write each name out
    g.yaml:8:63: routes[1].cors.headers[1]: `X Y` is no header name: use letters, digits and `-`
    g.yaml:8:79: routes[1].cors.expose: must be a list: write [a, b], or one `- ` line for each
    g.yaml:8:82: routes[1].cors.methods: this key is not known: remove it, or use origins, credentials, max_age, headers or expose
    "#);
}

#[test]
fn header_rules() {
    let cases = [
        "headers: { request: { set: { Host: a, 'X Y': b, X_User_Id: c, X-Forwarded-For: d, X-User-Id: e } } }",
        "headers: { request: { set: { X-A: \"a\\nb\" }, remove: [Connection, x-a, X-Portcullis-Client-Address] } }",
        "headers: { response: { set: { Content-Length: 5, X-B: b, x-b: c }, remove: [Transfer-Encoding, X-Request-ID] } }",
        "headers: { request: [], reply: {} }",
        "headers: { response: { remove: [Vary] } }\n  cors: { origins: ['*'] }",
        "headers: { response: { set: { Access-Control-Allow-Origin: '*' } } }\n  cors: { origins: ['*'] }",
    ];
    assert_snapshot!(routes(&cases), @r#"
    g.yaml:4:3: routes[1]: `headers.request` names `x-user-id`, by which upstreams learn who calls: choose another name
    g.yaml:8:38: routes[1].headers.request.set.Host: `Host` has a meaning of its own in HTTP or for the gateway: remove it
    g.yaml:8:48: routes[1].headers.request.set.X Y: `X Y` is no header name: use letters, digits and `-`
    g.yaml:8:62: routes[1].headers.request.set.X_User_Id: `X_User_Id` is read by some servers as the name with `-`, which may be another's: write `-`
    g.yaml:8:82: routes[1].headers.request.set.X-Forwarded-For: `X-Forwarded-For` is the gateway's to say: remove it
    g.yaml:8:37: routes[1].headers.request.set.X-A: `a\nb` is no header value: keep to visible characters
    g.yaml:8:56: routes[1].headers.request.remove[0]: `Connection` has a meaning of its own in HTTP or for the gateway: remove it
    g.yaml:8:73: routes[1].headers.request.remove[2]: `X-Portcullis-Client-Address` is the gateway's to say: remove it
    g.yaml:8:49: routes[1].headers.response.set.Content-Length: `Content-Length` has a meaning of its own in HTTP or for the gateway: remove it
    g.yaml:8:65: routes[1].headers.response.set.x-b: is named twice here: keep one
    g.yaml:8:79: routes[1].headers.response.remove[0]: `Transfer-Encoding` has a meaning of its own in HTTP or for the gateway: remove it
    g.yaml:8:98: routes[1].headers.response.remove[1]: `X-Request-ID` has a meaning of its own in HTTP or for the gateway: remove it
    g.yaml:8:23: routes[1].headers.request: must be a section with keys: write `key: value` lines below it
    g.yaml:8:27: routes[1].headers.reply: this key is not known: remove it, or use request or response
    g.yaml:4:3: routes[1]: `headers.response` names `vary`, which `cors` sets: remove it from one of them
    g.yaml:4:3: routes[1]: `headers.response` names `access-control-allow-origin`, which `cors` sets: remove it from one of them
    "#);
}

#[test]
fn templates() {
    let cases = [
        "rewrite: { template: b }",
        "rewrite: { template: '/{rest}' }",
        "rewrite: { template: '/{1}' }",
        "rewrite: { template: '/x{1}' }",
        "rewrite: { template: '/x//y' }",
        "rewrite: { template: '/x/{path}' }",
        "rewrite: { template: '/*' }",
        "rewrite: { template: '/c', strip_prefix: /b }",
    ];
    assert_snapshot!(routes(&cases), @r#"
    g.yaml:8:24: routes[1].rewrite.template: `b` is not a path: begin it with `/`
    g.yaml:8:24: routes[1].rewrite.template: `/{rest}` has {rest}, but the route's path has no `**`
    g.yaml:8:24: routes[1].rewrite.template: `/{1}` has a name in braces that stands for nothing here: {1} is what the first `*` of the route's path matched, {rest} at the end what `**` did, {path} at the end the whole path
    g.yaml:8:24: routes[1].rewrite.template: `/x{1}` has braces within a segment: what they name stands for a whole one
    g.yaml:8:24: routes[1].rewrite.template: `/x//y` has an empty segment: write single slashes, and none before {path}
    g.yaml:8:24: routes[1].rewrite.template: `/x/{path}` has an empty segment: write single slashes, and none before {path}
    g.yaml:8:24: routes[1].rewrite.template: `/*` has `*`: write {1} for what the first one matched
    g.yaml:8:24: routes[1].rewrite.template: makes the whole path: remove the prefixes, or this
    "#);
}

#[test]
fn redirects() {
    let cases = [
        "redirect: {}",
        "redirect: { to: 'https://{host}{path}', status: 200 }",
        "redirect: { to: 'ftp://a' }",
        "redirect: { to: '//evil.test' }",
        "redirect: { to: 'https://a.{path}' }",
        "redirect: { to: 'https://{host}.evil.test/' }",
        "redirect: { to: 'https://{path}' }",
        "redirect: { to: 'https://a:0/' }",
        "redirect: { to: 'https://u@a/' }",
        "redirect: { to: '{path}' }",
        "redirect: { to: '/c?next={path}' }",
        "redirect: { to: '/c#top' }",
        "redirect: { to: '/c' }\n  upstream: hotel\n  rewrite: { strip_prefix: /b }\n  upgrade: websocket",
    ];
    let cases = cases.map(|redirect| {
        format!("routes:\n- name: b\n  match: {{ path: /b }}\n  auth: public\n  {redirect}")
    });
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    assert_snapshot!(table(&cases), @r#"
    g.yaml:6:13: routes[0].redirect: `to` is missing: write where, such as https://{host}{path}
    g.yaml:6:19: routes[0].redirect.to: sends clients to any host that one of them names: list the route's `match.hosts`, or write the host out
    g.yaml:6:51: routes[0].redirect.status: `200` is not known here: write 301, 302, 303, 307 or 308
    g.yaml:6:19: routes[0].redirect.to: `ftp://a` leads nowhere: begin it with https://, http:// or `/`
    g.yaml:6:19: routes[0].redirect.to: `//evil.test` has an empty segment: write single slashes, and none before {path}
    g.yaml:6:19: routes[0].redirect.to: `https://a.{path}` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:6:19: routes[0].redirect.to: `https://{host}.evil.test/` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:6:19: routes[0].redirect.to: `https://{path}` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:6:19: routes[0].redirect.to: `https://a:0/` has no port from 1 to 65535 after the `:`
    g.yaml:6:19: routes[0].redirect.to: `https://u@a/` is no host: write a name such as api.example.com, without port and wildcard
    g.yaml:6:19: routes[0].redirect.to: is where the client is already
    g.yaml:6:19: routes[0].redirect.to: `/c?next={path}` has a query that must be escaped, or that takes something from the request: write it out
    g.yaml:6:19: routes[0].redirect.to: `/c#top` has a character that no path in canonical form has: use letters, digits and -._~!$&'()+,=:@
    g.yaml:7:13: routes[0].upstream: says nothing where the route redirects: remove it, or `redirect`
    g.yaml:8:12: routes[0].rewrite: says nothing where the route redirects: remove it, or `redirect`
    g.yaml:9:12: routes[0].upgrade: says nothing where the route redirects: remove it, or `redirect`
    "#);
}
