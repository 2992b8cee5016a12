//! An upstream that breaks off and a client that leaves: to the other side both look alike, to the breaker, the metrics
//! and the access log they must not. And answers that look like failures and are none.

use portcullis_harness::{
    client::Socket,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};

use crate::stage;

/// Two failures in a row open the breaker.
fn start(upstream: &Upstream) -> Gateway {
    let upstream = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  frail: {{ endpoints: [{upstream}], circuit_breaker: {{ consecutive_failures: 2, open_for: 600s }} }}
routes:
  - {{ name: frail, match: {{ path: /frail/** }}, upstream: frail, auth: public }}
"
        )
    })
}

fn ask(gateway: &Gateway) -> Socket {
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("GET /frail/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    socket
}

/// Waits for that many access lines with these words in them.
fn lines(gateway: &Gateway, count: usize, words: &[&str]) {
    let found = wait::until("access lines", PATIENCE, || {
        let output = gateway.stdout();
        let told = output
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        (told.count() == count).then_some(())
    });
    found.unwrap_or_else(|error| panic!("{error}: {words:?} in\n{}", gateway.stdout()));
}

fn rejections(gateway: &Gateway, code: &str) -> f64 {
    gateway
        .metrics()
        .unwrap()
        .sum("portcullis_rejections_total", &[("code", code)])
}

fn half() -> Reaction {
    // In chunks: a head with a length waits in Pingora for more of the body.
    Reaction::send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
}

#[test]
fn an_upstream_that_breaks_off_is_a_failure_of_the_upstream() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    upstream.reacts_with(half().then_hang());
    let mut clients = [ask(&gateway), ask(&gateway)];
    for client in &mut clients {
        client.head_within(PATIENCE).unwrap();
    }
    drop(upstream);
    for mut client in clients {
        assert!(client.closes_within(PATIENCE));
    }
    lines(
        &gateway,
        2,
        &[r#""status":200"#, r#""code":"upstream-failed""#],
    );
    assert_eq!(rejections(&gateway, "upstream-failed"), 2.0);
    assert_eq!(
        ask(&gateway).response().unwrap().code(),
        "circuit-open",
        "a broken-off answer counts as a failure"
    );
}

#[test]
fn a_client_that_leaves_says_nothing_about_the_upstream() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    upstream.reacts_with(half().then_hang());
    for _ in 0..3 {
        let mut client = ask(&gateway);
        client.head_within(PATIENCE).unwrap();
        drop(client);
    }
    lines(
        &gateway,
        3,
        &[
            r#""status":200"#,
            r#""code":null"#,
            r#""reason":"client-left""#,
        ],
    );
    upstream.reacts_with(Reaction::hang());
    for asked in 4..7 {
        let client = ask(&gateway);
        wait::until("the request at the upstream", PATIENCE, || {
            (upstream.count() == asked).then_some(())
        })
        .unwrap();
        drop(client);
    }
    lines(
        &gateway,
        3,
        &[
            r#""status":499"#,
            r#""code":null"#,
            r#""reason":"client-left""#,
        ],
    );
    assert_eq!(rejections(&gateway, "upstream-failed"), 0.0);
    upstream.reacts_with(Reaction::ok());
    assert_eq!(ask(&gateway).response().unwrap().text(), "ok");
}

#[test]
fn a_limit_of_the_upstreams_own_is_passed_on_and_is_no_failure() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    upstream.reacts_with(Reaction::send(
        "HTTP/1.1 429 Slow Down\r\nRetry-After: 17\r\nContent-Length: 4\r\n\r\nslow",
    ));
    for _ in 0..10 {
        let answer = ask(&gateway).response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (429, "slow"));
        assert_eq!(answer.field("retry-after"), Some("17"));
    }
    assert_eq!(upstream.count(), 10);
}
