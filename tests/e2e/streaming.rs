//! Bodies that are passed on as they come: events, uploads larger than memory should be, and leave to send at all.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use portcullis_harness::{
    client::Socket,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE, SOON},
};

use crate::stage;

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const ASK: &str = "GET /stream/x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// `/stream/**` may last as `life` says, its silences and its head as `timeout` does; `/guarded/**` wants a token.
fn start(upstream: SocketAddr, timeout: &str, life: &str) -> Gateway {
    stage::start(|places| {
        let server = stage::server(places, "");
        let corp = stage::CORP;
        format!(
            "{server}{corp}
upstreams:
  source: {{ endpoints: [{upstream}], timeouts: {{ request: {timeout} }} }}
routes:
  - {{ name: stream, match: {{ path: /stream/** }}, upstream: source, auth: public, max_connection_life: {life}, body: 1GiB }}
  - {{ name: guarded, match: {{ path: /guarded/** }}, upstream: source, auth: {{ resource: hotel }} }}
"
        )
    })
}

/// An upstream for one request, whose every piece is sent when the test says so.
fn on_command() -> (SocketAddr, Sender<&'static str>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (send, pieces) = mpsc::channel::<&str>();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        read_until(&mut stream, "\r\n\r\n");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
        }
    });
    (address, send)
}

/// What came up to and with these bytes.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end.as_bytes()) {
        let came = stream.read_exact(&mut byte);
        assert!(
            came.is_ok(),
            "{came:?} after {}",
            String::from_utf8_lossy(&read)
        );
        read.extend(byte);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn an_event_arrives_before_the_next_is_sent() {
    let (upstream, send) = on_command();
    let gateway = start(upstream, "30s", "1h");
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    client.write_all(ASK.as_bytes()).unwrap();
    send.send(EVENTS).unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").contains("text/event-stream"));
    for (piece, event) in [
        ("b\r\ndata: one\n\n\r\n", "data: one\n\n"),
        ("b\r\ndata: two\n\n\r\n", "data: two\n\n"),
    ] {
        send.send(piece).unwrap();
        read_until(&mut client, event);
    }
    send.send("0\r\n\r\n").unwrap();
    read_until(&mut client, "0\r\n\r\n");
}

/// Events so often, for as long as somebody listens.
fn ticking(every: Duration) -> Reaction {
    (0..1_000).fold(Reaction::send(EVENTS), |ticking, _| {
        ticking.then_pause(every).then_send("2\r\n.\n\r\n")
    })
}

#[test]
fn a_stream_outlasts_the_timeout_and_ends_at_its_longest_life() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(ticking(Duration::from_millis(100)));
    // The timeout is long enough for a machine that holds the upstream up for seconds.
    let gateway = start(upstream.address(), "5s", "11s");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(ASK);
    let (rest, took) = wait::timed(|| {
        assert!(socket.head_within(PATIENCE).is_ok());
        socket.rest_within(PATIENCE).unwrap()
    });
    assert!(took > Duration::from_secs(6), "{took:?}");
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "what was broken off must not look whole"
    );
    wait::until("a line that says why", PATIENCE, || {
        gateway
            .stdout()
            .contains(r#""reason":"max-connection-life""#)
            .then_some(())
    })
    .unwrap();
    let rejections = gateway
        .metrics()
        .unwrap()
        .sum("portcullis_rejections_total", &[]);
    assert_eq!(rejections, 0.0, "nobody was refused");
}

#[test]
fn an_answer_that_is_no_stream_has_the_timeout_in_all() {
    let upstream = Upstream::start().unwrap();
    let head = Reaction::send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    upstream.reacts_with((0..1_000).fold(head, |drip, _| {
        drip.then_pause(Duration::from_millis(100)).then_send("a")
    }));
    let gateway = start(upstream.address(), "1s", "1h");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(ASK);
    assert!(socket.closes_within(SOON), "the timeout is 1 s");
}

#[test]
fn a_stream_that_falls_silent_for_the_timeout_is_ended() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(Reaction::send(EVENTS).then_send("2\r\n.\n\r\n").then_hang());
    let gateway = start(upstream.address(), "1s", "1h");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(ASK);
    assert!(socket.closes_within(SOON), "the timeout is 1 s");
}

/// Reads a body of that length and keeps none of it.
fn drain() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: u64 = length.split("\r\n").next().unwrap().parse().unwrap();
        let read = io::copy(&mut (&stream).take(length), &mut io::sink());
        assert_eq!(read.unwrap(), length);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
            .unwrap();
        // Held open until the gateway has read the answer.
        drop(stream.read(&mut [0]));
    });
    address
}

/// In KiB, as the kernel has it.
fn resident(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[test]
fn an_upload_of_any_size_takes_no_memory() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 256;
    let gateway = start(drain(), "120s", "1h");
    assert_eq!(gateway.client().get("/nowhere").unwrap().status, 404);
    let before = resident(&gateway);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(format!(
        "POST /stream/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        PIECE * PIECES
    ));
    let piece = vec![b'a'; PIECE];
    let mut most = before;
    for _ in 0..PIECES {
        assert!(socket.send(&piece));
        most = most.max(resident(&gateway));
    }
    assert_eq!(socket.response().unwrap().text(), "whole");
    assert!(
        most - before < 32 * 1024,
        "grew by {} KiB under 256 MiB",
        most - before
    );
}

#[test]
fn leave_to_send_a_body_is_the_upstreams_to_give() {
    let (upstream, send) = on_command();
    let gateway = start(upstream, "30s", "1h");
    let mut client = TcpStream::connect(gateway.address()).unwrap();
    let head = "POST /stream/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    send.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    client.write_all(b"body").unwrap();
    send.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")
        .unwrap();
    assert!(read_until(&mut client, "there").starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_is_refused_is_not_asked_for_the_body() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(upstream.address(), "30s", "1h");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(
        "POST /guarded/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    let answer = socket.response().unwrap();
    assert_eq!(answer.status, 401);
    assert!(answer.interim.is_empty(), "no leave was given");
    assert_eq!(
        answer.field("connection"),
        Some("close"),
        "whether the body still comes cannot be known"
    );
    assert!(socket.closes_within(PATIENCE));
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_upstream_may_answer_without_wanting_the_body() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(
        Reaction::send("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nless").before_the_body(),
    );
    let gateway = start(upstream.address(), "30s", "1h");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(
        "POST /stream/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    let answer = socket.response().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "less"));
    assert_eq!(answer.field("connection"), Some("close"));
}
