//! Who gets which scopes, roles and tenant. The users here are made by hand: no database is asked.

use portcullis_config::units::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::tests::auth_config;

/// `role`, `role@tenant`, or a role of the database as `role=scope,scope`.
pub(crate) fn user(tenant: Option<&str>, grants: &[&str]) -> User {
    let grant = |written: &&str| {
        let (written, kept) = match written.split_once('=') {
            Some((role, scopes)) => (role, Some(scopes.replace(',', " "))),
            None => (*written, None),
        };
        let (role, tenant) = match written.split_once('@') {
            Some((role, tenant)) => (role, Some(tenant.to_owned())),
            None => (written, None),
        };
        Grant {
            role: role.to_owned(),
            tenant,
            kept_scopes: kept,
        }
    };
    let mut grants: Vec<Grant> = grants.iter().map(grant).collect();
    grants.sort();
    User {
        id: "u-1".to_owned(),
        username: Some("saad".to_owned()),
        email: None,
        email_verified: false,
        display_name: None,
        disabled: false,
        version: 1,
        session_fence: 0,
        tenant: tenant.map(str::to_owned),
        grants,
        created_at: Timestamp::from_secs(0),
        updated_at: Timestamp::from_secs(0),
    }
}

fn entitled(
    grants: &[&str],
    resource: &str,
    requested: Option<&str>,
) -> Result<(String, u64), NotEntitled> {
    let requested = requested.map(|line| ScopeSet::parse(line).unwrap());
    let wanted = Wanted {
        scopes: requested.as_ref(),
        ..Wanted::all_of(resource)
    };
    let entitlement = entitle(&auth_config(), &user(None, grants), &wanted)?;
    Ok((
        entitlement.scopes.line().to_owned(),
        entitlement.lifetime.as_secs(),
    ))
}

#[test]
fn a_token_has_the_roles_scopes_of_that_resource_only() {
    let check = |roles: &[&str], resource, expected: Result<(&str, u64), NotEntitled>| {
        let expected = expected.map(|(scopes, lifetime)| (scopes.to_owned(), lifetime));
        assert_eq!(
            entitled(roles, resource, None),
            expected,
            "{roles:?} {resource}"
        );
    };
    check(&["guest"], "hotel", Ok(("hotel:read", 300)));
    check(
        &["guest", "staff"],
        "hotel",
        Ok(("hotel:read hotel:write", 300)),
    );
    check(
        &["guest", "night=hotel:write,hospital:read"],
        "hotel",
        Ok(("hotel:read hotel:write", 300)),
    );
    check(
        &["admin"],
        "hospital",
        Ok(("hospital:read hospital:write", 120)),
    );
    check(
        &["admin"],
        "portcullis",
        Ok((&PORTCULLIS_SCOPES.join(" "), 300)),
    );
    check(
        &["keeper=users:read,no-longer-declared"],
        "portcullis",
        Ok(("users:read", 300)),
    );
    check(&["guest"], "hospital", Err(NotEntitled::NoScope));
    check(&["guest"], "portcullis", Err(NotEntitled::NoScope));
    check(&["guest"], "casino", Err(NotEntitled::UnknownResource));
    check(&["admin"], "casino", Err(NotEntitled::UnknownResource));
    check(&["gone"], "hotel", Err(NotEntitled::NoScope));
    check(&["mark="], "hotel", Err(NotEntitled::NoScope));
    check(&[], "hotel", Err(NotEntitled::NoScope));
}

#[test]
fn a_role_of_the_file_goes_before_one_of_the_same_name_in_the_database() {
    let shadowed = entitled(&["guest=hotel:write,users:write"], "hotel", None);
    assert_eq!(shadowed, Ok(("hotel:read".to_owned(), 300)));
    let administration = entitled(&["guest=users:write"], "portcullis", None);
    assert_eq!(administration, Err(NotEntitled::NoScope));
}

#[test]
fn a_star_is_the_files_alone_to_give() {
    assert_eq!(
        entitled(&["sly=*"], "hotel", None),
        Err(NotEntitled::NoScope)
    );
}

#[test]
fn what_is_asked_for_narrows_and_never_widens() {
    let scopes =
        |requested| entitled(&["staff"], "hotel", Some(requested)).map(|(scopes, _)| scopes);
    assert_eq!(scopes("hotel:read"), Ok("hotel:read".to_owned()));
    for wider in [
        "hotel:admin",
        "hotel:read event:read",
        "hospital:read",
        "*",
        "hotel:*",
    ] {
        assert_eq!(scopes(wider), Err(NotEntitled::ScopeNotGranted), "{wider}");
    }
}

#[test]
fn a_token_carries_the_roles_that_count_for_its_resource_and_marks() {
    let roles = |grants: &[&str], resource| {
        let entitlement = entitle(
            &auth_config(),
            &user(None, grants),
            &Wanted::all_of(resource),
        );
        entitlement.unwrap().roles
    };
    let grants = [
        "guest",
        "clerk",
        "gone",
        "ward=hospital:read",
        "gold=",
        "night=hotel:write",
    ];
    assert_eq!(roles(&grants, "hotel"), ["gold", "guest", "night"]);
    assert_eq!(roles(&grants, "event"), ["gold", "guest"]);
    assert_eq!(roles(&grants, "hospital"), ["gold", "ward"]);
    assert_eq!(roles(&grants, "portcullis"), ["clerk", "gold"]);
    assert_eq!(roles(&["admin"], "event"), ["admin"]);
}

/// What a session for `named` gets: its tenant and its hotel scopes, or why it gets none.
fn session(
    home: Option<&str>,
    grants: &[&str],
    named: Option<&str>,
) -> Result<(Option<String>, String), NotEntitled> {
    let wanted = Wanted {
        tenant: named,
        ..Wanted::all_of("hotel")
    };
    let entitlement = entitle(&auth_config(), &user(home, grants), &wanted)?;
    Ok((entitlement.tenant, entitlement.scopes.line().to_owned()))
}

#[test]
fn a_session_is_for_one_tenant_and_has_the_roles_that_hold_there() {
    const READ: &str = "hotel:read";
    const WRITE: &str = "hotel:read hotel:write";
    let check =
        |home, grants: &[&str], named, expected: Result<(Option<&str>, &str), NotEntitled>| {
            let expected =
                expected.map(|(tenant, scopes)| (tenant.map(str::to_owned), scopes.to_owned()));
            assert_eq!(
                session(home, grants, named),
                expected,
                "{home:?} {grants:?} {named:?}"
            );
        };
    let acme = Some("acme");
    let foreign = Err(NotEntitled::ForeignTenant);
    // Without tenants nothing changes, and none can be named.
    check(None, &["guest"], None, Ok((None, READ)));
    check(None, &["guest"], acme, foreign);
    // A user's own goes without saying.
    check(acme, &["guest"], None, Ok((acme, READ)));
    check(acme, &["guest"], acme, Ok((acme, READ)));
    check(acme, &["guest"], Some("globex"), foreign);
    check(acme, &["guest"], Some("Acme"), foreign);
    // The only one goes without saying, of several one is named.
    check(None, &["staff@acme"], None, Ok((acme, WRITE)));
    check(None, &["staff@acme", "guest"], None, Ok((acme, WRITE)));
    let several = ["staff@acme", "guest@globex"];
    check(None, &several, None, Err(NotEntitled::NoScope));
    check(None, &several, acme, Ok((acme, WRITE)));
    check(None, &several, Some("globex"), Ok((Some("globex"), READ)));
    // A role of no tenant holds everywhere for a user of no tenant, and at home for one who has a home.
    let beside = ["guest", "staff@acme", "staff@globex"];
    check(None, &beside, None, Ok((None, READ)));
    check(None, &beside, acme, Ok((acme, WRITE)));
    check(acme, &["staff", "guest@globex"], None, Ok((acme, WRITE)));
    check(
        acme,
        &["staff", "guest@globex"],
        Some("globex"),
        Ok((Some("globex"), READ)),
    );
}

#[test]
fn nobody_administers_within_a_tenant() {
    let administration = |home, grants: &[&str], named| {
        let wanted = Wanted {
            tenant: named,
            ..Wanted::all_of("portcullis")
        };
        entitle(&auth_config(), &user(home, grants), &wanted).map(|_| ())
    };
    assert_eq!(administration(None, &["admin"], None), Ok(()));
    assert_eq!(administration(None, &["admin", "guest@acme"], None), Ok(()));
    for (home, grants, named) in [
        (None, ["admin@acme"], None),
        (None, ["admin@acme"], Some("acme")),
        (Some("acme"), ["admin"], None),
        (Some("acme"), ["admin@globex"], Some("globex")),
    ] {
        assert_eq!(
            administration(home, &grants, named),
            Err(NotEntitled::NoScope),
            "{home:?} {grants:?}"
        );
    }
}

proptest! {
    /// Whatever a user has: no scope that no role gives there, and never anything of another tenant.
    #[test]
    fn a_session_never_has_more_than_the_roles_of_its_tenant(
        home in prop::option::of("[ab]"),
        named in prop::option::of("[abc]"),
        grants in prop::collection::vec(("guest|staff|admin|clerk", prop::option::of("[abc]")), 0..6),
        resource in "hotel|event|portcullis",
    ) {
        let written: Vec<String> = grants
            .iter()
            .map(|(role, tenant)| match tenant {
                Some(tenant) => format!("{role}@{tenant}"),
                None => role.clone(),
            })
            .collect();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        let user = user(home.as_deref(), &written);
        let wanted = Wanted { resource: &resource, scopes: None, tenant: named.as_deref() };
        let config = auth_config();
        if let Ok(entitlement) = entitle(&config, &user, &wanted) {
            prop_assert!(named.is_none() || named == entitlement.tenant);
            let held = |role: &str| user.grants.iter().any(|grant| {
                let within = grant.tenant.as_ref().or(user.tenant.as_ref());
                grant.role == role
                    && within.is_none_or(|within| Some(within) == entitlement.tenant.as_ref())
                    && (within.is_none() || resource != "portcullis")
            });
            prop_assert!(entitlement.roles.iter().all(|role| held(role)));
            for scope in entitlement.scopes.iter() {
                prop_assert!(config.roles.iter().any(|(role, gives)| held(role) && gives.contains(scope)));
            }
        }
    }
}
