//! Reading the audit log over HTTP: filters, pages whose cursors are ours alone, and that the reading is in the log.

use portcullis_audit::Action;
use serde_json::{Value, json};

use super::House;

const AUDIT: &str = "/v1/admin/audit";

async fn house() -> (House, String) {
    let house = House::open().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    (house, admin)
}

async fn words(house: &House, admin: &str, query: &str) -> Vec<String> {
    let page = house.get(&format!("{AUDIT}{query}"), Some(admin)).await;
    assert_eq!(page.status, 200, "{query}: {}", page.text);
    let events = page.json()["events"].as_array().unwrap().clone();
    let word = |event: &Value| event["event"].as_str().unwrap().to_owned();
    events.iter().map(word).collect()
}

#[tokio::test]
async fn the_log_is_filtered_by_whatever_a_row_says() {
    let (house, admin) = house().await;
    house
        .log_in(json!({"username": "saad", "password": "wrong"}))
        .await;
    house.audit().await;
    for (query, expected) in [
        ("?event=user_created", &["user_created", "user_created"][..]),
        ("?event=login_failure", &["login_failure"]),
        ("?outcome=refused", &["login_failure"]),
        ("?target=saad", &["user_created", "login_failure"]),
        ("?target=saad&outcome=success", &["user_created"]),
        ("?actor=admin&event=login_success", &["login_success"]),
        ("?actor=Admin", &[]),
        ("?target=%25", &[]),
        ("?target='%20OR%20''='", &[]),
        (
            "?event=user_created&from=2027-01-15T08:00:00Z",
            &["user_created", "user_created"],
        ),
        ("?event=user_created&from=2027-01-15T08:00:00.001Z", &[]),
        ("?event=user_created&to=2027-01-15T08:00:00Z", &[]),
        (
            "?event=user_created&to=2027-01-15T08:00:00.001Z",
            &["user_created", "user_created"],
        ),
    ] {
        assert_eq!(words(&house, &admin, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition_while_others_write() {
    let (house, admin) = house().await;
    for n in 0..7 {
        house.add_user(&format!("user{n}"), "1234", "guest").await;
    }
    let mut targets = Vec::new();
    let mut path = format!("{AUDIT}?event=user_created&limit=2");
    loop {
        let page = house.get(&path, Some(&admin)).await.json();
        let events = page["events"].as_array().unwrap().clone();
        assert!(events.len() <= 2);
        targets.extend(
            events
                .iter()
                .map(|event| event["target"]["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("{AUDIT}?event=user_created&limit=2&after={next}");
    }
    let expected = [
        "saad", "admin", "user0", "user1", "user2", "user3", "user4", "user5", "user6",
    ];
    assert_eq!(targets, expected);
}

#[tokio::test]
async fn a_cursor_is_ours_alone_and_fits_its_own_query() {
    let (house, admin) = house().await;
    let first = house.get(&format!("{AUDIT}?limit=1"), Some(&admin)).await;
    let cursor = first.json()["next"].as_str().unwrap().to_owned();
    let mut changed = cursor.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    let good = house
        .get(&format!("{AUDIT}?limit=2&after={cursor}"), Some(&admin))
        .await;
    assert_eq!(good.status, 200, "{}", good.text);
    for query in [
        format!("after={changed}"),
        format!("after={cursor}A"),
        format!("after={}", &cursor[..cursor.len() - 4]),
        format!("after={cursor}&event=login_success"),
        format!("after={cursor}&actor=admin"),
        "after=".to_owned(),
        "after=0".to_owned(),
        "after=Z2F0ZXdheQox".to_owned(),
        "after='%20OR%20''='".to_owned(),
    ] {
        let answer = house.get(&format!("{AUDIT}?{query}"), Some(&admin)).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.problem(), "malformed-request");
    }
}

#[tokio::test]
async fn what_the_query_does_not_take_is_refused() {
    let (house, admin) = house().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=1000000",
        "limit=-1",
        "limit=1&limit=2",
        "event=no_such_event",
        "event=login_success'--",
        "outcome=maybe",
        "from=yesterday",
        "to=2027-02-30T00:00:00Z",
        "actor=",
        "chain=gateway",
        "order=desc",
        &format!("target={}", "x".repeat(257)),
    ] {
        let answer = house.get(&format!("{AUDIT}?{query}"), Some(&admin)).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    assert!(house.audit_of(Action::AuditRead).await.is_empty());
}

#[tokio::test]
async fn who_reads_is_in_the_log_and_needs_the_scope_for_it() {
    let (house, admin) = house().await;
    house.add_user("clerk", "1234", "clerk").await;
    let clerk = house.token("clerk", "1234", "portcullis").await;
    let refused = house.get(AUDIT, Some(&clerk)).await;
    assert_eq!(refused.problem(), "insufficient-scope");
    let read = words(&house, &admin, "").await;
    assert_eq!(read.last().map(String::as_str), Some("audit_read"));
    let row = house.audit_of(Action::AuditRead).await.pop().unwrap();
    assert_eq!(row.actor.name.as_deref(), Some("admin"));
}
