//! Users, names, roles, versions.

use portcullis_audit::Action;
use portcullis_tokens::Revocation;
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, anywhere, change, event};
use crate::{NewUser, PasswordRecord, StoreError};

pub(super) async fn a_created_user_reads_back_with_its_roles(bench: &Bench) {
    let new = NewUser {
        email: Some("Saad@example.com".to_owned()),
        email_key: Some("saad@example.com".to_owned()),
        display_name: Some("Saad".to_owned()),
        ..bench.new_user("Saad")
    };
    let created = bench
        .store
        .create_user(&new, &["staff", "guest"], &event(Action::UserCreated))
        .await
        .unwrap();
    assert_eq!(created.roles(), ["guest", "staff"]);
    assert_eq!(
        (created.version, created.disabled, created.created_at),
        (1, false, NOW)
    );
    assert_eq!(
        created.username.as_deref(),
        Some("Saad"),
        "the name is kept as it was written"
    );
    assert_eq!(bench.store.user(&created.id).await.unwrap(), Some(created));
    assert_eq!(bench.actions().await, ["user_created"]);
}

pub(super) async fn a_user_is_found_by_username_and_by_email(bench: &Bench) {
    let new = NewUser {
        email: Some("saad@example.com".to_owned()),
        email_key: Some("saad@example.com".to_owned()),
        password: Some(PasswordRecord::new("$argon2id$v=19$…", "argon2id")),
        ..bench.new_user("saad")
    };
    bench
        .store
        .create_user(&new, &["a", "b"], &event(Action::UserCreated))
        .await
        .unwrap();
    for key in ["saad", "saad@example.com"] {
        let (user, password) = bench.store.user_by_login(key).await.unwrap().expect(key);
        assert_eq!(user.id, new.id);
        let password = password.expect("the password is kept");
        assert_eq!(
            (password.expose_hash(), password.scheme()),
            ("$argon2id$v=19$…", "argon2id")
        );
    }
    let by_name = format!("{:?}", bench.store.user_by_login("saad").await.unwrap());
    assert!(!by_name.contains("v=19"), "a hash was printed: {by_name}");
}

pub(super) async fn nobody_is_found_by_a_name_that_nobody_has(bench: &Bench) {
    bench.user("saad").await;
    for key in [
        "",
        "sad",
        "SAAD",
        "saa\0d",
        "saad\0",
        "%",
        "' OR '1'='1",
        &"x".repeat(100_000),
    ] {
        assert!(
            bench.store.user_by_login(key).await.unwrap().is_none(),
            "{key:.20?}"
        );
    }
    assert_eq!(bench.store.user("nobody").await.unwrap(), None);
}

pub(super) async fn of_many_who_take_one_name_one_gets_it(bench: &Bench) {
    let mut takers = JoinSet::new();
    for _ in 0..8 {
        let (store, new) = (bench.store.clone(), bench.new_user("saad"));
        takers.spawn(async move {
            store
                .create_user(&new, &["guest"], &event(Action::UserCreated))
                .await
        });
    }
    let outcomes = takers.join_all().await;
    let taken = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(StoreError::Taken)))
        .count();
    assert_eq!(
        (
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            taken
        ),
        (1, 7),
        "{outcomes:?}"
    );
    assert_eq!(
        bench.actions().await,
        ["user_created"],
        "only the change that happened is told of"
    );
}

pub(super) async fn a_username_cannot_pass_for_an_email_address(bench: &Bench) {
    let with_at = bench.new_user("saad@example.com");
    let without_at = NewUser {
        email_key: Some("saad".to_owned()),
        ..bench.new_user("other")
    };
    let nameless = NewUser {
        username_key: None,
        ..bench.new_user("nameless")
    };
    for new in [with_at, without_at, nameless] {
        let outcome = bench
            .store
            .create_user(&new, &[], &event(Action::UserCreated))
            .await;
        assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    }
}

pub(super) async fn users_come_in_pages_in_the_order_of_their_ids(bench: &Bench) {
    for name in ["d", "c", "b", "a"] {
        bench.user(name).await;
    }
    let roleless = bench
        .store
        .create_user(&bench.new_user("e"), &[], &event(Action::UserCreated))
        .await
        .unwrap();
    let first = bench.store.users(None, 3).await.unwrap();
    let second = bench.store.users(Some(&first[2].id), 3).await.unwrap();
    let names: Vec<&str> = first
        .iter()
        .chain(&second)
        .filter_map(|user| user.username.as_deref())
        .collect();
    assert_eq!(names, ["d", "c", "b", "a", "e"]);
    assert_eq!(
        (first.len(), second.len()),
        (3, 2),
        "a page counts users, not their roles"
    );
    assert_eq!(second[1], roleless);
}

pub(super) async fn disabling_outdates_the_tokens_once(bench: &Bench) {
    let user = bench.user("saad").await;
    let disabled = event(Action::UserDisabled);
    let once = bench
        .store
        .set_disabled(&user.id, true, &change(&disabled))
        .await
        .unwrap();
    let twice = bench
        .store
        .set_disabled(&user.id, true, &change(&disabled))
        .await
        .unwrap();
    assert_eq!((once.disabled, once.version), (true, 2));
    assert_eq!(once, twice);
    let expected = Revocation::UserBefore {
        user_id: user.id,
        version: 2,
    };
    assert_eq!(
        bench.store.revocations_after(0, NOW).await.unwrap(),
        [(1, expected, LATER)]
    );
    assert_eq!(
        bench.actions().await,
        ["user_created", "user_disabled", "user_disabled"]
    );
}

pub(super) async fn a_disabled_user_is_enabled_again(bench: &Bench) {
    let user = bench.user("saad").await;
    bench
        .store
        .set_disabled(&user.id, true, &change(&event(Action::UserDisabled)))
        .await
        .unwrap();
    let enabled = bench
        .store
        .set_disabled(&user.id, false, &change(&event(Action::UserEnabled)))
        .await
        .unwrap();
    assert_eq!(
        (enabled.disabled, enabled.version),
        (false, 3),
        "tokens from before the disable stay refused"
    );
}

pub(super) async fn granting_and_revoking_a_role_outdate_the_tokens_once(bench: &Bench) {
    let user = bench.user("saad").await;
    let (granted, revoked) = (event(Action::RoleGranted), event(Action::RoleRevoked));
    let after_grant = bench
        .store
        .grant_role(&user.id, anywhere("staff"), &change(&granted))
        .await
        .unwrap();
    assert_eq!((after_grant.grants.len(), after_grant.version), (2, 2));
    assert_eq!(
        bench
            .store
            .grant_role(&user.id, anywhere("staff"), &change(&granted))
            .await
            .unwrap()
            .version,
        2
    );
    let after_revoke = bench
        .store
        .revoke_role(&user.id, anywhere("staff"), &change(&revoked))
        .await
        .unwrap();
    assert_eq!(
        (after_revoke.roles(), after_revoke.version),
        (vec!["guest"], 3)
    );
    assert_eq!(
        bench
            .store
            .revoke_role(&user.id, anywhere("staff"), &change(&revoked))
            .await
            .unwrap()
            .version,
        3
    );
    assert_eq!(
        bench.store.revocations_after(0, NOW).await.unwrap().len(),
        2
    );
}

pub(super) async fn a_change_of_nobody_is_not_found_and_leaves_no_row(bench: &Bench) {
    let (store, event) = (&bench.store, event(Action::RoleGranted));
    let outcomes = [
        store.set_disabled("nobody", true, &change(&event)).await,
        store
            .grant_role("nobody", anywhere("staff"), &change(&event))
            .await,
        store
            .revoke_role("nobody", anywhere("staff"), &change(&event))
            .await,
        store.set_profile("nobody", Some("No Body"), &event).await,
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert!(
        bench.actions().await.is_empty(),
        "what did not happen was told of"
    );
}

pub(super) async fn a_new_hash_needs_the_old_one(bench: &Bench) {
    let old = PasswordRecord::new("$2b$old", "bcrypt");
    let new = NewUser {
        password: Some(old.clone()),
        ..bench.new_user("saad")
    };
    bench
        .store
        .create_user(&new, &[], &event(Action::UserCreated))
        .await
        .unwrap();
    let better = PasswordRecord::new("$argon2id$new", "argon2id");
    bench
        .store
        .replace_password_hash(&new.id, &old, &better, NOW)
        .await
        .unwrap();
    let again = bench
        .store
        .replace_password_hash(&new.id, &old, &better, NOW)
        .await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    let (user, kept) = bench.store.user_by_login("saad").await.unwrap().unwrap();
    assert_eq!((user.version, kept.unwrap().scheme()), (1, "argon2id"));
}

pub(super) async fn a_password_is_changed_once_for_each_state_of_its_user(bench: &Bench) {
    let user = bench.user("saad").await;
    let changed = event(Action::PasswordChanged);
    let record = PasswordRecord::new("$argon2id$new", "argon2id");
    let change = || {
        let store = &bench.store;
        store.set_password(&user, &record, LATER, &changed)
    };
    let once = change().await.unwrap();
    assert_eq!(once.version, user.version + 1);
    let again = change().await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    let kept = bench.store.password_of(&user.id).await.unwrap().unwrap();
    assert_eq!(kept.expose_hash(), record.expose_hash());
    assert!(bench.store.password_of("nobody").await.unwrap().is_none());
    let expected = Revocation::UserBefore {
        user_id: user.id,
        version: 2,
    };
    assert_eq!(
        bench.store.revocations_after(0, NOW).await.unwrap(),
        [(1, expected, LATER)]
    );
    assert_eq!(bench.actions().await, ["user_created", "password_changed"]);
}

pub(super) async fn a_profile_changes_no_version(bench: &Bench) {
    let user = bench.user("saad").await;
    let changed = bench
        .store
        .set_profile(&user.id, Some("Saad"), &event(Action::ProfileChanged))
        .await
        .unwrap();
    assert_eq!(
        (changed.display_name.as_deref(), changed.version),
        (Some("Saad"), 1)
    );
    let cleared = bench
        .store
        .set_profile(&user.id, None, &event(Action::ProfileChanged))
        .await
        .unwrap();
    assert_eq!(cleared.display_name, None);
}

pub(super) async fn a_text_with_a_nul_is_never_stored(bench: &Bench) {
    let user = bench.user("saad").await;
    let event = event(Action::ProfileChanged);
    let outcome = bench
        .store
        .set_profile(&user.id, Some("Sa\0ad"), &event)
        .await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    let outcome = bench
        .store
        .create_user(&bench.new_user("sa\0ad"), &[], &event)
        .await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    assert_eq!(bench.store.user("user\0").await.unwrap(), None);
}
