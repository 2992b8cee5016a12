//! What admission costs by itself: the real checks in the real order, without a socket; and a token never seen before.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis_benches::{
    Headers, Places,
    rehearsed::{admit, config, now, rehearsal, request, verifier},
    signing_key, token, whole_policy,
};
use portcullis_config::units::Timestamp;
use portcullis_tokens::{SigningAlgorithm, SigningKey};

const CALLERS: usize = 1000;
const PATH: &str = "/hotel-db/rooms/7?floor=2";

fn admission(criterion: &mut Criterion) {
    let places = Places {
        listen: "127.0.0.1:1",
        admin: "127.0.0.1:2",
        upstream: "127.0.0.1:3",
        database: "unused.db",
    };
    let key = signing_key().expect("a key");
    let gateway = rehearsal(&config(&whole_policy(Headers::Full, &places)), &key);
    let tokens = (0..CALLERS).map(|caller| token(&key, caller, now()).expect("a token"));
    let requests: Vec<_> = tokens.map(|token| request(PATH, Some(&token))).collect();
    for request in &requests {
        admit(&gateway, request).expect("every caller is admitted once, and then known");
    }
    let mut turn = requests.iter().cycle();
    criterion.bench_function(
        "admission: whole policy, known tokens of 1000 callers",
        |bench| {
            bench.iter(|| admit(&gateway, black_box(turn.next().expect("it cycles"))));
        },
    );
    let anonymous = request(PATH, None);
    assert_eq!(admit(&gateway, &anonymous), Err("authentication-required"));
    criterion.bench_function("admission: refused without a token", |bench| {
        bench.iter(|| admit(&gateway, black_box(&anonymous)));
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
