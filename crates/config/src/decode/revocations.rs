//! `revocations_url` of an issuer with `revocations_client`, and which routes may ask for `fresh: true`.

use secrecy::SecretString;

use super::{issuers::not_empty, routes::Declared};
use crate::{
    issuers::{self, Issuer, LOCAL, RevocationFeed},
    names,
    reader::{Section, Value},
    routes::AccessRule,
};

/// The two keys come together: the log is for those only who were given a secret.
pub(super) fn revocations(section: &Section<'_>) -> Option<RevocationFeed> {
    let client = section.find("revocations_client");
    let Some(url) = section.find("revocations_url") else {
        if let Some(client) = client {
            client.mistake("means nothing without `revocations_url`: write where the log is read");
        }
        return None;
    };
    let Some(client) = client else {
        url.mistake(
            "needs `revocations_client: { id, secret }` beside it: `portcullis client add NAME --scope revocations:read` there prints both",
        );
        return None;
    };
    let url = url.parse(followable);
    let (client_id, client_secret) = client.section(|section| {
        let text = |key| {
            let value = section.require(key, "`portcullis client add` printed it");
            value.and_then(|value| value.parse(not_empty))
        };
        (text("id"), text("secret").map(SecretString::from))
    })?;
    Some(RevocationFeed {
        url: url?,
        client_id: client_id?,
        client_secret: client_secret?,
    })
}

fn followable(text: &str) -> Result<String, String> {
    if !issuers::may_be_fetched(text) {
        return Err("is not an address that revocations may be read from: write https://…/v1/revocations; plain http is for 127.0.0.1, ::1 and localhost alone".to_owned());
    }
    if text.contains(['?', '#']) {
        return Err("has a query or a fragment: remove it, the gateway adds its own".to_owned());
    }
    Ok(text.to_owned())
}

/// Of an issuer that nobody follows nothing is ever fresh: each of its tokens would be refused.
pub(super) fn fresh(section: &Section<'_>, rule: &AccessRule, declared: &Declared<'_>) -> bool {
    let Some(value) = section.find("fresh") else {
        return false;
    };
    let fresh = value.boolean().unwrap_or(false);
    if fresh {
        check_followed(&value, rule, declared);
    }
    fresh
}

fn check_followed(value: &Value<'_>, rule: &AccessRule, declared: &Declared<'_>) {
    let is_meant = |issuer: &&Issuer| {
        let is_named = rule.issuers.is_empty() || rule.issuers.contains(&issuer.name);
        let may_open = issuer.claims.resource != "aud" || issuer.audiences.contains(&rule.resource);
        is_named && may_open && issuer.revocations.is_none()
    };
    for issuer in declared.issuers.iter().filter(is_meant) {
        let name = names::quote(&issuer.name);
        let remedy = match declared.auth {
            Some(_) => format!("leave it out of `issuers` here, as in [{LOCAL}]"),
            None => "leave it out of `issuers` here".to_owned(),
        };
        value.mistake(format!(
            "can never be met by tokens of {name}, whose revocations are not followed: give it a `revocations_url`, or {remedy}"
        ));
    }
}
