//! What is read once, at the start: a reload leaves it as it is, and says so.
//!
//! Sockets are bound, threads are started and databases are opened before the first request; the auth service is built
//! beside them, from the whole of `auth`. Everything else follows a reload.

use std::{collections::BTreeSet, net::SocketAddr};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    Config,
    auth::{Auth, Signing},
    providers::Provider,
    server::Listener,
    storage::{Database, Redis, RootKeyBytes},
};

/// A key as it is written in the file, such as `server.listeners`.
pub type Key = &'static str;

impl Config {
    /// Puts back what the `running` configuration has of everything that is read only at the start, and names what this
    /// one would have changed. Afterwards this configuration can be brought into force as a whole.
    pub fn keep_what_needs_a_restart(&mut self, running: &Self) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut keep = Keep(&mut keys);
        let (server, now) = (&mut self.server, &running.server);
        keep.listeners(&mut server.listeners, &now.listeners);
        keep.that("server.admin", &mut server.admin, &now.admin);
        keep.that("server.threads", &mut server.threads, &now.threads);
        keep.that("server.access_log", &mut server.access_log, &now.access_log);
        keep.that("server.tracing", &mut server.traces, &now.traces);
        let (storage, now) = (&mut self.storage, &running.storage);
        keep.that("storage.database", &mut storage.database, &now.database);
        keep.that("storage.key", &mut storage.key, &now.key);
        keep.that("storage.redis", &mut storage.redis, &now.redis);
        let (sharing, now) = (&mut self.sharing, &running.sharing);
        keep.that("rate_limits.sharing", sharing, now);
        match (&mut self.auth, &running.auth) {
            (Some(auth), Some(now)) => keep.auth(auth, now),
            (auth, now) => {
                if auth.is_some() != now.is_some() {
                    keep.0.push("auth");
                    auth.clone_from(now);
                    // Comes and goes with `auth`.
                    self.audit = running.audit;
                }
            }
        }
        keep.that("audit", &mut self.audit, &running.audit);
        keys
    }
}

impl Listener {
    /// What it was bound as.
    fn kind(&self) -> (SocketAddr, bool, bool) {
        (self.address, self.tls.is_some(), self.proxy_protocol)
    }
}

struct Keep<'a>(&'a mut Vec<Key>);

impl Keep<'_> {
    fn that<T: Clone + PartialEq>(&mut self, key: Key, wanted: &mut T, running: &T) {
        if wanted != running {
            wanted.clone_from(running);
            self.0.push(key);
        }
    }

    /// What is bound stays, and whether it speaks TLS; what it shows with TLS may change at any time.
    fn listeners(&mut self, wanted: &mut Vec<Listener>, running: &[Listener]) {
        let bound = |listeners: &[Listener]| -> BTreeSet<_> {
            let kinds = listeners.iter();
            kinds.map(Listener::kind).collect()
        };
        if bound(wanted) == bound(running) {
            return;
        }
        let kept = running.iter().map(|bound| {
            let renewed = wanted.iter().find(|one| one.address == bound.address);
            let renewed = renewed.filter(|one| one.kind() == bound.kind());
            renewed.unwrap_or(bound).clone()
        });
        *wanted = kept.collect();
        self.0.push("server.listeners");
    }

    fn auth(&mut self, wanted: &mut Auth, running: &Auth) {
        self.that("auth.issuer", &mut wanted.issuer, &running.issuer);
        let (signing, rotate_every) = (&mut wanted.signing, &mut wanted.rotate_every);
        let mut both = (signing.clone(), *rotate_every);
        let now = (running.signing.clone(), running.rotate_every);
        self.that("auth.signing", &mut both, &now);
        (*signing, *rotate_every) = both;
        self.that(
            "auth.access_token",
            &mut wanted.access_token_lifetime,
            &running.access_token_lifetime,
        );
        self.that(
            "auth.refresh_token",
            &mut wanted.refresh_tokens,
            &running.refresh_tokens,
        );
        self.that(
            "auth.registration",
            &mut wanted.registration,
            &running.registration,
        );
        self.that(
            "auth.default_resource",
            &mut wanted.default_resource,
            &running.default_resource,
        );
        self.that("auth.password", &mut wanted.password, &running.password);
        self.that("auth.throttle", &mut wanted.throttle, &running.throttle);
        self.that("auth.mail", &mut wanted.mail, &running.mail);
        self.that("auth.sessions", &mut wanted.sessions, &running.sessions);
        self.that("auth.resources", &mut wanted.resources, &running.resources);
        self.that("auth.roles", &mut wanted.roles, &running.roles);
        self.that(
            "auth.default_role",
            &mut wanted.default_role,
            &running.default_role,
        );
        self.that("auth.providers", &mut wanted.providers, &running.providers);
    }
}

// Secrets are compared here with each other and with nobody's guess, so the time it takes tells nothing.

fn is_same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

impl PartialEq for Signing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Es256, Self::Es256)
            | (Self::EdDsa, Self::EdDsa)
            | (Self::Rs256, Self::Rs256) => true,
            (Self::Hs256 { secret }, Self::Hs256 { secret: other }) => {
                is_same_secret(secret, other)
            }
            (Self::Es256 | Self::EdDsa | Self::Rs256 | Self::Hs256 { .. }, _) => false,
        }
    }
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            issuer,
            client_id,
            client_secret,
            scopes,
            create_users,
            allowed_domains,
            return_to,
        } = self;
        *name == other.name
            && *issuer == other.issuer
            && *client_id == other.client_id
            && is_same_secret(client_secret, &other.client_secret)
            && *scopes == other.scopes
            && *create_users == other.create_users
            && *allowed_domains == other.allowed_domains
            && *return_to == other.return_to
    }
}

impl PartialEq for Database {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(path), Self::Sqlite(other)) => path == other,
            (Self::Postgres(url), Self::Postgres(other)) => is_same_secret(url, other),
            (Self::Sqlite(_) | Self::Postgres(_), _) => false,
        }
    }
}

impl PartialEq for Redis {
    fn eq(&self, other: &Self) -> bool {
        let are_same = |one: &[SecretString], other: &[SecretString]| {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same_secret(one, other))
        };
        match (self, other) {
            (Self::Single(url), Self::Single(other)) => is_same_secret(url, other),
            (Self::Cluster(seeds), Self::Cluster(others)) => are_same(seeds, others),
            (
                Self::Sentinel { sentinels, master },
                Self::Sentinel {
                    sentinels: others,
                    master: other,
                },
            ) => master == other && are_same(sentinels, others),
            (Self::Single(_) | Self::Cluster(_) | Self::Sentinel { .. }, _) => false,
        }
    }
}

impl PartialEq for RootKeyBytes {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    const AUTH: &str = "auth: { issuer: http://a.test, signing: { algorithm: HS256, secret: \"${file:/secret}\" }, \
        default_resource: hotel, resources: { hotel: { scopes: [read] } }, roles: { guest: [read] }, default_role: guest }";
    const ROUTE: &str = "{ name: open, match: { path: /** }, upstream: up, auth: public }";

    fn config(server: &str, more: &str, secret: &str) -> Config {
        let text = format!(
            "version: 1\nserver: {{ listeners: [{{ address: 127.0.0.1:1 }}], admin: 127.0.0.1:2, {server} }}\n\
             upstreams: {{ up: {{ endpoints: [127.0.0.1:3] }} }}\nroutes: [{ROUTE}]\n{more}\n"
        );
        let secrets = |_: &Reference| Ok(SecretString::from(secret));
        crate::parse(&text, "test.yaml", &secrets).unwrap()
    }

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn check(server: &str, more: &str, expected: &[Key]) {
        let running = config("threads: 1", AUTH, SECRET);
        let mut wanted = config(server, more, SECRET);
        assert_eq!(
            wanted.keep_what_needs_a_restart(&running),
            expected,
            "{server} {more}"
        );
        assert!(
            wanted.keep_what_needs_a_restart(&running).is_empty(),
            "{server} {more}: what was named must have been put back"
        );
    }

    #[test]
    fn the_same_file_needs_no_restart() {
        check("threads: 1", AUTH, &[]);
    }

    #[test]
    fn limits_headers_and_proxies_follow() {
        let server = "threads: 1, limits: { body: 1KiB, connections: 7 }, headers: { process_time: false }, \
            trusted_proxies: [10.0.0.0/8], shutdown: { timeout: 3s }";
        check(server, AUTH, &[]);
    }

    #[test]
    fn what_is_bound_or_started_needs_a_restart() {
        check("threads: 2", AUTH, &["server.threads"]);
        check("threads: 1, access_log: none", AUTH, &["server.access_log"]);
        check(
            "threads: 1",
            &format!("{AUTH}\nstorage: {{ database: sqlite://other.db }}"),
            &["storage.database"],
        );
        check(
            "threads: 1",
            &format!(
                "{AUTH}\nstorage: {{ redis: 'redis://a' }}\nrate_limits: {{ sharing: {{ mode: exact }} }}"
            ),
            &["storage.redis", "rate_limits.sharing"],
        );
        let admin = config("threads: 1", AUTH, SECRET);
        let mut moved = config("threads: 1", AUTH, SECRET);
        moved.server.admin = "127.0.0.1:9".parse().unwrap();
        moved.server.listeners.clear();
        assert_eq!(
            moved.keep_what_needs_a_restart(&admin),
            ["server.listeners", "server.admin"]
        );
        assert_eq!(moved.server.listeners.len(), 1, "the listener is back");
    }

    #[test]
    fn every_key_of_auth_is_named_by_itself() {
        let other = AUTH
            .replace("a.test", "b.test")
            .replace("[read]", "[read, write]");
        check(
            "threads: 1",
            &other,
            &["auth.issuer", "auth.resources", "auth.roles"],
        );
    }

    #[test]
    fn sessions_stay_where_they_are_kept_until_a_restart() {
        let redis = "storage: { redis: 'redis://a' }";
        let running = config("threads: 1", &format!("{AUTH}\n{redis}"), SECRET);
        let moved = AUTH.replace("auth: {", "auth: { sessions: redis,");
        let mut wanted = config("threads: 1", &format!("{moved}\n{redis}"), SECRET);
        assert_eq!(
            wanted.keep_what_needs_a_restart(&running),
            ["auth.sessions"]
        );
        let kept = wanted.auth.map(|auth| auth.sessions);
        assert_eq!(kept, Some(crate::auth::SessionStore::Database));
    }

    #[test]
    fn another_schedule_of_the_keys_waits_for_the_restart() {
        let running = config("threads: 1", "auth: {}", SECRET);
        let other = "auth: { signing: { rotate_every: 7d } }";
        let mut wanted = config("threads: 1", other, SECRET);
        assert_eq!(wanted.keep_what_needs_a_restart(&running), ["auth.signing"]);
        assert!(wanted.keep_what_needs_a_restart(&running).is_empty());
    }

    #[test]
    fn an_auth_service_that_comes_or_goes_waits_for_the_restart() {
        check("threads: 1", "", &["auth"]);
        let running = config("threads: 1", "", SECRET);
        let mut wanted = config("threads: 1", AUTH, SECRET);
        wanted.keep_what_needs_a_restart(&running);
        assert!(wanted.auth.is_none(), "there is no service to ask");
    }

    #[test]
    fn another_secret_under_the_same_name_is_a_change() {
        let running = config("threads: 1", AUTH, SECRET);
        let mut wanted = config(
            "threads: 1",
            AUTH,
            "another secret of more than thirty-two bytes",
        );
        assert_eq!(wanted.keep_what_needs_a_restart(&running), ["auth.signing"]);
    }
}
