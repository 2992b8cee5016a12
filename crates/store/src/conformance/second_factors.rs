//! Codes work once, whoever asks at the same time, and wrong ones are counted before they are looked at.

use std::time::Duration;

use futures_util::future::join_all;
use portcullis_audit::Action;

use super::bench::{Bench, LATER, NOW, change, event};
use crate::{Challenge, CodeTry, FirstCode, StoreError, TotpSecret, UsedCode, User};

const CODES: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const CHALLENGE: [u8; 32] = [9; 32];
const MINUTE: Duration = Duration::from_secs(60);

/// A user whose app has shown the code of step 10.
async fn protected(bench: &Bench, name: &str) -> User {
    let user = bench.user(name).await;
    let (store, begun) = (&bench.store, event(Action::MfaBegun));
    store
        .begin_totp(&user.id, b"wrapped", &begun)
        .await
        .unwrap();
    let enabled = event(Action::MfaEnabled);
    let code = first_code(&user, b"wrapped");
    let confirmed = store.confirm_totp(code, &CODES, LATER, &enabled);
    confirmed.await.unwrap()
}

fn first_code<'a>(user: &'a User, wrapped: &'a [u8]) -> FirstCode<'a> {
    FirstCode {
        user_id: &user.id,
        wrapped,
        step: 10,
    }
}

async fn challenged(bench: &Bench, user: &User, hash: [u8; 32]) -> Challenge {
    let challenge = Challenge {
        user_id: user.id.clone(),
        user_version: user.version,
        resource: "hotel".to_owned(),
        scopes: "hotel:read".to_owned(),
        tenant: Some("acme".to_owned()),
    };
    let event = event(Action::MfaChallenged);
    bench
        .store
        .open_challenge(&hash, &challenge, LATER, &event)
        .await
        .unwrap();
    challenge
}

fn after_three(failures: u64) -> Duration {
    if failures < 3 { Duration::ZERO } else { MINUTE }
}

async fn try_code(bench: &Bench, user: &User, minutes: u32) -> CodeTry {
    let now = NOW.plus(MINUTE * minutes);
    let outcome = bench.store.try_code(&user.id, now, after_three).await;
    outcome.unwrap()
}

fn is_conflict(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict))
}

pub(super) async fn a_secret_is_shown_again_until_it_is_confirmed(bench: &Bench) {
    let user = bench.user("saad").await;
    let (store, begun) = (&bench.store, event(Action::MfaBegun));
    assert!(store.totp_secret(&user.id).await.unwrap().is_none());
    for wrapped in [b"first", b"again"] {
        store.begin_totp(&user.id, wrapped, &begun).await.unwrap();
    }
    let enabled = event(Action::MfaEnabled);
    let confirm = |wrapped| {
        let code = first_code(&user, wrapped);
        store.confirm_totp(code, &CODES, LATER, &enabled)
    };
    let outdated = confirm(b"first").await;
    assert!(
        matches!(outdated, Err(StoreError::Conflict)),
        "replaced since"
    );
    let unchanged = store.user(&user.id).await.unwrap().unwrap();
    assert_eq!(unchanged.version, user.version, "and nothing else happened");
    let confirmed = confirm(b"again").await.unwrap();
    assert_eq!(
        (confirmed.version, confirmed.session_fence),
        (user.version + 1, user.version + 1),
        "every session has ended"
    );
    let again = confirm(b"again").await;
    assert!(matches!(again, Err(StoreError::Conflict)), "it is in force");
    let kept = store.totp_secret(&user.id).await.unwrap();
    let expected = TotpSecret {
        wrapped: b"again".to_vec(),
        confirmed: true,
        last_step: 10,
        created_at: NOW,
    };
    assert!(kept.is_some_and(|kept| kept == expected));
    assert!(is_conflict(
        &store.begin_totp(&user.id, b"other", &begun).await
    ));
    let actions = bench.actions().await;
    let expected = ["user_created", "mfa_begun", "mfa_begun", "mfa_enabled"];
    assert_eq!(actions, expected);
}

pub(super) async fn a_secret_of_nobody_is_not_kept(bench: &Bench) {
    let begun = event(Action::MfaBegun);
    let outcome = bench.store.begin_totp("nobody", b"wrapped", &begun);
    assert!(matches!(outcome.await, Err(StoreError::NotFound)));
    assert!(bench.actions().await.is_empty());
}

pub(super) async fn of_many_who_use_one_code_one_gets_in(bench: &Bench) {
    let user = protected(bench, "saad").await;
    for (number, code) in [UsedCode::Step(11), UsedCode::Recovery(&CODES[0])]
        .into_iter()
        .enumerate()
    {
        let hashes: Vec<[u8; 32]> = (0..8)
            .map(|client| [u8::try_from(16 * (number + 1) + client).unwrap(); 32])
            .collect();
        for hash in &hashes {
            challenged(bench, &user, *hash).await;
        }
        let success = [event(Action::MfaSuccess)];
        let all = hashes
            .iter()
            .map(|hash| bench.store.redeem_challenge(hash, &user.id, code, &success));
        let outcomes = join_all(all).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|o| is_conflict(o)).count(), 7);
    }
    let successes = bench.actions().await;
    let successes = successes.iter().filter(|action| *action == "mfa_success");
    assert_eq!(successes.count(), 2);
}

pub(super) async fn of_many_who_redeem_one_challenge_one_gets_in(bench: &Bench) {
    let user = protected(bench, "saad").await;
    challenged(bench, &user, CHALLENGE).await;
    let all = (11..19).map(|step| {
        let code = UsedCode::Step(step);
        bench
            .store
            .redeem_challenge(&CHALLENGE, &user.id, code, &[])
    });
    let outcomes = join_all(all).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(super) async fn no_step_is_taken_twice_or_after_a_later_one(bench: &Bench) {
    let user = protected(bench, "saad").await;
    for (hash, step, fits) in [
        ([1; 32], 10, false),
        ([2; 32], 12, true),
        ([3; 32], 12, false),
        ([4; 32], 11, false),
        ([5; 32], 13, true),
    ] {
        challenged(bench, &user, hash).await;
        let outcome = bench
            .store
            .redeem_challenge(&hash, &user.id, UsedCode::Step(step), &[]);
        assert_eq!(outcome.await.is_ok(), fits, "step {step}");
    }
}

pub(super) async fn a_challenge_ends_with_its_tries_and_its_time(bench: &Bench) {
    let user = protected(bench, "saad").await;
    let challenge = challenged(bench, &user, CHALLENGE).await;
    let store = &bench.store;
    let late = store.try_challenge(&CHALLENGE, 3, LATER).await.unwrap();
    assert_eq!(late, None, "it has expired");
    for _ in 0..3 {
        let tried = store.try_challenge(&CHALLENGE, 3, NOW).await.unwrap();
        assert_eq!(tried.as_ref(), Some(&challenge));
    }
    let spent = store.try_challenge(&CHALLENGE, 3, NOW).await.unwrap();
    assert_eq!(spent, None, "three tries were made");
    assert_eq!(store.sweep_challenges(NOW).await.unwrap(), 0);
    assert_eq!(store.sweep_challenges(LATER).await.unwrap(), 1);
}

pub(super) async fn many_tries_at_once_are_no_more_than_one_after_the_other(bench: &Bench) {
    let user = protected(bench, "saad").await;
    challenged(bench, &user, CHALLENGE).await;
    let (store, id) = (&bench.store, user.id.as_str());
    let tries = join_all((0..12).map(|_| store.try_challenge(&CHALLENGE, 5, NOW))).await;
    let let_in = tries
        .into_iter()
        .filter(|tried| tried.as_ref().unwrap().is_some());
    assert_eq!(let_in.count(), 5);
    let codes = join_all((0..12).map(|_| store.try_code(id, NOW, after_three))).await;
    let looked_at = codes
        .into_iter()
        .filter(|tried| matches!(tried, Ok(CodeTry::Counted(_))));
    assert_eq!(looked_at.count(), 3);
}

pub(super) async fn wrong_codes_hold_up_the_next_until_a_right_one(bench: &Bench) {
    let user = protected(bench, "saad").await;
    for _ in 0..3 {
        assert!(matches!(
            try_code(bench, &user, 0).await,
            CodeTry::Counted(_)
        ));
    }
    let held_up = try_code(bench, &user, 0).await;
    assert!(matches!(held_up, CodeTry::HeldUp(until) if until == NOW.plus(MINUTE)));
    assert!(matches!(
        try_code(bench, &user, 1).await,
        CodeTry::Counted(_)
    ));
    assert!(matches!(
        try_code(bench, &user, 1).await,
        CodeTry::HeldUp(_)
    ));
    // A recovery code cannot be guessed, so its owner gets in while others are held up.
    let code = UsedCode::Recovery(&CODES[0]);
    let replaced = bench
        .store
        .replace_recovery_codes(&user.id, code, &[[7; 32]], &[]);
    replaced.await.unwrap();
    assert!(matches!(
        try_code(bench, &user, 1).await,
        CodeTry::Counted(_)
    ));
}

pub(super) async fn new_recovery_codes_end_the_old_ones(bench: &Bench) {
    let user = protected(bench, "saad").await;
    let replace = async |code, new: &[[u8; 32]]| {
        let events = [event(Action::RecoveryCodesReplaced)];
        bench
            .store
            .replace_recovery_codes(&user.id, code, new, &events)
            .await
    };
    replace(UsedCode::Step(11), &[[3; 32]]).await.unwrap();
    assert!(is_conflict(
        &replace(UsedCode::Recovery(&CODES[0]), &CODES).await
    ));
    assert!(
        is_conflict(&replace(UsedCode::Step(11), &CODES).await),
        "a step is taken once"
    );
    replace(UsedCode::Recovery(&[3; 32]), &CODES).await.unwrap();
    replace(UsedCode::Recovery(&CODES[1]), &[]).await.unwrap();
    let left = bench
        .count("SELECT COUNT(*) AS n FROM recovery_codes")
        .await;
    assert_eq!(left, 0);
}

pub(super) async fn another_users_recovery_code_opens_nothing(bench: &Bench) {
    let (saad, other) = (protected(bench, "saad").await, bench.user("other").await);
    let begun = event(Action::MfaBegun);
    bench
        .store
        .begin_totp(&other.id, b"wrapped", &begun)
        .await
        .unwrap();
    challenged(bench, &other, CHALLENGE).await;
    let code = UsedCode::Recovery(&CODES[0]);
    let foreign = bench
        .store
        .redeem_challenge(&CHALLENGE, &other.id, code, &[]);
    assert!(is_conflict(&foreign.await));
    let own = bench.store.remove_totp(&saad.id, Some(code), &[]).await;
    own.unwrap();
}

pub(super) async fn a_removed_factor_leaves_nothing_behind(bench: &Bench) {
    let user = protected(bench, "saad").await;
    let remove = async |code| {
        let events = [event(Action::MfaDisabled)];
        bench.store.remove_totp(&user.id, code, &events).await
    };
    assert!(
        is_conflict(&remove(Some(UsedCode::Step(10))).await),
        "step 10 is taken"
    );
    assert!(bench.store.totp_secret(&user.id).await.unwrap().is_some());
    remove(None).await.unwrap();
    assert!(bench.store.totp_secret(&user.id).await.unwrap().is_none());
    assert!(matches!(try_code(bench, &user, 0).await, CodeTry::NoSecret));
    assert!(matches!(remove(None).await, Err(StoreError::NotFound)));
    let left = bench
        .count("SELECT COUNT(*) AS n FROM recovery_codes")
        .await;
    assert_eq!(left, 0);
    let disabled = bench.actions().await;
    let disabled = disabled.iter().filter(|action| *action == "mfa_disabled");
    assert_eq!(disabled.count(), 1);
}

pub(super) async fn a_challenge_that_races_with_a_disable_is_not_opened(bench: &Bench) {
    let user = protected(bench, "saad").await;
    let disabled = event(Action::UserDisabled);
    bench
        .store
        .set_disabled(&user.id, true, &change(&disabled))
        .await
        .unwrap();
    let challenge = Challenge {
        user_id: user.id.clone(),
        user_version: user.version,
        resource: "hotel".to_owned(),
        scopes: "hotel:read".to_owned(),
        tenant: Some("acme".to_owned()),
    };
    let challenged = event(Action::MfaChallenged);
    let outcome = bench
        .store
        .open_challenge(&CHALLENGE, &challenge, LATER, &challenged);
    assert!(is_conflict(&outcome.await));
}

pub(super) async fn an_abandoned_secret_is_swept_and_a_confirmed_one_stays(bench: &Bench) {
    let (saad, other) = (protected(bench, "saad").await, bench.user("other").await);
    let begun = event(Action::MfaBegun);
    bench
        .store
        .begin_totp(&other.id, b"wrapped", &begun)
        .await
        .unwrap();
    let a_day_later = NOW.plus(MINUTE * 24 * 60);
    assert_eq!(bench.store.sweep_abandoned_totp(LATER).await.unwrap(), 0);
    let swept = bench.store.sweep_abandoned_totp(a_day_later).await.unwrap();
    assert_eq!(swept, 1);
    assert!(bench.store.totp_secret(&other.id).await.unwrap().is_none());
    assert!(bench.store.totp_secret(&saad.id).await.unwrap().is_some());
}
