//! Fetching from servers that do what they want.

use portcullis_harness::{
    ports::free_port,
    upstream::{Reaction, Upstream},
};

use super::*;

fn fetcher() -> Fetcher {
    // Another test may have been first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    Fetcher::new().unwrap()
}

async fn fetched(reaction: Reaction) -> Result<Fetched, String> {
    let server = Upstream::start().unwrap();
    server.reacts_with(reaction);
    let url = format!("http://{}/keys?x=1", server.address());
    let fetched = fetcher().fetch(&url, 1000).await;
    let asked = server.take_received();
    assert!(
        asked
            .iter()
            .all(|asked| asked.method() == "GET" && asked.target() == "/keys?x=1")
    );
    assert!(asked.len() <= 1, "asked once");
    fetched.map_err(|error| error.to_string())
}

fn answer(fields: &str, body: &str) -> Reaction {
    let length = body.len();
    Reaction::send(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{fields}\r\n{body}"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_answer_is_fetched_whole_and_anything_else_is_not() {
    assert_eq!(fetched(answer("", "{}")).await.unwrap().body, b"{}");
    let cases = [
        (
            answer("", &"x".repeat(1001)),
            "answered with more than 1000 bytes",
        ),
        (
            Reaction::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .then_send("3e8\r\n".to_owned() + &"x".repeat(1000) + "\r\n1\r\nx\r\n"),
            "answered with more than 1000 bytes",
        ),
        (Reaction::answer(404, "{}"), "answered with status 404"),
        (
            Reaction::send("HTTP/1.1 204 No Content\r\n\r\n"),
            "answered with status 204",
        ),
        (
            Reaction::send(
                "HTTP/1.1 307 Elsewhere\r\nlocation: /keys?x=1\r\ncontent-length: 0\r\n\r\n",
            ),
            "answered with status 307",
        ),
        (
            Reaction::send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}").then_close(),
            "broke off its answer",
        ),
    ];
    for (reaction, wanted) in cases {
        assert_eq!(fetched(reaction).await.err().as_deref(), Some(wanted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_or_never_answers_is_given_up() {
    let url = format!("http://127.0.0.1:{}/", free_port().unwrap());
    let error = fetcher().fetch(&url, 1000).await.err().unwrap().to_string();
    assert!(error.starts_with("cannot be reached: "), "{error}");
    assert!(
        !error.contains("127.0.0.1"),
        "the log names the issuer by its name"
    );
    let late = fetched(Reaction::hang()).await.err();
    assert_eq!(late.as_deref(), Some("no answer within 5s"));
    let slow = answer("", "{")
        .then_send("")
        .delayed(Duration::from_millis(1));
    assert!(fetched(slow).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_how_long_it_may_be_kept() {
    let cases = [
        ("", None),
        ("cache-control: public, max-age=300\r\n", Some(300)),
        (
            "cache-control: public\r\nCache-Control: MAX-AGE=\"7\"\r\n",
            Some(7),
        ),
        ("cache-control: max-age=300, no-store\r\n", Some(0)),
        ("cache-control: no-cache\r\n", Some(0)),
        ("cache-control: max-age=-1\r\n", None),
        ("cache-control: max-age=99999999999999999999999\r\n", None),
        ("cache-control: s-maxage=5\r\n", None),
    ];
    for (fields, wanted) in cases {
        let fetched = fetched(answer(fields, "{}")).await.unwrap();
        assert_eq!(
            fetched.max_age,
            wanted.map(Duration::from_secs),
            "{fields:?}"
        );
    }
}
