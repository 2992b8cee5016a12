//! Refreshing while somebody else refreshes, signs out, disables, promotes or changes the password: many rounds, on every
//! store of sessions.
//!
//! What is proven is always the same: once an end was answered, nothing that came out of the session opens a door any
//! more, whichever of the two was first.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use portcullis_config::storage::{Database, Redis};
use portcullis_harness::{postgres::Postgres, redis::Redis as RedisServer, wait::PATIENCE};
use portcullis_store::{
    RedisSessions, RoleGrant, Session, Sessions, SessionsInRedis, Store, StoreError,
};
use serde_json::json;

use super::*;

/// They end with the test process: see the harness.
static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::start().unwrap());
static REDIS: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start().unwrap());

/// Of each race on each store: fifteen times as many in all.
const ROUNDS: usize = 200;
const PASSWORD: &str = "1234";
/// Between two questions to a store that was put off.
const PAUSE: Duration = Duration::from_millis(10);

/// A house by the clock on the wall, which is that of Redis as well.
struct Stage {
    house: Arc<House>,
    administrator: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "Redis goes by the clock on the wall, and the two are compared"
)]
fn on_the_wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_secs(since.as_secs())
}

/// What a session has given out.
#[derive(Clone)]
struct Pair {
    access: String,
    refresh: String,
    scope: String,
}

impl Pair {
    fn of(answer: &Answer) -> Option<Self> {
        let text = |field: &str| answer.json()[field].as_str().map(str::to_owned);
        (answer.status == StatusCode::OK).then(|| Self {
            access: text("access_token").unwrap(),
            refresh: text("refresh_token").unwrap(),
            scope: text("scope").unwrap(),
        })
    }
}

impl Stage {
    async fn sqlite() -> Self {
        Self::with(|store| Sessions::Database(store.clone()), None).await
    }

    async fn postgres() -> Self {
        let database = Database::Postgres(POSTGRES.fresh_database().unwrap().into());
        Self::with(|store| Sessions::Database(store.clone()), Some(database)).await
    }

    async fn redis() -> Self {
        let address = Redis::Single(REDIS.url().into());
        let redis = RedisSessions::open(&address).await.unwrap();
        let sessions = |store: &Store| {
            let store = store.clone();
            Sessions::Redis(SessionsInRedis { store, redis })
        };
        Self::with(sessions, None).await
    }

    async fn with(sessions: impl FnOnce(&Store) -> Sessions, database: Option<Database>) -> Self {
        let house = House::open_on(database, sessions, on_the_wall(), |_| ()).await;
        let house = Arc::new(house.with_demo_users().await);
        let administrator = house.token("admin", "admin", "portcullis").await;
        Self {
            house,
            administrator,
        }
    }

    /// Asks until the stores answer: on a machine that is busy with all of these they may be put off.
    async fn answered(&self, path: &str, body: Value) -> Answer {
        let answered = async {
            loop {
                let answer = self.house.post(path, None, body.clone()).await;
                if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                    return answer;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        answered.expect("stores that answer")
    }

    async fn sign_in(&self) -> Pair {
        let body = json!({ "username": "saad", "password": PASSWORD, "resource": "hotel" });
        let answer = self.answered("/v1/auth/login", body).await;
        Pair::of(&answer).unwrap_or_else(|| panic!("{}", answer.text))
    }

    async fn refresh(&self, token: &str) -> Answer {
        let body = json!({ "refresh_token": token });
        self.answered("/v1/auth/refresh", body).await
    }

    async fn opens(&self, access: &str) -> bool {
        let answer = self.house.get("/v1/auth/me", Some(access)).await;
        answer.status == StatusCode::OK
    }

    async fn administer(&self, what: &str) -> Answer {
        let user = self.user().await;
        let path = format!("/v1/admin/users/{}/{what}", user.id);
        let token = Some(&*self.administrator);
        self.house.post(&path, token, json!({})).await
    }

    async fn user(&self) -> User {
        let found = self.house.service.store.user_by_login("saad").await;
        found.unwrap().unwrap().0
    }

    /// As [`Self::answered`].
    async fn latest(&self, user: &User) -> Session {
        let service = &self.house.service;
        let found = async {
            loop {
                let latest = service.sessions.of_user(&user.id, service.now(), None, 1);
                match latest.await {
                    Ok(found) => return found.into_iter().next().unwrap(),
                    Err(StoreError::Unavailable(_)) => tokio::time::sleep(PAUSE).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.expect("a store that answers")
    }

    /// At the same time as it is refreshed, so often as there are tasks, `other` happens to the session. Returns all that
    /// the session has given out.
    async fn race<F>(self: &Arc<Self>, other: impl FnOnce(Arc<Self>, Pair) -> F) -> Vec<Pair>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let first = self.sign_in().await;
        let refresh = |token: String| {
            let stage = Arc::clone(self);
            tokio::spawn(async move { Pair::of(&stage.refresh(&token).await) })
        };
        let refreshing = [(); 2].map(|()| refresh(first.refresh.clone()));
        let other = tokio::spawn(other(Arc::clone(self), first.clone()));
        let refreshed = join_all(refreshing).await;
        other.await.unwrap();
        let mut pairs = vec![first];
        pairs.extend(refreshed.into_iter().filter_map(Result::unwrap));
        pairs
    }

    async fn assert_dead(&self, round: usize, pairs: &[Pair]) {
        for pair in pairs {
            assert!(!self.opens(&pair.access).await, "{round}: an access token");
            let answer = self.refresh(&pair.refresh).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{round}");
        }
    }
}

async fn of_many_who_refresh_at_once_all_get_the_same_successor(stage: Arc<Stage>, rounds: usize) {
    for round in 0..rounds {
        let first = stage.sign_in().await;
        let refreshing = [(); 4].map(|()| {
            let (stage, token) = (Arc::clone(&stage), first.refresh.clone());
            tokio::spawn(async move { Pair::of(&stage.refresh(&token).await).unwrap() })
        });
        let refreshed = join_all(refreshing).await.into_iter();
        let pairs: Vec<Pair> = refreshed.map(Result::unwrap).collect();
        let mut access: Vec<&str> = pairs.iter().map(|pair| &*pair.access).collect();
        access.sort_unstable();
        access.dedup();
        assert_eq!(
            access.len(),
            4,
            "{round}: each has an access token of its own"
        );
        let successor = &pairs[0].refresh;
        assert!(
            pairs.iter().all(|pair| pair.refresh == *successor),
            "{round}"
        );
        let user = stage.user().await;
        let latest = stage.latest(&user).await;
        assert_eq!(latest.generation, 1, "{round}: one step");
    }
}

async fn of_a_refresh_and_a_sign_out_nothing_survives(stage: Arc<Stage>, rounds: usize) {
    for round in 0..rounds {
        let pairs = stage.race(|stage, pair| async move {
            let token = Some(&*pair.access);
            let answer = stage.house.post("/v1/auth/logout", token, json!({})).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
            assert!(!stage.opens(&pair.access).await, "in the very next request");
        });
        let pairs = pairs.await;
        stage.assert_dead(round, &pairs).await;
    }
}

async fn of_a_refresh_and_a_disable_nothing_survives(stage: Arc<Stage>, rounds: usize) {
    for round in 0..rounds {
        let pairs = stage.race(|stage, pair| async move {
            let answer = stage.administer("disable").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            assert!(!stage.opens(&pair.access).await, "in the very next request");
        });
        let pairs = pairs.await;
        stage.assert_dead(round, &pairs).await;
        stage.administer("enable").await;
        stage.assert_dead(round, &pairs).await;
    }
}

/// What the endpoint does once it has checked the old password and hashed the new one, which here is the same.
async fn of_a_refresh_and_a_change_of_password_nothing_survives(stage: Arc<Stage>, rounds: usize) {
    for round in 0..rounds {
        let pairs = stage.race(|stage, pair| async move {
            let (service, user) = (&stage.house.service, stage.user().await);
            let kept = service.store.password_of(&user.id).await.unwrap().unwrap();
            let (until, event) = (
                service.last_expiry(),
                refresh::event(Action::PasswordChanged),
            );
            let changed = service.store.set_password(&user, &kept, until, &event);
            service.outdate(&changed.await.unwrap(), until);
            assert!(!stage.opens(&pair.access).await, "in the very next request");
        });
        let pairs = pairs.await;
        stage.assert_dead(round, &pairs).await;
    }
}

async fn of_a_refresh_and_a_change_of_roles_no_token_has_the_old_ones(
    stage: Arc<Stage>,
    rounds: usize,
) {
    for round in 0..rounds {
        let pairs = stage.race(move |stage, _| async move {
            let (service, user) = (&stage.house.service, stage.user().await);
            let event = Event::new(
                service.now(),
                Action::RoleGranted,
                Outcome::Success,
                Party::operator("test"),
            );
            let staff = RoleGrant {
                role: "staff",
                tenant: None,
            };
            let change = service.rights_change(&event);
            let user = if round % 2 == 0 {
                service.store.grant_role(&user.id, staff, &change).await
            } else {
                service.store.revoke_role(&user.id, staff, &change).await
            };
            let user = user.unwrap();
            let revocation = portcullis_tokens::Revocation::UserBefore {
                user_id: user.id,
                version: user.version,
            };
            service.revocations.revoke(revocation, change.until);
        });
        let pairs = pairs.await;
        let scope = if round % 2 == 0 {
            "hotel:read hotel:write"
        } else {
            "hotel:read"
        };
        for pair in &pairs {
            let is_old = pair.scope != scope;
            assert!(!(is_old && stage.opens(&pair.access).await), "{round}");
        }
        let last = pairs.last().unwrap();
        let answer = stage.refresh(&last.refresh).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{round}: the session goes on"
        );
        assert_eq!(answer.json()["scope"], scope, "{round}");
    }
}

/// Each race on each store, all with the same number of rounds.
macro_rules! races {
    ($($race:ident),+ $(,)?) => {
        races! { sqlite: $($race),+ }
        races! { postgres: $($race),+ }
        races! { redis: $($race),+ }
    };
    ($store:ident: $($race:ident),+) => {
        mod $store {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $race() { super::$race(Arc::new(Stage::$store().await), ROUNDS).await; })+
        }
    };
}

races! {
    of_many_who_refresh_at_once_all_get_the_same_successor,
    of_a_refresh_and_a_sign_out_nothing_survives,
    of_a_refresh_and_a_disable_nothing_survives,
    of_a_refresh_and_a_change_of_password_nothing_survives,
    of_a_refresh_and_a_change_of_roles_no_token_has_the_old_ones,
}
