//! What stays of what happened: audit rows, metrics, profiles.

use portcullis_audit::chain::verify;
use portcullis_harness::{
    client::{Client, Request},
    wait::{self, PATIENCE},
};
use portcullis_store::{AuditParty, AuditRow};
use serde_json::json;

use crate::{
    demo::{demo, user},
    stage::{PASSWORD, all_rows, audit_rows, now, sqlite},
};

#[test]
fn what_happened_is_in_the_audit_log() {
    let mut client = demo().client_at(20);
    user(&mut client, "witness", "event");
    let wrong = json!({ "username": "witness", "password": "not the password" });
    let answer = client
        .send(&Request::post("/v1/auth/login").json(&wrong))
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "invalid-credentials")
    );
    let id = answer.field("x-request-id").unwrap().to_owned();
    let database = sqlite(demo());
    let named = |party: Option<&AuditParty>| {
        party
            .and_then(|party| party.name.clone())
            .unwrap_or_default()
    };
    let of = |action: &str| {
        let rows = audit_rows(&database, action, |rows| {
            rows.iter().any(|row| {
                named(Some(&row.actor)) == "witness" || named(row.target.as_ref()) == "witness"
            })
        });
        let mut rows = rows.into_iter();
        rows.find(|row| {
            named(Some(&row.actor)) == "witness" || named(row.target.as_ref()) == "witness"
        })
        .unwrap()
    };
    let created = of("user_created");
    assert_eq!(
        (
            created.outcome.as_str(),
            named(Some(&created.actor)).as_str()
        ),
        ("success", "admin")
    );
    let success = of("login_success");
    assert_eq!(
        (success.outcome.as_str(), success.resource.as_deref()),
        ("success", Some("event"))
    );
    let issued = of("token_issued");
    assert_eq!(issued.outcome, "success");
    let failure = of("login_failure");
    assert_eq!(
        (failure.outcome.as_str(), failure.reason.as_deref()),
        ("refused", Some("wrong-password"))
    );
    assert_eq!(failure.request_id, Some(id));
    for row in [created, success, issued, failure] {
        assert_eq!(
            row.source_address.as_deref(),
            Some("127.0.0.20"),
            "{row:#?}"
        );
        assert!(row.at.as_secs().abs_diff(now()) < 120, "{row:#?}");
        assert!(!row.bytes.contains(PASSWORD) && !row.bytes.contains("not the password"));
    }
}

#[test]
fn the_admin_listener_tells_how_it_goes_and_changes_nothing() {
    for path in ["/metrics", "/healthz", "/readyz", "/status"] {
        assert_eq!(demo().ask_admin(path).unwrap().status, 200, "{path}");
        let mut client = Client::of(demo().admin());
        assert_eq!(
            client.send(&Request::post(path)).unwrap().status,
            405,
            "{path}"
        );
        assert_eq!(
            demo().client_at(21).get(path).unwrap().status,
            404,
            "{path} on the public listener"
        );
    }
    let families = [
        "requests_total",
        "request_duration_seconds_count",
        "open_connections",
        "circuit_breaker_state",
        "rejections_total",
        "build_info",
    ];
    for family in families {
        // What became of a request is counted a moment after its answer.
        wait::until(family, PATIENCE, || {
            let metrics = demo().metrics().unwrap();
            metrics.has(&format!("portcullis_{family}")).then_some(())
        })
        .unwrap();
    }
    let health = demo().client_at(21).get("/health").unwrap();
    assert_eq!(health.status, 200);
    assert_eq!(
        (&health.json()["status"], &health.json()["service"]),
        (&json!("healthy"), &json!("portcullis"))
    );
    assert!(health.json()["timestamp"].is_string());
}

#[test]
fn a_user_sees_and_changes_the_own_profile_only() {
    let mut client = demo().client_at(22);
    let token = user(&mut client, "narcissus", "hotel");
    for path in [
        "/v1/auth/me",
        "/v1/users/me",
        "/v1/users/profile",
        "/auth/me",
    ] {
        let answer = client.send(&Request::get(path).bearer(&token)).unwrap();
        assert_eq!(
            (answer.status, &answer.json()["username"]),
            (200, &json!("narcissus")),
            "{path}"
        );
        assert!(
            !answer.text().contains("argon2"),
            "{path} shows a password hash"
        );
    }
    let change = Request::new("PATCH", "/v1/users/me")
        .bearer(&token)
        .json(&json!({ "display_name": "Narcissus" }));
    assert_eq!(
        client.send(&change).unwrap().json()["display_name"],
        "Narcissus"
    );
    let widened = Request::new("PATCH", "/v1/users/me").bearer(&token);
    let widened = widened.json(&json!({ "display_name": "N", "roles": ["admin"], "ver": 0 }));
    assert_eq!(client.send(&widened).unwrap().code(), "malformed-request");
    assert_eq!(
        client
            .send(&Request::get("/v1/admin/users").bearer(&token))
            .unwrap()
            .code(),
        "wrong-resource"
    );
    assert_eq!(client.get("/v1/auth/me").unwrap().status, 401);
}

/// Every row holds the hash of the one before: who takes one away or changes one is found out.
#[test]
fn the_audit_log_is_one_unbroken_chain() {
    demo().client_at(23).get("/hotel-db").unwrap();
    let started = |rows: &[AuditRow]| !rows.is_empty();
    audit_rows(&sqlite(demo()), "gateway_started", started);
    let rows = all_rows(&sqlite(demo()));
    assert!(rows.len() > 3, "{}", rows.len());
    let head = verify(rows.iter().map(AuditRow::record)).unwrap();
    assert_eq!(head.seq, rows.last().unwrap().seq);
    let without_one = rows.iter().skip(1).map(AuditRow::record);
    assert!(verify(without_one).is_err());
    assert_eq!(
        rows[0].action, "user_created",
        "the demo makes its users first"
    );
}
