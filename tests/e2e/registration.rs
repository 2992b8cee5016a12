//! Who may make users, and what the endpoints of the auth service answer to.

use portcullis_harness::client::{Client, Request};
use serde_json::{Value, json};

use crate::{
    sign_in_stage::start,
    stage::{PASSWORD, add_user},
};

#[test]
fn registration_is_for_administrators_and_grants_nothing() {
    let gateway = start("");
    add_user(gateway.house(), "alice", "guest");
    add_user(gateway.house(), "root", "admin");
    let mut client = gateway.client();
    let body = json!({ "username": "eve", "password": PASSWORD });
    let register = |client: &mut Client, token: Option<&str>, body: &Value| {
        let request = Request::post("/v1/auth/register").json(body);
        let request = token.map_or(request.clone(), |token| request.bearer(token));
        let answer = client.send(&request).unwrap();
        (answer.status, answer.code())
    };
    assert_eq!(register(&mut client, None, &body).0, 401);
    let guest = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(
        register(&mut client, Some(&guest), &body),
        (403, "wrong-resource".into())
    );
    let admin_elsewhere = client.log_in("root", PASSWORD, "hotel").unwrap();
    assert_eq!(
        register(&mut client, Some(&admin_elsewhere), &body),
        (403, "wrong-resource".into())
    );
    let admin = client.log_in("root", PASSWORD, "portcullis").unwrap();
    let widened = json!({ "username": "eve", "password": PASSWORD, "roles": ["admin"] });
    assert_eq!(
        register(&mut client, Some(&admin), &widened),
        (400, "malformed-request".into())
    );
    let weak = json!({ "username": "eve", "password": "short" });
    assert_eq!(
        register(&mut client, Some(&admin), &weak),
        (422, "weak-password".into())
    );
    for email in [
        "eve",
        "eve@",
        "@b.test",
        "eve@b.test\r\nBcc: x@y.test",
        "eve@b..test",
        "eve b@c.test",
    ] {
        let body = json!({ "email": email, "password": PASSWORD });
        assert_eq!(register(&mut client, Some(&admin), &body).0, 400, "{email}");
    }
    assert_eq!(
        register(&mut client, Some(&admin), &body),
        (201, String::new())
    );
    assert_eq!(
        register(&mut client, Some(&admin), &body),
        (409, "conflict".into())
    );
    let eve = client.log_in("eve", PASSWORD, "hotel").unwrap();
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(&eve))
        .unwrap()
        .json();
    assert_eq!(me["roles"], json!(["guest"]));
}

#[test]
fn endpoints_answer_their_own_methods_only() {
    let gateway = start("");
    let mut client = gateway.client();
    for (method, path) in [
        ("GET", "/v1/auth/login"),
        ("DELETE", "/v1/auth/register"),
        ("POST", "/v1/auth/me"),
        ("POST", "/.well-known/jwks.json"),
    ] {
        let answer = client.send(&Request::new(method, path)).unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method-not-allowed"),
            "{method} {path}"
        );
        assert!(answer.field("allow").is_some(), "{method} {path}");
    }
    assert_eq!(client.get("/v1/nothing").unwrap().code(), "route-not-found");
}

#[test]
fn where_registration_is_open_anybody_becomes_a_guest_and_nothing_more() {
    let gateway = start("registration: open");
    let mut client = gateway.client();
    let body = json!({ "email": "Eve@Example.test", "password": PASSWORD });
    let answer = client
        .send(&Request::post("/v1/auth/signup").json(&body))
        .unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let registered = answer.json();
    assert_eq!(registered["user"]["roles"], json!(["guest"]));
    assert_eq!(
        (&registered["token_type"], &registered["resource"]),
        (&json!("bearer"), &json!("hotel"))
    );
    let token = registered["access_token"].as_str().unwrap();
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(token))
        .unwrap();
    assert_eq!(me.status, 200);
    let sign_in = json!({ "email": "eve@example.test", "password": PASSWORD });
    let answer = client
        .send(&Request::post("/v1/auth/login").json(&sign_in))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let widened =
        json!({ "email": "mallory@example.test", "password": PASSWORD, "roles": ["admin"] });
    let answer = client
        .send(&Request::post("/v1/auth/register").json(&widened))
        .unwrap();
    assert_eq!(answer.code(), "malformed-request");
}
