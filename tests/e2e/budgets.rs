//! Limits by user and by address: who is refused, what it is told, and who is not affected.

use std::ops::RangeInclusive;

use portcullis_harness::client::{Client, Request, Response};

use crate::{
    demo::{demo, headers, user},
    stage::{audit_rows, now, sqlite},
};

#[test]
fn the_sixty_first_request_of_a_user_is_refused_and_nobody_elses() {
    let mut client = demo().client_at(16);
    let token = user(&mut client, "eager", "hotel");
    let request = Request::get("/hotel-db").bearer(&token);
    let statuses: Vec<u16> = (0..60)
        .map(|_| client.send(&request).unwrap().status)
        .collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    // A bucket refills one request a second, so a slow run is let a few more through.
    let refused = first_refusal(&mut client, &request, 600, 200);
    let (_, refused, asked) = refused.expect("60 a minute never ran out");
    check_refusal(&refused, asked, "per_user", 60);
    let other = user(&mut client, "patient", "hotel");
    let answer = client
        .send(&Request::get("/hotel-db").bearer(&other))
        .unwrap();
    assert_eq!(answer.status, 200, "another user must not be affected");
    let rows = audit_rows(&sqlite(demo()), "rate_limited", |rows| {
        rows.iter()
            .any(|row| row.source_address.as_deref() == Some("127.0.0.16"))
    });
    assert!(rows.iter().all(|row| row.outcome == "refused"), "{rows:#?}");
}

/// Of so many, the first that is not answered with this status: which it was, the answer, and when it was asked for.
fn first_refusal(
    client: &mut Client,
    request: &Request,
    most: usize,
    otherwise: u16,
) -> Option<(usize, Response, RangeInclusive<u64>)> {
    let answers = (0..most).map(|nth| {
        let began = now();
        let answer = client.send(request).unwrap();
        (nth, answer, began..=now())
    });
    let mut refused = answers.filter(|(_, answer, _)| answer.status != otherwise);
    refused.next()
}

/// All headers tell the same numbers.
fn check_refusal(answer: &Response, asked: RangeInclusive<u64>, limit: &str, burst: u64) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "rate-limited")
    );
    let number = |name: &str| {
        answer
            .field(name)
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(u64::MAX)
    };
    assert!(
        (1..=60).contains(&number("retry-after")),
        "{:?}",
        answer.head
    );
    let pair = headers(answer, &["ratelimit-policy", "ratelimit"]);
    assert_eq!(
        (number("x-ratelimit-limit"), number("x-ratelimit-remaining")),
        (burst, 0)
    );
    let policy = pair[0].clone().unwrap_or_default();
    assert!(
        policy.starts_with(&format!("\"{limit}\";q={burst};w=")),
        "{policy}"
    );
    let left = pair[1].clone().unwrap_or_default();
    let seconds = left
        .strip_prefix(&format!("\"{limit}\";r=0;t="))
        .and_then(|rest| rest.parse::<u64>().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("{left}"));
    // Each of the two is rounded by itself.
    let reset = number("x-ratelimit-reset");
    let expected = asked.start() + seconds - 2..=asked.end() + seconds + 2;
    assert!(
        expected.contains(&reset),
        "t={seconds} and a reset at {reset}, asked for in {asked:?}"
    );
}

#[test]
fn an_address_has_a_budget_of_its_own() {
    let mut client = demo().client_at(17);
    // Ten come back each second.
    let request = Request::get("/hotel-db");
    let refused = first_refusal(&mut client, &request, 10_000, 401);
    let (before, refused, asked) = refused.expect("600 a minute with a burst of 100 never ran out");
    assert!(before >= 100, "request {before} was refused already");
    check_refusal(&refused, asked, "per_ip", 100);
    for _ in 0..100 {
        client.send(&request).unwrap();
    }
    let answer = demo().client_at(18).get("/hotel-db").unwrap();
    assert_eq!(answer.status, 401, "another address must not be affected");
    let rows = audit_rows(&sqlite(demo()), "rate_limited", |rows| {
        rows.iter()
            .any(|row| row.source_address.as_deref() == Some("127.0.0.17"))
    });
    let of_this: Vec<_> = rows
        .iter()
        .filter(|row| row.source_address.as_deref() == Some("127.0.0.17"))
        .collect();
    assert!(
        of_this.len() < 20,
        "repeats must be counted into one row: {}",
        of_this.len()
    );
}
