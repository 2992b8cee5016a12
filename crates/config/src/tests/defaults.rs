//! The values that the documentation calls defaults.

use std::time::Duration;

use http::HeaderName;

use super::valid;
use crate::{
    auth::{Registration, Signing},
    decode::shown_redis,
    issuers::TokenType,
    refresh_tokens::{RefreshTokens, Transport},
    routes::{AuditLevel, Rewrite},
    server::{AccessLog, LogTarget, RateLimitHeaders, SecurityHeaders, Threads},
    sharing::{OnStoreFailure, Sharing},
    storage::Database,
    units::ByteSize,
    upstreams::{Balance, HashKey},
};

const MIB: u64 = 1 << 20;

#[test]
fn server() {
    let server = valid("").server;
    let listeners: Vec<String> = server
        .listeners
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    assert_eq!(listeners, ["0.0.0.0:8080"]);
    assert_eq!(server.admin.to_string(), "127.0.0.1:9090");
    assert_eq!(server.threads, Threads::Auto);
    assert!(
        server.trusted_proxies.is_empty(),
        "nobody is believed unless named"
    );
    assert_eq!(server.shutdown.drain_delay, Duration::ZERO);
    assert_eq!(server.shutdown.timeout, Duration::from_secs(20));
    assert!(matches!(server.headers.security, SecurityHeaders::Owasp));
    assert_eq!(server.headers.rate_limit, RateLimitHeaders::Both);
    assert!(server.headers.process_time);
    assert!(matches!(
        server.access_log,
        AccessLog::Json {
            to: LogTarget::Stdout,
            sample: 1.0
        }
    ));
    assert_eq!(server.traces, None);
}

#[test]
fn server_limits() {
    let limits = valid("").server.limits;
    assert_eq!(limits.header_bytes, ByteSize(16 << 10));
    assert_eq!(limits.headers, 100);
    assert_eq!(limits.body, ByteSize(10 * MIB));
    assert_eq!(limits.header_timeout, Duration::from_secs(10));
    assert_eq!(limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(limits.connections, 10_000);
    assert_eq!(limits.connections_per_ip, 1000);
}

#[test]
fn storage() {
    let storage = valid("").storage;
    assert!(
        matches!(storage.database, Database::Sqlite(path) if path.as_os_str() == "data/portcullis.db")
    );
    assert!(storage.key.is_none());
}

#[test]
fn auth() {
    let auth = valid("auth: {}")
        .auth
        .expect("an empty section is a section");
    assert_eq!(auth.issuer, "http://localhost:8080");
    assert!(matches!(auth.signing, Signing::Es256));
    assert_eq!(auth.rotate_every, Duration::from_secs(30 * 86_400));
    assert_eq!(auth.access_token_lifetime, Duration::from_secs(300));
    let day = Duration::from_secs(24 * 60 * 60);
    let refresh_tokens = RefreshTokens {
        idle: 7 * day,
        absolute: 30 * day,
        grace: Duration::from_secs(10),
        transport: Transport::Body,
        origins: Vec::new(),
    };
    assert_eq!(auth.refresh_tokens, refresh_tokens);
    assert_eq!(auth.registration, Registration::Admin);
    assert_eq!(
        (auth.password.min_length, auth.password.hashing_memory),
        (12, ByteSize(76 * MIB))
    );
    assert_eq!((auth.password.min_score, auth.password.breached), (3, None));
    assert_eq!(auth.password.hash.memory, ByteSize(19 * MIB));
    assert_eq!(
        (
            auth.password.hash.iterations,
            auth.password.hash.parallelism
        ),
        (2, 1)
    );
    assert_eq!(
        (
            auth.throttle.address.count.get(),
            auth.throttle.address.period
        ),
        (30, Duration::from_secs(60))
    );
    assert_eq!(
        (
            auth.throttle.account.count.get(),
            auth.throttle.account.period
        ),
        (10, Duration::from_secs(900))
    );
    assert!(
        auth.default_resource.is_none() && auth.default_role.is_none(),
        "names cannot be guessed"
    );
}

#[test]
fn upstreams() {
    let config = valid("");
    let upstream = config.upstreams.first().expect("one is given");
    assert_eq!(upstream.balance, Balance::LeastRequests);
    assert_eq!(upstream.endpoints[0].weight, 1);
    assert!(
        upstream.health_check.is_none() && upstream.outlier.is_none(),
        "absent unless written"
    );
    assert_eq!(upstream.timeouts.connect, Duration::from_secs(1));
    assert_eq!(upstream.timeouts.request, Duration::from_secs(30));
    assert_eq!(upstream.timeouts.idle, Duration::from_secs(55));
    let retries = &upstream.retries;
    assert_eq!((retries.attempts, retries.budget), (2, 20));
    assert!(
        retries.on_connect && retries.on_status.is_empty(),
        "only what was never sent is sent again unasked"
    );
    assert_eq!(upstream.max_in_flight, None);
}

#[test]
fn endpoints_that_are_checked_and_ejected() {
    let config = valid(
        "upstreams: { hotel: { endpoints: [a:1], health_check: { path: '/healthz?deep' }, outlier: {} } }",
    );
    let upstream = config.upstreams.first().expect("one is given");
    let check = upstream.health_check.as_ref().expect("it is written");
    assert_eq!(check.path, "/healthz?deep");
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_secs(5), Duration::from_secs(1))
    );
    assert_eq!((check.healthy.get(), check.unhealthy.get()), (2, 3));
    let outlier = upstream.outlier.expect("it is written");
    assert_eq!(outlier.consecutive_failures.get(), 5);
    assert_eq!(outlier.eject_for, Duration::from_secs(30));
    assert_eq!(outlier.max_ejected_percent, 50);
}

#[test]
fn the_spellings_of_a_hash() {
    let balance = |written: &str| {
        let config = valid(&format!(
            "upstreams: {{ hotel: {{ endpoints: [a:1], balance: {written} }} }}"
        ));
        let upstream = config.upstreams.first().expect("one is given");
        upstream.balance.clone()
    };
    let room = HashKey::Header(HeaderName::from_static("x-room"));
    for (written, key) in [
        ("'hash:ip'", HashKey::Ip),
        ("'hash: user'", HashKey::User),
        ("{ hash: ip }", HashKey::Ip),
        ("{ hash: user }", HashKey::User),
        ("{ hash: 'header:X-Room' }", room.clone()),
        ("'hash:header:X-Room'", room),
        (
            "{ hash: 'cookie:Room' }",
            HashKey::Cookie("Room".to_owned()),
        ),
    ] {
        assert_eq!(balance(written), Balance::Hash(key), "{written}");
    }
}

#[test]
fn circuit_breakers() {
    let config = valid("");
    let breaker = &config
        .upstreams
        .first()
        .expect("one is given")
        .circuit_breaker;
    assert_eq!(breaker.consecutive_failures.get(), 5);
    assert_eq!(breaker.open_for, Duration::from_secs(60));
    assert_eq!(
        (breaker.half_open_requests.get(), breaker.close_after.get()),
        (1, 1)
    );
    assert!(
        breaker.failure_rate.is_none() && breaker.slow_calls.is_none(),
        "absent unless written"
    );
}

#[test]
fn a_burst_is_the_limit_unless_written() {
    let config = valid("rate_limits: { a: { key: ip, limit: 60/1m } }");
    let limit = config.rate_limits.first().expect("one is written");
    assert_eq!(limit.burst.get(), 60);
    assert_eq!(limit.ipv6_prefix, 64);
}

#[test]
fn routes() {
    let config = valid("");
    let route = config.routes.first().expect("one is given");
    assert_eq!(route.audit, AuditLevel::Refusals);
    assert_eq!(route.rewrite, Rewrite::default());
    assert_eq!(
        route.forward.user,
        Some(HeaderName::from_static("x-user-id"))
    );
    assert_eq!(
        route.forward.roles,
        Some(HeaderName::from_static("x-user-roles"))
    );
    assert_eq!(
        route.forward.scopes,
        Some(HeaderName::from_static("x-user-scopes"))
    );
    assert!(!route.forward.token);
    assert!(
        route.timeout.is_none() && route.body.is_none(),
        "the upstream's and the server's count"
    );
}

#[test]
fn issuers() {
    let config = valid(
        "issuers: [{ name: corp, issuer: corp, audiences: [hotel], public_key_file: corp.pem, algorithms: [RS256] }]",
    );
    let issuer = config.issuers.first().expect("one is written");
    assert_eq!(issuer.types.last(), Some(&TokenType::Absent));
    assert_eq!(issuer.clock_skew, Duration::from_secs(5));
    assert_eq!(issuer.max_token_lifetime, Duration::from_secs(86_400));
    assert_eq!(issuer.token_cache, 100_000);
    assert_eq!(
        (issuer.claims.resource.as_str(), issuer.claims.user.as_str()),
        ("aud", "sub")
    );
}

#[test]
fn a_null_value_is_as_good_as_none() {
    let config =
        valid("server: { threads: null, limits: ~, headers: }\nissuers:\naudit: null\nalerts: []");
    assert_eq!(config.server.threads, Threads::Auto);
    assert!(config.audit, "where auth is, events are kept");
}

#[test]
fn a_null_header_name_tells_the_upstream_nothing() {
    let route = "{ name: r, match: { path: /r }, upstream: hotel, auth: public, forward: { user: X-Caller, roles: null } }";
    let config = valid(&format!("routes: [{route}]"));
    let forward = &config.routes.first().expect("one is written").forward;
    assert_eq!(forward.user, Some(HeaderName::from_static("x-caller")));
    assert_eq!(forward.roles, None);
    assert!(
        forward.scopes.is_some(),
        "only the one that was switched off"
    );
}

#[test]
fn a_sidecar_without_auth_and_audit_needs_no_database() {
    let text = "version: 1\nupstreams: { a: { endpoints: [unix:/run/a.sock] } }\n\
                routes: [{ name: a, match: { path: /** }, upstream: a, auth: public }]";
    let config = crate::parse(text, "g.yaml", &super::nothing_set)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(!config.needs_database());
}

/// Written out, as people copy it from the documentation, although nothing is asked for.
#[test]
fn values_that_ask_for_nothing_pass_where_nothing_is_supported_yet() {
    valid(
        r#"
server:
  tracing: { otlp: "${env:OTEL:-}" }
  listeners: [{ address: 127.0.0.1:0, tls: null }]
storage: { redis: null }
auth: { sessions: database, providers: [], mail: null, resources: { hotel: { scopes: [hotel:read] } } }
rate_limits:
  sharing: { mode: local, timeout: 5ms, on_store_failure: local_share, replicas: 1 }
upstreams:
  hotel: { endpoints: [{ address: localhost:9001, weight: 1 }], protocol: http1, health_check: null, tls: null }
routes:
  - name: given
    match: { path: /given, hosts: [] }
    upstream: hotel
    auth: { resource: hotel, tenant: null, fresh: false, optional: false }
    upgrade: none
    cors: null
    headers: { request: { set: {}, remove: [] }, response: {} }
    shadow: []
"#,
    );
}

#[test]
fn limits_are_shared_with_nobody() {
    let config = valid("");
    assert!(config.storage.redis.is_none());
    assert_eq!(config.sharing, Sharing::default());
    let sharing =
        valid("rate_limits: { sharing: { mode: exact } }\nstorage: { redis: 'redis://localhost' }")
            .sharing;
    assert_eq!(sharing.timeout, Duration::from_millis(5));
    assert_eq!(sharing.on_store_failure, OnStoreFailure::LocalShare);
    assert_eq!(sharing.replicas.get(), 1);
}

#[test]
fn addresses_of_redis_are_completed() {
    let redis = |written: &str| {
        let storage = valid(&format!("storage: {{ redis: {written} }}")).storage;
        shown_redis(&storage.redis.expect("an address"))
    };
    assert_eq!(
        redis("'redis://localhost'"),
        "single redis://localhost:6379/0"
    );
    assert_eq!(
        redis("'rediss://me:p%40ss@[::1]:7000/3'"),
        "single rediss://me:p%40ss@[::1]:7000/3"
    );
    assert_eq!(
        redis("['unix:///run/redis.sock']"),
        "single unix:///run/redis.sock"
    );
    assert_eq!(
        redis("['redis+sentinel://:secret@a/main', 'redis+sentinel://:secret@b:7000/main']"),
        "main of redis://:secret@a:26379/0 redis://:secret@b:7000/0"
    );
    assert_eq!(
        redis("['redis+cluster://a', 'rediss+cluster://b:7001/']"),
        "cluster redis://a:6379/0 rediss://b:7001/0"
    );
}
