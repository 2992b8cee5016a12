//! Roles of the database, roles of users, tenants, and the administrator who must stay.

use portcullis_audit::Action;
use portcullis_tokens::Revocation;
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, anywhere, change, event, in_the_end};
use crate::{Grant, MAX_GRANTS, RoleGrant, StoreError, User, UserChange};

const ADMINISTERS: &str = "roles:write users:write";

fn within<'a>(role: &'a str, tenant: &'a str) -> RoleGrant<'a> {
    RoleGrant {
        role,
        tenant: Some(tenant),
    }
}

fn to_tenant(tenant: Option<&str>) -> UserChange<'_> {
    UserChange {
        tenant: Some(tenant),
        ..UserChange::default()
    }
}

async fn made(bench: &Bench, name: &str, scopes: &str) {
    let created = event(Action::RoleCreated);
    bench
        .store
        .create_role(name, scopes, &created)
        .await
        .unwrap();
}

async fn granted(bench: &Bench, user: &User, grant: RoleGrant<'_>) -> User {
    let granted = event(Action::RoleGranted);
    bench
        .store
        .grant_role(&user.id, grant, &change(&granted))
        .await
        .unwrap()
}

async fn revoked(bench: &Bench, user: &User, role: &str) -> Result<User, StoreError> {
    let revoked = event(Action::RoleRevoked);
    bench
        .store
        .revoke_role(&user.id, anywhere(role), &change(&revoked))
        .await
}

/// A user with everything.
async fn administrator(bench: &Bench, name: &str) -> User {
    let user = bench.user(name).await;
    granted(bench, &user, anywhere("admin")).await
}

pub(super) async fn a_role_reads_back_by_name_and_in_pages(bench: &Bench) {
    let store = &bench.store;
    for name in ["night", "Night", "auditor"] {
        made(bench, name, "hotel:read").await;
    }
    let again = store
        .create_role("night", "", &event(Action::RoleCreated))
        .await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    let names = async |after, limit| {
        let page = store.roles(after, limit).await.unwrap();
        page.into_iter().map(|role| role.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2).await, ["Night", "auditor"]);
    assert_eq!(names(Some("auditor"), 2).await, ["night"]);
    let role = store.role("night").await.unwrap().unwrap();
    assert_eq!((role.scopes.as_str(), role.created_at), ("hotel:read", NOW));
    assert_eq!(store.role("nobody").await.unwrap(), None);
}

pub(super) async fn a_role_that_somebody_has_is_neither_deleted_nor_made(bench: &Bench) {
    let (store, deleted) = (&bench.store, event(Action::RoleDeleted));
    made(bench, "night", "hotel:read").await;
    let saad = bench.user("saad").await;
    granted(bench, &saad, within("night", "acme")).await;
    let held = store.delete_role("night", &deleted).await;
    assert!(matches!(held, Err(StoreError::Conflict)), "{held:?}");
    // The configuration had it once; now only its holders remember.
    let remembered = store
        .create_role("guest", "hotel:write", &event(Action::RoleCreated))
        .await;
    assert!(
        matches!(remembered, Err(StoreError::Conflict)),
        "{remembered:?}"
    );
    assert_eq!(store.role("guest").await.unwrap(), None);
    store
        .revoke_role(
            &saad.id,
            within("night", "acme"),
            &change(&event(Action::RoleRevoked)),
        )
        .await
        .unwrap();
    store.delete_role("night", &deleted).await.unwrap();
    let gone = store.delete_role("night", &deleted).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let told = bench.actions().await;
    assert_eq!(
        told.iter().filter(|word| *word == "role_deleted").count(),
        1,
        "{told:?}"
    );
}

pub(super) async fn a_role_of_a_tenant_stands_beside_that_of_no_tenant(bench: &Bench) {
    made(bench, "night", "hotel:read hotel:write").await;
    let saad = bench.user("saad").await;
    granted(bench, &saad, within("night", "globex")).await;
    granted(bench, &saad, within("night", "acme")).await;
    let user = granted(bench, &saad, anywhere("night")).await;
    let grant = |role: &str, tenant: Option<&str>, kept: Option<&str>| Grant {
        role: role.to_owned(),
        tenant: tenant.map(str::to_owned),
        kept_scopes: kept.map(str::to_owned),
    };
    let kept = Some("hotel:read hotel:write");
    let expected = [
        grant("guest", None, None),
        grant("night", None, kept),
        grant("night", Some("acme"), kept),
        grant("night", Some("globex"), kept),
    ];
    assert_eq!(user.grants, expected);
    assert_eq!(user.roles(), ["guest", "night"]);
    assert_eq!(bench.store.user(&saad.id).await.unwrap(), Some(user));
    let left = revoked(bench, &saad, "night").await.unwrap();
    assert_eq!(left.grants.len(), 3, "the tenants' stay: {left:?}");
}

pub(super) async fn a_change_of_a_role_outdates_the_tokens_of_its_holders_once(bench: &Bench) {
    let store = &bench.store;
    made(bench, "night", "hotel:read").await;
    let (holder, of_tenant) = (bench.user("a").await, bench.user("b").await);
    let bystander = bench.user("c").await;
    granted(bench, &holder, anywhere("night")).await;
    granted(bench, &holder, within("night", "acme")).await;
    granted(bench, &of_tenant, within("night", "acme")).await;
    let before = store.revocation_head().await.unwrap();
    let widen = async || {
        let changed = event(Action::RoleChanged);
        store
            .set_role_scopes("night", "hotel:write", &change(&changed))
            .await
            .unwrap()
    };
    let (role, mut revoked) = widen().await;
    assert_eq!(role.scopes, "hotel:write");
    revoked.sort_by_key(|revocation| format!("{revocation:?}"));
    let expected =
        [(&holder.id, 4), (&of_tenant.id, 3)].map(|(id, version)| Revocation::UserBefore {
            user_id: id.clone(),
            version,
        });
    assert_eq!(revoked, expected);
    let logged = store.revocations_after(before, NOW).await.unwrap();
    let logged: Vec<_> = logged
        .into_iter()
        .map(|(seq, revocation, until)| (seq - before, revocation, until))
        .collect();
    let [first, second] = expected;
    assert_eq!(logged, [(1, first, LATER), (2, second, LATER)]);
    assert_eq!(store.user(&bystander.id).await.unwrap().unwrap().version, 1);
    let (_, again) = widen().await;
    assert_eq!(again, [], "what is so already outdates nothing");
    assert_eq!(store.revocation_head().await.unwrap(), before + 2);
    let nobodys = store
        .set_role_scopes("nobody", "", &change(&event(Action::RoleChanged)))
        .await;
    assert!(matches!(nobodys, Err(StoreError::NotFound)), "{nobodys:?}");
}

pub(super) async fn a_change_of_a_role_reaches_a_hundred_thousand_holders(bench: &Bench) {
    const HOLDERS: usize = 100_000;
    made(bench, "night", "hotel:read").await;
    bench
        .tamper(
            "INSERT INTO users (id, username, username_key, created_ms, updated_ms) \
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) \
             SELECT 'many-' || n, 'many-' || n, 'many-' || n, 1, 1 FROM n",
        )
        .await;
    bench
        .tamper(
            "INSERT INTO user_roles (user_id, role, granted_ms) \
             SELECT id, 'night', 1 FROM users WHERE id LIKE 'many-%'",
        )
        .await;
    let changed = event(Action::RoleChanged);
    let rights = change(&changed);
    let widen = async || {
        bench
            .store
            .set_role_scopes("night", "hotel:write", &rights)
            .await
    };
    let (_, revoked) = in_the_end(widen).await;
    assert_eq!(revoked.len(), HOLDERS);
    let raised = bench
        .count("SELECT COUNT(*) AS n FROM users WHERE version = 2")
        .await;
    let logged = bench
        .count("SELECT COUNT(DISTINCT seq) AS n FROM revocations")
        .await;
    assert_eq!((raised, logged), (100_000, 100_000));
    assert_eq!(bench.store.revocation_head().await.unwrap(), 100_000);
}

pub(super) async fn a_deleted_user_is_gone_with_its_tokens(bench: &Bench) {
    let store = &bench.store;
    let saad = bench.user("saad").await;
    granted(bench, &saad, within("staff", "acme")).await;
    let deleted = event(Action::UserDeleted);
    let gone = store
        .delete_user(&saad.id, &change(&deleted))
        .await
        .unwrap();
    assert_eq!((gone.id.as_str(), gone.version), (saad.id.as_str(), 3));
    assert_eq!(store.user(&saad.id).await.unwrap(), None);
    let last = store.revocations_after(1, NOW).await.unwrap();
    let expected = Revocation::UserBefore {
        user_id: saad.id.clone(),
        version: 3,
    };
    assert_eq!(last, [(2, expected, LATER)]);
    let left = bench
        .count(
            "SELECT (SELECT COUNT(*) FROM user_roles) + (SELECT COUNT(*) FROM tenant_roles) AS n",
        )
        .await;
    assert_eq!(left, 0);
    let twice = store.delete_user(&saad.id, &change(&deleted)).await;
    assert!(matches!(twice, Err(StoreError::NotFound)), "{twice:?}");
    assert_ne!(
        bench.user("saad").await.id,
        saad.id,
        "the name is free again"
    );
}

pub(super) async fn only_a_role_that_exists_is_granted(bench: &Bench) {
    let saad = bench.user("saad").await;
    for grant in [anywhere("nothing"), within("nothing", "acme")] {
        let outcome = bench
            .store
            .grant_role(&saad.id, grant, &change(&event(Action::RoleGranted)))
            .await;
        assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
    }
    assert_eq!(bench.actions().await, ["user_created"]);
}

pub(super) async fn a_user_has_a_bounded_number_of_roles(bench: &Bench) {
    let saad = bench.user("saad").await;
    for n in 1..MAX_GRANTS {
        granted(bench, &saad, within("staff", &format!("t{n}"))).await;
    }
    let one_more = bench
        .store
        .grant_role(
            &saad.id,
            within("staff", "last"),
            &change(&event(Action::RoleGranted)),
        )
        .await;
    assert!(
        matches!(one_more, Err(StoreError::Conflict)),
        "{one_more:?}"
    );
    let user = bench.store.user(&saad.id).await.unwrap().unwrap();
    assert_eq!(user.grants.len(), MAX_GRANTS);
}

pub(super) async fn a_change_of_tenant_outdates_the_tokens_once(bench: &Bench) {
    let saad = bench.user("saad").await;
    let move_to = async |tenant| {
        bench
            .store
            .change_user(
                &saad.id,
                &to_tenant(tenant),
                &change(&event(Action::UserChanged)),
            )
            .await
            .unwrap()
    };
    let moved = move_to(Some("acme")).await;
    assert_eq!((moved.tenant.as_deref(), moved.version), (Some("acme"), 2));
    assert_eq!(move_to(Some("acme")).await.version, 2);
    let out = move_to(None).await;
    assert_eq!((out.tenant, out.version), (None, 3));
    assert_eq!(move_to(None).await.version, 3);
}

pub(super) async fn the_last_administrator_stays_whatever_the_change(bench: &Bench) {
    let store = &bench.store;
    made(bench, "keepers", ADMINISTERS).await;
    // Neither counts: one is disabled, the other only administers half.
    let disabled = administrator(bench, "disabled").await;
    let last = bench.user("last").await;
    granted(bench, &last, anywhere("keepers")).await;
    store
        .set_disabled(&disabled.id, true, &change(&event(Action::UserDisabled)))
        .await
        .unwrap();
    let half = bench.user("half").await;
    made(bench, "half", "users:write").await;
    granted(bench, &half, anywhere("half")).await;

    let head = store.revocation_head().await.unwrap();
    let told = bench.actions().await.len();
    let changed = event(Action::UserChanged);
    let outcomes = [
        revoked(bench, &last, "keepers").await.map(drop),
        store
            .set_disabled(&last.id, true, &change(&changed))
            .await
            .map(drop),
        store
            .delete_user(&last.id, &change(&changed))
            .await
            .map(drop),
        store
            .change_user(&last.id, &to_tenant(Some("acme")), &change(&changed))
            .await
            .map(drop),
        store
            .set_role_scopes("keepers", "users:write", &change(&changed))
            .await
            .map(drop),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(StoreError::LastAdministrator)),
            "{outcome:?}"
        );
    }
    assert_eq!(store.revocation_head().await.unwrap(), head);
    assert_eq!(bench.actions().await.len(), told, "nothing happened");

    administrator(bench, "next").await;
    revoked(bench, &last, "keepers").await.unwrap();
}

pub(super) async fn a_user_of_a_tenant_is_no_administrator(bench: &Bench) {
    let last = administrator(bench, "last").await;
    let of_tenant = administrator(bench, "resident").await;
    let changed = event(Action::UserChanged);
    bench
        .store
        .change_user(&of_tenant.id, &to_tenant(Some("acme")), &change(&changed))
        .await
        .unwrap();
    let visitor = bench.user("visitor").await;
    granted(bench, &visitor, within("admin", "acme")).await;
    let outcome = revoked(bench, &last, "admin").await;
    assert!(
        matches!(outcome, Err(StoreError::LastAdministrator)),
        "{outcome:?}"
    );
}

pub(super) async fn of_two_administrators_who_demote_each_other_one_stays(bench: &Bench) {
    for round in 0..20 {
        let one = administrator(bench, &format!("one{round}")).await;
        let other = administrator(bench, &format!("other{round}")).await;
        let mut demotions = JoinSet::new();
        for id in [one.id.clone(), other.id.clone()] {
            let store = bench.store.clone();
            demotions.spawn(async move {
                let revoked = event(Action::RoleRevoked);
                store
                    .revoke_role(&id, anywhere("admin"), &change(&revoked))
                    .await
            });
        }
        let outcomes = demotions.join_all().await;
        let stayed = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Err(StoreError::LastAdministrator)));
        assert_eq!(stayed.count(), 1, "{outcomes:?}");
        // The next round begins without an administrator.
        for user in [one, other] {
            bench
                .tamper("DELETE FROM user_roles WHERE role = 'admin'")
                .await;
            let user = bench.store.user(&user.id).await.unwrap().unwrap();
            assert_eq!(user.roles(), ["guest"]);
        }
    }
}
