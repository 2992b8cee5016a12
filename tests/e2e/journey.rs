//! What a visitor of the demo meets first: no token, a sign-in, a backend that learns who calls, a door that stays shut.

use portcullis_harness::{client::Request, jose::Compact};
use portcullis_store::AuditRow;
use serde_json::{Value, json};

use crate::{
    demo::{demo, headers, received, user},
    stage::{audit_rows, now, sqlite},
};

#[test]
fn without_a_token_nobody_passes() {
    let answer = demo().client_at(10).get("/hotel-db").unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.field("www-authenticate"),
        Some(r#"Bearer realm="portcullis""#)
    );
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(
        problem["type"],
        "urn:portcullis:problem:authentication-required"
    );
    assert_eq!(problem["code"], "authentication-required");
    assert_eq!(problem["status"], 401);
    assert!(
        problem["title"].is_string() && problem["detail"].is_string(),
        "{problem}"
    );
    assert_eq!(problem["request_id"].as_str(), answer.field("x-request-id"));
    let secured = [
        "x-content-type-options",
        "x-frame-options",
        "strict-transport-security",
        "referrer-policy",
    ];
    assert!(
        headers(&answer, &secured).iter().all(Option::is_some),
        "{:?}",
        answer.head
    );
    assert_eq!(
        answer.field("content-security-policy"),
        Some("default-src 'none'; frame-ancestors 'none'")
    );
}

#[test]
fn a_sign_in_gives_a_token_for_one_resource() {
    let body = json!({ "username": "saad", "password": "1234", "resource": "hotel" });
    let answer = demo()
        .client_at(11)
        .send_to_be_hashed(&Request::post("/auth/login").json(&body))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let issued = answer.json();
    assert_eq!(issued["token_type"], "bearer");
    assert_eq!(issued["resource"], "hotel");
    assert_eq!(issued["scope"], "hotel:read");
    assert_eq!(issued["expires_in"], 300);
    let token = Compact::parse(issued["access_token"].as_str().unwrap()).unwrap();
    let header = token.header_json().unwrap();
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!("at+jwt"))
    );
    assert_eq!(header.as_object().unwrap().len(), 3, "{header}");
    check_claims(&token.claims().unwrap());
    let keys = demo()
        .client_at(11)
        .get("/.well-known/jwks.json")
        .unwrap()
        .json();
    let kids: Vec<&Value> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert!(
        kids.contains(&&header["kid"]),
        "the key of the token is not published: {keys}"
    );
    assert!(
        !keys.to_string().contains(r#""d""#),
        "a private key is published"
    );
}

fn check_claims(claims: &Value) {
    let names: Vec<&str> = claims
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let wanted = [
        "aud",
        "client_id",
        "exp",
        "iat",
        "iss",
        "jti",
        "resource",
        "roles",
        "scope",
        "sid",
        "sub",
        "ver",
    ];
    assert_eq!(names, wanted);
    assert_eq!(
        (&claims["aud"], &claims["resource"]),
        (&json!("hotel"), &json!("hotel"))
    );
    assert_eq!(
        (&claims["scope"], &claims["roles"]),
        (&json!("hotel:read"), &json!(["guest"]))
    );
    assert_eq!(
        claims["iss"],
        format!("http://localhost:{}", demo().address().port())
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        300
    );
    assert!(now().abs_diff(claims["iat"].as_u64().unwrap()) < 60);
    assert_eq!(
        claims["sub"].as_str().unwrap().len(),
        36,
        "a user id, not a name"
    );
}

#[test]
fn a_sign_in_works_under_every_path_of_the_older_clients() {
    let mut client = demo().client_at(12);
    for path in ["/v1/auth/login", "/auth/login", "/api/v1/auth/login"] {
        let body = json!({ "username": "saad", "password": "1234" });
        let sign_in = Request::post(path).json(&body);
        let answer = client.send_to_be_hashed(&sign_in).unwrap();
        assert_eq!(
            (answer.status, &answer.json()["resource"]),
            (200, &json!("hotel")),
            "{path}"
        );
    }
}

#[test]
fn with_a_token_the_backend_learns_who_calls_from_the_gateway_alone() {
    let mut client = demo().client_at(13);
    let token = user(&mut client, "visitor", "hotel");
    let smuggled = [
        "X-User-Id",
        "x_user_id",
        "X-User-Roles",
        "X-User-Scopes",
        "X-Request-ID",
        "X-Real-IP",
    ];
    let request = Request::get("/hotel-db/rooms?floor=2")
        .bearer(&token)
        .with("Connection", "keep-alive, X-Mine");
    let request = smuggled
        .iter()
        .fold(request, |request, name| request.with(name, "smuggled"));
    let answer = client.send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["message"], "You accessed hotel data!");
    assert_eq!(answer.json()["received"]["path"], "/hotel-db/rooms?floor=2");
    let received = received(&answer);
    let subject = Compact::parse(&token).unwrap().claims().unwrap()["sub"].clone();
    assert_eq!(received["x-user-id"], subject);
    assert_eq!(received["x-user-roles"], "guest");
    assert_eq!(received["x-user-scopes"], "hotel:read");
    assert_eq!(
        received["x-request-id"].as_str(),
        answer.field("x-request-id")
    );
    assert_eq!(
        received["traceparent"].as_str().map(str::len),
        Some(55),
        "{received}"
    );
    assert!(!received.to_string().contains("smuggled"), "{received}");
    assert_eq!(
        received.get("authorization"),
        None,
        "the token has done its work"
    );
    assert!(
        answer
            .field("x-process-time")
            .is_some_and(|took| took.parse::<f64>().is_ok())
    );
}

#[test]
fn a_token_opens_its_own_resource_only() {
    let mut client = demo().client_at(14);
    let token = user(&mut client, "wanderer", "hotel");
    let answer = client
        .send(&Request::get("/event-db").bearer(&token))
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "wrong-resource")
    );
    let challenge = answer.field("www-authenticate").unwrap_or_default();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    let answer = client
        .send(&Request::post("/hotel-db").bearer(&token).body("{}"))
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "insufficient-scope")
    );
    let challenge = answer.field("www-authenticate").unwrap_or_default();
    assert!(challenge.contains(r#"scope="hotel:write""#), "{challenge}");
    // Others share the demo, and are refused for the same reason.
    let is_its_own = |row: &&AuditRow| {
        row.reason.as_deref() == Some("wrong-resource")
            && row.source_address.as_deref() == Some("127.0.0.14")
    };
    let rows = audit_rows(&sqlite(demo()), "access_denied", |rows| {
        rows.iter().any(|row| is_its_own(&row))
    });
    let row = rows.iter().find(is_its_own).unwrap();
    assert_eq!(
        (row.outcome.as_str(), row.route.as_deref()),
        ("refused", Some("event"))
    );
    assert_eq!(row.actor.kind, "user");
    assert!(row.request_id.is_some());
}

#[test]
fn a_guest_gets_no_token_for_the_hospital() {
    let body = json!({ "username": "saad", "password": "1234", "resource": "hospital" });
    let answer = demo()
        .client_at(15)
        .send_to_be_hashed(&Request::post("/v1/auth/login").json(&body))
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "resource-not-allowed")
    );
    assert!(!answer.text().contains("token\""), "{}", answer.text());
}
