//! A refused sign-in tells nothing by its cost: the same work, the same rows, the same wait and the same bytes, whatever
//! it was refused for.
//!
//! The work is counted, not timed. One test looks at the clock as an attacker would; it fails only where the times of
//! two refusals differ by much and by no chance that a loaded machine could bring about.

use std::{num::NonZeroU64, time::Duration};

use axum::http::StatusCode;
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::{
    auth::{Auth, Throttle},
    units::{ByteSize, Rate},
};
use serde_json::json;
use tokio::time::Instant;

use super::{Answer, House, NOW, login::add_stored};

const PASSWORD: &str = "password";
const WRONG: &str = "passwore";
/// Of [`PASSWORD`], as another system has made it.
const BCRYPT: &str = "$2b$05$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva";

/// Why a sign-in is refused, and what is sent.
const REFUSED: [(&str, &str, &str); 9] = [
    ("a wrong password", "saad", WRONG),
    ("nobody's name", "nobody", PASSWORD),
    ("a name that nobody can have", "no\u{200b}body", PASSWORD),
    ("a disabled user with its password", "gone", PASSWORD),
    ("a disabled user with another one", "gone", WRONG),
    ("a user without a password", "sso", PASSWORD),
    ("an imported user with a wrong password", "bertha", WRONG),
    (
        "a disabled imported user with its password",
        "bruno",
        PASSWORD,
    ),
    ("a disabled imported user with another one", "bruno", WRONG),
];

/// As many of them as take the same time by themselves, with nothing imported beside them.
const OUR_OWN: usize = 6;

async fn house(change: impl FnOnce(&mut Auth)) -> House {
    let never = Rate {
        count: NonZeroU64::new(1_000_000).unwrap(),
        period: Duration::from_secs(1),
    };
    let house = House::open_with(|config| {
        config.throttle = Throttle {
            address: never,
            account: never,
        };
        change(config);
    });
    let house = house.await;
    for name in ["saad", "gone"] {
        house.add_user(name, PASSWORD, "guest").await;
    }
    house.add_user("admin", "admin", "admin").await;
    let admin = house.token("admin", "admin", "portcullis").await;
    for name in ["bertha", "bruno"] {
        let body = json!({"username": name, "password_hash": BCRYPT});
        let path = "/v1/admin/users/import";
        let imported = house.post(path, Some(&admin), body).await;
        assert_eq!(imported.status, StatusCode::CREATED, "{}", imported.text);
    }
    for name in ["gone", "bruno"] {
        disable(&house, name).await;
    }
    add_stored(&house, "sso", None).await;
    house.audit().await;
    house
}

async fn disable(house: &House, name: &str) {
    let found = house.service.store.user_by_login(name).await.unwrap();
    let disabled = Event::new(
        NOW,
        Action::UserDisabled,
        Outcome::Success,
        Party::operator("test"),
    );
    let change = house.service.rights_change(&disabled);
    let id = found.unwrap().0.id;
    let set = house.service.store.set_disabled(&id, true, &change);
    set.await.unwrap();
}

async fn sign_in(house: &House, (why, name, password): (&str, &str, &str)) -> Answer {
    let body = json!({"username": name, "password": password});
    let answer = house.log_in(body).await;
    assert_eq!(answer.problem(), "invalid-credentials", "{why}");
    answer
}

#[tokio::test]
async fn every_refusal_hashes_once_writes_one_row_and_says_the_same() {
    let house = house(|_| ()).await;
    let first = sign_in(&house, REFUSED[0]).await;
    for refused in REFUSED {
        let (why, ..) = refused;
        let hashings = house.service.hasher.hashings().await;
        let rows = house.audit().await.len();
        let answer = sign_in(&house, refused).await;
        assert_eq!(
            (answer.headers, answer.text),
            (first.headers.clone(), first.text.clone()),
            "{why}"
        );
        assert_eq!(
            house.service.hasher.hashings().await - hashings,
            1,
            "{why}: beside what an imported hash costs"
        );
        let log = house.audit().await;
        assert_eq!(log.len() - rows, 1, "{why}: one row");
        let row = log.last().unwrap();
        assert_eq!(row.action, Action::LoginFailure.as_str(), "{why}");
    }
}

#[tokio::test]
async fn no_refusal_is_quicker_than_the_slowest_was() {
    let house = house(|_| ()).await;
    let slowest = Duration::from_millis(60);
    for refused in REFUSED {
        house.service.hasher.refuse_in(slowest);
        let begun = Instant::now();
        sign_in(&house, refused).await;
        let took = begun.elapsed();
        assert!(took >= slowest, "{}: {took:?}", refused.0);
    }
}

/// Each in its turn, round after round, so that what else the machine does is spread over all of them.
#[tokio::test]
async fn the_time_of_a_refusal_does_not_tell_why() {
    let house = house(|config| {
        // Dear enough that a sign-in without it would come in half the time.
        config.password.hash.memory = ByteSize(2 << 20);
        config.password.hashing_memory = ByteSize(2 << 20);
    });
    let house = house.await;
    let mut times = [(); OUR_OWN].map(|()| Vec::new());
    for _ in 0..200 {
        for ((_, name, password), times) in REFUSED.into_iter().zip(&mut times) {
            let body = json!({"username": name, "password": password});
            let begun = Instant::now();
            let answer = house.log_in(body).await;
            let took = begun.elapsed();
            // A machine that stalls has some turned away, which says nothing of why.
            if answer.status == StatusCode::UNAUTHORIZED {
                times.push(took);
            }
        }
    }
    assert!(times.iter().all(|times| times.len() > 150), "hardly any");
    let [usual, others @ ..] = times;
    for (times, (why, ..)) in others.into_iter().zip(&REFUSED[1..]) {
        let (one, other) = (median(&usual), median(&times));
        let is_apart = one.abs_diff(other) * 4 > one.min(other);
        let surprise = surprise(&usual, &times);
        assert!(
            !(is_apart && surprise > FIVE_SIGMA),
            "{why}: {other:?} where a wrong password takes {one:?}, {surprise} sigma off"
        );
    }
}

/// By chance once in some two million times.
const FIVE_SIGMA: f64 = 5.0;

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// How far the two are from having been drawn from one distribution, in standard deviations (Mann and Whitney's U).
fn surprise(ones: &[Duration], others: &[Duration]) -> f64 {
    let pairs = ones
        .iter()
        .flat_map(|one| others.iter().map(move |other| (one, other)));
    let earlier: f64 = pairs
        .map(|(one, other)| match one.cmp(other) {
            std::cmp::Ordering::Less => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 0.0,
        })
        .sum();
    let count = |times: &[Duration]| f64::from(u32::try_from(times.len()).unwrap());
    let (n, m) = (count(ones), count(others));
    (earlier - n * m / 2.0).abs() / (n * m * (n + m + 1.0) / 12.0).sqrt()
}
