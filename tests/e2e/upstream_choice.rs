//! Which endpoint a request goes to, under which path, and how many may be on their way at once.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixListener,
    path::Path,
    thread,
};

use portcullis_harness::{
    client::{Client, Request, Socket},
    gateway::Gateway,
    ports::free_port,
    upstream::{Reaction, Received, Upstream},
    wait::{self, PATIENCE},
};

use crate::stage;

/// Two upstreams: `pool` as described, and `calm`, which nothing happens to.
fn start(pool: &str, calm: &Upstream) -> Gateway {
    let calm = calm.address();
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  pool: {{ {pool} }}
  calm: {{ endpoints: [{calm}] }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public }}
  - {{ name: calm, match: {{ path: /calm/** }}, upstream: calm, auth: public }}
  - {{ name: moved, match: {{ path: /old/** }}, upstream: calm, auth: public, rewrite: {{ strip_prefix: /old, add_prefix: /new }} }}
  - {{ name: bare, match: {{ path: /bare/** }}, upstream: calm, auth: public, rewrite: {{ strip_prefix: /bare }} }}
"
        )
    })
}

fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port().unwrap()).into()
}

#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let (alive, calm) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let endpoints = format!("endpoints: [{}, {}]", nobody(), alive.address());
    let gateway = start(&endpoints, &calm);
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
    assert_eq!(alive.count(), 20);
}

#[test]
fn one_attempt_is_one_attempt() {
    let (alive, calm) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let endpoints = format!(
        "endpoints: [{}, {}], balance: round_robin, retries: {{ attempts: 1 }}, circuit_breaker: {{ consecutive_failures: 1000 }}",
        nobody(),
        alive.address()
    );
    let gateway = start(&endpoints, &calm);
    let mut client = gateway.client();
    let codes: Vec<String> = (0..20)
        .map(|_| client.get("/pool/x").unwrap().code())
        .collect();
    let refused = codes
        .iter()
        .filter(|code| *code == "upstream-unreachable")
        .count();
    assert_eq!((refused, alive.count()), (10, 10), "{codes:?}");
}

#[test]
fn requests_are_spread_over_the_endpoints() {
    let (pool, calm) = (
        [(); 3].map(|()| Upstream::start().unwrap()),
        Upstream::start().unwrap(),
    );
    let addresses: Vec<String> = pool.iter().map(|one| one.address().to_string()).collect();
    let gateway = start(
        &format!(
            "endpoints: [{}], balance: round_robin",
            addresses.join(", ")
        ),
        &calm,
    );
    let mut client = gateway.client();
    for _ in 0..30 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
    assert_eq!(pool.map(|one| one.count()), [10, 10, 10]);
}

#[test]
fn weights_are_shares_whatever_the_balance() {
    for balance in ["round_robin", "least_requests"] {
        let (pool, calm) = (
            [(); 3].map(|()| Upstream::start().unwrap()),
            Upstream::start().unwrap(),
        );
        let weighed = [6, 3, 0].iter().zip(&pool).map(|(weight, one)| {
            let address = one.address();
            format!("{{ address: {address}, weight: {weight} }}")
        });
        let endpoints: Vec<String> = weighed.collect();
        let gateway = start(
            &format!("endpoints: [{}], balance: {balance}", endpoints.join(", ")),
            &calm,
        );
        let mut client = gateway.client();
        for _ in 0..30 {
            assert_eq!(client.get("/pool/x").unwrap().status, 200);
        }
        assert_eq!(pool.map(|one| one.count()), [20, 10, 0], "{balance}");
    }
}

/// Which of the pool each room's requests went to.
fn homes(gateway: &Gateway, pool: &[Upstream]) -> BTreeMap<u32, usize> {
    let mut client = gateway.client();
    let mut homes = BTreeMap::new();
    for room in (0..40).chain(0..40) {
        let request = Request::get("/pool/x").with("X-Room", room.to_string());
        assert_eq!(client.send(&request).unwrap().status, 200);
        let home = pool.iter().position(|one| !one.take_received().is_empty());
        let known = homes.insert(room, home.unwrap());
        assert!(
            known.is_none() || known == home,
            "room {room} went to two endpoints"
        );
    }
    homes
}

#[test]
fn a_key_stays_with_its_endpoint_and_another_takes_over_only_for_one_that_is_gone() {
    let (mut pool, calm) = (
        Vec::from([(); 3].map(|()| Upstream::start().unwrap())),
        Upstream::start().unwrap(),
    );
    let addresses: Vec<String> = pool.iter().map(|one| one.address().to_string()).collect();
    let gateway = start(
        &format!(
            "endpoints: [{}], balance: {{ hash: 'header:X-Room' }}, circuit_breaker: {{ consecutive_failures: 1000 }}",
            addresses.join(", ")
        ),
        &calm,
    );
    let before = homes(&gateway, &pool);
    let busiest = (0..3).map(|one| before.values().filter(|home| **home == one).count());
    assert!(busiest.min() > Some(0), "{before:?}");
    // Its connections are refused from now on: what belongs there is tried elsewhere.
    drop(pool.pop());
    for (room, now) in homes(&gateway, &pool) {
        let then = before[&room];
        assert!(
            then == now || then == 2,
            "room {room} moved from {then} to {now}"
        );
    }
}

#[test]
fn requests_without_the_key_are_spread() {
    let (pool, calm) = (
        [(); 2].map(|()| Upstream::start().unwrap()),
        Upstream::start().unwrap(),
    );
    let [one, other] = [pool[0].address(), pool[1].address()];
    let gateway = start(
        &format!("endpoints: [{one}, {other}], balance: 'hash:cookie:room'"),
        &calm,
    );
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
    assert_eq!(pool.map(|one| one.count()), [10, 10]);
}

#[test]
fn a_busy_endpoint_gets_less_than_an_idle_one() {
    let ([busy, idle], calm) = (
        [(); 2].map(|()| Upstream::start().unwrap()),
        Upstream::start().unwrap(),
    );
    busy.reacts_with(Reaction::hang());
    let gateway = start(
        &format!("endpoints: [{}, {}]", busy.address(), idle.address()),
        &calm,
    );
    let mut stuck = Vec::new();
    wait::until("a request that is stuck", PATIENCE, || {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        socket.send("GET /pool/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let arrived = wait::until("either endpoint", PATIENCE, || {
            (busy.count() + idle.count() > stuck.len()).then_some(())
        });
        arrived.unwrap();
        stuck.push(socket);
        (busy.count() == 1).then_some(())
    })
    .unwrap();
    let before = idle.count();
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
    assert_eq!((busy.count(), idle.count()), (1, before + 10));
}

#[test]
fn an_upstream_at_its_cap_sheds_and_leaves_the_others_alone() {
    let (slow, calm) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    slow.reacts_with(Reaction::hang());
    let gateway = start(
        &format!("endpoints: [{}], max_in_flight: 3", slow.address()),
        &calm,
    );
    let mut held: Vec<Socket> = (0..3)
        .map(|_| {
            let mut socket = Socket::connect(gateway.address()).unwrap();
            socket.send("GET /pool/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
            socket
        })
        .collect();
    wait::until("three requests in flight", PATIENCE, || {
        (slow.count() == 3).then_some(())
    })
    .unwrap();
    let mut client = gateway.client();
    let refused = client.get("/pool/x").unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "overloaded")
    );
    assert!(refused.field("retry-after").is_some());
    assert_eq!(client.get("/calm/x").unwrap().status, 200);
    assert_eq!(
        slow.count(),
        3,
        "a request that was shed reached the upstream"
    );
    slow.reacts_with(Reaction::ok());
    held.pop();
    let room = wait::until("room", PATIENCE, || {
        (client.get("/pool/x").unwrap().status == 200).then_some(())
    });
    room.unwrap();
}

#[test]
fn a_path_is_rewritten_by_whole_segments_and_keeps_its_query() {
    let calm = Upstream::start().unwrap();
    let gateway = start(&format!("endpoints: [{}]", calm.address()), &calm);
    let mut client = gateway.client();
    let asked = [
        ("/old/x?y=/old", "/new/x?y=/old"),
        ("/old", "/new"),
        ("/old/", "/new/"),
        ("/old/old/x", "/new/old/x"),
        ("/bare/x?y=1", "/x?y=1"),
        ("/bare", "/"),
        ("/bare/%61", "/a"),
    ];
    for (path, expected) in asked {
        assert_eq!(client.get(path).unwrap().status, 200, "{path}");
        let received = calm.take_received();
        assert_eq!(
            received.iter().map(Received::target).collect::<Vec<_>>(),
            [expected],
            "{path}"
        );
    }
    assert_eq!(client.get("/older/x").unwrap().code(), "route-not-found");
}

#[test]
fn connections_to_an_upstream_are_kept() {
    let calm = Upstream::start().unwrap();
    let gateway = start(&format!("endpoints: [{}]", calm.address()), &calm);
    let mut client = Client::of(gateway.address());
    for _ in 0..50 {
        assert_eq!(client.get("/calm/x").unwrap().status, 200);
    }
    let mut by_connection: BTreeMap<usize, usize> = BTreeMap::new();
    for one in calm.take_received() {
        *by_connection.entry(one.connection).or_default() += 1;
    }
    // Each of the two proxy threads has a pool of its own.
    assert!(by_connection.len() <= 4, "{by_connection:?}");
}

/// Answers one request after the other with its request line, over a Unix socket.
fn echo_over(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream);
            if reader.read_line(&mut line).is_ok() {
                let (text, mut stream) = (line.trim_end(), reader.into_inner());
                let length = text.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(format!("{head}{text}").as_bytes()).ok();
            }
        }
    });
}

#[test]
fn an_endpoint_may_be_a_unix_socket() {
    let (folder, calm) = (tempfile::tempdir().unwrap(), Upstream::start().unwrap());
    let socket = folder.path().join("app.sock");
    echo_over(&socket);
    let endpoints = format!("endpoints: ['unix:{}']", socket.display());
    let gateway = start(&endpoints, &calm);
    let mut client = gateway.client();
    let answer = client.get("/pool/x").unwrap();
    assert_eq!(
        (answer.status, &*answer.text()),
        (200, "GET /pool/x HTTP/1.1")
    );
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(
        client.get("/pool/x").unwrap().code(),
        "upstream-unreachable"
    );
}
