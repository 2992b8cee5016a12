//! A database that is not there is `Unavailable`, soon.

use portcullis_audit::Action;
use portcullis_config::storage::Database;
use portcullis_harness::postgres::Postgres;

use super::bench::{Bench, event};
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
    assert!(matches!(
        store.user("u").await,
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
