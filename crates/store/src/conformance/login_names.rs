//! Other names for users who have some: whose they are, and what is verified of them.

use portcullis_audit::Action;

use super::bench::{Bench, NOW, change, event};
use crate::{CodePurpose, LoginName, NewCode, StoreError, User, UserChange};

const HASH: [u8; 32] = [1; 32];

fn named(key: &str) -> Option<LoginName<'_>> {
    Some(LoginName { shown: key, key })
}

async fn set(bench: &Bench, user: &User, wanted: &UserChange<'_>) -> Result<User, StoreError> {
    let changed = event(Action::UserChanged);
    bench
        .store
        .change_user(&user.id, wanted, &change(&changed))
        .await
}

async fn set_email(bench: &Bench, user: &User, shown: &str) -> User {
    let key = shown.to_lowercase();
    let wanted = UserChange {
        email: Some(Some(LoginName { shown, key: &key })),
        ..UserChange::default()
    };
    set(bench, user, &wanted).await.unwrap()
}

async fn keep_code(bench: &Bench, user: &User) {
    let code = NewCode {
        user_id: &user.id,
        purpose: CodePurpose::VerifyEmail,
        hash: &HASH,
        expires_at: NOW.plus(std::time::Duration::from_secs(60)),
    };
    let requested = event(Action::EmailVerified);
    bench
        .store
        .keep_email_code(&code, &requested)
        .await
        .unwrap();
}

pub(super) async fn another_name_is_found_and_the_one_before_is_free(bench: &Bench) {
    let saad = bench.user("saad").await;
    let wanted = UserChange {
        username: Some(named("said")),
        email: Some(named("said@example.com")),
        ..UserChange::default()
    };
    let renamed = set(bench, &saad, &wanted).await.unwrap();
    assert_eq!(renamed.username.as_deref(), Some("said"));
    assert_eq!(renamed.version, saad.version, "nobody is signed out");
    for key in ["said", "said@example.com"] {
        let found = bench.store.user_by_login(key).await.unwrap();
        assert_eq!(found.unwrap().0, renamed);
    }
    assert!(bench.store.user_by_login("saad").await.unwrap().is_none());
    bench.user("saad").await;
}

pub(super) async fn a_name_is_one_users_and_the_last_one_stays(bench: &Bench) {
    let (saad, other) = (bench.user("saad").await, bench.user("other").await);
    let of_other = UserChange {
        username: Some(named("other")),
        ..UserChange::default()
    };
    let taken = set(bench, &saad, &of_other).await;
    assert!(matches!(taken, Err(StoreError::Taken)), "{taken:?}");
    let nameless = UserChange {
        username: Some(None),
        email: Some(None),
        ..UserChange::default()
    };
    let none = set(bench, &saad, &nameless).await;
    assert!(matches!(none, Err(StoreError::Conflict)), "{none:?}");
    for user in [saad, other] {
        let kept = bench.store.user(&user.id).await.unwrap();
        assert_eq!(kept.as_ref(), Some(&user), "nothing was changed");
    }
}

pub(super) async fn another_address_is_not_verified_and_its_code_is_worth_nothing(bench: &Bench) {
    let saad = bench.user("saad").await;
    set_email(bench, &saad, "saad@example.com").await;
    keep_code(bench, &saad).await;
    let verified = event(Action::EmailVerified);
    bench.store.verify_email(&HASH, &verified).await.unwrap();
    let respelled = set_email(bench, &saad, "Saad@example.com").await;
    assert_eq!(respelled.email.as_deref(), Some("Saad@example.com"));
    assert!(respelled.email_verified, "the same address");

    keep_code(bench, &saad).await;
    assert!(
        !set_email(bench, &saad, "said@example.com")
            .await
            .email_verified
    );
    set_email(bench, &saad, "saad@example.com").await;
    let spent = bench.store.verify_email(&HASH, &verified).await;
    assert!(matches!(spent, Err(StoreError::Conflict)), "{spent:?}");
    let removed = UserChange {
        email: Some(None),
        ..UserChange::default()
    };
    let removed = set(bench, &saad, &removed).await.unwrap();
    assert_eq!((removed.email, removed.email_verified), (None, false));
}
