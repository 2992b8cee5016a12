//! Where a trusted proxy stands in front: whose address counts, and whose word is kept.

use portcullis_harness::{
    client::{Request, Response},
    gateway::Gateway,
    upstream::Upstream,
};

use crate::stage;

/// Only 127.0.0.40 is a proxy of ours.
fn start(upstream: &Upstream) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "trusted_proxies: [127.0.0.40/32, 10.0.0.0/8]");
        format!(
            "{server}
upstreams: {{ hotel: {{ endpoints: [{address}] }} }}
rate_limits: {{ few: {{ key: ip, limit: 2/1h, ipv6_prefix: 64 }} }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - {{ name: few, match: {{ path: /few/** }}, upstream: hotel, auth: public, rate_limits: [few] }}
  - {{ name: inside, match: {{ path: /inside/** }}, upstream: hotel, auth: public, ip: {{ allow: [192.0.2.0/24] }} }}
"
        )
    })
}

fn ask(gateway: &Gateway, from: u8, path: &str, forwarded_for: &str) -> Response {
    let request = Request::get(path).with("X-Forwarded-For", forwarded_for);
    gateway.client_at(from).send(&request).unwrap()
}

const PROXY: u8 = 40;
const STRANGER: u8 = 41;

#[test]
fn the_client_is_the_first_address_from_the_right_that_is_no_proxy() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let seen = |from, forwarded_for: &str| {
        assert_eq!(ask(&gateway, from, "/open/x", forwarded_for).status, 200);
        let received = upstream.take_received();
        received[0]
            .field("x-forwarded-for")
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(seen(PROXY, "192.0.2.1"), "192.0.2.1");
    assert_eq!(
        seen(PROXY, "203.0.113.9, 192.0.2.1"),
        "192.0.2.1",
        "the left end is what a client claims"
    );
    assert_eq!(
        seen(PROXY, "192.0.2.1, 10.1.2.3"),
        "192.0.2.1",
        "two proxies in a row"
    );
    assert_eq!(
        seen(PROXY, "192.0.2.1, nonsense"),
        "127.0.0.40",
        "left of nonsense nobody vouches"
    );
    assert_eq!(
        seen(STRANGER, "192.0.2.1"),
        "127.0.0.41",
        "a stranger's word is not taken"
    );
    assert_eq!(seen(PROXY, "::ffff:192.0.2.1"), "192.0.2.1");
}

#[test]
fn each_client_behind_the_proxy_has_a_budget_and_a_network_of_ipv6_has_one() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let status = |from, forwarded_for: &str| ask(&gateway, from, "/few/x", forwarded_for).status;
    assert_eq!(
        [(); 3].map(|()| status(PROXY, "192.0.2.1")),
        [200, 200, 429]
    );
    assert_eq!(
        status(PROXY, "192.0.2.2"),
        200,
        "another client is not affected"
    );
    let network = ["2001:db8::1", "2001:db8::2:3", "2001:db8:0:0:ffff::"];
    assert_eq!(
        network.map(|address| status(PROXY, address)),
        [200, 200, 429]
    );
    assert_eq!(
        status(PROXY, "2001:db8:0:1::1"),
        200,
        "another network is not affected"
    );
    let spoofed = ["192.0.2.3", "192.0.2.4", "192.0.2.5"];
    assert_eq!(
        spoofed.map(|address| status(STRANGER, address)),
        [200, 200, 429],
        "who only claims addresses has one budget"
    );
}

#[test]
fn address_lists_look_at_the_client_and_not_at_the_proxy() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let code = |from, forwarded_for: &str| ask(&gateway, from, "/inside/x", forwarded_for).code();
    assert_eq!(code(PROXY, "192.0.2.1"), "");
    assert_eq!(code(PROXY, "203.0.113.9"), "address-not-allowed");
    assert_eq!(code(STRANGER, "192.0.2.1"), "address-not-allowed");
}

#[test]
fn a_request_id_is_kept_from_a_trusted_proxy_alone() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let id = |from, given: &str| {
        let request = Request::get("/open/x").with("X-Request-ID", given);
        let answer = gateway.client_at(from).send(&request).unwrap();
        let told = answer.field("x-request-id").unwrap_or_default().to_owned();
        let received = upstream.take_received();
        assert_eq!(
            received[0].field("x-request-id"),
            Some(told.as_str()),
            "both sides see one id"
        );
        told
    };
    assert_eq!(id(PROXY, "abc-123"), "abc-123");
    assert_ne!(id(STRANGER, "abc-123"), "abc-123");
    assert_ne!(
        id(PROXY, &"a".repeat(129)),
        "a".repeat(129),
        "an id has 128 characters at the most"
    );
}
