//! `issuers:`. The types are in [`crate::issuers`].

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{auth::hmac_secret, revocations::revocations};
use crate::{
    auth::Auth,
    issuers::{self, Algorithm, ClaimNames, Issuer, KeySource, LOCAL, TokenType},
    names,
    reader::{Section, Value},
    units,
};

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
];

pub(super) fn issuers(file: &Section<'_>, auth: Option<&Auth>) -> Vec<Issuer> {
    let mut issuers: Vec<Issuer> = Vec::new();
    let Some(value) = file.find("issuers") else {
        return issuers;
    };
    for element in value.list() {
        let Some(issuer) = element.section(issuer) else {
            continue;
        };
        if let Some(clash) = clash(&issuer, &issuers, auth) {
            element.mistake(clash);
        }
        issuers.push(issuer);
    }
    issuers
}

/// Two issuers of one name would share users; two of one `iss` would make the choice of the key a matter of luck.
fn clash(issuer: &Issuer, before: &[Issuer], auth: Option<&Auth>) -> Option<String> {
    if issuer.name == LOCAL {
        return Some(format!(
            "the name `{LOCAL}` stands for our own auth service: choose another"
        ));
    }
    if !issuer.name.is_empty() && before.iter().any(|other| other.name == issuer.name) {
        return Some(format!(
            "there are two issuers named {}: give each its own name",
            names::quote(&issuer.name)
        ));
    }
    if auth.is_some_and(|auth| auth.issuer == issuer.issuer) {
        return Some(
            "its `issuer` is that of `auth`, whose keys are known already: remove one".to_owned(),
        );
    }
    let twice =
        !issuer.issuer.is_empty() && before.iter().any(|other| other.issuer == issuer.issuer);
    twice.then(|| {
        "another entry has the same `issuer`: keep one, with the audiences of both".to_owned()
    })
}

fn issuer(section: &Section<'_>) -> Issuer {
    let algorithms = algorithms(section);
    let issuer = section
        .require("issuer", "write the `iss` of its tokens, byte for byte")
        .and_then(|value| value.parse(not_empty))
        .unwrap_or_default();
    Issuer {
        name: section
            .require("name", "it marks this issuer's users, as in `corp:alice`")
            .and_then(|value| value.name())
            .unwrap_or_default(),
        audiences: section
            .require("audiences", "name the `aud` values that are meant for us")
            .map(|value| filled_list(&value))
            .unwrap_or_default(),
        keys: key_source(section, &algorithms, &issuer),
        issuer,
        algorithms,
        types: section.or("types", default_types(), |value| Some(types(value))),
        claims: section.within("claims", claims),
        roles: section.or("roles", BTreeMap::new(), |value| Some(roles(value))),
        clock_skew: section.or("clock_skew", Duration::from_secs(5), |value| {
            value.duration(Duration::ZERO..=Duration::from_secs(300))
        }),
        max_token_lifetime: section.or(
            "max_token_lifetime",
            Duration::from_secs(24 * 3600),
            |value| value.duration(Duration::from_secs(1)..=units::LONGEST),
        ),
        token_cache: section.or("token_cache", 100_000, |value| value.number(0..=10_000_000)),
        revocations: revocations(section),
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("says nothing: write what stands in the token".to_owned());
    }
    Ok(text.to_owned())
}

fn filled_list(value: &Value<'_>) -> Vec<String> {
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: no token could be accepted");
    }
    elements
        .iter()
        .filter_map(|element| element.parse(not_empty))
        .collect()
}

fn algorithms(section: &Section<'_>) -> Vec<Algorithm> {
    let Some(value) = section.require(
        "algorithms",
        "name what its tokens are signed with, such as [RS256]",
    ) else {
        return Vec::new();
    };
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: no token could be accepted");
    }
    let algorithms: Vec<Algorithm> = elements
        .iter()
        .filter_map(|element| element.word(&ALGORITHMS))
        .collect();
    let first = algorithms.first().map(|algorithm| family(*algorithm));
    if algorithms
        .iter()
        .any(|algorithm| Some(family(*algorithm)) != first)
    {
        // The classic confusion: a public key taken for the secret of an HMAC.
        value.mistake("must all fit one kind of key: HMAC, RSA, one elliptic curve, or EdDSA");
    }
    algorithms
}

/// What one key can verify.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Hmac,
    Rsa,
    P256,
    P384,
    Edwards,
}

fn family(algorithm: Algorithm) -> Family {
    match algorithm {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => Family::Hmac,
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => Family::Rsa,
        Algorithm::Es256 => Family::P256,
        Algorithm::Es384 => Family::P384,
        Algorithm::EdDsa => Family::Edwards,
    }
}

const SOURCES: &str = "`jwks_url`, `discovery: true`, `jwks_file`, `public_key_file` or `secret`";

/// The one source that is written; a second one is a mistake, because nobody could say which of the two counts.
fn key_source(section: &Section<'_>, algorithms: &[Algorithm], issuer: &str) -> KeySource {
    let discovery = section
        .find("discovery")
        .filter(|value| value.boolean() != Some(false));
    let written = [
        ("jwks_url", section.find("jwks_url")),
        ("discovery", discovery),
        ("jwks_file", section.find("jwks_file")),
        ("public_key_file", section.find("public_key_file")),
        ("secret", section.find("secret")),
    ];
    let mut sources = written
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let placeholder = KeySource::Discovery;
    let Some((key, value)) = sources.next() else {
        section.mistake(format!("no source of keys: write {SOURCES}"));
        return placeholder;
    };
    for (_, another) in sources {
        another.mistake(format!(
            "stands beside `{key}`: an issuer has one source of keys, remove one"
        ));
    }
    check_kind(key, &value, algorithms);
    let path = |value: &Value<'_>| value.parse(not_empty).map(PathBuf::from);
    match key {
        "secret" => hmac_secret(&value, hash_bytes(algorithms)).map(KeySource::Secret),
        "jwks_url" => value.parse(fetchable).map(KeySource::JwksUrl),
        "jwks_file" => path(&value).map(KeySource::JwksFile),
        "public_key_file" => path(&value).map(KeySource::PublicKeyFile),
        _ => discoverable(&value, issuer),
    }
    .unwrap_or(placeholder)
}

/// Secrets are not published, and what is published is no secret.
fn check_kind(key: &str, value: &Value<'_>, algorithms: &[Algorithm]) {
    let Some(first) = algorithms.first() else {
        return;
    };
    let is_hmac = family(*first) == Family::Hmac;
    if is_hmac && key != "secret" {
        value.mistake(
            "does not fit HMAC algorithms: write `secret`, or name RS, PS, ES or EdDSA algorithms",
        );
    }
    if !is_hmac && key == "secret" {
        value.mistake("fits HMAC algorithms only: write `public_key_file` or `jwks_url`, or name HS256, HS384 or HS512");
    }
}

fn fetchable(text: &str) -> Result<String, String> {
    if issuers::may_be_fetched(text) {
        Ok(text.to_owned())
    } else {
        Err("is not an address that keys may be fetched from: write https://…; plain http is for 127.0.0.1, ::1 and localhost alone".to_owned())
    }
}

/// OIDC Discovery 1.0 section 4: the issuer is the address, so it must be one.
fn discoverable(value: &Value<'_>, issuer: &str) -> Option<KeySource> {
    // Missing or empty: reported there.
    let is_address = issuers::may_be_fetched(issuer) && !issuer.contains(['?', '#']);
    if is_address || issuer.is_empty() {
        return Some(KeySource::Discovery);
    }
    value.mistake(
        "asks the issuer at its own address, but `issuer` is none: make it https://… without a query, or write `jwks_url`",
    );
    None
}

fn hash_bytes(algorithms: &[Algorithm]) -> usize {
    if algorithms.contains(&Algorithm::Hs512) {
        64
    } else if algorithms.contains(&Algorithm::Hs384) {
        48
    } else {
        32
    }
}

fn default_types() -> Vec<TokenType> {
    vec![
        TokenType::Named("at+jwt".to_owned()),
        TokenType::Named("JWT".to_owned()),
        TokenType::Absent,
    ]
}

fn types(value: &Value<'_>) -> Vec<TokenType> {
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: no token could be accepted");
    }
    elements
        .iter()
        .filter_map(|element| element.parse(token_type))
        .collect()
}

fn token_type(text: &str) -> Result<TokenType, String> {
    match text {
        "none" => Ok(TokenType::Absent),
        _ => not_empty(text).map(TokenType::Named),
    }
}

fn claims(section: &Section<'_>) -> ClaimNames {
    let name =
        |key, default: &str| section.or(key, default.to_owned(), |value| value.parse(not_empty));
    ClaimNames {
        resource: name("resource", "aud"),
        scopes: section.or(
            "scopes",
            vec!["scope".to_owned(), "scp".to_owned()],
            |value| Some(filled_list(value)),
        ),
        roles: name("roles", "roles"),
        user: name("user", "sub"),
        tenant: name("tenant", "tid"),
    }
}

fn roles(value: &Value<'_>) -> BTreeMap<String, String> {
    let entries = value.entries().into_iter();
    entries
        .filter_map(|(theirs, ours)| Some((theirs.to_owned(), ours.name()?)))
        .collect()
}
