//! `key` of a limit: what of a request is counted apart, and `ipv6_prefix`.

use http::{HeaderName, header};

use crate::{
    limits::KeyPart,
    reader::{Section, Value},
};

/// Longer names of claims are a mistake of another kind.
const LONGEST_CLAIM: usize = 128;

pub(super) fn key(section: &Section<'_>) -> Vec<KeyPart> {
    let value = section.require(
        "key",
        "write what is counted apart: ip, user, route, header:Name, claim:name, or a list of them",
    );
    value.map(|value| parts(&value)).unwrap_or_default()
}

/// How much of an IPv6 address counts.
pub(super) fn ipv6_prefix(section: &Section<'_>) -> u8 {
    section.or("ipv6_prefix", 64, |value| value.number(32..=128))
}

fn parts(value: &Value<'_>) -> Vec<KeyPart> {
    if value.is_single() {
        return value.parse(part).into_iter().collect();
    }
    let elements = value.list();
    if elements.is_empty() {
        value
            .mistake("is empty: write ip, user, route, header:Name, claim:name, or a list of them");
    }
    let mut parts = Vec::new();
    for element in elements {
        let Some(part) = element.parse(part) else {
            continue;
        };
        if parts.contains(&part) {
            element.mistake("is written twice: keep one");
        }
        parts.push(part);
    }
    parts
}

fn part(text: &str) -> Result<KeyPart, String> {
    match (text, text.split_once(':')) {
        ("ip", _) => Ok(KeyPart::Ip),
        ("user", _) => Ok(KeyPart::User),
        ("route", _) => Ok(KeyPart::Route),
        (_, Some(("header", name))) => header_part(name),
        (_, Some(("claim", name))) => claim_part(name),
        _ => {
            Err("cannot be counted by: write ip, user, route, header:Name or claim:name".to_owned())
        }
    }
}

fn header_part(name: &str) -> Result<KeyPart, String> {
    let name: HeaderName = name
        .parse()
        .map_err(|_invalid| "names no header: write one, as in header:X-Api-Client")?;
    if name == header::HOST {
        // HTTP/2 has none, so that its requests would all be counted together.
        return Err(
            "differs between versions of HTTP: match hosts in routes, and write route".to_owned(),
        );
    }
    Ok(KeyPart::Header(name))
}

fn claim_part(name: &str) -> Result<KeyPart, String> {
    let is_name = !name.is_empty()
        && name.len() <= LONGEST_CLAIM
        && name
            .chars()
            .all(|character| !character.is_whitespace() && !character.is_control());
    match name {
        _ if !is_name => Err("names no claim: write one, as in claim:tenant".to_owned()),
        "jti" | "exp" | "iat" | "nbf" => {
            Err("is another one in every token, and would limit nobody: write user".to_owned())
        }
        "tenant" => Ok(KeyPart::Tenant),
        _ => Ok(KeyPart::Claim(name.to_owned())),
    }
}
