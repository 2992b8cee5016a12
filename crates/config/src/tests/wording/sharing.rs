//! Mistakes about the store that replicas share, and about what is shared through it.

use insta::assert_snapshot;

use super::{table, wrong};

#[test]
fn sharing() {
    let redis = "storage: { redis: 'redis://localhost' }";
    let with_redis = [
        "rate_limits: { sharing: { mode: global } }",
        "rate_limits: { sharing: { mode: exact, timeout: 0s, on_store_failure: local, replicas: 0 } }",
        "rate_limits: { sharing: { mode: exact, timeout: 1m, replicas: 99999 } }",
    ];
    let with_redis = with_redis.map(|case| format!("{case}\n{redis}"));
    let mut cases = vec![
        "rate_limits: { sharing: { mode: exact, replicas: 3 } }",
        "rate_limits: { sharing: { mode: local, timeout: 9ms, on_store_failure: deny, replicas: 2 } }",
        "rate_limits: { sharing: [exact] }",
    ];
    cases.extend(with_redis.iter().map(String::as_str));
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:33: rate_limits.sharing.mode: needs a store that all replicas reach: name it in `storage.redis`
    g.yaml:2:49: rate_limits.sharing.timeout: means nothing unless limits are shared: write `mode: exact` or `mode: leased`
    g.yaml:2:72: rate_limits.sharing.on_store_failure: means nothing unless limits are shared: write `mode: exact` or `mode: leased`
    g.yaml:2:88: rate_limits.sharing.replicas: means nothing unless limits are shared: write `mode: exact` or `mode: leased`
    g.yaml:2:25: rate_limits.sharing: must be a section with keys: write `key: value` lines below it
    g.yaml:2:33: rate_limits.sharing.mode: `global` is not a mode, and `sharing` is reserved for how limits are shared: write local, exact or leased
    g.yaml:2:49: rate_limits.sharing.timeout: `0s` is out of range: write 1ms to 10s
    g.yaml:2:71: rate_limits.sharing.on_store_failure: `local` is not known here: write local_share, allow or deny
    g.yaml:2:88: rate_limits.sharing.replicas: `0` must be a whole number, from 1 to 10000
    g.yaml:2:49: rate_limits.sharing.timeout: `1m` is out of range: write 1ms to 10s
    g.yaml:2:63: rate_limits.sharing.replicas: `99999` must be a whole number, from 1 to 10000
    "#);
}

#[test]
fn redis() {
    let urls = [
        "localhost:6379",
        "'http://localhost'",
        "'redis://'",
        "'redis://localhost:0'",
        "'redis://localhost/first'",
        "'redis://localhost/#insecure'",
        "'redis+proxy://localhost'",
        "'unix://redis.sock'",
        "[]",
        "['redis://a', 'redis://b']",
        "['redis+cluster://a', 'redis+sentinel://b/m']",
        "['redis+cluster://a/1']",
        "['redis+sentinel://a']",
        "['redis+sentinel://a/m', 'redis+sentinel://b/n']",
        "{ host: localhost }",
    ];
    let cases = urls.map(|url| format!("storage: {{ redis: {url} }}"));
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    assert_snapshot!(table(&cases), @r#"
    g.yaml:2:19: storage.redis: is no address of Redis: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: is no address of Redis: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: is no address of Redis: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: is no address of Redis: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: names a database that is no number from 0 to 255
    g.yaml:2:19: storage.redis: has a `?` or `#`: there is nothing to set behind the address
    g.yaml:2:19: storage.redis: is no address of Redis: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: names no socket: write unix:///run/redis.sock
    g.yaml:2:19: storage.redis: names no server: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    g.yaml:2:19: storage.redis: does not say what these servers are to each other: write redis+sentinel://host:26379/master for each Sentinel, or redis+cluster://host:6379 for each node of a Cluster
    g.yaml:2:19: storage.redis: does not say what these servers are to each other: write redis+sentinel://host:26379/master for each Sentinel, or redis+cluster://host:6379 for each node of a Cluster
    g.yaml:2:20: storage.redis[0]: names a database, and a Cluster has none: end it after the port
    g.yaml:2:20: storage.redis[0]: names no master: write redis+sentinel://host:26379/mymaster
    g.yaml:2:19: storage.redis: names several masters: all Sentinels of the list must watch the same one
    g.yaml:2:19: storage.redis: must be a list: write [a, b], or one `- ` line for each
    g.yaml:2:19: storage.redis: names no server: write redis://host:6379, rediss://host:6379, unix:///run/redis.sock, or a list of redis+sentinel://host:26379/master or of redis+cluster://host:6379
    "#);
}

#[test]
fn a_password_in_an_address_of_redis_is_not_shown() {
    let mistakes = wrong("storage: { redis: 'redis://me:hunter2@localhost/first' }");
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
}
