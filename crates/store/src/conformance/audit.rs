//! One transaction for a change and its rows; one chain without gaps.

use std::sync::{Arc, Mutex};

use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, anywhere, change, event, session, verified};
use crate::{AuditFilter, AuditParty, AuditSearch, Sessions, StoreError};

pub(super) async fn a_change_whose_audit_row_cannot_be_kept_leaves_nothing(bench: &Bench) {
    let user = bench.user("saad").await;
    bench
        .tamper("ALTER TABLE audit_events RENAME TO hidden")
        .await;
    let (store, told) = (&bench.store, event(Action::UserDisabled));
    assert!(
        store
            .create_user(&bench.new_user("other"), &["guest"], &told)
            .await
            .is_err()
    );
    assert!(
        store
            .set_disabled(&user.id, true, &change(&told))
            .await
            .is_err()
    );
    assert!(
        store
            .grant_role(&user.id, anywhere("staff"), &change(&told))
            .await
            .is_err()
    );
    assert!(
        store
            .set_profile(&user.id, Some("Saad"), &told)
            .await
            .is_err()
    );
    assert!(
        Sessions::Database(store.clone())
            .open(&session("s1", &user), std::slice::from_ref(&told))
            .await
            .is_err()
    );
    assert!(matches!(
        store.append_events(&[told]).await,
        Err(StoreError::NotMigrated)
    ));
    bench
        .tamper("ALTER TABLE hidden RENAME TO audit_events")
        .await;
    assert_eq!(store.users(None, 10).await.unwrap(), [user]);
    assert_eq!(store.revocations_after(0, NOW).await.unwrap(), []);
    assert_eq!(bench.count("SELECT COUNT(*) AS n FROM sessions").await, 0);
    assert_eq!(verified(&bench.rows().await), 1);
}

pub(super) async fn an_observer_is_shown_what_was_committed_and_nothing_else(bench: &Bench) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&seen);
    let store = bench.store.clone().observed_by(Arc::new(move |events| {
        shown
            .lock()
            .unwrap()
            .extend(events.iter().map(|event| event.action));
    }));
    let told = event(Action::UserCreated);
    let user = bench.new_user("saad");
    store.create_user(&user, &[], &told).await.unwrap();
    assert!(store.create_user(&user, &[], &told).await.is_err());
    let login = event(Action::LoginFailure);
    store.append_events(&[login]).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [Action::UserCreated, Action::LoginFailure]
    );
}

pub(super) async fn the_chain_verifies_after_mixed_concurrent_writers(bench: &Bench) {
    let same_chain = bench.another("gateway").await;
    let mut writers = JoinSet::new();
    for n in 0..6 {
        let store = if n % 2 == 0 {
            bench.store.clone()
        } else {
            same_chain.clone()
        };
        let news = [
            bench.new_user(&format!("a{n}")),
            bench.new_user(&format!("b{n}")),
        ];
        writers.spawn(async move {
            for new in news {
                let user = store
                    .create_user(&new, &["guest"], &event(Action::UserCreated))
                    .await
                    .unwrap();
                store
                    .append_events(&[event(Action::LoginFailure), event(Action::AccessDenied)])
                    .await
                    .unwrap();
                let refused = store
                    .create_user(&new, &[], &event(Action::UserCreated))
                    .await;
                assert!(matches!(refused, Err(StoreError::Taken)));
                Sessions::Database(store.clone())
                    .open(&session(&user.id, &user), &[event(Action::LoginSuccess)])
                    .await
                    .unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(
        verified(&bench.rows().await),
        6 * 2 * 4,
        "a change that failed must leave neither row nor gap"
    );
}

pub(super) async fn two_chains_do_not_touch_each_other(bench: &Bench) {
    let tool = bench.another("tool").await;
    for store in [&bench.store, &tool, &bench.store] {
        store
            .append_events(&[event(Action::ConfigurationLoaded)])
            .await
            .unwrap();
    }
    for (chain, length) in [("gateway", 2), ("tool", 1), ("none", 0)] {
        let filter = AuditFilter {
            chain: Some(chain.to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(
            verified(&tool.audit_rows(&filter).await.unwrap()),
            length,
            "{chain}"
        );
    }
    assert_eq!(bench.rows().await.len(), 3);
}

pub(super) async fn rows_come_in_pages_and_by_action(bench: &Bench) {
    let actions = [
        Action::LoginFailure,
        Action::LoginSuccess,
        Action::LoginFailure,
        Action::LoginFailure,
    ];
    bench
        .store
        .append_events(&actions.map(event))
        .await
        .unwrap();
    bench.store.append_events(&[]).await.unwrap();
    for chain in [None, Some("gateway".to_owned())] {
        let action = Some("login_failure".to_owned());
        let mut filter = AuditFilter {
            chain,
            action,
            limit: 2,
            ..AuditFilter::default()
        };
        let first = bench.store.audit_rows(&filter).await.unwrap();
        filter.after = first.last().map(crate::AuditRow::cursor);
        let second = bench.store.audit_rows(&filter).await.unwrap();
        let numbers =
            [first, second].map(|page| page.iter().map(|row| row.seq).collect::<Vec<_>>());
        assert_eq!(numbers, [vec![1, 3], vec![4]]);
    }
}

pub(super) async fn every_column_reads_back_as_it_was_said(bench: &Bench) {
    let mut said = Event::new(
        NOW,
        Action::RateLimited,
        Outcome::Refused,
        Party::user("u1").named("saad"),
    )
    .because("per_user")
    .on(Party::new(PartyKind::Route, "hotel"))
    .from_address("192.0.2.7".parse().ok())
    .in_request("r1")
    .on_route("hotel")
    .for_resource("hotel");
    (said.count, said.until) = (42, Some(LATER));
    bench.store.append_events(&[said]).await.unwrap();
    let row = &bench.rows().await[0];
    let party = |kind: &str, id: &str, name: Option<&str>| AuditParty {
        kind: kind.to_owned(),
        id: id.to_owned(),
        name: name.map(str::to_owned),
    };
    assert_eq!(row.actor, party("user", "u1", Some("saad")));
    assert_eq!(row.target, Some(party("route", "hotel", None)));
    assert_eq!(
        (row.action.as_str(), row.outcome.as_str()),
        ("rate_limited", "refused")
    );
    assert_eq!((row.at, row.count, row.until), (NOW, 42, Some(LATER)));
    assert_eq!(
        (row.reason.as_deref(), row.source_address.as_deref()),
        (Some("per_user"), Some("192.0.2.7"))
    );
    let asked = (
        row.request_id.as_deref(),
        row.route.as_deref(),
        row.resource.as_deref(),
    );
    assert_eq!(asked, (Some("r1"), Some("hotel"), Some("hotel")));
}

pub(super) async fn a_name_with_a_nul_is_kept(bench: &Bench) {
    let told = Event::new(
        NOW,
        Action::LoginFailure,
        Outcome::Refused,
        Party::user("ad\0min"),
    );
    bench.store.append_events(&[told]).await.unwrap();
    let rows = bench.rows().await;
    assert_eq!(rows[0].actor.id, "ad\u{fffd}min");
    assert!(
        rows[0].bytes.contains(r"ad\u0000min"),
        "the text that is hashed has it escaped"
    );
    assert_eq!(verified(&rows), 1);
}

pub(super) async fn a_search_goes_through_the_whole_log_in_bounded_pieces(bench: &Bench) {
    // Bytes of the right length and nothing else: no chain is verified here.
    bench
        .store
        .append_events(&[event(Action::GatewayStarted)])
        .await
        .unwrap();
    bench
        .tamper(
            "INSERT INTO audit_events (chain, seq, at_ms, action, outcome, actor_type, actor_id, count, bytes, prev_hash, hash) \
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) \
             SELECT 'many', n, n, CASE WHEN n = 3 OR n = 24999 THEN 'user_created' ELSE 'api_access' END, \
             'success', 'user', 'u', 1, '', g.hash, g.hash FROM n, (SELECT hash FROM audit_events) g",
        )
        .await;
    let mut search = AuditSearch {
        action: Some("user_created".to_owned()),
        limit: 10,
        ..AuditSearch::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = bench.store.search_audit(&search).await.unwrap();
        pages.push(page.rows.iter().map(|row| row.seq).collect::<Vec<_>>());
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![3], vec![], vec![24_999]]);
    search.after = None;
    search.limit = 1;
    let page = bench.store.search_audit(&search).await.unwrap();
    assert_eq!(page.rows.len(), 1);
}
