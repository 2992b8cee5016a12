//! How long a listener waits after failures, and how it finds out that it is deaf.

use futures_util::FutureExt;
use portcullis_config::storage::Database;
use portcullis_harness::postgres::Postgres as Server;

use super::*;
use crate::OpenMode;

async fn database(server: &Server) -> Postgres {
    let database = Database::Postgres(server.fresh_database().unwrap().into());
    match Engine::open(&database, OpenMode::Serve).await.unwrap() {
        Engine::Postgres(postgres) => postgres,
        Engine::Sqlite(_) => unreachable!("opened as PostgreSQL"),
    }
}

/// What is said in one database is not heard in another, as it is not behind a pooler that gives connections out by transaction.
#[tokio::test]
async fn a_connection_that_hears_no_echo_does_not_listen_to_anything_else() {
    let server = Server::start().unwrap();
    let ear = Ear {
        listening: database(&server).await,
        saying: database(&server).await,
        echo_limit: Duration::from_millis(200),
        tell: watch::Sender::new(0),
    };
    let Err(error) = ear.listen_once(&mut Silence::default()).await;
    assert!(matches!(error, Deaf::Pooled), "{error}");
    assert_eq!(error.pause(1), FIRST_PAUSE, "it may have been held up");
    assert_eq!(error.pause(DEAF_AFTER), DEAF_PAUSE);
    assert_eq!(*ear.tell.borrow(), 0);
}

#[test]
fn a_silence_is_told_once_it_lasts_and_only_once() {
    let mut silence = Silence::default();
    let hung_up = Deaf::Connection(StoreError::Unavailable("it hung up".into()));
    silence.goes_on(&hung_up);
    assert!(!silence.is_told, "it may be there again in a moment");
    silence.goes_on(&hung_up);
    assert!(silence.is_told);
    silence.ends();
    assert_eq!((silence.failures, silence.is_told), (0, false));
}

#[test]
fn many_pieces_of_news_are_one() {
    let (tell, told) = watch::channel(0);
    let mut news = RevocationNews::from(told);
    for _ in 0..20 {
        tell.send_modify(|count| *count += 1);
    }
    let mut later = news.from_now_on();
    assert_eq!((news.count(), news.heard().now_or_never()), (20, Some(())));
    assert_eq!(
        news.heard().now_or_never(),
        None,
        "all of it is known by now"
    );
    assert_eq!(later.heard().now_or_never(), None, "nor is there any later");
    drop(tell);
    assert_eq!(news.heard().now_or_never(), None, "nobody tells any more");
}

#[test]
fn pauses_grow_up_to_half_a_minute() {
    let pauses = [1, 2, 3, 7, 8, 9, u32::MAX].map(|failures| pause_after(failures).as_millis());
    assert_eq!(pauses, [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
}
