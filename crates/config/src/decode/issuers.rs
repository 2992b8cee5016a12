//! `issuers:`. The types are in [`crate::issuers`].

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::auth::hmac_secret;
use crate::{
    auth::Auth,
    issuers::{Algorithm, ClaimNames, Issuer, KeySource, LOCAL, TokenType},
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
    section.later("revocations_url");
    let algorithms = algorithms(section);
    Issuer {
        name: section
            .require("name", "it marks this issuer's users, as in `corp:alice`")
            .and_then(|value| value.name())
            .unwrap_or_default(),
        issuer: section
            .require("issuer", "write the `iss` of its tokens, byte for byte")
            .and_then(|value| value.parse(not_empty))
            .unwrap_or_default(),
        audiences: section
            .require("audiences", "name the `aud` values that are meant for us")
            .map(|value| filled_list(&value))
            .unwrap_or_default(),
        keys: key_source(section, &algorithms),
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
    }
}

fn not_empty(text: &str) -> Result<String, String> {
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

fn key_source(section: &Section<'_>, algorithms: &[Algorithm]) -> KeySource {
    let placeholder = KeySource::PublicKeyFile(PathBuf::new());
    let later = ["jwks_url", "jwks_file"]
        .map(|key| section.find(key).map(|_| section.later(key)).is_some());
    let discovery = section.find("discovery").is_some();
    section.later_unless("discovery", &["false"]);
    let hmac = algorithms
        .iter()
        .any(|algorithm| family(*algorithm) == Family::Hmac);
    match (section.find("public_key_file"), section.find("secret")) {
        (Some(_), Some(secret)) => {
            secret.mistake(
                "stands beside `public_key_file`: an issuer has one source of keys, remove one",
            );
            placeholder
        }
        (Some(file), None) => {
            if hmac {
                file.mistake("does not fit HMAC algorithms: write `secret`, or name RS, PS, ES or EdDSA algorithms");
            }
            file.parse(not_empty).map_or(placeholder, |path| {
                KeySource::PublicKeyFile(PathBuf::from(path))
            })
        }
        (None, Some(secret)) => {
            if !hmac && !algorithms.is_empty() {
                secret.mistake("fits HMAC algorithms only: write `public_key_file`, or name HS256, HS384 or HS512");
            }
            hmac_secret(&secret, hash_bytes(algorithms)).map_or(placeholder, KeySource::Secret)
        }
        (None, None) => {
            if !discovery && !later.contains(&true) {
                section.mistake("no source of keys: write `public_key_file` or `secret`");
            }
            placeholder
        }
    }
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
