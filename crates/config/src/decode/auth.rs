//! `auth:`. The types are in [`crate::auth`].

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    path::PathBuf,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

use super::{mail::mail, providers::providers, refresh_tokens::refresh_tokens};
use crate::{
    auth::{
        Auth, HashCost, PORTCULLIS_RESOURCE, PORTCULLIS_SCOPES, PasswordRules, Registration,
        Resource, RoleScopes, SessionStore, Signing, Throttle,
    },
    reader::{Section, Value},
    units::{self, ByteSize, Rate},
};

/// Past this a stolen access token outlives what its owner notices; signing in again is what sessions are for.
const LONGEST_ACCESS_TOKEN: Duration = Duration::from_secs(3600);
const SHORTEST_ACCESS_TOKEN: Duration = Duration::from_secs(30);
const SHORTEST_ROTATION: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;

pub(super) fn auth(section: &Section<'_>, has_redis: bool) -> Auth {
    let resources = section.or("resources", BTreeMap::new(), |value| Some(resources(value)));
    let roles = section.or("roles", BTreeMap::new(), |value| {
        Some(roles(value, &resources))
    });
    let (signing, rotate_every) = section.within("signing", signing);
    let issuer = section.or("issuer", "http://localhost:8080".to_owned(), |value| {
        value.parse(absolute_url)
    });
    let access_token_lifetime = section.within("access_token", access_token_lifetime);
    let registration = section.or("registration", Registration::Admin, |value| {
        value.word(&[("open", Registration::Open), ("admin", Registration::Admin)])
    });
    let refresh_tokens = section.within("refresh_token", |section| {
        refresh_tokens(section, &issuer, access_token_lifetime)
    });
    Auth {
        providers: providers(section, &issuer, registration, refresh_tokens.transport),
        refresh_tokens,
        issuer,
        registration,
        signing,
        rotate_every,
        access_token_lifetime,
        default_resource: section
            .find("default_resource")
            .and_then(|value| declared(&value, "resource", &resources)),
        password: section.within("password", password),
        throttle: section.within("throttle", throttle),
        mail: section
            .find("mail")
            .and_then(|value| value.section(mail))
            .flatten(),
        sessions: section.or("sessions", SessionStore::Database, |value| {
            sessions(value, has_redis)
        }),
        default_role: section
            .find("default_role")
            .and_then(|value| declared(&value, "role", &roles)),
        resources,
        roles,
    }
}

fn declared<T>(value: &Value<'_>, what: &str, names: &BTreeMap<String, T>) -> Option<String> {
    let known: Vec<&str> = names.keys().map(String::as_str).collect();
    value.known(what, &known, &format!("declare it under `auth.{what}s`"))
}

pub(super) fn absolute_url(text: &str) -> Result<String, String> {
    const REMEDY: &str =
        "is not an absolute URL: write https://host, without a query or a fragment";
    let uri: http::Uri = text.parse().map_err(|_error| REMEDY.to_owned())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let hosted = uri.host().is_some_and(|host| !host.is_empty());
    if !web || !hosted || uri.query().is_some() || text.contains('#') {
        return Err(REMEDY.to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SigningWord {
    Es256,
    EdDsa,
    Rs256,
    Hs256,
}

fn signing(section: &Section<'_>) -> (Signing, Duration) {
    let words = [
        ("ES256", SigningWord::Es256),
        ("EdDSA", SigningWord::EdDsa),
        ("RS256", SigningWord::Rs256),
        ("HS256", SigningWord::Hs256),
    ];
    let algorithm = section.or("algorithm", SigningWord::Es256, |value| value.word(&words));
    let rotate_every = rotate_every(section, algorithm);
    if algorithm == SigningWord::Hs256 {
        let secret = section.require("secret", "HS256 signs with one, of at least 32 bytes");
        let secret = secret
            .and_then(|value| hmac_secret(&value, 32))
            .unwrap_or_default();
        return (Signing::Hs256 { secret }, rotate_every);
    }
    if let Some(value) = section.find("secret") {
        value.mistake("is for HS256 alone: remove it, the other algorithms make their own keys");
    }
    let signing = match algorithm {
        SigningWord::Es256 | SigningWord::Hs256 => Signing::Es256,
        SigningWord::EdDsa => Signing::EdDsa,
        SigningWord::Rs256 => Signing::Rs256,
    };
    (signing, rotate_every)
}

/// A key is published minutes before it signs and as long after as its tokens live: with less than an hour there would
/// be no end of keys.
fn rotate_every(section: &Section<'_>, algorithm: SigningWord) -> Duration {
    section.or("rotate_every", Duration::from_secs(30 * 86_400), |value| {
        if algorithm == SigningWord::Hs256 {
            value.mistake(
                "is for keys that the gateway makes: HS256 signs with `secret`, remove it",
            );
        }
        value.duration(SHORTEST_ROTATION..=units::LONGEST)
    })
}

/// RFC 7518 section 3.2: a key of at least the size of the hash. Shorter ones are guessed from a single token.
pub(super) fn hmac_secret(value: &Value<'_>, least: usize) -> Option<SecretString> {
    let secret = value.secret()?;
    if secret.expose_secret().len() < least {
        value.mistake(format!(
            "must be at least {least} bytes: make one with `head -c {least} /dev/urandom | base64`"
        ));
    }
    Some(secret)
}

fn access_token_lifetime(section: &Section<'_>) -> Duration {
    section.or("lifetime", Duration::from_secs(300), |value| {
        let lifetime = value.duration(Duration::ZERO..=units::LONGEST)?;
        if lifetime < SHORTEST_ACCESS_TOKEN {
            value.mistake("must be at least 30s: a shorter one expires on the way");
        }
        if lifetime > LONGEST_ACCESS_TOKEN {
            value
                .mistake("must be at most 1h: an access token that leaks is good until it expires");
        }
        Some(lifetime)
    })
}

fn password(section: &Section<'_>) -> PasswordRules {
    let hash = section.within("hash", hash_cost);
    let hashing_memory = section.or("hashing_memory", ByteSize(76 * MIB), |value| {
        value.size(8 * MIB..=64 << 30)
    });
    if hashing_memory < hash.memory {
        let text = format!(
            "`hashing_memory` ({}) is smaller than `hash.memory` ({}): no password could be checked; raise it",
            units::show_size(hashing_memory.bytes()),
            units::show_size(hash.memory.bytes())
        );
        section.mistake(text);
    }
    PasswordRules {
        min_length: section.or("min_length", 12, |value| value.number(8..=64)),
        min_score: section.or("min_score", 3, |value| value.number(0..=4)),
        breached: section
            .find("breached")
            .and_then(|value| value.section(breached))
            .flatten(),
        hash,
        hashing_memory,
    }
}

fn breached(section: &Section<'_>) -> Option<PathBuf> {
    const REMEDY: &str = "name the list of SHA-1 hashes, ordered by hash";
    section.require("file", REMEDY)?.searchable_file()
}

/// The lower bounds are what OWASP still calls sufficient; the upper ones keep one sign-in from stopping the machine.
fn hash_cost(section: &Section<'_>) -> HashCost {
    HashCost {
        memory: section.or("memory", ByteSize(19 * MIB), |value| {
            value.size(8 * MIB..=1024 * MIB)
        }),
        iterations: section.or("iterations", 2, |value| value.number(1..=10)),
        parallelism: section.or("parallelism", 1, |value| value.number(1..=16)),
    }
}

fn throttle(section: &Section<'_>) -> Throttle {
    let rate = |key, default| section.or(key, default, |value| value.parse(units::parse_rate));
    Throttle {
        address: rate("address", per_minutes(30, 1)),
        account: rate("account", per_minutes(10, 15)),
    }
}

fn sessions(value: &Value<'_>, has_redis: bool) -> Option<SessionStore> {
    let words = [
        ("database", SessionStore::Database),
        ("redis", SessionStore::Redis),
    ];
    let store = value.word(&words)?;
    if store == SessionStore::Redis && !has_redis {
        value.mistake("needs a Redis to keep them in: name it in `storage.redis`");
    }
    Some(store)
}

fn per_minutes(count: u64, minutes: u64) -> Rate {
    let count = NonZeroU64::new(count).expect("a default rate lets something pass");
    Rate {
        count,
        period: Duration::from_secs(60 * minutes),
    }
}

fn resources(value: &Value<'_>) -> BTreeMap<String, Resource> {
    let mut resources = BTreeMap::new();
    for (name, value) in value.named_entries() {
        if name == PORTCULLIS_RESOURCE {
            value.mistake(
                "this name is reserved for the administration of the gateway: choose another",
            );
        }
        if let Some(resource) = value.section(resource) {
            resources.insert(name.to_owned(), resource);
        }
    }
    resources
}

fn resource(section: &Section<'_>) -> Resource {
    let scopes = section.require("scopes", "name what can be allowed, such as [hotel:read]");
    Resource {
        scopes: scopes.map(|value| scopes_of(&value)).unwrap_or_default(),
        max_token_lifetime: section
            .find("max_token_lifetime")
            .and_then(|value| value.duration(Duration::from_secs(1)..=LONGEST_ACCESS_TOKEN)),
    }
}

fn scopes_of(value: &Value<'_>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: without a scope nobody can be allowed anything here");
    }
    for element in elements {
        let Some(scope) = element.parse(scope_token) else {
            continue;
        };
        if !seen.insert(scope) {
            element.mistake("is written twice: keep one");
        }
    }
    seen.into_iter().collect()
}

/// RFC 6749 section 3.3: visible ASCII without quotation mark and backslash.
fn scope_token(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text == "*" {
        return Err("means every scope and is for roles: name the scope".to_owned());
    }
    // Roles name scopes without their resource: a role that is given this one would administer the gateway.
    if PORTCULLIS_SCOPES.contains(&text) {
        return Err(
            "is a scope of the gateway's own administration: choose another name".to_owned(),
        );
    }
    if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
        return Err(
            "is no scope: use up to 128 visible characters without space, quote and backslash"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn roles(
    value: &Value<'_>,
    resources: &BTreeMap<String, Resource>,
) -> BTreeMap<String, RoleScopes> {
    let known: Vec<&str> = resources
        .values()
        .flat_map(|resource| resource.scopes.iter().map(String::as_str))
        .chain(PORTCULLIS_SCOPES)
        .collect();
    let entries = value.named_entries();
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), role(&value, &known)))
        .collect()
}

fn role(value: &Value<'_>, known: &[&str]) -> RoleScopes {
    let elements = value.list();
    let alone = elements.len() == 1;
    let mut scopes = Vec::new();
    for element in elements {
        match element.text().as_deref() {
            Some("*") if alone => return RoleScopes::All,
            Some("*") => element.mistake("means every scope: write it alone, or name the scopes"),
            Some(_) => scopes.extend(element.known(
                "scope",
                known,
                "declare it in one of `auth.resources`",
            )),
            None => {}
        }
    }
    RoleScopes::These(scopes)
}
