//! A copy that is whole, private, and never takes the place of another file.

use std::{fs, os::unix::fs::PermissionsExt};

use portcullis_audit::Action;
use portcullis_config::storage::Database;
use tokio::sync::oneshot::error::TryRecvError;

use super::bench::{Bench, all_rows, event, verified};
use crate::{BackupError, OpenMode, Store};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_a_consistent_copy_while_writes_go_on() {
    let bench = Bench::sqlite().await;
    bench.user("first").await;
    // Enough that copying takes a while.
    bench
        .store
        .append_events(&vec![event(Action::LoginFailure); 5000])
        .await
        .unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let store = bench.store.clone();
    let news: Vec<_> = (0..2000)
        .map(|n| bench.new_user(&format!("user{n}")))
        .collect();
    let writer = tokio::spawn(async move {
        for new in news {
            if stopped.try_recv() != Err(TryRecvError::Empty) {
                return;
            }
            store
                .create_user(&new, &["guest"], &event(Action::UserCreated))
                .await
                .unwrap();
        }
    });
    let target = bench.directory.path().join("copy.db");
    bench.store.backup(&target).await.unwrap();
    drop(stop);
    writer.await.unwrap();
    let copy = Store::open(&Database::Sqlite(target.clone()), OpenMode::Tool, "tool")
        .await
        .unwrap();
    let (users, rows) = (
        copy.users(None, 1000).await.unwrap().len(),
        all_rows(&copy).await,
    );
    assert!(users >= 1, "what was there before the backup is in it");
    let told = rows
        .iter()
        .filter(|row| row.action == "user_created")
        .count();
    assert_eq!(
        told, users,
        "each user in the copy has its row, and each row its user"
    );
    assert_eq!(verified(&rows), 5000 + users as u64);
    assert_eq!(mode(&target), 0o600);
}

#[tokio::test]
async fn a_backup_never_overwrites() {
    let bench = Bench::sqlite().await;
    let target = bench.directory.path().join("copy.db");
    fs::write(&target, "precious").unwrap();
    let outcome = bench.store.backup(&target).await;
    assert!(
        matches!(outcome, Err(BackupError::TargetExists(_))),
        "{outcome:?}"
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    let missing = bench
        .store
        .backup(&bench.directory.path().join("no/such/copy.db"))
        .await;
    assert!(matches!(missing, Err(BackupError::File(_))), "{missing:?}");
    let mut left: Vec<_> = fs::read_dir(bench.directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["copy.db", "made"], "half a backup was left behind");
}

#[tokio::test]
async fn a_postgresql_database_points_to_its_own_tool() {
    let bench = Bench::postgres().await;
    let outcome = bench
        .store
        .backup(&bench.directory.path().join("copy.db"))
        .await;
    assert!(outcome.unwrap_err().to_string().contains("pg_dump"));
}

#[tokio::test]
async fn a_database_that_is_made_is_its_owners_only() {
    let bench = Bench::sqlite().await;
    bench.user("saad").await;
    let folder = bench.directory.path().join("made");
    assert_eq!(mode(&folder), 0o700);
    for file in ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
}
