//! A gateway that only decides: made from a configuration, asked without a socket, and measured by what a decision takes.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use portcullis_audit::{Desk, DeskLimits};
use portcullis_config::{Config, units::Timestamp};
use portcullis_policy::{
    clock::Moment,
    limits::{DEFAULT_KEYS, Limiter},
};
use portcullis_proxy::{Parts, Rehearsal, RehearsedRequest};
use portcullis_tokens::{IssuerSpec, KeySet, Revocations, SigningKey, Verifier, VerifierParts};
use prometheus::Registry;

use crate::ISSUER;

/// Requests made and then measured together: few enough that they lie in the nearest caches, as one that was just read
/// from a socket does.
const CHUNK: usize = 64;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// # Panics
/// Where the bench's own text is wrong.
pub fn config(text: &str) -> Config {
    portcullis_config::parse(text, "bench.yaml", &|_| Err(String::from("no secrets")))
        .expect("the bench's configuration is valid")
}

/// Takes the tokens of `key`, and remembers a hundred thousand of them.
///
/// # Panics
/// Never: there is one issuer with one key.
pub fn verifier(key: &SigningKey) -> Verifier {
    let keys = KeySet::new([key.verification_key()]).expect("one key");
    let lifetime = Duration::from_secs(3600);
    let issuer = IssuerSpec::local(ISSUER, [String::from("hotel")], lifetime, keys);
    Verifier::new(VerifierParts {
        issuers: vec![issuer],
        cache_entries: 100_000,
        cache_bytes: 100 << 20,
        revocations: Arc::new(Revocations::new()),
    })
    .expect("one issuer")
}

/// # Panics
/// Where the gateway cannot be made, which needs nothing of the machine.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn rehearsal(config: &Config, key: &SigningKey) -> Rehearsal {
    let started = Instant::now();
    Rehearsal::new(Parts {
        config,
        limiter: Arc::new(Limiter::new((1, 2), DEFAULT_KEYS)),
        shared_limits: None,
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

/// As a client sends it, with a bearer token if there is one.
///
/// # Panics
/// Where the path is none.
pub fn request(path: &str, token: Option<&str>) -> RehearsedRequest {
    let request = http::Request::get(path)
        .header("host", "gateway.test")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*");
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    RehearsedRequest::from(request.body(()).expect("a request").into_parts().0)
}

/// The verdict. Admission from memory has nothing to wait for: that it is done at the first look is part of what is
/// measured.
///
/// # Panics
/// Where it waits nevertheless.
pub fn admit(gateway: &Rehearsal, request: &RehearsedRequest) -> Result<(), &'static str> {
    let looked = pin!(gateway.admit(request, CLIENT)).poll(&mut Context::from_waker(Waker::noop()));
    let done = match looked {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    };
    done.expect("admission from memory does not wait")
}

/// How long it takes to admit the next `count` requests. Making them is not counted.
///
/// # Panics
/// Where one of them is refused.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn time_of_admitting(
    gateway: &Rehearsal,
    mut next: impl FnMut() -> RehearsedRequest,
    count: u64,
) -> Duration {
    let (mut took, mut left) = (Duration::ZERO, usize::try_from(count).unwrap_or(usize::MAX));
    while left > 0 {
        let chunk: Vec<_> = (0..left.min(CHUNK)).map(|_| next()).collect();
        let began = Instant::now();
        let admitted = chunk.iter().all(|request| admit(gateway, request).is_ok());
        took += began.elapsed();
        assert!(admitted, "a request of the bench was refused");
        left -= chunk.len();
    }
    took
}
