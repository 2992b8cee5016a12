//! What may grow, and what a request must not pay for it: routes, callers, and keys that a limit remembers.
//!
//! Prints what a key of a limit takes, as the growth of the process's resident memory: with the allocator of the real
//! gateway, and with all that growing tables leave behind.

use std::{
    fs,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use http::{HeaderMap, Method};
use mimalloc::MiMalloc;
use portcullis_benches::{
    many_routes,
    rehearsed::{config, now, rehearsal, request, time_of_admitting},
    signing_key, token,
};
use portcullis_config::{
    limits::{KeyPart, RateLimit},
    units::Rate,
};
use portcullis_policy::{
    clock::Moment,
    limits::{Caller, DEFAULT_KEYS, LimitPlan, Limiter, take},
    routing::RouteTable,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const ROUTES: [usize; 3] = [10, 1000, 10_000];
const CALLERS: [usize; 3] = [10, 1000, 50_000];
const KEYS: [usize; 3] = [10, 1000, 1_000_000];

/// Numbers below `count`, each as likely as the others, and never in an order that a cache could guess.
fn scattered(count: u64) -> impl FnMut() -> u64 {
    let mut state = 0u64;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % count
    }
}

/// Which of so many are asked for.
#[derive(Clone, Copy)]
enum Asked {
    /// Ten that lie far apart: what this costs is the work for a request, and must not grow.
    Ten,
    /// All, in no order: this grows by what the processor's caches cannot hold.
    Any,
}

const BOTH: [Asked; 2] = [Asked::Ten, Asked::Any];

impl Asked {
    fn of(self, what: &str, count: usize) -> (BenchmarkId, impl FnMut() -> usize) {
        let (which, step) = match self {
            Self::Ten => ("ten", count.div_ceil(10)),
            Self::Any => ("any", 1),
        };
        let range = count.div_ceil(step);
        let mut next = scattered(u64::try_from(range).unwrap_or(u64::MAX));
        let id = BenchmarkId::new(format!("{what}, {which} of them asked"), count);
        (id, move || usize::try_from(next()).unwrap_or(0) * step)
    }
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    for count in ROUTES {
        let table = RouteTable::build(&config(&many_routes(count)).routes);
        let paths: Vec<String> = (0..count)
            .map(|route| format!("/r{route}/rooms/7"))
            .collect();
        for asked in BOTH {
            let (id, mut next) = asked.of("routes", count);
            group.bench_function(id, |bench| {
                bench.iter(|| {
                    let path = paths.get(next()).map_or("/", String::as_str);
                    table.find("gateway.test", black_box(path), &Method::GET)
                });
            });
        }
    }
    group.finish();
}

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    for count in ROUTES {
        over_routes(&mut group, count);
    }
    for count in CALLERS {
        of_callers(&mut group, count);
    }
    group.finish();
}

fn over_routes(group: &mut BenchmarkGroup<'_, WallTime>, count: usize) {
    let key = signing_key().expect("a key");
    let token = token(&key, 0, now()).expect("a token");
    let gateway = rehearsal(&config(&many_routes(count)), &key);
    for asked in BOTH {
        let (id, mut next) = asked.of("routes", count);
        let mut ask = || request(&format!("/r{}/rooms/7", next()), Some(&token));
        group.bench_function(id, |bench| {
            bench.iter_custom(|times| time_of_admitting(&gateway, &mut ask, times));
        });
    }
}

/// With tokens that are known, as those of callers who were here before are.
fn of_callers(group: &mut BenchmarkGroup<'_, WallTime>, count: usize) {
    let key = signing_key().expect("a key");
    let gateway = rehearsal(&config(&many_routes(10)), &key);
    let tokens: Vec<String> = (0..count)
        .map(|caller| token(&key, caller, now()).expect("a token"))
        .collect();
    let mut each = tokens.iter();
    let mut first = || request("/r1/rooms/7", each.next().map(String::as_str));
    time_of_admitting(&gateway, &mut first, u64::try_from(count).unwrap_or(0));
    for asked in BOTH {
        let (id, mut next) = asked.of("callers", count);
        let mut ask = || request("/r1/rooms/7", tokens.get(next()).map(String::as_str));
        group.bench_function(id, |bench| {
            bench.iter_custom(|times| time_of_admitting(&gateway, &mut ask, times));
        });
    }
}

/// So wide that nobody is refused, and so slow that no bucket fills while a bench runs.
fn by_address(limiter: &Limiter) -> LimitPlan {
    let count = NonZeroU64::new(1_000_000_000).expect("not zero");
    limiter.plan(&RateLimit {
        name: "per_ip".to_owned(),
        key: vec![KeyPart::Ip],
        rate: Rate {
            count,
            period: Duration::from_secs(3600),
        },
        burst: count,
        ipv6_prefix: 64,
        tiers: <_>::default(),
    })
}

fn spend(plan: &LimitPlan, headers: &HeaderMap, number: usize) -> bool {
    let caller = Caller {
        address: IpAddr::V4(Ipv4Addr::from_bits(
            u32::try_from(number).unwrap_or(u32::MAX),
        )),
        headers,
        route: "hotel",
        principal: None,
    };
    let draw = plan.draw(&caller, NonZeroU32::MIN);
    take(draw.as_slice(), Moment::default()).is_ok()
}

/// A flood when all room is taken: each key is looked for, room is looked for, and the common bucket is spent on. It runs
/// first, so that what the process grows by is what the keys take.
fn flood(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let limiter = Limiter::new((1, 2), DEFAULT_KEYS);
    let plan = by_address(&limiter);
    let mut stranger = 0;
    let mut come = || {
        stranger += 1;
        spend(&plan, &headers, black_box(stranger))
    };
    let before = resident_bytes();
    for _ in 0..3 {
        assert!((0..DEFAULT_KEYS).all(|_| come()));
        tell_bytes(&limiter, resident_bytes().saturating_sub(before));
    }
    criterion.bench_function("limit/a stranger in a flood of three million", |bench| {
        bench.iter(&mut come);
    });
}

fn keys(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = criterion.benchmark_group("limit");
    for count in KEYS {
        let limiter = Limiter::new((1, 2), DEFAULT_KEYS);
        let plan = by_address(&limiter);
        assert!((0..count).all(|number| spend(&plan, &headers, number)));
        for asked in BOTH {
            let (id, mut next) = asked.of("keys", count);
            group.bench_function(id, |bench| {
                bench.iter(|| spend(&plan, &headers, black_box(next())));
            });
        }
    }
    group.finish();
}

#[expect(
    clippy::print_stdout,
    reason = "criterion measures time; bytes are told beside it"
)]
fn tell_bytes(limiter: &Limiter, bytes: u64) {
    let keys: usize = limiter.key_counts().iter().map(|(_, keys)| keys).sum();
    let each = bytes / u64::try_from(keys.max(1)).unwrap_or(u64::MAX);
    println!("{keys} keys in use take {bytes} bytes of resident memory: {each} bytes a key");
}

/// As the system counts it: `VmRSS` of `/proc/self/status`, in kB.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

criterion_group!(benches, flood, keys, routing, admission);
criterion_main!(benches);
