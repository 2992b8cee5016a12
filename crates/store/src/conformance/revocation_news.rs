//! What PostgreSQL tells of the revocation log, and to whom. SQLite tells nothing.

use std::time::Duration;

use futures_util::FutureExt;
use portcullis_audit::Action;
use portcullis_harness::wait::PATIENCE;
use portcullis_tokens::Revocation;
use tokio::time::{sleep, timeout};

use super::bench::{Bench, LATER, NOW, anywhere, change, event};
use crate::{
    RevocationNews, Store,
    engine::{Engine, Listener, Said},
    revocations,
};

/// One that hears all there is from here on.
async fn listening(store: &Store) -> RevocationNews {
    let mut news = store.revocation_news();
    heard(&mut news).await;
    news
}

async fn heard(news: &mut RevocationNews) {
    timeout(PATIENCE, news.heard())
        .await
        .expect("there is news");
}

async fn revoke(store: &Store, sid: &str) {
    let revocation = Revocation::Session(sid.to_owned());
    let told = event(Action::SessionEnded);
    store.revoke(&revocation, LATER, &told).await.unwrap();
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

/// How many listen in this database.
async fn listeners(bench: &Bench) -> u64 {
    bench
        .count(
            "SELECT COUNT(*) AS n FROM pg_stat_activity \
             WHERE application_name = 'portcullis listening' AND datname = current_database()",
        )
        .await
}

async fn listener(bench: &Bench) -> Listener {
    let Engine::Postgres(postgres) = &bench.store.engine else {
        unreachable!("opened as PostgreSQL")
    };
    let mut listener = postgres.listener().await.unwrap();
    let echo = listener.echo().to_owned();
    for channel in ["portcullis_revocations", &echo] {
        listener.listen(channel).await.unwrap();
    }
    listener
}

/// How much was said until now. What is committed is heard in its order.
async fn said(listener: &mut Listener) -> usize {
    let echo = listener.echo().to_owned();
    listener.say(&echo).await.unwrap();
    let mut pieces = 0;
    while timeout(PATIENCE, listener.hear()).await.unwrap().unwrap() == Said::News {
        pieces += 1;
    }
    pieces
}

#[tokio::test]
async fn what_one_store_commits_is_news_to_another() {
    let bench = Bench::postgres().await;
    let other = bench.another("other").await;
    let mut news = listening(&bench.store).await;
    revoke(&other, "s1").await;
    heard(&mut news).await;
    let log = bench.store.revocations_after(0, NOW).await;
    assert_eq!(log.unwrap().len(), 1, "whoever is told can read it");
}

#[tokio::test]
async fn only_what_is_committed_is_news_and_once_for_a_change() {
    let bench = Bench::postgres().await;
    let mut listener = listener(&bench).await;
    let told = event(Action::SessionEnded);
    let revocation = Revocation::Session("s1".to_owned());

    let mut abandoned = bench.store.engine.begin().await.unwrap();
    let logged = revocations::log(&mut abandoned, &revocation, LATER, &told).await;
    logged.unwrap();
    drop(abandoned);
    assert_eq!(said(&mut listener).await, 0, "nothing has happened");

    revoke(&bench.store, "s1").await;
    assert_eq!(said(&mut listener).await, 1);

    for name in ["one", "two", "three"] {
        let user = bench.user(name).await;
        let granted = event(Action::RoleGranted);
        let grant = change(&granted);
        let granting = bench.store.grant_role(&user.id, anywhere("a"), &grant);
        granting.await.unwrap();
    }
    assert_eq!(said(&mut listener).await, 3, "one for each change");
    let mut tx = bench.store.engine.begin().await.unwrap();
    let changed = event(Action::RoleChanged);
    let logging = revocations::log_holders(&mut tx, "a", LATER, &changed);
    logging.await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bench.store.revocation_head().await.unwrap(), 7);
    assert_eq!(
        said(&mut listener).await,
        1,
        "three rows, one piece of news"
    );
}

#[tokio::test]
async fn a_broken_connection_comes_back_with_the_news_that_something_was_missed() {
    let bench = Bench::postgres().await;
    let mut news = listening(&bench.store).await;
    let broken = "SELECT COUNT(pg_terminate_backend(pid)) AS n FROM pg_stat_activity \
                  WHERE application_name = 'portcullis listening' AND datname = current_database()";
    assert!(bench.count(broken).await > 0);
    heard(&mut news).await;
    revoke(&bench.store, "s1").await;
    heard(&mut news).await;
}

#[tokio::test]
async fn it_ends_with_the_store_and_with_those_who_want_to_know() {
    let bench = Bench::postgres().await;
    let other = bench.another("other").await;
    let unwanted = listening(&bench.store).await;
    let mut closed = listening(&other).await;
    until("two listen", async || listeners(&bench).await == 2).await;
    drop(unwanted);
    until("one has ended", async || listeners(&bench).await == 1).await;
    other.close().await;
    until("the other has ended", async || listeners(&bench).await == 0).await;
    assert_eq!(
        closed.heard().now_or_never(),
        None,
        "there is nothing to hear any more"
    );
}

#[tokio::test]
async fn sqlite_has_no_news() {
    let bench = Bench::sqlite().await;
    let mut news = bench.store.revocation_news();
    revoke(&bench.store, "s1").await;
    assert_eq!((news.count(), news.heard().now_or_never()), (0, None));
}
