//! Upstreams behind TLS: whom the gateway believes, what it shows, and that a doubt is always a 502 and never a request.

use portcullis_harness::{
    certificates::{Authority, Certified},
    client::Client,
    secured_upstream::SecuredUpstream,
    wait::{self, PATIENCE},
};

use crate::{stage, upstream_h2::start};

/// A server with this certificate, that speaks HTTP/1.1.
fn server(certified: &Certified, clients: Option<&Authority>) -> SecuredUpstream {
    SecuredUpstream::over_tls(certified.tls_server(&["http/1.1"], clients).unwrap()).unwrap()
}

/// What the gateway answers where it expects `hotel.internal` of this authority.
fn answer(upstream: &SecuredUpstream, trusted: &Authority, more: &str) -> (u16, String) {
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: hotel.internal, ca: {} {more} }}",
        upstream.address(),
        trusted.certificate().display()
    ));
    let answer = gateway.client().get("/pool/x").unwrap();
    (answer.status, answer.code())
}

#[test]
fn a_certificate_of_the_authority_for_the_name_is_believed() {
    let authority = Authority::new("ca").unwrap();
    let upstream = server(&authority.server(&["hotel.internal"]).unwrap(), None);
    assert_eq!(answer(&upstream, &authority, "").0, 200);
    let asked = upstream.take_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].shown, None, "nobody asked for a certificate");
}

#[test]
fn no_other_certificate_is() {
    let (authority, other) = (
        Authority::new("ca").unwrap(),
        Authority::new("other").unwrap(),
    );
    let doubtful = [
        ("another authority", other.server(&["hotel.internal"])),
        ("another name", authority.server(&["event.internal"])),
        ("expired", authority.expired_server(&["hotel.internal"])),
        ("a client's", authority.client("hotel.internal")),
    ];
    for (why, certified) in doubtful {
        let upstream = server(&certified.unwrap(), None);
        let refused = answer(&upstream, &authority, "");
        assert_eq!(refused, (502, "upstream-unreachable".to_owned()), "{why}");
        assert_eq!(upstream.count(), 0, "{why}: a request got there");
    }
}

#[test]
fn what_the_system_trusts_does_not_include_strangers() {
    let authority = Authority::new("ca").unwrap();
    let upstream = server(&authority.server(&["hotel.internal"]).unwrap(), None);
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: hotel.internal }}",
        upstream.address()
    ));
    assert_eq!(gateway.client().get("/pool/x").unwrap().status, 502);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_service_without_tls_gets_no_request() {
    let authority = Authority::new("ca").unwrap();
    let plain = portcullis_harness::upstream::Upstream::start().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: hotel.internal, ca: {} }}, timeouts: {{ connect: 2s }}",
        plain.address(),
        authority.certificate().display()
    ));
    let status = gateway.client().get("/pool/x").unwrap().status;
    assert!(matches!(status, 502 | 504), "{status}");
    assert_eq!(plain.count(), 0);
}

#[test]
fn the_gateway_shows_its_certificate_where_it_is_asked_for_one() {
    let authority = Authority::new("ca").unwrap();
    let upstream = server(
        &authority.server(&["hotel.internal"]).unwrap(),
        Some(&authority),
    );
    let own = authority.client("gateway").unwrap();
    let shows = format!(
        ", certificate: {}, key: {}",
        own.certificate.display(),
        own.key.display()
    );
    assert_eq!(answer(&upstream, &authority, &shows).0, 200);
    let shown = upstream.take_asked().remove(0).shown;
    assert_eq!(shown.as_deref(), Some(own.der()));
    let without = answer(&upstream, &authority, "");
    assert_eq!(without.0, 502);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_address_can_be_what_a_certificate_is_for() {
    let authority = Authority::new("ca").unwrap();
    let upstream = server(&authority.server(&["127.0.0.1"]).unwrap(), None);
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: 127.0.0.1, ca: {} }}",
        upstream.address(),
        authority.certificate().display()
    ));
    assert_eq!(gateway.client().get("/pool/x").unwrap().status, 200);
}

#[test]
fn two_upstreams_at_one_address_do_not_share_what_one_of_them_trusts() {
    let (authority, other) = (
        Authority::new("ca").unwrap(),
        Authority::new("other").unwrap(),
    );
    let upstream = server(&authority.server(&["hotel.internal"]).unwrap(), None);
    let (address, right, wrong) = (
        upstream.address(),
        authority.certificate(),
        other.certificate(),
    );
    let gateway = stage::start(|places| {
        let server = stage::server(places, "");
        let (right, wrong) = (right.display(), wrong.display());
        format!(
            "{server}
upstreams:
  right: {{ endpoints: [{address}], tls: {{ server_name: hotel.internal, ca: {right} }} }}
  wrong: {{ endpoints: [{address}], tls: {{ server_name: hotel.internal, ca: {wrong} }} }}
routes:
  - {{ name: right, match: {{ path: /right }}, upstream: right, auth: public }}
  - {{ name: wrong, match: {{ path: /wrong }}, upstream: wrong, auth: public }}
"
        )
    });
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.get("/right").unwrap().status, 200);
        assert_eq!(client.get("/wrong").unwrap().code(), "upstream-unreachable");
    }
    let asked = upstream.take_asked();
    assert!(asked.iter().all(|one| one.uri.path() == "/right"));
}

#[test]
fn connections_over_tls_are_kept() {
    let authority = Authority::new("ca").unwrap();
    let upstream = server(&authority.server(&["hotel.internal"]).unwrap(), None);
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: hotel.internal, ca: {} }}",
        upstream.address(),
        authority.certificate().display()
    ));
    let mut client = gateway.client();
    for _ in 0..30 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
    // Each of the two proxy threads has a pool of its own.
    assert!(upstream.connections() <= 4, "{}", upstream.connections());
}

#[test]
fn health_is_asked_over_tls_and_an_endpoint_that_is_not_believed_is_sick() {
    let authority = Authority::new("ca").unwrap();
    let right = server(&authority.server(&["hotel.internal"]).unwrap(), None);
    let wrong = server(&authority.server(&["event.internal"]).unwrap(), None);
    let gateway = start(&format!(
        "endpoints: [{}, {}], tls: {{ server_name: hotel.internal, ca: {} }}, health_check: {{ path: /healthz, interval: 100ms, timeout: 10s }}",
        right.address(),
        wrong.address(),
        authority.certificate().display()
    ));
    wait::until("both to be checked", PATIENCE, || {
        let status = Client::of(gateway.admin()).get("/status").unwrap().json();
        let endpoints = &status["upstreams"][0]["endpoints"];
        let healthy = [&endpoints[0]["healthy"], &endpoints[1]["healthy"]];
        (healthy == [true, false] && right.count() > 0).then_some(())
    })
    .unwrap();
    assert_eq!(
        right.take_asked()[0].headers["host"],
        "hotel.internal",
        "a check asks for the name that is verified"
    );
}

#[test]
fn files_that_cannot_be_used_stop_the_start_with_their_place() {
    let authority = Authority::new("ca").unwrap();
    let (one, other) = (
        authority.client("one").unwrap(),
        authority.client("other").unwrap(),
    );
    let house = stage::build(|places| {
        let server = stage::server(places, "");
        let (certificate, key) = (one.certificate.display(), other.key.display());
        format!(
            "{server}
upstreams:
  pool:
    endpoints: [127.0.0.1:1]
    tls:
      server_name: hotel.internal
      ca: {key}
      certificate: {certificate}
      key: {key}
routes:
  - {{ name: pool, match: {{ path: / }}, upstream: pool, auth: public }}
"
        )
    });
    let checked = house.command(&["check"]).unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success());
    for mistake in [
        ":14:11: upstreams.pool.tls.ca: ",
        "holds no certificate",
        ":16:12: upstreams.pool.tls.key: ",
        "is not the key of this certificate",
    ] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
}

#[test]
fn a_renewed_authority_counts_without_a_restart() {
    let (old, new) = (
        Authority::new("old").unwrap(),
        Authority::new("new").unwrap(),
    );
    let upstream = server(&new.server(&["hotel.internal"]).unwrap(), None);
    let gateway = start(&format!(
        "endpoints: [{}], tls: {{ server_name: hotel.internal, ca: {} }}",
        upstream.address(),
        old.certificate().display()
    ));
    let mut client = gateway.client();
    assert_eq!(client.get("/pool/x").unwrap().status, 502);
    std::fs::copy(new.certificate(), old.certificate()).unwrap();
    wait::until("the new authority", PATIENCE, || {
        (client.get("/pool/x").unwrap().status == 200).then_some(())
    })
    .unwrap();
    // A connection that is kept was made under the former authority, and counts for nothing now.
    let stranger = Authority::new("stranger").unwrap();
    std::fs::copy(stranger.certificate(), old.certificate()).unwrap();
    wait::until("the end of that trust", PATIENCE, || {
        (client.get("/pool/x").unwrap().status == 502).then_some(())
    })
    .unwrap();
}
