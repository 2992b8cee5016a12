//! From an empty database to a current one, and no further.

use portcullis_audit::Action;
use tokio::task::JoinSet;

use super::bench::{Bench, event};
use crate::{OpenMode, Store, StoreError, migration};

pub(super) async fn an_empty_database_is_not_migrated(bench: &Bench) {
    let store = Store::open(&bench.empty(), OpenMode::Tool, "tool")
        .await
        .unwrap();
    assert!(matches!(
        store.check_migrated().await,
        Err(StoreError::NotMigrated)
    ));
    assert!(matches!(
        store.users(None, 1).await,
        Err(StoreError::NotMigrated)
    ));
    assert!(matches!(
        store.append_events(&[event(Action::GatewayStarted)]).await,
        Err(StoreError::NotMigrated)
    ));
}

pub(super) async fn a_second_migration_finds_nothing_to_do(bench: &Bench) {
    let store = Store::open(&bench.empty(), OpenMode::Tool, "tool")
        .await
        .unwrap();
    assert_eq!(store.migrate().await.unwrap(), migration::names());
    assert_eq!(store.migrate().await.unwrap(), [""; 0]);
    store.check_migrated().await.unwrap();
}

pub(super) async fn of_several_processes_one_migrates(bench: &Bench) {
    let database = bench.empty();
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        processes.spawn(async move {
            let store = Store::open(&database, OpenMode::Serve, "gateway")
                .await
                .unwrap();
            store.migrate().await.unwrap().len()
        });
    }
    let applied = processes.join_all().await.iter().sum::<usize>();
    assert_eq!(applied, migration::names().len());
}

pub(super) async fn a_database_of_a_newer_version_is_refused(bench: &Bench) {
    bench
        .tamper("UPDATE _sqlx_migrations SET version = 999 WHERE version = 1")
        .await;
    let outcome = Store::open(&bench.database, OpenMode::Serve, "gateway").await;
    assert!(matches!(outcome, Err(StoreError::TooNew(999))));
    assert!(matches!(
        bench.store.migrate().await,
        Err(StoreError::TooNew(999))
    ));
}

pub(super) async fn a_changed_migration_is_refused(bench: &Bench) {
    bench
        .tamper("UPDATE _sqlx_migrations SET checksum = substr(checksum, 1, 8)")
        .await;
    let outcome = Store::open(&bench.database, OpenMode::Serve, "gateway").await;
    assert!(matches!(outcome, Err(StoreError::Corrupt(_))));
}
