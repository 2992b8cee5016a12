//! Upstreams that break HTTP, break off, or do not answer. The client gets a whole answer, a clear refusal, or a
//! connection that is visibly cut; never a broken answer that looks whole, and never somebody else's.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Request, Response, Socket},
    gateway::Gateway,
    ports::free_port,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE, SOON},
    wire::Ending,
};

use crate::stage;

/// In a list of statuses: the connection is cut before the answer is whole.
const CUT: u16 = 0;
const FAILED: &[u16] = &[502];

/// `request` is how long an answer may take in all.
fn start(upstream: SocketAddr, request: &str) -> Gateway {
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  sick:
    endpoints: [{upstream}]
    timeouts: {{ connect: 60s, request: {request}, idle: 55s }}
    retries: {{ attempts: 2, when: [connect] }}
    circuit_breaker: {{ consecutive_failures: 100000 }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: sick, auth: public }}
"
        )
    })
}

struct Ward {
    upstream: Upstream,
    gateway: Gateway,
}

impl Ward {
    /// Nobody runs out of time.
    fn open() -> Self {
        Self::with_time("60s")
    }

    fn with_time(request: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let gateway = start(upstream.address(), request);
        Self { upstream, gateway }
    }

    fn ask(&self, method: &str) -> Result<Response, Ending> {
        let mut socket = Socket::connect(self.gateway.address()).unwrap();
        socket.send(format!(
            "{method} /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"
        ));
        socket.response_to(method, PATIENCE)
    }

    /// Asks once, and then once more a well upstream: its answer must be its own.
    fn row(&self, name: &str, reaction: Reaction, statuses: &[u16]) -> Option<String> {
        self.upstream.take_received();
        self.upstream.reacts_with(reaction);
        let outcome = self.ask("GET");
        self.upstream.reacts_with(Reaction::answer(200, "well"));
        let status = match &outcome {
            Ok(answer) => answer.status,
            Err(ending) if ending.is_close() => CUT,
            Err(ending) => return Some(format!("{name}: {ending}")),
        };
        if !statuses.contains(&status) {
            return Some(format!(
                "{name}: {status} {:?}",
                outcome.map(|answer| answer.text())
            ));
        }
        if status == 502
            && !["upstream-failed", "upstream-unreachable"].contains(&outcome.ok()?.code().as_str())
        {
            return Some(format!("{name}: a 502 that is not our problem"));
        }
        // A GET that met the end of a pooled connection may be repeated, once.
        if !(1..=2).contains(&self.upstream.count()) {
            return Some(format!(
                "{name}: the upstream was asked {} times",
                self.upstream.count()
            ));
        }
        let next = self.ask("GET").map(|answer| (answer.status, answer.text()));
        (next != Ok((200, "well".to_owned())))
            .then(|| format!("{name}: the next request got {next:?}"))
    }
}

fn check(rows: impl IntoIterator<Item = (&'static str, Reaction, &'static [u16])>) {
    let ward = Ward::open();
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, reaction, statuses)| ward.row(name, reaction, statuses))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn raw(text: impl Into<Vec<u8>>) -> Reaction {
    Reaction::send(text).then_close()
}

#[test]
fn an_old_upstream_does_not_cost_the_client_its_version() {
    let ward = Ward::open();
    ward.upstream.reacts_with(raw(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold",
    ));
    let answer = ward.ask("GET").unwrap();
    assert_eq!((answer.status, answer.text()), (200, "old".to_owned()));
    assert!(
        answer.head.first_line.starts_with("HTTP/1.1 "),
        "each hop speaks its own version: {}",
        answer.head.first_line
    );
}

#[test]
fn what_is_no_answer_is_not_passed_on() {
    let large = format!(
        "HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 2\r\n\r\nok",
        "a".repeat(200_000)
    );
    check([
        ("nothing, then FIN", Reaction::close(), FAILED),
        ("nothing, then RST", Reaction::reset(), FAILED),
        (
            "half a head, then FIN",
            raw("HTTP/1.1 200 OK\r\nContent-Le"),
            FAILED,
        ),
        (
            "garbage",
            raw(b"\x16\x03\x01\0\0\xff\xfe\r\n\r\n".to_vec()),
            FAILED,
        ),
        ("just text", raw("just text\r\n\r\n"), FAILED),
        ("no status", raw("HTTP/1.1 OK\r\n\r\n"), FAILED),
        (
            "a status that is no number",
            raw("HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n"),
            FAILED,
        ),
        (
            "two lengths",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokxxx"),
            FAILED,
        ),
        (
            "a length that is none",
            raw("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
            FAILED,
        ),
        (
            "NUL in a value",
            raw("HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok"),
            FAILED,
        ),
        ("200 kB of header", raw(large), FAILED),
        (
            "an upgrade nobody asked for",
            Reaction::send(
                "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw bytes",
            )
            .then_close(),
            FAILED,
        ),
        (
            "a status of 999",
            raw("HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"),
            &[999, 502],
        ),
    ]);
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    const BROKEN: &[u16] = &[CUT, 502];
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    check([
        ("FIN in a body", Reaction::send(length).then_close(), BROKEN),
        ("RST in a body", Reaction::send(length).then_reset(), BROKEN),
        (
            "FIN between chunks",
            Reaction::send(chunked).then_close(),
            BROKEN,
        ),
        (
            "RST between chunks",
            Reaction::send(chunked).then_reset(),
            BROKEN,
        ),
        (
            "a chunk size that is none",
            raw(format!("{chunked}zz\r\nmore\r\n0\r\n\r\n")),
            BROKEN,
        ),
        (
            "a chunk size beyond 64 bits",
            raw(format!("{chunked}fffffffffffffffff\r\nmore\r\n0\r\n\r\n")),
            BROKEN,
        ),
    ]);
}

#[test]
fn an_answer_with_two_readings_is_refused_or_made_plain() {
    let ward = Ward::open();
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    ];
    for text in answers {
        ward.upstream.reacts_with(raw(text));
        match ward.ask("GET") {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.text(), "ok", "{text:?}");
                let framings = answer.head.fields_named("content-length").count()
                    + answer.head.fields_named("transfer-encoding").count();
                assert!(framings <= 1, "{text:?} came as {:?}", answer.head);
                let lines = String::from_utf8_lossy(&answer.head.raw).replace("\r\n", "");
                assert!(!lines.contains(['\r', '\n', '\0']), "{lines:?}");
            }
            Ok(answer) => assert_eq!(answer.status, 502, "{text:?}"),
            Err(ending) => assert!(ending.is_close(), "{text:?}: {ending}"),
        }
    }
}

#[test]
fn a_second_answer_behind_the_first_is_nobodys() {
    let ward = Ward::open();
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n",
    ] {
        ward.upstream
            .reacts_with(Reaction::send(format!("{first}{poison}")));
        for _ in 0..3 {
            let answer = ward.ask("GET").unwrap();
            assert!(
                [200, 204, 304].contains(&answer.status),
                "{first:?}: {answer:?}"
            );
            assert!(
                !answer.text().contains("poison"),
                "{first:?}: a client got what nobody asked for"
            );
        }
        ward.upstream.reacts_with(Reaction::answer(200, "well"));
        for _ in 0..3 {
            assert_eq!(ward.ask("GET").unwrap().text(), "well", "after {first:?}");
        }
    }
}

#[test]
fn a_body_where_none_can_be_is_dropped() {
    let ward = Ward::open();
    ward.upstream.reacts_with(Reaction::send(
        "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison",
    ));
    let answer = ward.ask("GET").unwrap();
    assert!([204, 502].contains(&answer.status), "{answer:?}");
    ward.upstream.reacts_with(Reaction::answer(200, "well"));
    assert_eq!(ward.ask("GET").unwrap().text(), "well");
}

#[test]
fn a_flood_of_interim_answers_is_not_passed_on() {
    let ward = Ward::open();
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(500);
    ward.upstream.reacts_with(Reaction::send(format!(
        "{flood}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )));
    match ward.ask("GET") {
        Ok(answer) => assert!(
            answer.interim.len() <= 20,
            "{} interim answers came through",
            answer.interim.len()
        ),
        Err(ending) => assert!(ending.is_close(), "{ending}"),
    }
}

#[test]
fn an_upstream_that_never_answers_is_given_up_at_the_timeout() {
    let ward = Ward::with_time("2s");
    ward.upstream.reacts_with(Reaction::hang());
    let (answer, took) = wait::timed(|| ward.ask("GET").unwrap());
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "upstream-timeout")
    );
    assert!(
        (Duration::from_millis(1_500)..SOON).contains(&took),
        "the timeout is 2 s: {took:?}"
    );
    assert_eq!(
        ward.upstream.count(),
        1,
        "what may have been carried out is not tried again"
    );
}

#[test]
fn a_drip_is_cut_when_the_whole_request_takes_too_long() {
    let ward = Ward::with_time("2s");
    let head = Reaction::send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    let drip = (0..1_000).fold(head, |drip, _| {
        drip.then_pause(Duration::from_millis(100)).then_send("a")
    });
    ward.upstream.reacts_with(drip);
    let (outcome, took) = wait::timed(|| ward.ask("GET"));
    assert!(
        outcome.is_err_and(Ending::is_close),
        "an answer that was cut must not look whole"
    );
    assert!(took < SOON, "the timeout is 2 s: {took:?}");
}

#[test]
fn a_slow_answer_within_its_time_is_whole() {
    let ward = Ward::open();
    let head = Reaction::send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
    ward.upstream.reacts_with((0..8).fold(head, |drip, _| {
        drip.then_pause(Duration::from_millis(50)).then_send("a")
    }));
    assert_eq!(ward.ask("GET").unwrap().text(), "aaaaaaaa");
}

#[test]
fn an_early_answer_to_a_long_upload_arrives() {
    let ward = Ward::open();
    let early = Reaction::send(
        "HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nless",
    )
    .before_the_body();
    ward.upstream
        .reacts_with(early.then_pause(Duration::from_millis(200)).then_close());
    let mut socket = Socket::connect(ward.gateway.address()).unwrap();
    socket.send("POST /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8000000\r\n\r\n");
    let part = vec![b'a'; 100_000];
    let sent = (0..80).take_while(|_| socket.send(&part)).count();
    match socket.response() {
        Ok(answer) => assert!(
            [413, 502].contains(&answer.status),
            "{answer:?} after {sent} parts"
        ),
        Err(ending) => assert!(ending.is_close(), "{ending}"),
    }
    ward.upstream.reacts_with(Reaction::answer(200, "well"));
    assert_eq!(ward.ask("GET").unwrap().text(), "well");
}

#[test]
fn a_post_that_may_have_been_carried_out_is_never_sent_twice() {
    let ward = Ward::open();
    for reaction in [
        Reaction::close(),
        Reaction::reset(),
        Reaction::send("HTTP/1.1 200").then_close(),
    ] {
        ward.upstream.reacts_with(reaction);
        assert_eq!(ward.ask("POST").unwrap().code(), "upstream-failed");
        assert_eq!(ward.upstream.take_received().len(), 1);
    }
}

#[test]
fn a_pooled_connection_that_has_died_costs_no_request() {
    let ward = Ward::open();
    // Says that it stays, and closes: what an upstream does whose keep-alive is shorter than ours.
    ward.upstream.reacts_with(Reaction::ok().then_close());
    for number in 0..20 {
        let answer = ward.ask("GET").unwrap();
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
    }
    assert_eq!(ward.upstream.take_received().len(), 20);
}

#[test]
fn an_upstream_that_is_not_there_is_said_to_be_unreachable_at_once() {
    let gateway = start((Ipv4Addr::LOCALHOST, free_port().unwrap()).into(), "60s");
    let mut client = gateway.client();
    for _ in 0..3 {
        let (answer, took) = wait::timed(|| client.get("/open/x").unwrap());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream-unreachable")
        );
        assert!(
            took < SOON,
            "a refused connection is known at once, and the 60 s of a silent one are not waited for: {took:?}"
        );
        assert!(answer.field("x-request-id").is_some());
    }
    let retries = gateway
        .metrics()
        .unwrap()
        .sum("portcullis_upstream_retries_total", &[("upstream", "sick")]);
    assert!(
        (1.0..=3.0).contains(&retries),
        "two attempts each are configured, {retries} retries were made"
    );
}

#[test]
fn other_statuses_and_headers_of_the_upstream_pass_as_they_are() {
    let ward = Ward::open();
    let answer = "HTTP/1.1 418 Teapot\r\nX-Frame-Options: SAMEORIGIN\r\nX-Mine: 1\r\nX-Mine: 2\r\nSet-Cookie: a=1\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nContent-Length: 5\r\n\r\nshort";
    ward.upstream.reacts_with(Reaction::send(answer));
    let answer = Client::of(ward.gateway.address())
        .send(&Request::get("/open/x"))
        .unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (418, "short"));
    assert_eq!(
        answer.head.fields_named("x-mine").collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(
        answer.field("x-frame-options"),
        Some("SAMEORIGIN"),
        "what the upstream set stays"
    );
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        (answer.field("keep-alive"), answer.field("proxy-connection")),
        (None, None),
        "hop-by-hop fields"
    );
}
