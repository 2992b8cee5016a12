//! Headers that a route sets and removes, on the way to the upstream and back.

use portcullis_harness::{
    client::Request,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
};

use crate::stage::{self, CORP, corp_claims, corp_token};

fn gateway(upstream: &Upstream) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(
            places,
            "headers: { security: { X-Frame-Options: DENY, X-Own: ours } }",
        );
        format!(
            "{server}{CORP}
upstreams:
  hotel: {{ endpoints: [{address}] }}
routes:
  - name: rules
    match: {{ path: /rules/** }}
    upstream: hotel
    auth: {{ resource: hotel }}
    headers:
      request: {{ set: {{ Authorization: Basic dTpw, X-Tenant: north }}, remove: [Cookie, Accept-Language] }}
      response: {{ set: {{ Cache-Control: no-store, X-Frame-Options: SAMEORIGIN }}, remove: [Server, X-Powered-By, X-Own] }}
  - {{ name: plain, match: {{ path: /plain/** }}, upstream: hotel, auth: public }}
"
        )
    })
}

#[test]
fn a_route_sets_and_removes_what_the_upstream_is_told() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let request = |path: &str| {
        Request::get(path)
            .bearer(&corp_token(&corp_claims("alice")))
            .with("Cookie", "a=b")
            .with("Accept-Language", "eo")
            .with("Accept-Language", "la")
            .with("X-Tenant", "south")
            .with("X-Tenant", "west")
            .with("Accept", "text/plain")
    };
    assert_eq!(client.send(&request("/rules/x")).unwrap().status, 200);
    let received = upstream.take_received().remove(0);
    assert_eq!(received.field("authorization"), Some("Basic dTpw"));
    assert_eq!(
        received.field("x-tenant"),
        Some("north"),
        "in place of both"
    );
    assert_eq!(received.field("x-user-id"), Some("corp:alice"));
    assert_eq!(received.field("accept"), Some("text/plain"));
    for gone in ["cookie", "accept-language"] {
        assert_eq!(received.head.fields_named(gone).count(), 0, "{gone}");
    }
    client.send(&request("/plain/x")).unwrap();
    let received = upstream.take_received().remove(0);
    assert_eq!(
        received.field("cookie"),
        Some("a=b"),
        "another route is not concerned"
    );
}

#[test]
fn a_route_has_the_last_word_on_what_the_client_is_told() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    upstream.decides(|_| {
        Reaction::send(
            "HTTP/1.1 200 OK\r\nServer: Hotel/1\r\nX-Powered-By: luck\r\nCache-Control: max-age=60\r\n\
             Cache-Control: public\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let token = corp_token(&corp_claims("alice"));
    let answer = client
        .send(&Request::get("/rules/x").bearer(&token))
        .unwrap();
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("x-frame-options"), Some("SAMEORIGIN"));
    for gone in ["server", "x-powered-by", "x-own"] {
        assert_eq!(answer.head.fields_named(gone).count(), 0, "{gone}");
    }
    let answer = client.get("/plain/x").unwrap();
    assert_eq!(answer.field("server"), Some("Hotel/1"));
    assert_eq!(answer.field("x-own"), Some("ours"), "from the server's map");
}

#[test]
fn a_refusal_keeps_the_gateways_own_form() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let answer = gateway.client().get("/rules/x").unwrap();
    assert_eq!(answer.code(), "authentication-required");
    assert_eq!(answer.field("x-frame-options"), Some("DENY"));
    assert_eq!(answer.field("x-own"), Some("ours"));
}
