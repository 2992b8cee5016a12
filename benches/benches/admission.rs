//! What admission costs by itself: the real checks in the real order, without a socket; and a token never seen before.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis_audit::{Desk, DeskLimits};
use portcullis_benches::{Headers, ISSUER, Places, signing_key, token, whole_policy};
use portcullis_config::units::Timestamp;
use portcullis_policy::{clock::Moment, limits::Limiter};
use portcullis_proxy::{Parts, Rehearsal, RehearsedRequest};
use portcullis_tokens::{
    IssuerSpec, KeySet, Revocations, SigningAlgorithm, SigningKey, Verifier, VerifierParts,
};
use prometheus::Registry;

const CALLERS: usize = 1000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn verifier(key: &SigningKey) -> Verifier {
    let keys = KeySet::new([key.verification_key()]).expect("one key");
    let lifetime = Duration::from_secs(3600);
    let issuer = IssuerSpec::local(ISSUER, [String::from("hotel")], lifetime, keys);
    Verifier::new(VerifierParts {
        issuers: vec![issuer],
        cache_entries: 100_000,
        cache_bytes: 64 << 20,
        revocations: Arc::new(Revocations::new()),
    })
    .expect("one issuer")
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn rehearsal(key: &SigningKey) -> Rehearsal {
    let places = Places {
        listen: "127.0.0.1:1",
        admin: "127.0.0.1:2",
        upstream: "127.0.0.1:3",
        database: "unused.db",
    };
    let text = whole_policy(Headers::Full, &places);
    let config =
        portcullis_config::parse(&text, "bench.yaml", &|_| Err(String::from("no secrets")))
            .expect("the bench's configuration is valid");
    let started = Instant::now();
    Rehearsal::new(Parts {
        config: &config,
        limiter: Arc::new(Limiter::new((1, 2), 100_000)),
        verifier: Arc::new(verifier(key)),
        desk: Arc::new(Desk::new(DeskLimits::default())),
        registry: &Registry::new(),
        auth_socket: None,
        clock: Arc::new(move || Moment {
            since_start: started.elapsed(),
            wall: Timestamp::from_millis(u64::try_from(now().as_millis()).unwrap_or(u64::MAX)),
        }),
        spans: None,
        seed: [3, 4],
    })
    .expect("a gateway")
}

fn request(token: Option<&str>) -> RehearsedRequest {
    let request = http::Request::get("/hotel-db/rooms/7?floor=2")
        .header("host", "gateway.test")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*");
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    RehearsedRequest::from(request.body(()).expect("a request").into_parts().0)
}

/// Admission from memory has nothing to wait for: that it is done at the first look is part of what is measured.
fn at_once<T>(admission: impl Future<Output = T>) -> T {
    let looked = pin!(admission).poll(&mut Context::from_waker(Waker::noop()));
    let done = match looked {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    };
    done.expect("admission from memory does not wait")
}

fn admission(criterion: &mut Criterion) {
    let key = signing_key().expect("a key");
    let gateway = rehearsal(&key);
    let tokens = (0..CALLERS).map(|caller| token(&key, caller, now()).expect("a token"));
    let requests: Vec<_> = tokens.map(|token| request(Some(&token))).collect();
    for request in &requests {
        at_once(gateway.admit(request, CLIENT))
            .expect("every caller is admitted once, and then known");
    }
    let mut turn = requests.iter().cycle();
    criterion.bench_function(
        "admission: whole policy, known tokens of 1000 callers",
        |bench| {
            bench.iter(|| {
                at_once(gateway.admit(black_box(turn.next().expect("it cycles")), CLIENT))
            });
        },
    );
    let anonymous = request(None);
    assert_eq!(
        at_once(gateway.admit(&anonymous, CLIENT)),
        Err("authentication-required")
    );
    criterion.bench_function("admission: refused without a token", |bench| {
        bench.iter(|| at_once(gateway.admit(black_box(&anonymous), CLIENT)));
    });
}

fn cold_token(criterion: &mut Criterion) {
    let key = SigningKey::generate(SigningAlgorithm::Es256).expect("a key");
    let text = token(&key, 0, now()).expect("a token");
    let at = Timestamp::from_secs(now().as_secs());
    criterion.bench_function("verification: an ES256 token never seen before", |bench| {
        let fresh = || verifier(&key);
        bench.iter_batched(
            fresh,
            |verifier| verifier.verify(black_box(&text), at),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, admission, cold_token);
criterion_main!(benches);
