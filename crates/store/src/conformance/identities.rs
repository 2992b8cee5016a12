//! Accounts elsewhere, and what may be used once.

use portcullis_audit::Action;

use super::bench::{Bench, LATER, NOW, event};
use crate::{Identity, NewUser, StoreError, User};

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
    }
}

async fn add(bench: &Bench, id: &str, identity: Option<Identity>) -> Result<User, StoreError> {
    let user = NewUser {
        id: id.to_owned(),
        username: Some(id.to_owned()),
        username_key: Some(id.to_owned()),
        identity,
        created_at: NOW,
        ..NewUser::default()
    };
    let created = event(Action::UserCreated);
    bench.store.create_user(&user, &["guest"], &created).await
}

pub(super) async fn an_account_elsewhere_is_its_issuer_and_its_subject(bench: &Bench) {
    let jo = identity("https://a.example", "jo");
    let made = add(bench, "u1", Some(jo.clone())).await.unwrap();
    let store = &bench.store;
    assert_eq!(store.user_by_identity(&jo).await.unwrap(), Some(made));
    for other in [
        identity("https://b.example", "jo"),
        identity("https://a.example", "Jo"),
        identity("https://a.example/", "jo"),
        identity("https://a.example", ""),
    ] {
        assert_eq!(store.user_by_identity(&other).await.unwrap(), None);
    }
    assert_eq!(store.identities_of("u1").await.unwrap(), [jo]);
    assert_eq!(store.identities_of("u2").await.unwrap(), []);
}

pub(super) async fn an_account_elsewhere_is_one_users_only(bench: &Bench) {
    let jo = identity("https://a.example", "jo");
    add(bench, "u1", Some(jo.clone())).await.unwrap();
    let again = add(bench, "u2", Some(jo.clone())).await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    assert_eq!(
        bench.store.user("u2").await.unwrap(),
        None,
        "all or nothing"
    );
    add(bench, "u3", None).await.unwrap();
    let linked = |user, identity| async move {
        let event = event(Action::IdentityLinked);
        bench.store.link_identity(user, &identity, &event).await
    };
    let stolen = linked("u3", jo.clone()).await;
    assert!(matches!(stolen, Err(StoreError::Taken)), "{stolen:?}");
    let of_nobody = linked("u9", identity("https://a.example", "x")).await;
    assert!(
        matches!(of_nobody, Err(StoreError::NotFound)),
        "{of_nobody:?}"
    );
    let second = identity("https://b.example", "jo");
    linked("u1", second.clone()).await.unwrap();
    assert_eq!(
        bench.store.identities_of("u1").await.unwrap(),
        [jo, second.clone()]
    );
    let found = bench.store.user_by_identity(&second).await.unwrap();
    assert_eq!(found.map(|user| user.id).as_deref(), Some("u1"));
    let unlinked = |user| {
        let event = event(Action::IdentityUnlinked);
        let (store, second) = (&bench.store, &second);
        async move { store.unlink_identity(user, second, &event).await }
    };
    let of_another = unlinked("u3").await;
    assert!(
        matches!(of_another, Err(StoreError::NotFound)),
        "{of_another:?}"
    );
    unlinked("u1").await.unwrap();
    assert_eq!(bench.store.user_by_identity(&second).await.unwrap(), None);
    assert_eq!(
        bench.actions().await,
        [
            "user_created",
            "user_created",
            "identity_linked",
            "identity_unlinked"
        ]
    );
}

pub(super) async fn what_is_spent_is_spent_once_whoever_comes_at_the_same_time(bench: &Bench) {
    let tries = (0..8).map(|_| {
        let store = bench.store.clone();
        tokio::spawn(async move { store.spend(&[7; 32], LATER).await })
    });
    let tries: Vec<_> = tries.collect();
    let mut got_through = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(()) => got_through += 1,
            Err(error) => assert!(matches!(error, StoreError::Taken), "{error:?}"),
        }
    }
    assert_eq!(got_through, 1);
    bench.store.spend(&[8; 32], LATER).await.unwrap();
}

pub(super) async fn what_is_spent_is_forgotten_once_it_is_moot(bench: &Bench) {
    let store = &bench.store;
    store.spend(&[1; 32], NOW).await.unwrap();
    store.spend(&[2; 32], LATER).await.unwrap();
    assert_eq!(store.sweep_spent(NOW).await.unwrap(), 1);
    assert_eq!(store.sweep_spent(NOW).await.unwrap(), 0);
    store.spend(&[1; 32], LATER).await.unwrap();
    let again = store.spend(&[2; 32], LATER).await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
}
