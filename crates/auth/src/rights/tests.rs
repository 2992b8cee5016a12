//! Who covers whom.

use super::*;
use crate::{entitlement::tests::user, tests::auth_config};

fn covers(actor: &[&str], home: Option<&str>, target: &[&str]) -> bool {
    let auth = auth_config();
    let target = Rights::held_by(&auth, &user(None, target));
    Rights::to_give(&auth, &user(home, actor)).cover(&target)
}

#[test]
fn only_who_has_a_right_covers_it() {
    for (actor, target, expected) in [
        (&["admin"][..], &["admin"][..], true),
        (&["admin"], &["keeper=users:write,hotel:write"], true),
        (&["clerk"], &["clerk"], true),
        (&["clerk"], &[], true),
        (&["clerk"], &["gone"], true),
        (&["clerk"], &["guest"], false),
        (&["clerk"], &["admin"], false),
        (&["staff"], &["guest"], true),
        (&["guest"], &["staff"], false),
        (&["keeper=users:read,users:write"], &["clerk"], true),
        // All scopes by name are not all there will ever be.
        (&["staff", "clerk"], &["admin"], false),
        // What the target has within a tenant counts as well.
        (&["clerk"], &["staff@acme"], false),
    ] {
        assert_eq!(
            covers(actor, None, target),
            expected,
            "{actor:?} {target:?}"
        );
    }
}

#[test]
fn what_holds_within_a_tenant_alone_is_not_given_to_others() {
    assert!(!covers(&["staff@acme"], None, &["guest"]));
    assert!(!covers(&["staff"], Some("acme"), &["guest"]));
    assert!(covers(&["staff"], None, &["guest"]));
}
