//! `storage.redis:` one URL, or a list of them for Sentinel and Cluster. The type is in [`crate::storage`].
//!
//! What the URLs are for stands in their scheme, so that a list can be read without knowing what answers there. They
//! are taken apart here and put together again: what is handed on has nothing in it that was not looked at.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use crate::{reader::Value, storage::Redis};

const SPELLINGS: &str = "write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, \
     or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A URL, read.
enum Entry {
    Single(SecretString),
    Sentinel {
        server: SecretString,
        master: String,
    },
    Cluster(SecretString),
}

pub(super) fn redis(value: &Value<'_>) -> Option<Redis> {
    if value.is_single() {
        return read(value).and_then(|entry| joined(value, vec![entry]));
    }
    let elements = value.list();
    let entries: Vec<Entry> = elements.iter().filter_map(read).collect();
    if elements.is_empty() {
        value.mistake(format!("names no server: {SPELLINGS}"));
    }
    if entries.len() != elements.len() || entries.is_empty() {
        return None;
    }
    joined(value, entries)
}

/// Entries of a list must be of one kind, and Sentinels must watch one master.
fn joined(value: &Value<'_>, entries: Vec<Entry>) -> Option<Redis> {
    let (mut servers, mut sentinels, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
    let mut masters: Vec<String> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Single(url) => servers.push(url),
            Entry::Cluster(url) => seeds.push(url),
            Entry::Sentinel { server, master } => {
                sentinels.push(server);
                masters.push(master);
            }
        }
    }
    masters.dedup();
    match (servers.len(), masters.as_slice(), seeds.len()) {
        (1, [], 0) => servers.pop().map(Redis::Single),
        (0, [], _) => Some(Redis::Cluster(seeds)),
        (0, [master], 0) => Some(Redis::Sentinel {
            sentinels,
            master: master.clone(),
        }),
        (0, [_, _, ..], 0) => {
            value.mistake(
                "names several masters: all Sentinels of the list must watch the same one",
            );
            None
        }
        _ => {
            value.mistake(
                "does not say what these servers are to each other: write redis+sentinel://host:26379/master \
                 for each Sentinel, or redis+cluster://host:6379 for each node of a Cluster",
            );
            None
        }
    }
}

/// The text is not shown in a mistake: a password may be in it.
fn read(value: &Value<'_>) -> Option<Entry> {
    let secret = value.secret()?;
    let entry = entry(secret.expose_secret());
    entry.map_err(|complaint| value.mistake(complaint)).ok()
}

fn entry(text: &str) -> Result<Entry, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        let absolute = path.starts_with('/') && path.len() > 1 && !path.contains(['?', '#']);
        return match absolute {
            true => Ok(Entry::Single(SecretString::from(text))),
            false => Err("names no socket: write unix:///run/redis.sock".to_owned()),
        };
    }
    let (scheme, _) = text.split_once("://").unwrap_or_default();
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    if !matches!(scheme, "redis" | "rediss") {
        return Err(format!("is no address of Redis: {SPELLINGS}"));
    }
    let uri = uri(text)?;
    let path = uri.path().trim_start_matches('/');
    match kind {
        "" => Ok(Entry::Single(url(scheme, &uri, PORT, database(path)?))),
        "cluster" if path.is_empty() => Ok(Entry::Cluster(url(scheme, &uri, PORT, 0))),
        "cluster" => {
            Err("names a database, and a Cluster has none: end it after the port".to_owned())
        }
        "sentinel" => {
            let (master, number) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err(
                    "names no master: write redis+sentinel://host:26379/mymaster".to_owned(),
                );
            }
            Ok(Entry::Sentinel {
                server: url(scheme, &uri, SENTINEL_PORT, database(number)?),
                master: master.to_owned(),
            })
        }
        _ => Err(format!("is no address of Redis: {SPELLINGS}")),
    }
}

fn uri(text: &str) -> Result<Uri, String> {
    if text.contains(['?', '#']) {
        return Err("has a `?` or `#`: there is nothing to set behind the address".to_owned());
    }
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16() != Some(0))
        .ok_or_else(|| format!("is no address of Redis: {SPELLINGS}"))
}

fn database(text: &str) -> Result<u8, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .map_err(|_not_a_number: std::num::ParseIntError| {
            "names a database that is no number from 0 to 255".to_owned()
        })
}

fn url(scheme: &str, uri: &Uri, default_port: u16, database: u8) -> SecretString {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let at = if login.is_empty() { "" } else { "@" };
    let (host, port) = (
        uri.host().unwrap_or_default(),
        uri.port_u16().unwrap_or(default_port),
    );
    SecretString::from(format!("{scheme}://{login}{at}{host}:{port}/{database}"))
}

/// What the addresses are without the logins in them, for tests.
#[cfg(test)]
pub(crate) fn shown(redis: &Redis) -> String {
    let all = |urls: &[SecretString]| {
        let urls: Vec<&str> = urls.iter().map(ExposeSecret::expose_secret).collect();
        urls.join(" ")
    };
    match redis {
        Redis::Single(url) => format!("single {}", url.expose_secret()),
        Redis::Sentinel { sentinels, master } => format!("{master} of {}", all(sentinels)),
        Redis::Cluster(seeds) => format!("cluster {}", all(seeds)),
    }
}
