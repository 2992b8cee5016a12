//! Sign-ins in numbers: guessing, storms, and clients that do not wait for the answer.

use std::{net::Ipv4Addr, thread, time::Duration};

use portcullis_harness::{
    client::{Client, Request, Response, Socket},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::json;

use crate::{
    sign_in_stage::{configuration, sign_in, signing_in, start},
    stage::{self, PASSWORD, add_user},
};

#[test]
fn guessing_is_slowed_down_without_locking_others_out() {
    let gateway = start("throttle: { address: 30/1m, account: 5/1h }");
    for name in ["alice", "bob"] {
        add_user(gateway.house(), name, "guest");
    }
    let mut owner = gateway.client_at(30);
    assert_eq!(sign_in(&mut owner, "alice", PASSWORD).status, 200);
    let mut attacker = gateway.client_at(31);
    let statuses: Vec<u16> = (0..6)
        .map(|_| sign_in(&mut attacker, "alice", "guess").status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let refused = sign_in(&mut attacker, "alice", PASSWORD);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate-limited")
    );
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(
        sign_in(&mut attacker, "bob", PASSWORD).status,
        200,
        "another account is not affected"
    );
    assert_eq!(
        sign_in(&mut owner, "alice", PASSWORD).status,
        200,
        "the owner gets in from where she was before"
    );
    let unknown: Vec<u16> = (0..6)
        .map(|_| sign_in(&mut attacker, "nobody", "guess").status)
        .collect();
    assert_eq!(unknown, statuses, "a name that does not exist counts alike");
}

#[test]
fn an_address_that_guesses_many_names_is_slowed_down() {
    let gateway = start("throttle: { address: 5/1h, account: 100/15m }");
    let mut attacker = gateway.client_at(32);
    let statuses: Vec<u16> = (0..6)
        .map(|number| sign_in(&mut attacker, &format!("user{number}"), "guess").status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let spoofed = json!({ "username": "user9", "password": "guess" });
    let spoofed = Request::post("/v1/auth/login")
        .json(&spoofed)
        .with("X-Forwarded-For", "192.0.2.9");
    let spoofed = spoofed
        .with("X-Portcullis-Client-Address", "192.0.2.9")
        .with("X-Real-IP", "192.0.2.9");
    assert_eq!(
        attacker.send(&spoofed).unwrap().status,
        429,
        "an address that is only claimed is not believed"
    );
    assert_eq!(
        sign_in(&mut gateway.client_at(33), "user0", "guess").status,
        401
    );
}

/// Hashing is the dearest thing a stranger can ask for: a storm of sign-ins must hold up sign-ins alone.
#[test]
fn a_login_storm_is_shed_and_the_rest_goes_on() {
    let upstream = Upstream::start().unwrap();
    let address = upstream.address();
    let gateway = stage::start(|places| {
        let auth = "password: { hashing_memory: 19MiB }\n  throttle: { address: 10000/1m, account: 10000/1m }";
        let base = configuration(&stage::server(places, ""), auth);
        format!(
            "{base}  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}\n\
             upstreams:\n  hotel: {{ endpoints: [{address}] }}\n"
        )
    });
    add_user(gateway.house(), "alice", "guest");
    let to = gateway.address();
    let storm: Vec<_> = (0..60)
        .map(|number| {
            let source = Ipv4Addr::new(127, 0, 1, number);
            let request = signing_in("alice", PASSWORD);
            thread::spawn(move || Client::from_address(source, to).send(&request).unwrap())
        })
        .collect();
    let mut taken = Vec::new();
    while !storm.iter().all(thread::JoinHandle::is_finished) {
        let (answer, took) = wait::timed(|| gateway.client().get("/open/x").unwrap());
        assert_eq!(answer.status, 200);
        taken.push(took);
    }
    taken.sort();
    // Of those meanwhile: what the machine held up is beyond the half of them.
    let usual = taken.get(taken.len() / 2).copied().unwrap_or_default();
    assert!(
        usual < Duration::from_secs(2),
        "proxied requests took {usual:?} meanwhile"
    );
    let answers: Vec<Response> = storm.into_iter().map(|one| one.join().unwrap()).collect();
    let count = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!(
        count(200) + count(503),
        60,
        "{:?}",
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>()
    );
    assert!(count(200) > 0, "nobody got in");
    let shed = answers.iter().filter(|answer| answer.status == 503);
    for answer in shed {
        assert_eq!(answer.code(), "overloaded");
        assert!(answer.field("retry-after").is_some());
    }
}

#[test]
fn clients_that_leave_while_their_password_is_hashed_leave_nothing_behind() {
    let gateway = start("throttle: { address: 10000/1m, account: 10000/1m }");
    add_user(gateway.house(), "alice", "guest");
    let body = json!({ "username": "alice", "password": "wrong password" }).to_string();
    for _ in 0..40 {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        socket.send(format!(
            "POST /v1/auth/login HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    let request = signing_in("alice", PASSWORD);
    let signed_in = wait::until("room for a sign-in", 5 * PATIENCE, || {
        let answer = gateway.client().send(&request).ok()?;
        (answer.status == 200).then_some(())
    });
    signed_in.unwrap();
}
