//! What one snapshot hands on to the next, compiled from texts side by side.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use portcullis_audit::{Desk, DeskLimits};
use portcullis_config::units::Timestamp;
use portcullis_policy::{breaker::State, clock::Moment, limits::Limiter};
use portcullis_tokens::{Revocations, VerifierParts};
use prometheus::Registry;

use super::*;
use crate::{
    serve::Parts,
    snapshot::Snapshot,
    target::{Address, Site, Target},
    upstream::Upstream,
};

const HOTEL: &str = "hotel: { endpoints: [127.0.0.1:9, 127.0.0.2:9], circuit_breaker: { consecutive_failures: 1 } }";

fn config(upstreams: &str) -> Config {
    let text = format!(
        "version: 1
server: {{ listeners: [{{ address: 127.0.0.1:1 }}], admin: 127.0.0.1:2, access_log: none }}
upstreams: {{ {upstreams} }}
routes: [{{ name: open, match: {{ path: /** }}, upstream: hotel, auth: public }}]"
    );
    portcullis_config::parse(&text, "test.yaml", &|_| Err("none".into())).unwrap()
}

fn verifier() -> Arc<Verifier> {
    let parts = VerifierParts {
        issuers: Vec::new(),
        cache_entries: 1,
        cache_bytes: 1024,
        revocations: Arc::new(Revocations::new()),
    };
    Arc::new(Verifier::new(parts).unwrap())
}

fn gateway() -> Gateway {
    gateway_with(&Registry::new())
}

fn gateway_with(registry: &Registry) -> Gateway {
    Gateway::assemble(Parts {
        config: &config(HOTEL),
        limiter: Arc::new(Limiter::new((1, 2), 16)),
        shared_limits: None,
        verifier: verifier(),
        desk: Arc::new(Desk::new(DeskLimits::default())),
        registry,
        auth_socket: None,
        clock: Arc::new(|| NOW),
        seed: [3, 4],
        spans: None,
    })
    .unwrap()
}

const NOW: Moment = Moment {
    since_start: Duration::from_secs(1),
    wall: Timestamp::from_secs(1),
};

fn hotel(snapshot: &Snapshot) -> Arc<Upstream> {
    Arc::clone(snapshot.upstream("hotel").unwrap())
}

fn target(upstream: &Upstream, address: &str) -> Arc<Target> {
    let roster = upstream.roster.load();
    let found = roster
        .targets
        .iter()
        .find(|target| target.site.address.to_string() == address);
    Arc::clone(found.unwrap())
}

/// The hotel as another configuration has it.
fn reloaded(gateway: &Gateway, upstreams: &str) -> Arc<Upstream> {
    let config = config(upstreams);
    let snapshot = gateway.compile(&config, &verifier());
    snapshot.take_over(&config.upstreams);
    hotel(&snapshot)
}

#[test]
fn an_open_breaker_stays_open_and_takes_the_new_settings() {
    let gateway = gateway();
    let before = hotel(&gateway.snapshot.load()).breaker.clone().unwrap();
    before.enter(NOW).unwrap().fail(NOW);
    let after = reloaded(
        &gateway,
        "hotel: { endpoints: [127.0.0.3:9], circuit_breaker: { consecutive_failures: 2 } }",
    );
    let after = after.breaker.clone().unwrap();
    assert_eq!(after.state(NOW), State::Open);
    assert!(
        Arc::ptr_eq(&before, &after),
        "requests still in flight must settle with the breaker that is asked"
    );
}

#[test]
fn a_configuration_that_is_only_compiled_changes_no_breaker() {
    let gateway = gateway();
    let before = hotel(&gateway.snapshot.load()).breaker.clone().unwrap();
    let patient =
        "hotel: { endpoints: [127.0.0.3:9], circuit_breaker: { consecutive_failures: 100 } }";
    gateway.compile(&config(patient), &verifier());
    before.enter(NOW).unwrap().fail(NOW);
    assert_eq!(
        before.state(NOW),
        State::Open,
        "one failure is still enough"
    );
}

#[test]
fn requests_in_flight_count_on_at_an_endpoint_that_stays() {
    let gateway = gateway();
    let before = hotel(&gateway.snapshot.load());
    before.in_flight.fetch_add(3, Relaxed);
    let busy = target(&before, "127.0.0.2:9");
    busy.record.in_flight.fetch_add(2, Relaxed);
    for other in [
        HOTEL,
        "hotel: { endpoints: [127.0.0.4:9, 127.0.0.2:9], timeouts: { connect: 7s } }",
    ] {
        let after = reloaded(&gateway, other);
        assert_eq!(after.in_flight.load(Relaxed), 3, "{other}");
        let after = target(&after, "127.0.0.2:9");
        assert!(
            Arc::ptr_eq(&busy.record, &after.record),
            "{other}: they must be given back to the count that is looked at"
        );
    }
}

#[test]
fn an_ejection_lasts_over_a_reload_and_ends_with_its_setting() {
    let gateway = gateway();
    let ejecting =
        "hotel: { endpoints: [127.0.0.1:9, 127.0.0.2:9], outlier: { consecutive_failures: 1 } }";
    let snapshot = gateway.compile(&config(ejecting), &verifier());
    let before = hotel(&snapshot);
    before.endpoint_failed(&target(&before, "127.0.0.2:9"), NOW);
    gateway.snapshot.store(Arc::new(snapshot));
    let asked = |upstream: &Upstream| -> Vec<bool> {
        let chosen = (0..8).map(|_| upstream.choose(None, None, NOW).unwrap());
        chosen
            .map(|target| target.site.address.to_string() == "127.0.0.2:9")
            .collect()
    };
    assert!(!asked(&reloaded(&gateway, ejecting)).contains(&true));
    assert!(
        asked(&reloaded(&gateway, HOTEL)).contains(&true),
        "nobody is ejected where nobody ejects"
    );
}

#[test]
fn what_a_name_resolved_to_stays_with_the_name_and_goes_with_it() {
    let gateway = gateway();
    let named = "hotel: { endpoints: [hotel.invalid:9] }";
    let config = config(named);
    let snapshot = gateway.compile(&config, &verifier());
    let site = Site {
        address: Address::Inet("127.0.0.9:9".parse().unwrap()),
        weight: 1,
        host: Arc::from("hotel.invalid:9"),
    };
    let resolved = Target::keep_or_make(site, &hotel(&snapshot).transport, &[]);
    hotel(&snapshot).replace(resolved.into_iter().collect());
    gateway.snapshot.store(Arc::new(snapshot));
    let slower = "hotel: { endpoints: [hotel.invalid:9], timeouts: { connect: 7s } }";
    target(&reloaded(&gateway, slower), "127.0.0.9:9");
    let elsewhere = reloaded(&gateway, "hotel: { endpoints: [other.invalid:9] }");
    assert!(
        elsewhere.roster.load().targets.is_empty(),
        "nobody said that the other name leads there"
    );
}

#[test]
fn an_upstream_under_another_name_begins_anew() {
    let gateway = gateway();
    let breaker = hotel(&gateway.snapshot.load()).breaker.clone().unwrap();
    breaker.enter(NOW).unwrap().fail(NOW);
    let text = format!("{HOTEL}, inn: {{ endpoints: [127.0.0.1:9] }}");
    let snapshot = gateway.compile(&config(&text), &verifier());
    let inn = snapshot.upstream("inn").unwrap().breaker.clone().unwrap();
    assert_eq!(inn.state(NOW), State::Closed);
}

#[tokio::test]
async fn what_tends_a_replaced_snapshot_ends_and_lets_it_go() {
    let gateway = gateway();
    let runtime = Handle::current();
    let named = "hotel: { endpoints: [hotel.invalid:9] }";
    let snapshot = gateway.compile(&config(named), &verifier());
    let tended = Arc::downgrade(&hotel(&snapshot));
    gateway.put_in_force(Arc::new(snapshot), &runtime);
    tokio::task::yield_now().await;
    let snapshot = gateway.compile(&config(HOTEL), &verifier());
    gateway.put_in_force(Arc::new(snapshot), &runtime);
    let ended = async {
        while tended.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    assert!(ended.is_ok(), "somebody still holds the former upstream");
}

#[tokio::test]
async fn a_breaker_that_is_gone_is_not_shown_as_open_for_ever() {
    let registry = Registry::new();
    let gateway = gateway_with(&registry);
    let runtime = Handle::current();
    let shown = |upstream: &str| {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather());
        let wanted = format!("circuit_breaker_state{{state=\"open\",upstream=\"{upstream}\"}}");
        text.unwrap().contains(&wanted)
    };
    let both = format!("{HOTEL}, inn: {{ endpoints: [127.0.0.1:9] }}");
    for (upstreams, inn_is_shown) in [(both.as_str(), true), (HOTEL, false)] {
        let snapshot = gateway.compile(&config(upstreams), &verifier());
        gateway.put_in_force(Arc::new(snapshot), &runtime);
        for upstream in &gateway.snapshot.load().upstreams {
            upstream.metrics.show(State::Open);
        }
        assert!(shown("hotel"));
        assert_eq!(shown("inn"), inn_is_shown, "{upstreams}");
    }
}

#[tokio::test]
async fn the_caches_of_replaced_verifiers_are_counted_on() {
    let gateway = gateway();
    let runtime = Handle::current();
    let ask = || {
        let verifier = &gateway.snapshot.load().verifier;
        verifier.verify("a.b.c", NOW.wall).unwrap_err();
    };
    ask();
    let snapshot = gateway.compile(&config(HOTEL), &verifier());
    gateway.put_in_force(Arc::new(snapshot), &runtime);
    ask();
    assert_eq!(gateway.cache_counts().misses, 2);
}
