//! Listeners behind a load balancer that announces its connections (the PROXY protocol).

use std::net::Ipv4Addr;

use portcullis_harness::{
    certificates::Authority,
    client::Socket,
    gateway::Gateway,
    upstream::Upstream,
    wait::{self, PATIENCE},
};

use crate::{stage, tls_stage::pair};

const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const GET: &str = "GET /open/x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 198.51.100.66\r\n\r\n";

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 50000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\xc3\x50\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn start(upstream: &Upstream, listener: &str, limits: &str) -> Gateway {
    stage::start(|places| {
        let more = format!("trusted_proxies: [{BALANCER}]\n  limits: {{ {limits} }}");
        let plain = format!("address: {}", places.listener);
        let announced = format!("{plain}, proxy_protocol: true{listener}");
        let server = stage::server(places, &more).replace(&plain, &announced);
        format!(
            "{server}
upstreams: {{ hotel: {{ endpoints: [{}] }} }}
routes: [{{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}]
",
            upstream.address()
        )
    })
}

fn from_balancer(gateway: &Gateway, header: &[u8]) -> Socket {
    let mut socket = Socket::connect_from(BALANCER, gateway.address()).unwrap();
    socket.send(header);
    socket
}

/// Which client the upstream is told of, for a request on this connection.
fn client_told(upstream: &Upstream, socket: &mut Socket) -> String {
    socket.send(GET);
    assert_eq!(socket.response().unwrap().status, 200);
    let seen = upstream.take_received();
    seen[0]
        .field("x-forwarded-for")
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_announced_client_is_the_client() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream, "", "header_timeout: 10s");
    for header in [V1, V2] {
        let mut socket = from_balancer(&gateway, header);
        // Its own word about itself is not taken: only the balancer is trusted.
        assert_eq!(client_told(&upstream, &mut socket), "203.0.113.7");
        assert_eq!(
            client_told(&upstream, &mut socket),
            "203.0.113.7",
            "for the whole connection"
        );
    }
    let mut split = from_balancer(&gateway, &V2[..20]);
    split.send(&V2[20..]);
    assert_eq!(client_told(&upstream, &mut split), "203.0.113.7");
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut own = from_balancer(&gateway, header);
        assert_eq!(
            client_told(&upstream, &mut own),
            "198.51.100.66",
            "the balancer's own connection"
        );
    }
}

#[test]
fn it_is_announced_ahead_of_tls() {
    let upstream = Upstream::start().unwrap();
    let authority = Authority::new("test").unwrap();
    let certified = authority.server(&["a.test"]).unwrap();
    let tls = format!(", tls: {{ {} }}", pair(&certified));
    let gateway = start(&upstream, &tls, "header_timeout: 10s");
    let config = authority.tls_client(&["http/1.1"], None).unwrap();
    let socket = from_balancer(&gateway, V2);
    let mut socket = socket.secured("a.test", config).unwrap();
    assert_eq!(client_told(&upstream, &mut socket), "203.0.113.7");
}

#[test]
fn nobody_else_may_announce_a_client() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream, "", "header_timeout: 10s");
    let mut stranger = Socket::connect_from(STRANGER, gateway.address()).unwrap();
    stranger.send(V1);
    stranger.send(GET);
    assert!(stranger.closes_within(PATIENCE));
    let refused = || {
        let metrics = gateway.metrics().unwrap();
        let code = [("code", "address-not-allowed")];
        (metrics.sum("portcullis_rejections_total", &code) == 1.0).then_some(())
    };
    wait::until("it to be counted", PATIENCE, refused).unwrap();
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_connection_that_is_not_announced_is_closed() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream, "", "header_timeout: 1h");
    let mut plain = from_balancer(&gateway, GET.as_bytes());
    assert!(plain.closes_within(PATIENCE));
    let malformed = || {
        let metrics = gateway.metrics().unwrap();
        metrics.sum("portcullis_malformed_requests_total", &[])
    };
    wait::until("it to be counted", PATIENCE, || {
        (malformed() == 1.0).then_some(())
    })
    .unwrap();
    let mut endless = from_balancer(&gateway, &[b"PROXY TCP4 ", &[b'1'; 200][..]].concat());
    assert!(endless.closes_within(PATIENCE));
    let hurried = start(&upstream, "", "header_timeout: 1s, idle_timeout: 1h");
    let mut halting = from_balancer(&hurried, &V1[..20]);
    assert!(halting.closes_within(PATIENCE));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn caps_count_the_announced_clients_and_not_the_balancer() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream, "", "connections_per_ip: 1");
    let mut first = from_balancer(&gateway, V1);
    assert_eq!(client_told(&upstream, &mut first), "203.0.113.7");
    let mut second = from_balancer(&gateway, V1);
    second.send(GET);
    let turned_away = second.response();
    assert!(
        turned_away
            .as_ref()
            .map_or_else(|ending| ending.is_close(), |answer| answer.status == 503),
        "{turned_away:?}"
    );
    let other = b"PROXY TCP4 203.0.113.8 127.0.0.1 50000 443\r\n";
    let mut other = from_balancer(&gateway, other);
    assert_eq!(client_told(&upstream, &mut other), "203.0.113.8");
}
