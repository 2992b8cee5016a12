//! The clients of the five older services, calling as they always did: what `docs/moving` promises them. The gateway
//! runs the file that ships, with what each page tells its operator to write.

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::{Gateway, Places},
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD, SHIPPED, add_user};

/// Of [`PASSWORD`], as Python's bcrypt wrote them into an older service's table.
const BCRYPT: &str = "$2b$10$gKAstwYHnIcZkwxBOS7F1uQ6rx7ioOgt9d2tW6z7ZDkf2t1OmAEs6";
/// The same password as argon2-cffi kept it, with its own parameters.
const ARGON2: &str = "$argon2id$v=19$m=65536,t=3,p=4$lS83LhnUeCK5f59twlcWZg$oR+alFUrXJ7NxUvQc1s+qEsbNkJAL0HRiJF6z9ivM20";

/// The shipped file on a test's addresses, its three backends being one, with these texts in the place of those.
fn shipped(places: &Places, backend: &Upstream, replaced: &[(&str, &str)]) -> String {
    let (listener, admin) = (places.listener.to_string(), places.admin.to_string());
    let backend = backend.address().to_string();
    let fixed = [
        ("0.0.0.0:8080", &*listener),
        ("127.0.0.1:9090", &*admin),
        ("127.0.0.1:9001", &*backend),
        ("127.0.0.1:9002", &*backend),
        ("127.0.0.1:9003", &*backend),
    ];
    let all = fixed.iter().chain(replaced);
    all.fold(SHIPPED.to_owned(), |text, (there, here)| {
        assert!(text.contains(there), "the shipped file has no {there}");
        text.replace(there, here)
    })
}

fn start(backend: &Upstream, replaced: &[(&str, &str)]) -> Gateway {
    stage::start(|places| shipped(places, backend, replaced))
}

fn post(client: &mut Client, path: &str, body: &Value) -> Response {
    client
        .send_to_be_hashed(&Request::post(path).json(body))
        .unwrap()
}

fn get(client: &mut Client, path: &str, token: &str) -> Response {
    client.send(&Request::get(path).bearer(token)).unwrap()
}

fn member(answer: &Response, name: &str) -> String {
    let body = answer.json();
    let value = body[name].as_str();
    value
        .unwrap_or_else(|| panic!("no {name} in {body}"))
        .to_owned()
}

#[test]
fn a_client_of_the_resource_gateway_signs_in_for_a_resource_and_reaches_it() {
    let backend = Upstream::start().unwrap();
    let gateway = start(&backend, &[]);
    add_user(gateway.house(), "saad", "guest");
    let mut client = gateway.client();

    let body = json!({ "username": "saad", "password": PASSWORD, "resource": "hotel" });
    let answer = post(&mut client, "/auth/login", &body);
    assert_eq!(
        (answer.status, member(&answer, "token_type")),
        (200, "bearer".into())
    );
    let token = member(&answer, "access_token");

    assert_eq!(get(&mut client, "/hotel-db", &token).status, 200);
    let elsewhere = get(&mut client, "/event-db", &token);
    assert_eq!(
        (elsewhere.status, elsewhere.code()),
        (403, "wrong-resource".into())
    );
    let refreshed = post(
        &mut client,
        "/auth/refresh",
        &json!({ "refresh_token": member(&answer, "refresh_token") }),
    );
    assert_eq!(
        get(
            &mut client,
            "/hotel-db",
            &member(&refreshed, "access_token")
        )
        .status,
        200
    );
}

#[test]
fn a_client_of_the_access_control_service_changes_to_another_resource_without_its_password() {
    let backend = Upstream::start().unwrap();
    let gateway = start(&backend, &[]);
    add_user(gateway.house(), "saad", "guest");
    let mut client = gateway.client();

    let answer = post(
        &mut client,
        "/v1/auth/login",
        &json!({ "username": "saad", "password": PASSWORD }),
    );
    let change = json!({ "refresh_token": member(&answer, "refresh_token"), "resource": "event" });
    let changed = post(&mut client, "/v1/auth/refresh", &change);
    assert_eq!(
        get(&mut client, "/event-db", &member(&changed, "access_token")).status,
        200
    );

    let too_far =
        json!({ "refresh_token": member(&changed, "refresh_token"), "resource": "hospital" });
    assert_eq!(post(&mut client, "/v1/auth/refresh", &too_far).status, 403);
    let writes = client
        .send(&Request::post("/event-db").bearer(&member(&changed, "access_token")))
        .unwrap();
    assert_eq!(
        (writes.status, writes.code()),
        (403, "insufficient-scope".into())
    );
}

#[test]
fn a_client_of_the_token_service_keeps_its_refresh_token_in_a_cookie() {
    let backend = Upstream::start().unwrap();
    let gateway = start(
        &backend,
        &[
            ("registration: admin ", "registration: open "),
            (
                "refresh_token: { idle: 7d, absolute: 30d, grace: 10s, transport: body }",
                "refresh_token: { idle: 14d, transport: cookie }",
            ),
        ],
    );
    let mut client = gateway.client();

    let account = json!({ "username": "saad", "password": PASSWORD });
    assert_eq!(post(&mut client, "/auth/register", &account).status, 201);
    let answer = post(&mut client, "/auth/login", &account);
    let cookie = answer.field("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(
        answer.json()["refresh_token"].is_null(),
        "the cookie alone has it"
    );

    let pair = cookie.split(';').next().unwrap();
    let here = |path: &str| {
        Request::post(path)
            .with("cookie", pair)
            .with("sec-fetch-site", "same-origin")
    };
    let refreshed = client
        .send(&here("/v1/auth/refresh").json(&json!({})))
        .unwrap();
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    let token = member(&refreshed, "access_token");
    assert_eq!(get(&mut client, "/hotel-db", &token).status, 200);

    let left = client
        .send(&Request::post("/auth/logout").bearer(&token))
        .unwrap();
    assert_eq!(left.status, 204, "{}", left.text());
    assert_eq!(get(&mut client, "/hotel-db", &token).status, 401);
}

#[test]
fn a_client_of_the_financial_gateway_finds_every_path_and_header() {
    let backend = Upstream::start().unwrap();
    let gateway = start(&backend, &[("registration: admin ", "registration: open ")]);
    add_user(gateway.house(), "root", "admin");
    let mut client = gateway.client();

    let account = json!({ "username": "saad", "email": "saad@example.com", "password": PASSWORD });
    assert_eq!(
        post(&mut client, "/api/v1/auth/register", &account).status,
        201
    );
    let by_address = json!({ "email": "saad@example.com", "password": PASSWORD });
    let answer = post(&mut client, "/api/v1/auth/login", &by_address);
    let names = ["access_token", "refresh_token", "token_type"];
    names.iter().for_each(|name| drop(member(&answer, name)));
    assert!(answer.json()["expires_in"].is_u64());

    let token = member(&answer, "access_token");
    for path in ["/api/v1/auth/me", "/api/v1/users/profile"] {
        assert_eq!(get(&mut client, path, &token).json()["username"], "saad");
    }
    let passed = get(&mut client, "/hotel-db", &token);
    for header in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-request-id",
        "x-process-time",
        "x-content-type-options",
        "x-frame-options",
        "strict-transport-security",
    ] {
        assert!(passed.field(header).is_some(), "{header}");
    }
    let refreshed = post(
        &mut client,
        "/api/v1/auth/refresh",
        &json!({ "refresh_token": member(&answer, "refresh_token") }),
    );
    let token = member(&refreshed, "access_token");
    let left = client
        .send(&Request::post("/api/v1/auth/logout").bearer(&token))
        .unwrap();
    assert_eq!(left.status, 204, "{}", left.text());

    let root = client.log_in("root", PASSWORD, "portcullis").unwrap();
    assert_eq!(get(&mut client, "/api/v1/admin/users", &root).status, 200);
    assert_eq!(client.get("/health").unwrap().json()["status"], "healthy");
    let page = client.get("/api/docs").unwrap();
    assert!(
        [200, 301, 302, 303, 307, 308].contains(&page.status),
        "{}",
        page.status
    );
}

#[test]
fn a_client_of_the_auth_microservice_signs_up_and_is_told_what_replaces_the_password_grant() {
    let backend = Upstream::start().unwrap();
    let gateway = start(&backend, &[("registration: admin ", "registration: open ")]);
    let mut client = gateway.client();

    let account = json!({ "email": "saad@example.com", "password": PASSWORD });
    assert_eq!(
        post(&mut client, "/api/v1/auth/signup", &account).status,
        201
    );
    let answer = post(&mut client, "/api/v1/auth/login", &account);
    let me = get(
        &mut client,
        "/api/v1/users/me",
        &member(&answer, "access_token"),
    );
    assert_eq!(me.json()["email"], "saad@example.com");

    let form = Request::post("/oauth/token")
        .with("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "grant_type=password&username=saad&password={}",
            PASSWORD.replace(' ', "+")
        ));
    let refused = client.send(&form).unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"], "unsupported_grant_type");
}

#[test]
fn users_come_with_the_hashes_they_have_and_sign_in_with_the_passwords_they_know() {
    let backend = Upstream::start().unwrap();
    let gateway = start(&backend, &[]);
    let lines = [
        json!({ "username": "of-bcrypt", "email": "b@example.com", "password_hash": BCRYPT, "roles": ["staff"] }),
        json!({ "username": "of-argon2", "password_hash": ARGON2 }),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = gateway.house().path("users.jsonl");
    std::fs::write(&file, lines).unwrap();
    let imported = gateway
        .house()
        .command(&["user", "import", &file.display().to_string()])
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");

    let mut client = gateway.client();
    for (name, wanted) in [("of-bcrypt", 200), ("of-argon2", 403)] {
        // Twice: the second time against the hash that the first has put in its place.
        for turn in 0..2 {
            let body = json!({ "username": name, "password": PASSWORD });
            let answer = post(&mut client, "/auth/login", &body);
            assert_eq!(
                answer.status,
                200,
                "{name}, sign-in {turn}: {}",
                answer.text()
            );
            let token = member(&answer, "access_token");
            let writes = Request::post("/hotel-db").bearer(&token);
            assert_eq!(client.send(&writes).unwrap().status, wanted, "{name}");
        }
    }
}
