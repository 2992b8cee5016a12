//! What makes the gateway read its configuration again, what it takes and what it leaves, and who is told.

use std::{fs, os::unix::fs::symlink};

use portcullis_harness::{
    client::Response,
    gateway::Places,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use rustix::process::Signal;

use crate::{
    reload_stage::{
        Trickle, echo_targets, reload, reloads, start, status, versioned, wait_for_reload,
        wait_for_version, write,
    },
    stage::{self, all_rows, sqlite},
};

#[test]
fn a_changed_file_is_taken_without_a_signal() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    write(&gateway, &versioned(gateway.house().places(), &upstream, 2));
    wait_for_version(&gateway, 2);
    // It is in force a moment before it is counted.
    wait_for_reload(&gateway, "applied", 0.0);
    assert_eq!(reloads(&gateway, "applied"), 1.0);
}

#[test]
fn a_swapped_config_map_is_taken_and_its_secret_with_it() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|_| String::new());
    let places = house.places().clone();
    let lay_out = |folder: &str, version: u32| {
        fs::create_dir(house.path(folder)).unwrap();
        let text = versioned(&places, &upstream, version)
            .replace("x-version:", "x-secret: \"${file:secret}\", x-version:");
        fs::write(house.path(folder).join("gateway.yaml"), text).unwrap();
        fs::write(house.path(folder).join("secret"), format!("s{version}\n")).unwrap();
    };
    // As the kubelet does it: the files are links through `..data`, which alone is swapped.
    lay_out("..1", 1);
    symlink("..1", house.path("..data")).unwrap();
    fs::remove_file(house.path("gateway.yaml")).unwrap();
    symlink("..data/gateway.yaml", house.path("gateway.yaml")).unwrap();
    symlink("..data/secret", house.path("secret")).unwrap();
    lay_out("..2", 2);
    let next = house.path("..data_tmp");
    let data = house.path("..data");
    let secret = house.path("secret");
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    symlink("..2", &next).unwrap();
    fs::rename(&next, &data).unwrap();
    wait_for_version(&gateway, 2);
    let secret_of = |answer: Response| answer.field("x-secret").map(str::to_owned);
    let answer = gateway.client().get("/left/x").unwrap();
    assert_eq!(secret_of(answer).as_deref(), Some("s2"));
    // The secret alone.
    fs::remove_file(&secret).unwrap();
    fs::write(&secret, "s3").unwrap();
    wait::until("the new secret", PATIENCE, || {
        let answer = gateway.client().get("/left/x").ok()?;
        (secret_of(answer).as_deref() == Some("s3")).then_some(())
    })
    .unwrap();
}

#[test]
fn a_broken_file_changes_nothing_and_a_good_one_after_it_does() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    let good = versioned(gateway.house().places(), &upstream, 2);
    let broken = good.replace("upstream: hotel", "upstream: hotle") + "\nunheard_of: 1\n";
    // Without a signal, after which it would be complained about in any case.
    write(&gateway, &broken);
    wait_for_reload(&gateway, "rejected", 0.0);
    trickle.goes_on(20);
    let log = gateway.stderr();
    for expected in [
        "routes[0].upstream",
        "routes[2].upstream",
        "unheard_of",
        "gateway.yaml:",
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
    wait::until("the outcome in the status", PATIENCE, || {
        let last = &status(&gateway)["configuration"]["last_reload"];
        (last["outcome"] == "rejected").then_some(())
    })
    .unwrap();
    assert_eq!(
        gateway.client().get("/left/x").unwrap().field("x-version"),
        Some("1")
    );
    write(&gateway, &good);
    wait_for_reload(&gateway, "applied", 0.0);
    wait_for_version(&gateway, 2);
    assert_eq!(
        reloads(&gateway, "rejected"),
        1.0,
        "a broken file is complained about once"
    );
    let wrong = trickle.end();
    assert!(wrong.is_empty(), "{:?}", wrong.first());
}

#[test]
fn fifty_signals_in_a_row_are_one_change() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    write(&gateway, &versioned(gateway.house().places(), &upstream, 2));
    for _ in 0..50 {
        gateway.signal(Signal::HUP).unwrap();
    }
    wait_for_version(&gateway, 2);
    trickle.goes_on(50);
    assert!(trickle.end().is_empty());
    wait_for_reload(&gateway, "applied", 0.0);
    assert!((1.0..=51.0).contains(&reloads(&gateway, "applied")));
    assert_eq!(reloads(&gateway, "rejected"), 0.0);
}

#[test]
fn each_reload_is_in_the_audit_log() {
    let upstream = Upstream::start().unwrap();
    let configuration =
        |places: &Places, version| versioned(places, &upstream, version) + "audit: {}\n";
    let gateway = stage::start(|places| configuration(places, 1));
    let places = gateway.house().places().clone();
    reload(&gateway, &configuration(&places, 2), "applied");
    reload(&gateway, "version: 1\n", "rejected");
    let sha256 = status(&gateway)["configuration"]["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    // As `sha256sum` prints it for that one line.
    let sha256_of_broken =
        "09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847".to_owned();
    let database = sqlite(&gateway);
    let house = gateway.stop_and_keep().unwrap();
    let mut rows: Vec<_> = all_rows(&database)
        .into_iter()
        .filter(|row| row.action.starts_with("configuration_re"))
        .map(|row| {
            (
                row.action,
                row.outcome,
                row.target.and_then(|file| file.name),
            )
        })
        .collect();
    // Where the test was held up, the change was seen before it was told.
    rows.dedup();
    let expected = [
        ("configuration_reloaded", "success", sha256),
        ("configuration_rejected", "failure", sha256_of_broken),
    ];
    let expected = expected.map(|(action, outcome, sha256)| {
        (
            action.to_owned(),
            outcome.to_owned(),
            Some(format!("sha256:{sha256}")),
        )
    });
    assert_eq!(rows, expected);
    drop(house);
}

#[test]
fn a_reload_during_the_drain_is_left_undone_and_a_stop_during_reloads_ends_well() {
    let upstream = Upstream::start().unwrap();
    let mut gateway = stage::start(|places| {
        versioned(places, &upstream, 1)
            .replace("threads: 2", "threads: 2\n  shutdown: { drain_delay: 12s }")
    });
    let text = versioned(gateway.house().places(), &upstream, 2);
    gateway.signal(Signal::TERM).unwrap();
    wait::until("readiness to go down", PATIENCE, || {
        (gateway.readiness() == Some(503)).then_some(())
    })
    .unwrap();
    write(&gateway, &text);
    for _ in 0..5 {
        gateway.signal(Signal::HUP).unwrap();
        let answer = gateway.client().get("/left/x").unwrap();
        assert_eq!(answer.field("x-version"), Some("1"));
    }
    assert_eq!(gateway.wait_for_end(PATIENCE).unwrap().code(), Some(0));

    let mut gateway = start(&upstream);
    for _ in 0..20 {
        gateway.signal(Signal::HUP).unwrap();
    }
    gateway.signal(Signal::TERM).unwrap();
    for _ in 0..20 {
        // It may have ended by now.
        gateway.signal(Signal::HUP).ok();
    }
    assert_eq!(
        gateway.wait_for_end(PATIENCE).unwrap().code(),
        Some(0),
        "{}",
        gateway.stderr()
    );
}
