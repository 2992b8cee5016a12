//! How the commands about users show one, to people and to programs, and name one in the audit log.

use portcullis_audit::Party;
use portcullis_store::{Grant, User};
use serde_json::{Value, json};

use crate::{cli::Output, output};

pub(crate) fn party(user: &User) -> Party {
    Party::user(&user.id).named(name(user))
}

fn name(user: &User) -> &str {
    user.username
        .as_deref()
        .or(user.email.as_deref())
        .unwrap_or("-")
}

pub(super) fn tell(done: &str, user: &User, output: Output) {
    if output.json {
        output::say_json(&listing(user));
    } else {
        output::say(format_args!("{done}: {}", row(user)));
    }
}

pub(super) fn row(user: &User) -> String {
    let state = if user.disabled { "disabled" } else { "enabled" };
    let email = user
        .email
        .as_deref()
        .filter(|email| *email != name(user))
        .unwrap_or_default();
    format!(
        "{}  {:<24} {state:<8}  {:<24}  {email}",
        user.id,
        name(user),
        roles(user)
    )
    .trim_end()
    .to_owned()
}

/// `guest,staff@acme`
fn roles(user: &User) -> String {
    let shown = |grant: &Grant| match &grant.tenant {
        Some(tenant) => format!("{}@{tenant}", grant.role),
        None => grant.role.clone(),
    };
    let roles: Vec<String> = user.grants.iter().map(shown).collect();
    roles.join(",")
}

fn of_grant(grant: &Grant) -> Value {
    json!({ "role": grant.role, "tenant": grant.tenant })
}

pub(super) fn listing(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "display_name": user.display_name,
        "disabled": user.disabled,
        "roles": user.roles(),
        "grants": user.grants.iter().map(of_grant).collect::<Vec<_>>(),
        "tenant": user.tenant,
        "created_at": portcullis_audit::rfc3339(user.created_at),
    })
}
