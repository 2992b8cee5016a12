//! Sign-in bodies as an attacker would write them.

use portcullis_harness::{
    client::{Client, Request, Response, Socket},
    wait::SOON,
};
use serde_json::json;

use crate::{
    sign_in_stage::start,
    stage::{PASSWORD, add_user, make_user},
};

const BAD: &[u16] = &[400];

fn post(client: &mut Client, media_type: &str, body: &[u8]) -> Response {
    let request = Request::post("/v1/auth/login").body(body);
    let request = if media_type.is_empty() {
        request
    } else {
        request.with("Content-Type", media_type)
    };
    client.send_to_be_hashed(&request).unwrap()
}

fn sign_in(client: &mut Client, name: &str, password: &str) -> Response {
    let body = json!({ "username": name, "password": password }).to_string();
    post(client, "application/json", body.as_bytes())
}

/// What a stranger can see of an answer, without what is different in every answer.
fn seen(answer: &Response) -> (u16, String, Vec<String>) {
    let id = answer.field("x-request-id").unwrap_or_default();
    let mut names: Vec<String> = answer
        .head
        .fields
        .iter()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    names.sort();
    (answer.status, answer.text().replace(id, ""), names)
}

#[test]
fn unknown_wrong_and_disabled_get_one_answer() {
    let gateway = start("");
    for name in ["alice", "gone"] {
        add_user(gateway.house(), name, "guest");
    }
    assert!(
        gateway
            .house()
            .command(&["user", "disable", "gone"])
            .unwrap()
            .status
            .success()
    );
    let mut client = gateway.client();
    let wrong = sign_in(&mut client, "alice", "wrong password");
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (401, "invalid-credentials")
    );
    let others = [
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("gone", "wrong password"),
        ("no such@name", PASSWORD),
        ("a\u{200b}lice", PASSWORD),
    ];
    for (name, password) in others {
        assert_eq!(
            seen(&sign_in(&mut client, name, password)),
            seen(&wrong),
            "{name}"
        );
    }
    assert_eq!(sign_in(&mut client, "alice", PASSWORD).status, 200);
}

#[test]
fn a_body_that_is_not_exactly_a_sign_in_is_refused() {
    let gateway = start("throttle: { address: 1000/1m, account: 1000/1m }");
    add_user(gateway.house(), "alice", "guest");
    let deep = format!(
        "{{\"username\":{}1{}}}",
        "[".repeat(1_500),
        "]".repeat(1_500)
    );
    let good = format!("{{\"username\":\"alice\",\"password\":\"{PASSWORD}\"}}");
    let bodies: Vec<String> = vec![
        deep,
        String::from("{"),
        String::from("[]"),
        String::from("[\"alice\",\"x\"]"),
        String::from("null"),
        String::from("7"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        good.replacen('{', "{\"password\":\"x\",", 1),
        good.replacen('{', "{\"\\u0070assword\":\"x\",", 1),
        good.replacen('{', "{\"roles\":[\"admin\"],", 1),
        good.replacen('{', "{\"email\":\"a@b.test\",", 1),
        r#"{"username":"alice"}"#.into(),
        r#"{"password":"x"}"#.into(),
        r#"{"username":"alice","password":1}"#.into(),
        r#"{"username":["alice"],"password":"x"}"#.into(),
        r#"{"username":"alice","password":""}"#.into(),
        r#"{"username":"","password":"x"}"#.into(),
        format!(
            "{{\"username\":\"alice\",\"password\":\"{}\"}}",
            "a".repeat(1_025)
        ),
        format!(
            "{{\"username\":\"{}\",\"password\":\"x\"}}",
            "a".repeat(300)
        ),
        good.replacen('}', ",\"scope\":\"\"}", 1),
        good.replacen('}', ",\"resource\":7}", 1),
        r#"{"username":"a\ud800","password":"x"}"#.into(),
        r#"{"username":"alice","password":NaN}"#.into(),
    ];
    let mut client = gateway.client();
    for body in bodies {
        let answer = post(&mut client, "application/json", body.as_bytes());
        assert!(
            BAD.contains(&answer.status),
            "{} to {body:.80}",
            answer.status
        );
        assert_eq!(answer.code(), "malformed-request", "{body:.80}");
    }
    let answer = post(
        &mut client,
        "application/json",
        b"{\"username\":\"alice\",\"password\":\"\xff\"}",
    );
    assert_eq!(
        answer.code(),
        "malformed-request",
        "a body that is not UTF-8"
    );
    assert_eq!(
        post(
            &mut client,
            "Application/JSON; charset=UTF-8",
            good.as_bytes()
        )
        .status,
        200
    );
}

#[test]
fn only_json_is_taken() {
    let gateway = start("");
    let mut client = gateway.client();
    let body = br#"{"username":"alice","password":"x"}"#;
    let others = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/json; charset=utf-16",
        "application/jsonx",
        "text/plain, application/json",
        "application/xml",
    ];
    for media_type in others {
        let answer = post(&mut client, media_type, body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "unsupported-media-type"),
            "{media_type:?}"
        );
    }
    let coded = Request::post("/v1/auth/login")
        .with("Content-Type", "application/json")
        .with("Content-Encoding", "gzip");
    assert_eq!(client.send(&coded.body("x")).unwrap().status, 415);
}

#[test]
fn a_large_or_endless_body_is_refused_unread() {
    let gateway = start("");
    let mut client = gateway.client();
    let large = format!(
        "{{\"username\":\"{}\",\"password\":\"x\"}}",
        "a".repeat(4_097)
    );
    let answer = post(&mut client, "application/json", large.as_bytes());
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "body-too-large")
    );
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("POST /v1/auth/login HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    // Up to 10 MiB, or until the gateway has had enough.
    let sent = (0..2_560).take_while(|_| socket.send(&chunk)).count();
    match socket.response() {
        Ok(answer) => assert_eq!(answer.status, 413),
        Err(ending) => assert!(ending.is_close(), "{ending}"),
    }
    assert!(sent < 2_560, "10 MiB were read");
}

#[test]
fn a_password_is_compared_whole_and_in_one_form() {
    let gateway = start("");
    add_user(gateway.house(), "alice", "guest");
    let accented = "caf\u{e9} au lait, s'il vous pla\u{ee}t";
    let amelie = ["amelie", "--role", "guest"];
    make_user(gateway.house(), &amelie, accented);
    let mut client = gateway.client();
    let decomposed = "cafe\u{301} au lait, s'il vous plai\u{302}t";
    assert_eq!(sign_in(&mut client, "amelie", accented).status, 200);
    assert_eq!(
        sign_in(&mut client, "amelie", decomposed).status,
        200,
        "another keyboard's spelling"
    );
    let wrong = [
        format!("{PASSWORD}\0x"),
        format!("{PASSWORD} "),
        PASSWORD.to_uppercase(),
        PASSWORD[..PASSWORD.len() - 1].to_owned(),
        format!("{PASSWORD}{}", "a".repeat(900)),
    ];
    for password in wrong {
        assert_eq!(
            sign_in(&mut client, "alice", &password).status,
            401,
            "{password:.60}"
        );
    }
}

#[test]
fn a_name_has_one_owner_whatever_its_spelling() {
    let gateway = start("throttle: { address: 1000/1m, account: 1000/1m }");
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    for same in ["ALICE", "Alice", "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}"] {
        assert_eq!(sign_in(&mut client, same, PASSWORD).status, 200, "{same}");
    }
    for other in [
        "\u{430}lice",
        "al\u{200b}ice",
        "alice ",
        " alice",
        "\u{202e}ecila",
        "alice\0",
        "al\u{131}ce",
        "alice'--",
        "alice%",
    ] {
        let status = sign_in(&mut client, other, PASSWORD).status;
        assert!([400, 401].contains(&status), "{status} for {other:?}");
    }
    let again = gateway
        .house()
        .command_with_input(&["user", "add", "ALICE"], PASSWORD)
        .unwrap();
    assert!(
        !again.status.success(),
        "the same name in capitals was given away a second time"
    );
}

#[test]
fn what_a_database_or_a_browser_would_run_is_inert_and_not_reflected() {
    let gateway = start("throttle: { address: 1000/1m, account: 1000/1m }");
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let texts = [
        "' OR '1'='1",
        "alice'; DROP TABLE users; --",
        "\" OR \"\"=\"",
        "*)(uid=*",
        "{{7*7}}",
        "${7*7}",
        "<script>alert(1)</script>",
        "a\r\nSet-Cookie: x=1",
        "%27%20OR%201=1",
        "../../etc/passwd",
    ];
    for text in texts {
        let fields = [
            json!({ "username": text, "password": text }),
            json!({ "email": text, "password": text }),
            json!({ "username": "alice", "password": PASSWORD, "resource": text }),
            json!({ "username": "alice", "password": PASSWORD, "scope": text }),
            json!({ "username": "alice", "password": PASSWORD, text: text }),
        ];
        for body in fields {
            let answer = client
                .send_to_be_hashed(&Request::post("/v1/auth/login").json(&body))
                .unwrap();
            assert!(
                [400, 401, 403].contains(&answer.status),
                "{} to {body}",
                answer.status
            );
            let whole = String::from_utf8_lossy(&answer.head.raw).into_owned() + &answer.text();
            assert!(!whole.contains(text), "{body} came back: {whole}");
            assert_eq!(answer.field("set-cookie"), None);
        }
    }
    assert_eq!(
        sign_in(&mut client, "alice", PASSWORD).status,
        200,
        "the users are still there"
    );
}

#[test]
fn half_a_body_is_not_waited_for_without_end() {
    let gateway = start("");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("POST /v1/auth/login HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"user");
    let answer = socket.response_within(2 * SOON).unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request-timeout")
    );
    let closed = socket.closes_within(2 * SOON);
    assert!(closed, "the connection is held after {:?}", answer.head);
}
