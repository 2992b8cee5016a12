//! Codes that are sent by mail: spent once, replaced by the next, and worth nothing after a change.

use portcullis_audit::{Action, Event};
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, change, event};
use crate::{
    CodeHash, CodePurpose, NewCode, NewUser, PasswordRecord, PasswordReset, StoreError, User,
};

const ENDS: Timestamp = Timestamp::from_millis(NOW.as_millis() + 900_000);
const HASH: [u8; 32] = [1; 32];

async fn addressed(bench: &Bench, name: &str) -> User {
    let email = format!("{name}@example.com");
    let new = NewUser {
        email: Some(email.clone()),
        email_key: Some(email),
        password: Some(PasswordRecord::new("$argon2id$old", "argon2id")),
        ..bench.new_user(name)
    };
    let created = event(Action::UserCreated);
    bench
        .store
        .create_user(&new, &["guest"], &created)
        .await
        .unwrap()
}

async fn keep(
    bench: &Bench,
    user: &User,
    purpose: CodePurpose,
    hash: &[u8; 32],
) -> Result<(), StoreError> {
    let requested = event(Action::PasswordResetRequested);
    let code = NewCode {
        user_id: &user.id,
        purpose,
        hash,
        expires_at: ENDS,
    };
    bench.store.keep_email_code(&code, &requested).await
}

fn reset_to<'a>(
    password: &'a PasswordRecord,
    user: &'a User,
    hash: &'a CodeHash,
) -> PasswordReset<'a> {
    PasswordReset {
        user,
        hash,
        password,
        revocation_until: LATER,
    }
}

fn at(at: Timestamp, action: Action) -> Event {
    Event {
        at,
        ..event(action)
    }
}

async fn reset(
    bench: &Bench,
    user: &User,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<User, StoreError> {
    let record = PasswordRecord::new("$argon2id$new", "argon2id");
    let done = at(now, Action::PasswordReset);
    bench
        .store
        .reset_password(&reset_to(&record, user, hash), &done)
        .await
}

pub(super) async fn a_code_resets_the_password_once_and_ends_what_there_was(bench: &Bench) {
    let user = addressed(bench, "saad").await;
    keep(bench, &user, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    let (store, purpose) = (&bench.store, CodePurpose::ResetPassword);
    let holder = store.holder_of_code(purpose, &HASH, NOW).await.unwrap();
    assert_eq!(holder.as_ref(), Some(&user), "looking spends nothing");
    let after = reset(bench, &user, &HASH, NOW).await.unwrap();
    assert_eq!(
        (after.version, after.session_fence, after.email_verified),
        (2, 2, true)
    );
    let kept = store.password_of(&user.id).await.unwrap().unwrap();
    assert_eq!(kept.expose_hash(), "$argon2id$new");
    let revoked = Revocation::UserBefore {
        user_id: user.id.clone(),
        version: 2,
    };
    assert_eq!(
        store.revocations_after(0, NOW).await.unwrap(),
        [(1, revoked, LATER)]
    );
    let again = reset(bench, &after, &HASH, NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    assert_eq!(
        store.holder_of_code(purpose, &HASH, NOW).await.unwrap(),
        None
    );
    let told = ["user_created", "password_reset_requested", "password_reset"];
    assert_eq!(bench.actions().await, told);
}

pub(super) async fn the_newest_code_alone_is_good_and_for_its_purpose_only(bench: &Bench) {
    let user = addressed(bench, "saad").await;
    let (older, newer) = ([2; 32], [3; 32]);
    for hash in [&older, &newer] {
        keep(bench, &user, CodePurpose::ResetPassword, hash)
            .await
            .unwrap();
    }
    keep(bench, &user, CodePurpose::VerifyEmail, &HASH)
        .await
        .unwrap();
    for wrong in [&older, &HASH] {
        let outcome = reset(bench, &user, wrong, NOW).await;
        assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    }
    let verified = event(Action::EmailVerified);
    let crossed = bench.store.verify_email(&newer, &verified).await;
    assert!(matches!(crossed, Err(StoreError::Conflict)), "{crossed:?}");
    let verified = bench.store.verify_email(&HASH, &verified).await.unwrap();
    assert_eq!((verified.email_verified, verified.version), (true, 1));
    reset(bench, &verified, &newer, NOW).await.unwrap();
}

pub(super) async fn a_code_is_another_users_for_nobody(bench: &Bench) {
    let (saad, eve) = (
        addressed(bench, "saad").await,
        addressed(bench, "eve").await,
    );
    keep(bench, &saad, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    let outcome = reset(bench, &eve, &HASH, NOW).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    reset(bench, &saad, &HASH, NOW).await.unwrap();
}

pub(super) async fn a_code_ends_with_its_time_with_a_change_and_with_a_disable(bench: &Bench) {
    let user = addressed(bench, "saad").await;
    let refused = async |user: &User, now| {
        let holder = bench
            .store
            .holder_of_code(CodePurpose::ResetPassword, &HASH, now);
        assert_eq!(holder.await.unwrap(), None);
        let outcome = reset(bench, user, &HASH, now).await;
        assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    };
    keep(bench, &user, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    refused(&user, ENDS).await;
    let record = PasswordRecord::new("$argon2id$chosen", "argon2id");
    let changed = event(Action::PasswordChanged);
    let user = bench
        .store
        .set_password(&user, &record, LATER, &changed)
        .await
        .unwrap();
    refused(&user, NOW).await;
    keep(bench, &user, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    let disabled = event(Action::UserDisabled);
    let user = bench
        .store
        .set_disabled(&user.id, true, &change(&disabled))
        .await
        .unwrap();
    refused(&user, NOW).await;
    let outcome = keep(bench, &user, CodePurpose::ResetPassword, &[9; 32]).await;
    assert!(
        matches!(outcome, Err(StoreError::Conflict)),
        "none is made either"
    );
}

pub(super) async fn a_user_without_an_address_gets_no_code(bench: &Bench) {
    let user = bench.user("saad").await;
    let outcome = keep(bench, &user, CodePurpose::VerifyEmail, &HASH).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    assert_eq!(bench.actions().await, ["user_created"]);
}

pub(super) async fn of_many_who_present_one_code_one_resets(bench: &Bench) {
    let user = addressed(bench, "saad").await;
    keep(bench, &user, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    let mut tries = JoinSet::new();
    for number in 0..8 {
        let (store, user) = (bench.store.clone(), user.clone());
        tries.spawn(async move {
            let record = PasswordRecord::new(format!("$argon2id$of {number}"), "argon2id");
            let done = event(Action::PasswordReset);
            store
                .reset_password(&reset_to(&record, &user, &HASH), &done)
                .await
        });
    }
    let done = tries.join_all().await;
    assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub(super) async fn expired_codes_are_swept(bench: &Bench) {
    let user = addressed(bench, "saad").await;
    keep(bench, &user, CodePurpose::ResetPassword, &HASH)
        .await
        .unwrap();
    keep(bench, &user, CodePurpose::VerifyEmail, &[2; 32])
        .await
        .unwrap();
    assert_eq!(bench.store.sweep_email_codes(NOW).await.unwrap(), 0);
    assert_eq!(bench.store.sweep_email_codes(ENDS).await.unwrap(), 2);
    assert_eq!(bench.store.sweep_email_codes(ENDS).await.unwrap(), 0);
}
