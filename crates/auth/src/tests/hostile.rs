//! Sign-in bodies that are not what a sign-in is: refused with a clear 4xx, and never hashed.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode, header},
};
use http_body_util::StreamBody;
use serde_json::json;

use super::{House, request};

const LOGIN: &str = "/v1/auth/login";

fn login(body: impl Into<Body>) -> Request<Body> {
    request(Method::POST, LOGIN, None, body.into())
}

/// A house in which nothing can be hashed, so that any other answer than 503 was given before.
async fn house_without_hashing() -> (House, impl Sized) {
    let house = House::open().await.with_demo_users().await;
    let stall = house.service.hasher.stall().await;
    (house, stall)
}

const NOT_THE_SYNTAX: &[(&str, &str)] = &[
    ("empty", ""),
    ("blank", "  \n"),
    ("not JSON", "username=saad&password=1234"),
    ("null", "null"),
    ("a string", r#""saad""#),
    ("an array", r#"["saad",null,"1234",null,null]"#),
    (
        "an array of the object",
        r#"[{"username":"saad","password":"1234"}]"#,
    ),
    (
        "byte order mark",
        "\u{feff}{\"username\":\"saad\",\"password\":\"1234\"}",
    ),
    (
        "trailing garbage",
        r#"{"username":"saad","password":"1234"}x"#,
    ),
    ("two objects", r#"{"username":"saad","password":"1234"}{}"#),
    (
        "trailing comma",
        r#"{"username":"saad","password":"1234",}"#,
    ),
    ("comment", r#"{"username":"saad",/**/"password":"1234"}"#),
    ("broken off", r#"{"username":"saad","password":"12"#),
    (
        "two passwords",
        r#"{"username":"saad","password":"1234","password":"x"}"#,
    ),
    (
        "two names",
        r#"{"username":"saad","username":"admin","password":"1234"}"#,
    ),
    (
        "a key in disguise",
        r#"{"username":"saad","password":"x","pass\u0077ord":"1234"}"#,
    ),
];

const NOT_THE_FIELDS: &[(&str, &str)] = &[
    (
        "number as password",
        r#"{"username":"saad","password":1234}"#,
    ),
    (
        "object as password",
        r#"{"username":"saad","password":{"$ne":""}}"#,
    ),
    (
        "array as name",
        r#"{"username":["saad"],"password":"1234"}"#,
    ),
    (
        "boolean as resource",
        r#"{"username":"saad","password":"1234","resource":true}"#,
    ),
    (
        "scopes as an array",
        r#"{"username":"saad","password":"1234","scope":["hotel:read"]}"#,
    ),
    (
        "unknown field",
        r#"{"username":"saad","password":"1234","roles":["admin"]}"#,
    ),
    ("other case", r#"{"Username":"saad","password":"1234"}"#),
    (
        "lone surrogate",
        r#"{"username":"saad","password":"\ud800"}"#,
    ),
    (
        "raw control character",
        "{\"username\":\"saad\",\"password\":\"a\nb\"}",
    ),
    ("no password", r#"{"username":"saad"}"#),
    ("null password", r#"{"username":"saad","password":null}"#),
    ("empty password", r#"{"username":"saad","password":""}"#),
    ("no name", r#"{"password":"1234"}"#),
    ("empty name", r#"{"username":"","password":"1234"}"#),
    (
        "both names",
        r#"{"username":"saad","email":"a@b.c","password":"1234"}"#,
    ),
];

#[tokio::test]
async fn bodies_that_are_no_sign_in_are_refused_before_hashing() {
    let (house, _stall) = house_without_hashing().await;
    let deep = format!(
        r#"{{"username":"saad","password":{}1{}}}"#,
        "[".repeat(1900),
        "]".repeat(1900)
    );
    let deep_unknown = format!(r#"{{"x":{}{}}}"#, "{\"a\":".repeat(600), "}".repeat(600));
    let long_name = json!({"username": "a".repeat(255), "password": "1234"}).to_string();
    let long_password = json!({"username": "saad", "password": "a".repeat(1025)}).to_string();
    let long: &[(&str, &str)] = &[
        ("long name", &long_name),
        ("long password", &long_password),
        ("deep", &deep),
        ("deep, in an unknown field", &deep_unknown),
    ];
    for (what, body) in NOT_THE_SYNTAX.iter().chain(NOT_THE_FIELDS).chain(long) {
        let answer = house.send(login((*body).to_owned())).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::BAD_REQUEST, "malformed-request"),
            "{what}"
        );
    }
    let invalid_utf8 = house
        .send(login(&b"{\"username\":\"saad\",\"password\":\"\xff\"}"[..]))
        .await;
    assert_eq!(invalid_utf8.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_odd_but_a_sign_in_reaches_the_hashing() {
    let (house, _stall) = house_without_hashing().await;
    let long_password = json!({"username": "saad", "password": "a".repeat(1024)}).to_string();
    for body in [
        r#"{"username":"saad","password":"x"}"#,
        " \r\n\t{ \"password\" : \"1234\" , \"username\" : \"saad\" } \n",
        r#"{"username":"saad","password":"a\u0000b"}"#,
        r#"{"user\u006eame":"saad","password":"1234"}"#,
        &long_password,
    ] {
        let answer = house.send(login(body.to_owned())).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let (house, _stall) = house_without_hashing().await;
    let body = r#"{"username":"saad","password":"1234"}"#;
    let send = async |types: &[&str], encoding: Option<&str>| {
        let mut request = login(body);
        request.headers_mut().remove(header::CONTENT_TYPE);
        for media_type in types {
            request
                .headers_mut()
                .append(header::CONTENT_TYPE, media_type.parse().unwrap());
        }
        if let Some(encoding) = encoding {
            request
                .headers_mut()
                .insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        house.send(request).await
    };
    for types in [
        &[][..],
        &["text/plain"],
        &["text/plain; application/json"],
        &["application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["application/jsonp"],
        &["application/json; charset=utf-16"],
        &["application/json; charset=iso-8859-1"],
        &["application/json;"],
        &["application/json, text/plain"],
        &["application/json", "application/json"],
    ] {
        let answer = send(types, None).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type"),
            "{types:?}"
        );
    }
    assert_eq!(
        send(&["application/json"], Some("gzip")).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    for media_type in [
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        assert_eq!(
            send(&[media_type], None).await.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{media_type}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_and_the_body_is_not_repeated() {
    let house = House::open().await;
    let table = [
        ("", "JSON object"),
        (r#"{"username":"secret-7","#, "JSON object"),
        (r#"["secret-7"]"#, "JSON object"),
        (r#"{"username":"x","password":"x"} secret-7"#, "JSON object"),
        (r#"{"username":"secret-7"}"#, "missing"),
        (r#"{"username":"x","password":"x","secret-7":1}"#, "unknown"),
        (
            r#"{"username":{"secret-7":1},"password":"x"}"#,
            "another kind",
        ),
    ];
    for (body, said) in table {
        let asked = request(Method::POST, "/v1/auth/login", None, Body::from(body));
        let answer = house.send(asked).await;
        assert_eq!(answer.problem(), "malformed-request", "{body}");
        assert!(answer.text.contains(said), "{body}: {}", answer.text);
        assert!(!answer.text.contains("secret-7"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_body_over_four_kibibytes_is_not_read() {
    let (house, _stall) = house_without_hashing().await;
    let check = async |request: Request<Body>, what: &str| {
        let answer = house.send(request).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            "{what}"
        );
        assert_eq!(answer.headers[header::CONNECTION], "close");
    };
    let padded = |length: usize| {
        let body = r#"{"username":"saad","password":"1234"}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    check(login(padded(4097)), "one byte more").await;
    let mut declared = login(Body::empty());
    declared
        .headers_mut()
        .insert(header::CONTENT_LENGTH, "10485760".parse().unwrap());
    check(declared, "declared, and never sent").await;
    let chunk = || Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(&[b' '; 1024])));
    let endless = futures_util::stream::iter(std::iter::repeat_with(chunk));
    check(
        login(Body::new(StreamBody::new(endless))),
        "without a length and without an end",
    )
    .await;
    assert_eq!(
        house.send(login(padded(4096))).await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "just fits"
    );
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let house = House::open().await;
    // From here on time passes as soon as there is nothing else to do.
    tokio::time::pause();
    let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
    let answer = house.send(login(Body::new(StreamBody::new(never)))).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::REQUEST_TIMEOUT, "request-timeout")
    );
}

#[tokio::test]
async fn metacharacters_are_inert_and_never_come_back() {
    let house = House::open_with(|config| {
        config.registration = portcullis_config::auth::Registration::Open
    })
    .await;
    house.add_user("saad", "1234", "guest").await;
    let charms = [
        "' OR '1'='1",
        "saad'--",
        "*)(uid=*",
        "{{7*7}}${7*7}",
        "<script>alert(1)</script>",
        "x\r\nSet-Cookie: a=b",
        "../../etc/passwd",
        "%00%0d%0a",
        "saad\0",
    ];
    for charm in charms {
        for path in [LOGIN, "/v1/auth/register"] {
            for field in ["username", "email", "password", "resource", "scope", charm] {
                let mut body = json!({"username": "saad", "password": "1234"});
                if field == "email" {
                    body.as_object_mut().unwrap().remove("username");
                }
                body[field] = json!(charm);
                let answer = house.post(path, None, body.clone()).await;
                assert!(
                    answer.status.is_client_error(),
                    "{path} {body}: {}",
                    answer.status
                );
                answer.problem();
                let echoed = answer.text.contains(charm)
                    || answer
                        .headers
                        .values()
                        .any(|value| value.to_str().unwrap().contains(charm));
                assert!(!echoed, "{path} {body} {}", answer.text);
                house.advance(std::time::Duration::from_secs(3600));
            }
        }
    }
    house.token("saad", "1234", "hotel").await;
}

/// What is left unread makes the server close, and loses whatever the gateway sends there next.
#[tokio::test]
async fn a_refusal_leaves_no_body_unread() {
    let house = House::open().await.with_demo_users().await;
    let refused = [
        (Method::POST, "/v1/nothing", 404),
        (Method::PUT, LOGIN, 405),
        (Method::POST, "/v1/auth/register", 401),
    ];
    for (method, path, status) in refused {
        let read = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&read);
        let body = futures_util::stream::once(async move {
            seen.store(true, Ordering::Relaxed);
            Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"{}")))
        });
        let request = request(method, path, None, Body::new(StreamBody::new(body)));
        assert_eq!(house.send(request).await.status, status, "{path}");
        assert!(read.load(Ordering::Relaxed), "{path} left its body unread");
    }
}
