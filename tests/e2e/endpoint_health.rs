//! Endpoints that are checked: who is asked while some are sick, and when they come back.

use portcullis_harness::{
    client::Client,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};

use crate::stage;

/// Nobody is given up because the machine is slow.
const CHECK: &str =
    "health_check: { path: /healthz, interval: 100ms, timeout: 1h, healthy: 2, unhealthy: 2 }";

fn start(pool: &[&Upstream], more: &str) -> Gateway {
    let addresses: Vec<String> = pool.iter().map(|one| one.address().to_string()).collect();
    let endpoints = addresses.join(", ");
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  pool: {{ endpoints: [{endpoints}], balance: round_robin, {more} }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public }}
"
        )
    })
}

/// Well, but for its health.
fn sick(upstream: &Upstream) {
    upstream.decides(|head| {
        if head.first_line.starts_with("GET /healthz ") {
            Reaction::answer(503, "sick")
        } else {
            Reaction::ok()
        }
    });
}

fn requests(upstream: &Upstream) -> usize {
    let received = upstream.take_received();
    let served = received.iter().filter(|one| one.target() == "/pool/x");
    served.count()
}

fn healthy(gateway: &Gateway, upstream: &Upstream) -> f64 {
    let address = upstream.address().to_string();
    gateway.metrics().unwrap().sum(
        "portcullis_upstream_endpoint_healthy",
        &[("upstream", "pool"), ("endpoint", &address)],
    )
}

fn wait_for(gateway: &Gateway, upstream: &Upstream, wanted: f64) {
    wait::until("a change of health", PATIENCE, || {
        (healthy(gateway, upstream) == wanted).then_some(())
    })
    .unwrap();
}

/// How many lines of the log say this of the endpoint.
fn lines(gateway: &Gateway, upstream: &Upstream, words: &str) -> usize {
    let (log, address) = (gateway.stderr(), upstream.address().to_string());
    let said = |line: &&str| line.contains(words) && line.contains(&address);
    log.lines().filter(said).count()
}

/// The line is written once requests go by it; the metric may be ahead of them.
fn wait_for_line(gateway: &Gateway, upstream: &Upstream, words: &str) {
    let told = wait::until(words, PATIENCE, || {
        (lines(gateway, upstream, words) == 1).then_some(())
    });
    told.unwrap_or_else(|error| panic!("{error}: {}", gateway.stderr()));
}

const SICK: &str = "endpoint is unhealthy";
const WELL_AGAIN: &str = "endpoint is healthy again";

fn ask(client: &mut Client, times: usize) {
    for _ in 0..times {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
}

#[test]
fn a_sick_endpoint_gets_no_request_until_it_is_well() {
    let (well, frail) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let gateway = start(&[&well, &frail], CHECK);
    wait_for(&gateway, &frail, 1.0);
    sick(&frail);
    wait_for_line(&gateway, &frail, SICK);
    requests(&frail);
    let mut client = gateway.client();
    ask(&mut client, 20);
    assert_eq!(requests(&frail), 0);
    frail.reacts_with(Reaction::ok());
    wait_for_line(&gateway, &frail, WELL_AGAIN);
    requests(&well);
    ask(&mut client, 20);
    assert_eq!((requests(&well), requests(&frail)), (10, 10));
}

#[test]
fn an_endpoint_that_never_worked_is_out_after_one_check() {
    let (well, dead) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    sick(&dead);
    let rare = "health_check: { path: /healthz, interval: 1h, timeout: 1h, unhealthy: 9 }";
    let gateway = start(&[&well, &dead], rare);
    wait_for_line(&gateway, &dead, SICK);
    requests(&dead);
    ask(&mut gateway.client(), 10);
    assert_eq!(requests(&dead), 0);
}

#[test]
fn an_endpoint_that_says_nothing_is_sick_and_delays_no_request() {
    let (well, silent) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    silent.reacts_with(Reaction::hang());
    // Until it has passed once a late answer may take out the one that is well, too; afterwards a hundred do.
    let check = "health_check: { path: /healthz, interval: 100ms, timeout: 1s, healthy: 1, unhealthy: 100 }";
    let gateway = start(&[&well, &silent], check);
    wait_for_line(&gateway, &silent, SICK);
    wait::until("one that has passed once", PATIENCE, || {
        let is_in = lines(&gateway, &well, SICK) == lines(&gateway, &well, WELL_AGAIN);
        (well.count() >= 2 && is_in).then_some(())
    })
    .unwrap();
    ask(&mut gateway.client(), 10);
    assert_eq!(requests(&silent), 0);
}

#[test]
fn where_all_are_sick_all_are_asked() {
    let (one, other) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    sick(&one);
    sick(&other);
    let gateway = start(&[&one, &other], CHECK);
    wait_for_line(&gateway, &one, SICK);
    wait_for_line(&gateway, &other, SICK);
    requests(&one);
    requests(&other);
    ask(&mut gateway.client(), 10);
    assert_eq!((requests(&one), requests(&other)), (5, 5));
}

#[test]
fn a_check_says_whose_it_is_and_takes_a_connection_of_its_own() {
    let well = Upstream::start().unwrap();
    let gateway = start(
        &[&well],
        "health_check: { path: '/healthz?deep=1', interval: 50ms }",
    );
    wait::until("three checks", PATIENCE, || {
        (well.count() >= 3).then_some(())
    })
    .unwrap();
    drop(gateway);
    let checks = well.take_received();
    let mut connections: Vec<usize> = checks.iter().map(|check| check.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), checks.len());
    assert_eq!(checks[0].head.first_line, "GET /healthz?deep=1 HTTP/1.1");
    assert_eq!(
        checks[0].field("host"),
        Some(well.address().to_string().as_str())
    );
    assert_eq!(
        checks[0].field("user-agent"),
        Some("portcullis-health-check")
    );
}

#[test]
fn the_status_page_tells_of_each_endpoint() {
    let (well, frail) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    sick(&frail);
    let gateway = start(&[&well, &frail], CHECK);
    wait_for(&gateway, &frail, 0.0);
    let mut admin = Client::of(gateway.admin());
    let status = admin.get("/status").unwrap().json();
    let endpoints = &status["upstreams"][0]["endpoints"];
    assert_eq!(endpoints[0]["healthy"], true, "{status}");
    assert_eq!(
        endpoints[1],
        serde_json::json!({
            "address": frail.address().to_string(),
            "weight": 1,
            "healthy": false,
            "ejected": false,
            "in_flight": 0,
        })
    );
}

#[test]
fn each_change_is_logged_once() {
    let frail = Upstream::start().unwrap();
    let gateway = start(&[&frail], CHECK);
    wait_for(&gateway, &frail, 1.0);
    sick(&frail);
    wait_for(&gateway, &frail, 0.0);
    let checks = frail.count();
    wait::until("more checks", PATIENCE, || {
        (frail.count() >= checks + 5).then_some(())
    })
    .unwrap();
    frail.reacts_with(Reaction::ok());
    wait_for_line(&gateway, &frail, WELL_AGAIN);
    let log = gateway.stderr();
    assert_eq!(log.matches(SICK).count(), 1, "{log}");
    assert_eq!(log.matches(WELL_AGAIN).count(), 1, "{log}");
    assert!(log.contains("it answered 503"), "{log}");
}
