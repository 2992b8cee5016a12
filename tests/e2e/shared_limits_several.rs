//! Limits that gateways have in common through other than one plain Redis: with Sentinels that follow the master, on a
//! Cluster, where each limit lies on a node of its own, and over TLS.

use portcullis_harness::{
    certificates::Authority,
    gateway::{Gateway, Places},
    redis::{Cluster, Redis, Sentinels},
    wait::{self, PATIENCE},
};

use crate::{
    replicas::{AWAY, BACK, LIMIT, Replicas, Statuses, said, undisturbed, wait_for},
    stage::{build, server},
};

const EXACT: &str = "mode: exact, timeout: 10s, replicas: 3";
const LEASED: &str = "mode: leased, timeout: 10s, replicas: 3";

/// As a list in the file.
fn list(urls: &[String]) -> String {
    format!("[{}]", urls.join(", "))
}

fn on_a_cluster(sharing: &str) -> Replicas<Cluster> {
    let cluster = Cluster::start().unwrap();
    let address = list(&cluster.urls());
    Replicas::before(cluster, address, LIMIT, sharing)
}

#[test]
fn gateways_follow_the_master_and_keep_to_one_further_window() {
    let (replicas, before) = undisturbed(|| {
        let sentinels = Sentinels::start().unwrap();
        let address = list(&sentinels.urls());
        let replicas = Replicas::before(sentinels, address, LIMIT, EXACT);
        let before = replicas.flood(LIMIT);
        let was_there = replicas.never_missed_the_store();
        was_there.then_some((replicas, before))
    });
    assert_eq!(before.admitted, LIMIT, "{before:?}");
    replicas.redis.master.kill().unwrap();
    let without = replicas.flood(LIMIT);
    replicas.redis.wait_for_failover().unwrap();
    replicas.wait_for(BACK, 2);
    let after = replicas.flood(LIMIT);
    assert_eq!(after.unavailable, 0, "{after:?}");
    let all = before.and(without).and(after);
    assert!(
        all.admitted <= 2 * LIMIT,
        "{before:?} {without:?} {after:?}"
    );
    let keys = replicas.redis.standby.ask(&["KEYS", "portcullis:*tight*"]);
    assert!(
        keys.unwrap().contains("tight"),
        "it is the standby that counts now"
    );
}

#[test]
fn gateways_on_a_cluster_let_through_exactly_the_limit() {
    let (statuses, answer) = undisturbed(|| {
        let replicas = on_a_cluster(EXACT);
        let statuses = replicas.flood(LIMIT);
        let answer = replicas.gateways[0].client().get("/wide/room").unwrap();
        let was_there = replicas.never_missed_the_store();
        was_there.then_some((statuses, answer))
    });
    assert_eq!(
        statuses,
        Statuses {
            admitted: LIMIT,
            limited: LIMIT * 2,
            unavailable: 0
        }
    );
    // What the refused requests had taken from the other limit, on another node, was given back.
    let left = (LIMIT * 9 - 1).to_string();
    assert_eq!(answer.field("x-ratelimit-remaining"), Some(&*left));
}

#[test]
fn leases_of_a_cluster_let_through_the_limit_and_never_more() {
    let (all, admitted) = undisturbed(|| {
        let replicas = on_a_cluster(LEASED);
        let mut admitted = replicas.flood(LIMIT).admitted;
        let all = wait::until("nearly all of the limit", PATIENCE, || {
            admitted += replicas.flood(6).admitted;
            (admitted >= LIMIT - 6).then_some(())
        });
        admitted += replicas.flood(LIMIT).admitted;
        let was_there = replicas.never_missed_the_store();
        was_there.then_some((all, admitted))
    });
    all.unwrap_or_else(|error| panic!("{error}: {admitted}"));
    assert!(admitted <= LIMIT, "{admitted}");
}

#[test]
fn a_cluster_without_one_of_its_nodes_is_away_as_a_whole() {
    let replicas = undisturbed(|| {
        let replicas = on_a_cluster("mode: exact, timeout: 300ms, replicas: 3");
        replicas.never_missed_the_store().then_some(replicas)
    });
    replicas.redis.nodes[2].pause().unwrap();
    // Some callers' keys lie there, and each gateway meets one sooner or later.
    let mut last = 0;
    for (host, gateway) in (2..).zip(replicas.gateways.iter().cycle().take(120)) {
        last = gateway.client_at(host).get("/open/room").unwrap().status;
    }
    assert_eq!(last, 200, "its share");
    replicas.wait_for(AWAY, 1);
    let told = replicas.gateways.iter().map(|gateway| said(gateway, AWAY));
    assert!(
        told.clone().all(|times| times == 1),
        "{:?}",
        told.collect::<Vec<_>>()
    );
    replicas.redis.nodes[2].resume().unwrap();
    replicas.wait_for(BACK, 2);
}

/// With or without the authority that vouches for the store.
fn with_store_at(address: &str, authority: Option<&Authority>) -> Gateway {
    let configuration = |places: &Places| {
        let server = server(places, "");
        format!(
            "{server}
storage: {{ redis: '{address}' }}
upstreams: {{ hotel: {{ endpoints: [127.0.0.1:1] }} }}
rate_limits: {{ tight: {{ key: ip, limit: 60/1d }}, sharing: {{ mode: exact, timeout: 10s }} }}
routes: [{{ name: open, match: {{ path: /** }}, upstream: hotel, auth: public, rate_limits: [tight] }}]
"
        )
    };
    let mut house = build(configuration);
    if let Some(authority) = authority {
        house = house.with_environment("SSL_CERT_FILE", authority.certificate());
    }
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    gateway
}

#[test]
fn a_store_over_tls_is_verified_and_its_password_is_told_to_nobody() {
    let authority = Authority::new("the store's authority").unwrap();
    let shown = authority.server(&["127.0.0.1"]).unwrap();
    let (_redis, port) = Redis::start_secured("hunter2", &shown).unwrap();
    let address = format!("rediss://:hunter2@127.0.0.1:{port}");
    let found = with_store_at(&address, Some(&authority));
    // Half a second may be too little for a first look on a loaded machine.
    wait_for(&found, BACK, 1);
    let unvouched = with_store_at(&address, None);
    let wrong = with_store_at(&address.replace("hunter2", "hunter3"), Some(&authority));
    for gateway in [unvouched, wrong] {
        wait_for(&gateway, AWAY, 1);
        let log = gateway.stderr();
        assert_eq!(
            (said(&gateway, AWAY), said(&gateway, BACK)),
            (1, 0),
            "{log}"
        );
        assert!(!log.contains("hunter"), "{log}");
    }
}
