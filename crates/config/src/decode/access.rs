//! `auth` of a route: public, or what a token must carry. Whatever is named there must have been declared.

use super::{revocations::fresh, routes::Declared, tenant};
use crate::{
    auth::{PORTCULLIS_RESOURCE, PORTCULLIS_SCOPES},
    issuers::LOCAL,
    names,
    reader::{Section, Value},
    routes::{Access, AccessRule, PathPattern, TenantRule},
};

pub(super) fn access(
    value: &Value<'_>,
    pattern: Option<&PathPattern>,
    declared: &Declared<'_>,
) -> Option<Access> {
    if value.is_single() {
        return value.parse(|text| match text {
            "public" => Ok(Access::Public),
            _ => Err("is not known here: write public, or `resource: …` below it".to_owned()),
        });
    }
    value.section(|section| {
        let optional = section.or("optional", false, Value::boolean);
        if declared.auth.is_none() && declared.issuers.is_empty() {
            section.mistake(
                "no token could be accepted: write `auth:` or `issuers:`, or `auth: public` here",
            );
        }
        let rule = AccessRule {
            tenant: section.or("tenant", TenantRule::Any, |value| {
                tenant::tenant(value, pattern)
            }),
            ..access_rule(section, declared)
        };
        match optional {
            true => Access::Optional(rule),
            false => Access::Protected(rule),
        }
    })
}

fn access_rule(section: &Section<'_>, declared: &Declared<'_>) -> AccessRule {
    let resource = section
        .require("resource", "name what a token must be for")
        .and_then(|value| resource(&value, declared));
    let resource = resource.unwrap_or_default();
    let (all_scopes, any_scopes) = section.within("scopes", |section| {
        let read = |key| {
            section.or(key, Vec::new(), |value| {
                Some(scopes(value, &resource, declared))
            })
        };
        (read("all"), read("any"))
    });
    let any_roles = section.within("roles", |section| {
        section.or("any", Vec::new(), |value| Some(roles(value, declared)))
    });
    let issuers = section.or("issuers", Vec::new(), |value| {
        Some(issuers(value, declared))
    });
    let mut rule = AccessRule {
        resource,
        all_scopes,
        any_scopes,
        any_roles,
        issuers,
        tenant: TenantRule::Any,
        fresh: false,
    };
    rule.fresh = fresh(section, &rule, declared);
    rule
}

/// Known are our own resources and the audiences of other issuers. Where an issuer keeps the resource in another claim,
/// nothing can be said about what it will name.
fn resource(value: &Value<'_>, declared: &Declared<'_>) -> Option<String> {
    let ours = declared
        .auth
        .into_iter()
        .flat_map(|auth| auth.resources.keys().map(String::as_str));
    let administration = declared.auth.map(|_| PORTCULLIS_RESOURCE);
    let theirs = declared
        .issuers
        .iter()
        .flat_map(|issuer| issuer.audiences.iter().map(String::as_str));
    let known: Vec<&str> = ours.chain(administration).chain(theirs).collect();
    let open = declared
        .issuers
        .iter()
        .any(|issuer| issuer.claims.resource != "aud");
    let name = value.name()?;
    if name == PORTCULLIS_RESOURCE && declared.auth.is_none() {
        value.mistake("is opened by our own tokens only: write `auth:`, or name another resource");
    } else if !open && !known.is_empty() {
        value.known("resource", &known, "declare it under `auth.resources`");
    }
    Some(name)
}

/// Scopes are known where the resource is ours; what another issuer grants for its own is not written in this file.
fn scopes(value: &Value<'_>, resource: &str, declared: &Declared<'_>) -> Vec<String> {
    let known: Vec<&str> = match declared.auth.and_then(|auth| auth.resources.get(resource)) {
        Some(ours) => ours.scopes.iter().map(String::as_str).collect(),
        None if resource == PORTCULLIS_RESOURCE => PORTCULLIS_SCOPES.to_vec(),
        None => return value.each(|element| element.text()),
    };
    let remedy = format!("declare it in the scopes of {}", names::quote(resource));
    value.each(|element| element.known("scope", &known, &remedy))
}

fn roles(value: &Value<'_>, declared: &Declared<'_>) -> Vec<String> {
    let known: Vec<&str> = declared.roles.iter().map(String::as_str).collect();
    value.each(|element| element.known("role", &known, "declare it under `auth.roles`"))
}

fn issuers(value: &Value<'_>, declared: &Declared<'_>) -> Vec<String> {
    let theirs = declared.issuers.iter().map(|issuer| issuer.name.as_str());
    let known: Vec<&str> = theirs.chain(declared.auth.map(|_| LOCAL)).collect();
    value.each(|element| element.known("issuer", &known, "declare it under `issuers`"))
}
