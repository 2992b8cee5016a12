//! A migrated, empty store to test with, and short words for what tests put into it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use portcullis_audit::{Action, Event, Outcome, Party, Record, chain};
use portcullis_config::{
    auth::RoleScopes,
    storage::{Database, Redis},
    units::Timestamp,
};
use portcullis_harness::{postgres::Postgres, redis::Redis as RedisServer, wait::PATIENCE};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    AuditFilter, AuditRow, FileRoles, NewSession, NewUser, OpenMode, RedisSessions, RightsChange,
    RoleGrant, Sessions, SessionsInRedis, Store, StoreError, User,
};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const LATER: Timestamp = Timestamp::from_millis(1_700_000_900_000);

/// What a configuration would declare: `admin` may do everything, the others nothing here.
static FILE: LazyLock<FileRoles> = LazyLock::new(|| {
    let marks = ["guest", "staff", "a", "b", "c"];
    let nothing = || RoleScopes::These(Vec::new());
    let marks = marks.map(|name| (name.to_owned(), nothing()));
    let all = [("admin".to_owned(), RoleScopes::All)];
    marks.into_iter().chain(all).collect()
});

/// Ends with the test process: see the harness.
static SERVER: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::start().expect("the tests need postgresql"));

/// Shared as well: each test has keys and a clock of its own.
static REDIS: LazyLock<RedisServer> =
    LazyLock::new(|| RedisServer::start().expect("the tests need redis-server"));

pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) database: Database,
    pub(super) directory: TempDir,
    redis: Option<Arc<RedisSessions>>,
    next_user: AtomicU64,
}

impl Bench {
    pub(super) async fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::Sqlite(directory.path().join("made/portcullis.db"));
        Self::migrated(database, directory).await
    }

    pub(super) async fn postgres() -> Self {
        Self::migrated(Self::empty_postgres(), TempDir::new().unwrap()).await
    }

    /// A database that has a Redis beside it for sessions.
    pub(super) async fn redis() -> Self {
        let redis = Redis::Single(REDIS.url().into());
        Self {
            redis: Some(RedisSessions::of_a_test(&redis).await),
            ..Self::sqlite().await
        }
    }

    fn empty_postgres() -> Database {
        Database::Postgres(SERVER.fresh_database().unwrap().into())
    }

    async fn migrated(database: Database, directory: TempDir) -> Self {
        let store = Store::open(&database, OpenMode::Serve, "gateway")
            .await
            .unwrap();
        store.migrate().await.unwrap();
        Self {
            store,
            database,
            directory,
            redis: None,
            next_user: AtomicU64::new(1),
        }
    }

    /// Another, empty database of the same kind.
    pub(super) fn empty(&self) -> Database {
        match &self.database {
            Database::Sqlite(_) => Database::Sqlite(self.directory.path().join("empty.db")),
            Database::Postgres(_) => Self::empty_postgres(),
        }
    }

    /// As another process would open the same database.
    pub(super) async fn another(&self, chain: &str) -> Store {
        Store::open(&self.database, OpenMode::Tool, chain)
            .await
            .unwrap()
    }

    pub(super) fn new_user(&self, name: &str) -> NewUser {
        NewUser {
            id: format!("user-{:04}", self.next_user.fetch_add(1, Ordering::Relaxed)),
            username: Some(name.to_owned()),
            username_key: Some(name.to_lowercase()),
            created_at: NOW,
            ..NewUser::default()
        }
    }

    pub(super) async fn user(&self, name: &str) -> User {
        self.store
            .create_user(
                &self.new_user(name),
                &["guest"],
                &event(Action::UserCreated),
            )
            .await
            .unwrap()
    }

    pub(super) fn sessions(&self) -> Sessions {
        let store = self.store.clone();
        match &self.redis {
            Some(redis) => Sessions::Redis(SessionsInRedis {
                store,
                redis: Arc::clone(redis),
            }),
            None => Sessions::Database(store),
        }
    }

    pub(super) async fn actions(&self) -> Vec<String> {
        self.rows()
            .await
            .into_iter()
            .map(|row| row.action)
            .collect()
    }

    pub(super) async fn rows(&self) -> Vec<AuditRow> {
        all_rows(&self.store).await
    }

    /// Runs a statement that no caller of the store could.
    pub(super) async fn tamper(&self, sql: &'static str) {
        in_the_end(async || {
            let mut tx = self.store.engine.begin().await?;
            tx.execute(sql, &[]).await?;
            tx.commit().await
        })
        .await;
    }

    pub(super) async fn count(&self, sql: &'static str) -> u64 {
        self.store.engine.rows(sql, &[]).await.unwrap()[0]
            .number("n")
            .unwrap()
    }
}

/// What comes of a large change. A database that a busy machine holds up gives it up after some seconds, and nothing of it
/// stays: then it is tried again.
pub(super) async fn in_the_end<T>(mut change: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        match change().await {
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {}
            outcome => return outcome.unwrap(),
        }
    }
}

pub(super) async fn all_rows(store: &Store) -> Vec<AuditRow> {
    let mut rows: Vec<AuditRow> = Vec::new();
    loop {
        let filter = AuditFilter {
            after: rows.last().map(AuditRow::cursor),
            ..AuditFilter::default()
        };
        let page = store.audit_rows(&filter).await.unwrap();
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

/// The number of records in a chain that holds together.
pub(super) fn verified(rows: &[AuditRow]) -> u64 {
    let records: Vec<Record> = rows.iter().map(AuditRow::record).collect();
    chain::verify(records)
        .expect("the chain holds together")
        .seq
}

pub(super) fn event(action: Action) -> Event {
    Event::new(NOW, action, Outcome::Success, Party::operator("root"))
}

pub(super) fn change(event: &Event) -> RightsChange<'_> {
    RightsChange {
        event,
        file: &FILE,
        until: LATER,
    }
}

pub(super) fn anywhere(role: &str) -> RoleGrant<'_> {
    RoleGrant { role, tenant: None }
}

pub(super) fn session(sid: &str, user: &User) -> NewSession {
    NewSession {
        sid: sid.to_owned(),
        user_id: user.id.clone(),
        user_version: user.version,
        client_id: None,
        resource: "hotel".to_owned(),
        scopes: "hotel:read hotel:write".to_owned(),
        mac_kid: None,
        created_at: NOW,
        idle_expires_at: LATER,
        absolute_expires_at: LATER,
        user_agent: None,
        ip: "2001:db8::7".parse().ok(),
        tenant: Some("acme".to_owned()),
    }
}
