//! Tokens from other issuers: keys that are fetched outlive rotation and outage, and nobody waits for an identity
//! provider's bad day.

use std::{fs, thread, time::Duration};

use portcullis_harness::{
    certificates::{Authority, Certified},
    client::Request,
    jose::{Es256, Hs256, Signer},
    ports::free_port,
    secured_upstream::{Reply, SecuredUpstream},
    upstream::{Reaction, Upstream},
    wait::{self, Deadline, PATIENCE},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    issuer_stage::{
        Key, Stage, cached_document, claims, document, entry, key_set, url, wait_for_keys,
    },
    stage,
};

fn issuer_with(keys: &[&Key]) -> Upstream {
    let issuer = Upstream::start().unwrap();
    issuer.reacts_with(document(&key_set(keys)));
    issuer
}

/// As long as a token of a key that is new waits for its issuer's answer, and no longer.
const MOMENT: Duration = Duration::from_millis(500);

const INVALID: (u16, &str) = (401, "invalid-token");
const UNAVAILABLE: (u16, &str) = (503, "keys-unavailable");

fn check(stage: &Stage, token: &str, wanted: (u16, &str), why: &str) {
    let (status, code) = stage.answer(token);
    assert_eq!((status, code.as_str()), wanted, "{why}");
}

#[test]
fn a_rotation_in_the_middle_of_traffic_fails_no_request() {
    let (old, new) = (Key::generate("old"), Key::generate("new"));
    let issuer = issuer_with(&[&old]);
    let stage = Stage::of(&issuer);
    let (name, before) = (url(&issuer), issuer.count());
    let ask = |key: &Key, worker: usize, count: usize| {
        let token = key.token(&name, &format!("user-{worker}-{count}"));
        check(
            &stage,
            &token,
            (200, ""),
            &format!("{} of {worker}, number {count}", key.id),
        );
    };
    // Where the machine stalls for longer than anybody may wait, whoever asked comes again.
    let ask_first = |key: &Key, worker: usize| {
        let token = key.token(&name, &format!("first-{worker}"));
        let (answer, took) = wait::timed(|| stage.answer(&token));
        assert!(
            answer.0 == 200 || took >= MOMENT,
            "{answer:?} after {took:?}"
        );
        stage.wait_until_it_passes(&token);
    };
    thread::scope(|scope| {
        for worker in 0..4 {
            let (ask, ask_first) = (&ask, &ask_first);
            let (old, new, issuer) = (&old, &new, &issuer);
            scope.spawn(move || {
                (0..50).for_each(|count| ask(old, worker, count));
                // What an issuer must do: announce the new key before it signs with it.
                issuer.reacts_with(document(&key_set(&[old, new])));
                ask_first(new, worker);
                (0..50).for_each(|count| ask(new, worker, count));
                (50..70).for_each(|count| ask(old, worker, count));
            });
        }
    });
    assert_eq!(
        issuer.count(),
        before + 1,
        "one question for the new key, by whoever came first"
    );
}

#[test]
fn a_key_that_is_withdrawn_ends_its_tokens_even_remembered_ones() {
    let (old, new) = (Key::generate("old"), Key::generate("new"));
    let issuer = Upstream::start().unwrap();
    issuer.reacts_with(cached_document(&key_set(&[&old]), "no-cache"));
    let stage = Stage::of(&issuer);
    let token = old.token(&url(&issuer), "alice");
    stage.passes(&token);
    issuer.reacts_with(document(&key_set(&[&new])));
    let refused = wait::until("the next question in the background", PATIENCE, || {
        let (status, code) = stage.answer(&token);
        (status != 200).then_some((status, code))
    });
    assert_eq!(refused.unwrap(), (401, "invalid-token".to_owned()));
    stage.passes(&new.token(&url(&issuer), "alice"));
}

#[test]
fn tokens_pass_while_their_issuer_is_away_and_the_age_of_its_keys_tells() {
    let key = Key::generate("one");
    let issuer = Upstream::start().unwrap();
    issuer.reacts_with(cached_document(&key_set(&[&key]), "max-age=1"));
    let stage = Stage::of(&issuer);
    issuer.reacts_with(Reaction::reset());
    stage.wait_for_log("the keys of an issuer cannot be renewed");
    let before = stage.key_age("one");
    stage.passes(&key.token(&url(&issuer), "alice"));
    let unknown = Key::generate("unknown").token(&url(&issuer), "eve");
    check(
        &stage,
        &unknown,
        INVALID,
        "no key is missing that anybody knows of",
    );
    wait::until("older keys", PATIENCE, || {
        (stage.key_age("one") > before + 1.0).then_some(())
    })
    .unwrap();
    stage.passes(&key.token(&url(&issuer), "bob"));

    // Had again and again, so that they are young at some look at them.
    issuer.reacts_with(cached_document(&key_set(&[&key]), "max-age=1"));
    wait::until("young keys", PATIENCE, || {
        (stage.key_age("one") < before).then_some(())
    })
    .unwrap();
    stage.wait_for_log("the keys of an issuer are renewed again");
}

#[test]
fn an_issuer_that_is_absent_from_the_start_answers_503_until_it_comes() {
    let (key, port) = (Key::generate("one"), free_port().unwrap());
    let name = format!("http://127.0.0.1:{port}");
    let stage = Stage::build(&entry("one", &name, &format!("jwks_url: {name}/jwks")));
    assert_eq!(
        stage.gateway.readiness(),
        Some(200),
        "others need not wait for it"
    );
    let token = key.token(&name, "alice");
    for _ in 0..5 {
        check(
            &stage,
            &token,
            UNAVAILABLE,
            "never 401: the token may be good",
        );
    }
    let expired = key.sign(&json!({"iss": name, "sub": "a", "aud": "hotel", "exp": 1}));
    check(&stage, &expired, UNAVAILABLE, "nothing of it is believed");
    let verified = |outcome| {
        let labels = [("issuer", "one"), ("outcome", outcome)];
        let metrics = stage.gateway.metrics().unwrap();
        metrics.sum("portcullis_token_verifications_total", &labels)
    };
    assert_eq!(
        (verified("keys_unavailable"), verified("valid")),
        (6.0, 0.0)
    );

    let issuer = Upstream::start_at(port).unwrap();
    issuer.reacts_with(document(&key_set(&[&key])));
    stage.wait_until_it_passes(&token);
    assert!(verified("valid") >= 1.0);
}

#[test]
fn a_flood_of_unknown_keys_neither_floods_the_issuer_nor_delays_anybody() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let stage = Stage::of(&issuer);
    let (name, before) = (url(&issuer), issuer.count());
    let watch = Deadline::within(PATIENCE);
    let mut client = stage.gateway.client();
    let mut ask = |token: &str| {
        let request = Request::get("/hotel/x").bearer(token);
        client.send(&request).unwrap().status
    };
    let forger = Es256::generate().unwrap();
    for number in 0..1000 {
        let header = json!({"alg": "ES256", "kid": format!("random-{number}")});
        let token = forger.sign(&header, &claims(&name, "eve")).unwrap();
        assert_eq!(ask(&token.to_string()), 401);
        if number % 10 == 0 {
            assert_eq!(ask(&key.token(&name, &format!("user-{number}"))), 200);
        }
    }
    let cool_downs = usize::try_from(watch.elapsed().as_secs() / 10).unwrap();
    let asked = issuer.count() - before;
    assert!(asked <= 1 + cool_downs, "{asked} questions for 1,000 names");
}

#[test]
fn an_issuer_that_hangs_delays_no_token_of_a_known_key_and_others_for_a_moment() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let stage = Stage::of(&issuer);
    issuer.reacts_with(Reaction::hang());
    let question = Duration::from_secs(5);
    // A machine that stalls may spoil one measurement. In between nobody is asked, so that nobody has to wait.
    let short = wait::until("a question to the issuer", 3 * PATIENCE, || {
        let (asked, unknown) = (issuer.count(), Key::generate("unknown"));
        let token = unknown.token(&url(&issuer), "eve");
        let (answer, took) = wait::timed(|| stage.answer(&token));
        assert_eq!(answer, (401, "invalid-token".to_owned()));
        (issuer.count() > asked && took < question).then_some(())
    });
    assert!(short.is_ok(), "whoever asks waits for the whole question");
    for number in 0..100 {
        stage.passes(&key.token(&url(&issuer), &format!("user-{number}")));
    }
    stage.wait_for_log("no answer within 5s");
}

#[test]
fn whatever_an_issuer_answers_instead_of_keys_leaves_the_good_ones_in_force() {
    let key = Key::generate("one");
    let elsewhere = issuer_with(&[&Key::generate("elsewhere")]);
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}/jwks\r\ncontent-length: 0\r\n\r\n",
        url(&elsewhere)
    );
    let bad = [
        ("a", document("<html>"), "is not a JSON object"),
        ("b", document(&huge), "answered with more than 262144 bytes"),
        ("c", Reaction::send(redirect), "answered with status 302"),
        ("d", Reaction::answer(500, "no"), "answered with status 500"),
        ("e", document(r#"{"keys":[]}"#), "no key that could be used"),
        (
            "f",
            Reaction::send("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{").then_close(),
            "broke off",
        ),
        (
            "g",
            Reaction::send("not HTTP at all\r\n\r\n").then_close(),
            "cannot be reached",
        ),
    ];
    let issuers = bad.map(|(name, reaction, cause)| {
        let issuer = issuer_with(&[&key]);
        issuer.reacts_with(reaction);
        (name, issuer, cause)
    });
    let entries = issuers.iter().map(|(name, issuer, _)| {
        let address = url(issuer);
        entry(name, &address, &format!("jwks_url: {address}/jwks"))
    });
    let entries = entries.collect::<String>()
        + &entry("one", "https://one", "jwks_url: https://one.invalid/jwks");
    let stage = Stage::build(&entries);
    for (name, issuer, cause) in &issuers {
        check(&stage, &key.token(&url(issuer), "alice"), UNAVAILABLE, name);
        stage.wait_for_log(cause);
    }
    assert_eq!(elsewhere.count(), 0, "nobody is sent elsewhere");
    for (_, issuer, _) in &issuers {
        let bad = Reaction::answer(500, "no");
        issuer.reacts_with(document(&key_set(&[&key])));
        stage.wait_until_it_passes(&key.token(&url(issuer), "alice"));
        issuer.reacts_with(bad);
        let unknown = Key::generate("unknown").token(&url(issuer), "eve");
        check(
            &stage,
            &unknown,
            INVALID,
            "the issuer is asked and has no answer",
        );
        stage.passes(&key.token(&url(issuer), "bob"));
    }
}

#[test]
fn an_issuer_tells_by_itself_where_its_keys_are() {
    let key = Key::generate("one");
    let serve = |path: &'static str, named: fn(&str) -> String| {
        let issuer = Upstream::start().unwrap();
        let (address, keys) = (url(&issuer), key_set(&[&key]));
        let metadata = json!({"issuer": named(&address), "jwks_uri": format!("{address}/k")});
        issuer.decides(move |head| match head.first_line.split(' ').nth(1) {
            Some("/k") => document(&keys),
            Some(asked) if asked == path => document(&metadata.to_string()),
            _ => Reaction::answer(404, "no"),
        });
        issuer
    };
    let same = |address: &str| format!("{address}/realm");
    let one = serve("/realm/.well-known/openid-configuration", same);
    let two = serve("/.well-known/oauth-authorization-server/realm", same);
    let liar = serve("/realm/.well-known/openid-configuration", |address| {
        format!("{address}/realm/")
    });
    let discovered =
        |name: &str, issuer: &Upstream| entry(name, &same(&url(issuer)), "discovery: true");
    let stage = Stage::build(
        &[
            discovered("one", &one),
            discovered("two", &two),
            discovered("liar", &liar),
        ]
        .concat(),
    );
    for issuer in [&one, &two] {
        stage.wait_until_it_passes(&key.token(&same(&url(issuer)), "alice"));
    }
    stage.wait_for_log("its metadata is that of another issuer");
    check(
        &stage,
        &key.token(&same(&url(&liar)), "alice"),
        UNAVAILABLE,
        "another issuer's word",
    );
    assert!(
        liar.take_received()
            .iter()
            .all(|asked| asked.target() != "/k")
    );
}

#[test]
fn issuers_share_a_route_and_nothing_else() {
    let (one, two, three) = (Key::generate("k"), Key::generate("k"), Key::generate("k"));
    let issuer = issuer_with(&[&one]);
    let (pem, file) = (two.signer.public_pem(), key_set(&[&three]));
    let name = url(&issuer);
    let stage = Stage::build_with(|places| {
        fs::write(places.directory.join("two.pem"), &pem).unwrap();
        fs::write(places.directory.join("three.json"), &file).unwrap();
        [
            entry("one", &name, &format!("jwks_url: {name}/jwks")),
            entry("two", "https://two.example", "public_key_file: two.pem"),
            entry("three", "three", "jwks_file: three.json"),
        ]
        .concat()
    });
    stage.wait_for_keys("one");
    let issuers = [
        ("one", name.as_str(), &one),
        ("two", "https://two.example", &two),
        ("three", "three", &three),
    ];
    for (ours, theirs, key) in issuers {
        stage.upstream.take_received();
        stage.passes(&key.token(theirs, "alice"));
        let received = stage.upstream.take_received();
        let identity =
            ["x-user-id", "x-user-roles", "x-user-scopes"].map(|field| received[0].field(field));
        let user = format!("{ours}:alice");
        assert_eq!(
            identity,
            [Some(user.as_str()), Some("staff"), Some("hotel:read")]
        );
        assert_eq!(received[0].field("authorization"), None);
        for (_, other, _) in issuers.iter().filter(|(other, ..)| *other != ours) {
            check(
                &stage,
                &key.token(other, "alice"),
                INVALID,
                "signed by another issuer",
            );
        }
        let allowed = stage.ask("/one/x", &key.token(theirs, "alice"));
        let wanted = if ours == "one" {
            (200, "")
        } else {
            (403, "insufficient-scope")
        };
        assert_eq!((allowed.status, allowed.code().as_str()), wanted, "{ours}");
    }
    check(
        &stage,
        &one.token("https://nobody.example", "alice"),
        INVALID,
        "an issuer nobody knows",
    );
}

#[test]
fn on_an_optional_route_a_token_is_no_duty_but_must_be_good() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let stage = Stage::of(&issuer);
    let ask = |request: Request| {
        stage.upstream.take_received();
        let answer = stage.gateway.client().send(&request).unwrap();
        let user = stage
            .upstream
            .take_received()
            .pop()
            .map(|received| received.field("x-user-id").map(str::to_owned));
        (answer.status, answer.code(), user)
    };
    let path = "/optional/x";
    let nobody = Request::get(path).with("X-User-Id", "admin");
    for _ in 0..5 {
        assert_eq!(
            ask(nobody.clone()),
            (200, String::new(), Some(None)),
            "without an identity"
        );
    }
    assert_eq!(
        ask(nobody),
        (429, "rate-limited".to_owned(), None),
        "by its address"
    );
    let alice = Request::get(path).bearer(&key.token(&url(&issuer), "alice"));
    assert_eq!(
        ask(alice),
        (200, String::new(), Some(Some("one:alice".to_owned()))),
        "by her name"
    );
    let mut other = claims(&url(&issuer), "alice");
    other["aud"] = json!("event");
    let bad = [
        (Request::get(path).bearer("a.b.c"), 401, "invalid-token"),
        (
            Request::get(path).bearer(&key.sign(&other)),
            401,
            "invalid-token",
        ),
        (
            Request::get(path).with("Authorization", "Basic YTpi"),
            401,
            "authentication-required",
        ),
        (
            Request::get(path).with("Authorization", "Bearer"),
            400,
            "malformed-request",
        ),
        (
            Request::get(path).with("Authorization", ""),
            401,
            "authentication-required",
        ),
    ];
    for (request, status, code) in bad {
        assert_eq!(ask(request), (status, code.to_owned(), None), "{code}");
    }
}

#[test]
fn a_foreign_token_never_opens_the_gateways_own_administration() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let name = url(&issuer);
    let gateway = stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth: {{ resources: {{ hotel: {{ scopes: [hotel:read] }} }} }}
issuers:
  - {{ name: one, issuer: \"{name}\", audiences: [hotel, portcullis], algorithms: [ES256], jwks_url: \"{name}/jwks\" }}
upstreams:
  hotel: {{ endpoints: [127.0.0.1:9] }}
routes:
  - {{ name: ours, match: {{ path: /ours/** }}, upstream: hotel, auth: {{ resource: portcullis }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
"
        )
    });
    wait_for_keys(&gateway, "one");
    let mut bad = claims(&name, "admin");
    for audience in [json!("portcullis"), json!(["portcullis", "hotel"])] {
        bad["aud"] = audience;
        bad["scope"] = json!("users:read users:write");
        bad["roles"] = json!(["admin"]);
        for path in ["/ours/x", "/v1/admin/users"] {
            let request = Request::get(path).bearer(&key.sign(&bad));
            let answer = gateway.client().send(&request).unwrap();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                INVALID,
                "{path} {bad}"
            );
        }
    }
}

#[test]
fn a_published_key_does_not_serve_as_a_secret() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let stage = Stage::of(&issuer);
    let before = issuer.count();
    let secrets = [
        key.signer.public_pem().into_bytes(),
        key.signer.public_pem().trim_end().as_bytes().to_vec(),
        key.signer.public_der(),
        key.jwk().to_string().into_bytes(),
        key_set(&[&key]).into_bytes(),
        Vec::new(),
    ];
    for secret in secrets {
        for header in [
            json!({"alg": "HS256", "kid": "one"}),
            json!({"alg": "HS256"}),
            json!({"alg": "ES256", "kid": "one"}),
        ] {
            let claims = claims(&url(&issuer), "eve");
            let token = Hs256(secret.clone())
                .sign(&header, &claims)
                .unwrap()
                .to_string();
            check(&stage, &token, INVALID, &header.to_string());
        }
    }
    assert_eq!(issuer.count(), before, "and nobody is asked for anything");
}

#[test]
fn a_key_set_in_a_file_is_read_again_when_it_changes() {
    let (old, new) = (Key::generate("old"), Key::generate("new"));
    let stage = Stage::build_with(|places| {
        // As a Kubernetes volume has it: the name is a link to what is replaced as a whole.
        let directory = &places.directory;
        fs::write(directory.join("keys.1"), key_set(&[&old])).unwrap();
        std::os::unix::fs::symlink("keys.1", directory.join("keys.json")).unwrap();
        entry("one", "one", "jwks_file: keys.json")
    });
    let (path, next) = (
        stage.gateway.house().path("keys.json"),
        stage.gateway.house().path("keys.next"),
    );
    stage.passes(&old.token("one", "alice"));
    fs::write(stage.gateway.house().path("keys.1"), "{ half a fi").unwrap();
    stage.wait_for_log("cannot be renewed");
    stage.passes(&old.token("one", "bob"));
    fs::write(stage.gateway.house().path("keys.2"), key_set(&[&new])).unwrap();
    std::os::unix::fs::symlink("keys.2", &next).unwrap();
    fs::rename(&next, &path).unwrap();
    stage.wait_until_it_passes(&new.token("one", "alice"));
    check(
        &stage,
        &old.token("one", "alice"),
        INVALID,
        "what was withdrawn",
    );
}

#[test]
fn a_key_file_that_cannot_be_used_stops_the_start() {
    for (content, wanted) in [
        (None, "cannot read the file"),
        (Some("{}"), "is not a JSON object with a list `keys`"),
    ] {
        let house = stage::build(|places| {
            if let Some(content) = content {
                fs::write(places.directory.join("keys.json"), content).unwrap();
            }
            let entry = entry("one", "one", "jwks_file: keys.json");
            crate::issuer_stage::configuration(places, "127.0.0.1:9".parse().unwrap(), &entry)
        });
        let ended = house.command(&["run"]).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(wanted), "{said}");
        assert!(said.contains("issuers: one"), "{said}");
    }
}

#[test]
fn a_reload_goes_on_with_the_keys_that_are_there() {
    let key = Key::generate("one");
    let issuer = issuer_with(&[&key]);
    let stage = Stage::of(&issuer);
    let (name, before) = (url(&issuer), issuer.count());
    issuer.reacts_with(Reaction::hang());
    let path = stage.gateway.house().path("gateway.yaml");
    let more = entry(
        "two",
        "https://two.example",
        "jwks_url: https://two.invalid/jwks",
    );
    let changed =
        fs::read_to_string(&path)
            .unwrap()
            .replacen("issuers:\n", &format!("issuers:\n{more}"), 1);
    fs::write(&path, changed).unwrap();
    stage.gateway.signal(Signal::HUP).unwrap();
    let applied = || {
        stage.passes(&key.token(&name, "alice"));
        let status = stage.gateway.ask_admin("/status").unwrap().json();
        let issuers = status["issuers"].as_array().unwrap().len();
        (issuers == 2).then_some(status)
    };
    let status = wait::until("the next configuration", PATIENCE, applied).unwrap();
    stage.passes(&key.token(&name, "bob"));
    assert_eq!(issuer.count(), before, "not asked anew");
    let keys = |at: usize| status["issuers"][at]["keys"]["count"].as_u64();
    assert_eq!((keys(0), keys(1)), (Some(0), Some(1)));
    let two = Key::generate("two").token("https://two.example", "eve");
    check(&stage, &two, UNAVAILABLE, "the new one is not to be had");
}

#[test]
fn keys_come_over_tls_from_whom_the_trusted_authorities_name() {
    let key = Key::generate("one");
    let (trusted, other) = (
        Authority::new("trusted").unwrap(),
        Authority::new("other").unwrap(),
    );
    let serve = |certified: &Certified| {
        let config = certified.tls_server(&["h2", "http/1.1"], None).unwrap();
        let server = SecuredUpstream::over_tls(config).unwrap();
        let body = key_set(&[&key]);
        server.decides(move |_| Reply {
            body: body.clone().into(),
            ..Reply::ok()
        });
        server
    };
    let names = ["localhost", "127.0.0.1"];
    let servers = [
        ("one", serve(&trusted.server(&names).unwrap())),
        ("impostor", serve(&other.server(&names).unwrap())),
        (
            "namesake",
            serve(&trusted.server(&["login.example"]).unwrap()),
        ),
        ("late", serve(&trusted.expired_server(&names).unwrap())),
    ];
    let iss = |server: &SecuredUpstream| format!("https://127.0.0.1:{}", server.address().port());
    let entries = servers.iter().map(|(name, server)| {
        let address = iss(server);
        entry(name, &address, &format!("jwks_url: {address}/jwks"))
    });
    let stage = Stage::trusting(trusted.certificate(), &entries.collect::<String>());
    let [(_, good), bad @ ..] = &servers;
    stage.wait_until_it_passes(&key.token(&iss(good), "alice"));
    for (name, server) in bad {
        check(&stage, &key.token(&iss(server), "alice"), UNAVAILABLE, name);
        assert_eq!(server.count(), 0, "{name} was not even asked");
    }
}
