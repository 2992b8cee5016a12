//! A database that is not there is `Unavailable`, soon.

use std::time::Duration;

use portcullis_audit::Action;
use portcullis_config::storage::Database;
use portcullis_harness::postgres::Postgres;
use tokio::time::timeout;

use super::bench::{Bench, event, verified};
use crate::{OpenMode, Store, StoreError};

pub(super) async fn a_closed_store_is_unavailable(bench: &Bench) {
    bench.store.ping().await.unwrap();
    bench.store.close().await;
    assert!(matches!(
        bench.store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
    let append = bench
        .store
        .append_events(&[event(Action::GatewayStopped)])
        .await;
    assert!(matches!(append, Err(StoreError::Unavailable(_))));
}

/// A client that hangs up drops the future that serves it, wherever that is waiting.
pub(super) async fn an_abandoned_change_leaves_nothing_half_done(bench: &Bench) {
    for n in 0..60 {
        let new = bench.new_user(&format!("user{n}"));
        let told = event(Action::UserCreated);
        let change = bench.store.create_user(&new, &["guest"], &told);
        // Abandoned somewhere between the first statement and the commit; the later ones come through.
        drop(timeout(Duration::from_micros(n * 100), change).await);
    }
    let last = bench.user("last").await;
    assert_eq!(
        last.roles(),
        ["guest"],
        "the connections are as good as before"
    );
    let users = bench.store.users(None, 1000).await.unwrap();
    assert_eq!(verified(&bench.rows().await), users.len() as u64);
    assert!(
        users.iter().all(|user| user.roles() == ["guest"]),
        "a user came without its role"
    );
}

#[tokio::test]
async fn without_its_server_a_store_is_unavailable_and_does_not_open() {
    let mut server = Postgres::start().unwrap();
    let database = Database::Postgres(server.fresh_database().unwrap().into());
    let store = Store::open(&database, OpenMode::Serve, "gateway")
        .await
        .unwrap();
    store.migrate().await.unwrap();
    server.stop().unwrap();
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
    let again = Store::open(&database, OpenMode::Serve, "gateway").await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_mistaken_url_is_told_without_its_password() {
    let database = Database::Postgres("postgres://saad:hunter2@[bad/db".to_owned().into());
    let error = Store::open(&database, OpenMode::Tool, "tool")
        .await
        .err()
        .expect("the URL is no URL");
    let told = format!("{error:?} {error}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_stays_as_it_is() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("letter.txt");
    std::fs::write(&file, "dear reader, ".repeat(100)).unwrap();
    let outcome = Store::open(&Database::Sqlite(file.clone()), OpenMode::Tool, "tool").await;
    assert!(
        matches!(outcome, Err(StoreError::Corrupt(_))),
        "{:?}",
        outcome.err()
    );
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("dear reader")
    );
}

#[tokio::test]
async fn a_path_through_a_file_is_unavailable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outcome = Store::open(
        &Database::Sqlite(file.path().join("portcullis.db")),
        OpenMode::Tool,
        "tool",
    )
    .await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{:?}",
        outcome.err()
    );
}

#[tokio::test]
async fn every_connection_to_postgresql_has_its_bounds() {
    let bench = Bench::postgres().await;
    for (sql, bound) in [
        ("SELECT current_setting('statement_timeout') AS bound", "5s"),
        ("SELECT current_setting('lock_timeout') AS bound", "4s"),
        (
            "SELECT current_setting('idle_in_transaction_session_timeout') AS bound",
            "15s",
        ),
    ] {
        let rows = bench.store.engine.rows(sql, &[]).await.unwrap();
        assert_eq!(rows[0].read::<String>("bound").unwrap(), bound, "{sql}");
    }
}

#[tokio::test]
async fn a_commit_to_sqlite_survives_a_power_cut() {
    let bench = Bench::sqlite().await;
    let mut tx = bench.store.engine.begin().await.unwrap();
    for (sql, column, full) in [
        ("PRAGMA synchronous", "synchronous", 2),
        ("PRAGMA foreign_keys", "foreign_keys", 1),
    ] {
        let row = tx.row(sql, &[]).await.unwrap().unwrap();
        assert_eq!(row.number(column).unwrap(), full, "{sql}");
    }
    let row = tx.row("PRAGMA journal_mode", &[]).await.unwrap().unwrap();
    assert_eq!(row.read::<String>("journal_mode").unwrap(), "wal");
}
