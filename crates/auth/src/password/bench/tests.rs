//! Hashes of our own and of others at one bench: what verifies, what is refused unrun, and what memory is held.

use portcullis_config::auth::HashCost;
use proptest::prelude::*;

use super::*;
use crate::password::{StoredHashError, import};

const KIB: u64 = 1024;

fn rules(memory_kib: u64, iterations: u32, budget_kib: u64) -> PasswordRules {
    PasswordRules {
        min_length: 12,
        min_score: 3,
        breached: None,
        hash: HashCost {
            memory: ByteSize(memory_kib * KIB),
            iterations,
            parallelism: 1,
        },
        hashing_memory: ByteSize(budget_kib * KIB),
    }
}

fn bench(memory_kib: u64, iterations: u32) -> Bench {
    bench_within(memory_kib, iterations, 1024)
}

fn bench_within(memory_kib: u64, iterations: u32, budget_kib: u64) -> Bench {
    let shop = Shop::open(&rules(memory_kib, iterations, budget_kib), 1).unwrap();
    shop.benches().next().unwrap()
}

fn password(text: &str) -> Password {
    Password::parse(text).unwrap()
}

fn verdict(bench: &Bench, text: &str, stored: &PasswordRecord) -> Verdict {
    bench.verify(&password(text), Some(stored), true).unwrap()
}

/// Taken in as an import takes it.
fn imported(bench: &Bench, text: &str) -> Result<PasswordRecord, StoredHashError> {
    import(text, bench.shop.bounds)
}

/// Made by the `argon2-cffi`, `bcrypt` and `passlib` packages of Python, all of `password`.
const PYTHON_ARGON2I: &str = "$argon2i$v=19$m=1024,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$1yFCIKvrdbWrwOWIJvHwzicwWfby91tjmUZh6KQ0qQI";
const PYTHON_ARGON2I_16: &str = "$argon2i$v=16$m=512,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$Mfz+RgaQcdPTBLQEF6qrFjogYusMMBuTANY+zrU58NQ";
const PYTHON_ARGON2D: &str = "$argon2d$v=19$m=512,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$RqVbo19rvVrlJezaOER43eKGBDeJaD6FVYCGdgc/2bw";
const PYTHON_BCRYPT_2B: &str = "$2b$05$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva";
const PYTHON_BCRYPT_2A: &str = "$2a$05$egVCDXkDx4Zln5OZZxwjzOS1jyi1ANY7QK58O8cuc06S/OXfwmij2";
const PYTHON_BCRYPT_2Y: &str = "$2y$05$eIxY688DR3blDV3Ax/WQueyj8gwzoS/dYyrNmAy3p0NbYYfkAt2Vq";
const PYTHON_SCRYPT: &str =
    "$scrypt$ln=10,r=8,p=2$uxeCsPaecy6F0JpTirF27g$zsQYeqJxqZMKnoVmtmw8cV9JLYxeDGya/4wSgjavBko";

const MATCH: Verdict = Verdict::Match { outdated: false };
const OUTDATED: Verdict = Verdict::Match { outdated: true };

#[test]
fn a_hash_verifies_its_own_password_only() {
    let bench = bench(64, 1);
    let stored = bench.hash(&password("correct horse")).unwrap();
    assert_eq!(verdict(&bench, "correct horse", &stored), MATCH);
    assert_eq!(verdict(&bench, "correct horsf", &stored), Verdict::Mismatch);
    assert_eq!(
        bench
            .verify(&password("correct horse"), None, true)
            .unwrap(),
        Verdict::Mismatch
    );
    let again = bench.hash(&password("correct horse")).unwrap();
    assert_ne!(
        stored.expose_hash(),
        again.expose_hash(),
        "every hash has its own salt"
    );
}

#[test]
fn a_bench_at_rest_holds_no_memory_and_works_again() {
    let bench = bench(64, 1);
    assert!(bench.memory().is_empty(), "nothing before the first one");
    let stored = bench.hash(&password("secret")).unwrap();
    assert_eq!(bench.memory().len(), 64);
    bench.rest();
    assert_eq!(bench.memory().capacity(), 0);
    assert_eq!(verdict(&bench, "secret", &stored), MATCH);
}

#[test]
fn who_needs_more_memory_gets_that_of_all_others() {
    let shop = Shop::open(&rules(64, 1, 256), 4).unwrap();
    let benches: Vec<Bench> = shop.benches().collect();
    for bench in &benches {
        bench.hash(&password("secret")).unwrap();
    }
    let held = || {
        shop.memories
            .iter()
            .map(|memory| memory.lock().len())
            .sum::<usize>()
    };
    assert_eq!(held(), 256, "the whole budget");
    let dear = bench_within(256, 1, 256).hash(&password("secret")).unwrap();
    assert_eq!(verdict(&benches[0], "secret", &dear), OUTDATED);
    assert_eq!(held(), 0, "given back before the dearer one began");
}

#[test]
fn a_hash_of_other_parameters_verifies_and_is_outdated() {
    let cheap = bench(64, 1).hash(&password("secret")).unwrap();
    let dear = bench(512, 2).hash(&password("secret")).unwrap();
    let bench = bench(128, 2);
    for stored in [cheap, dear] {
        assert!(bench.is_outdated(Some(&stored)));
        assert_eq!(verdict(&bench, "secret", &stored), OUTDATED);
        assert_eq!(verdict(&bench, "other", &stored), Verdict::Mismatch);
    }
}

#[test]
fn the_dummy_hash_costs_what_new_hashes_cost() {
    let bench = bench(128, 3);
    let stored = bench.hash(&password("secret")).unwrap();
    let stored = ArgonHash::parse(stored.expose_hash(), u32::MAX).unwrap();
    assert!(stored.costs(&bench.shop.current));
    assert!(bench.shop.dummy.costs(&bench.shop.current));
}

#[test]
fn hashes_of_other_systems_verify_and_are_outdated() {
    let bench = bench_within(64, 1, 64 * 1024);
    for text in [
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        PYTHON_ARGON2I,
        PYTHON_ARGON2I_16,
        PYTHON_ARGON2D,
        PYTHON_BCRYPT_2B,
        PYTHON_BCRYPT_2A,
        PYTHON_BCRYPT_2Y,
        PYTHON_SCRYPT,
    ] {
        let stored = imported(&bench, text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        assert_eq!(verdict(&bench, "password", &stored), OUTDATED, "{text}");
        assert_eq!(verdict(&bench, "passwore", &stored), Verdict::Mismatch);
    }
}

#[test]
fn bcrypt_looks_at_72_bytes_and_ends_at_a_nul() {
    let bench = bench(64, 1);
    let of = |password: &[u8]| {
        let tag = bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
        imported(&bench, &tag.format_for_version(bcrypt::Version::TwoB)).unwrap()
    };
    let long = "x".repeat(72);
    let stored = of(long.as_bytes());
    assert_eq!(verdict(&bench, &format!("{long}y"), &stored), OUTDATED);
    assert_eq!(verdict(&bench, &long, &stored), OUTDATED);
    assert_eq!(verdict(&bench, &long[..71], &stored), Verdict::Mismatch);
    let stored = of(b"pass");
    assert_eq!(verdict(&bench, "pass\0x", &stored), OUTDATED);
    assert_eq!(verdict(&bench, "pas", &stored), Verdict::Mismatch);
    assert_eq!(verdict(&bench, "passx", &stored), Verdict::Mismatch);
}

#[test]
fn other_systems_hashed_what_was_typed_and_we_what_it_means() {
    let bench = bench(64, 1);
    let typed = "cafe\u{301} ﬁsh";
    let tag = bcrypt::hash_with_salt(typed, 4, [7; 16]).unwrap();
    let stored = imported(&bench, &tag.to_string()).unwrap();
    assert_eq!(verdict(&bench, typed, &stored), OUTDATED);
    assert_eq!(
        verdict(&bench, "caf\u{e9} fish", &stored),
        Verdict::Mismatch
    );
    let ours = bench.hash(&password(typed)).unwrap();
    assert_eq!(verdict(&bench, "caf\u{e9} fish", &ours), MATCH);
}

#[test]
fn a_salt_with_bits_left_over_is_read_as_bcrypt_reads_it() {
    let bench = bench(64, 1);
    let tag = bcrypt::hash_with_salt("password", 4, [0; 16]).unwrap();
    let text = tag.format_for_version(bcrypt::Version::TwoA);
    // The last character of the salt carries two bits; this one has the four below set.
    let sloppy = format!("{}N{}", &text[..28], &text[29..]);
    assert_ne!(text, sloppy);
    let stored = imported(&bench, &sloppy).unwrap();
    assert_eq!(verdict(&bench, "password", &stored), OUTDATED);
}

#[test]
fn a_hash_beyond_the_bounds_is_neither_imported_nor_run() {
    use StoredHashError::{Algorithm, Parameters, Syntax};
    let (salt, tag) = (
        "c29tZXNhbHRzb21lc2FsdA",
        "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    );
    let argon = |params: &str| format!("$argon2id$v=19${params}${salt}${tag}");
    let bcrypt = |prefix: &str| format!("{prefix}${}", "a".repeat(53));
    let scrypt = |params: &str| format!("$scrypt${params}${salt}${tag}");
    let max = u32::MAX;
    let bench = bench(64, 1);
    for (text, expected) in [
        (argon(&format!("m={max},t={max},p=1")), Parameters),
        (argon("m=1025,t=1,p=1"), Parameters),
        (argon("m=64,t=17,p=1"), Parameters),
        (argon("m=1024,t=1,p=17"), Parameters),
        (argon("m=64,t=1,p=1,keyid=AAAA"), Parameters),
        (
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}$CTFhFdXPJO1aFaMa"),
            Parameters,
        ),
        (format!("$argon2id$m=64,t=1,p=1${salt}${tag}"), Algorithm),
        (
            format!("$argon2id$v=18$m=64,t=1,p=1${salt}${tag}"),
            Algorithm,
        ),
        (format!("$argon2id$v=19$m=64,t=1,p=1${salt}"), Syntax),
        (argon("m=64,t=1,p=1$!!"), Syntax),
        (bcrypt("$2b$15"), Parameters),
        (bcrypt("$2b$31"), Parameters),
        (bcrypt("$2b$03"), Parameters),
        (bcrypt("$2b$4"), Syntax),
        (bcrypt("$2b$+9"), Syntax),
        (bcrypt("$2x$04"), Algorithm),
        (bcrypt("$2$04"), Algorithm),
        ("$2b$04$tooshort".to_owned(), Syntax),
        (format!("$2b$04${}é", "a".repeat(21)), Syntax),
        (format!("$2b$04${}", "a".repeat(54)), Syntax),
        (format!("$2b$04${}*", "a".repeat(52)), Syntax),
        (scrypt("ln=18,r=8,p=1"), Parameters),
        (scrypt("ln=64,r=8,p=1"), Parameters),
        (scrypt("ln=999999999999,r=8,p=1"), Parameters),
        (scrypt("ln=4,r=9,p=1"), Parameters),
        (scrypt("ln=4,r=8,p=11"), Parameters),
        (scrypt("ln=10,r=8,p=1"), Parameters),
        (scrypt("ln=4,r=0,p=1"), Syntax),
        (scrypt("ln=4,r=8"), Syntax),
        (scrypt("ln=4,r=8,p=1,p=1"), Syntax),
        (scrypt("ln=+4,r=8,p=1"), Syntax),
        (format!("$scrypt$ln=4,r=8,p=1${salt}"), Syntax),
        (format!("$scrypt$ln=4,r=8,p=1$AA${tag}"), Parameters),
        ("5f4dcc3b5aa765d61d8327deb882cf99".to_owned(), Algorithm),
        ("$1$salt$hash".to_owned(), Algorithm),
        ("é".to_owned(), Algorithm),
        (String::new(), Algorithm),
    ] {
        let refused = imported(&bench, &text).map(drop);
        assert_eq!(refused, Err(expected), "{text}");
        for scheme in [OURS, "argon2", "bcrypt", "scrypt", "md5"] {
            let stored = PasswordRecord::new(&*text, scheme);
            let outcome = bench.verify(&password("x"), Some(&stored), true);
            assert!(
                matches!(outcome, Err(HashingError::Stored(_))),
                "{text} as {scheme}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_hash_of_ours_is_argon2id_and_nothing_else() {
    let bench = bench_within(64, 1, 64 * 1024);
    let stored = PasswordRecord::new(PYTHON_ARGON2I, OURS);
    let outcome = bench.verify(&password("password"), Some(&stored), true);
    assert!(matches!(
        outcome,
        Err(HashingError::Stored(StoredHashError::Algorithm))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_stands_in_a_row_is_refused_or_run_in_bounds(
        prefix in prop::sample::select(vec!["$argon2id$v=19$", "$2b$", "$scrypt$", "$", ""]),
        rest in "[a-zA-Z0-9$=,./+é]{0,80}",
    ) {
        let bench = bench(64, 1);
        let text = format!("{prefix}{rest}");
        if let Ok(stored) = imported(&bench, &text) {
            prop_assert!(bench.verify(&password("x"), Some(&stored), true).is_ok());
        }
    }

    #[test]
    fn bcrypt_is_verified_as_its_crate_makes_it(text in "[^\0]{1,40}") {
        let bench = bench(64, 1);
        let tag = bcrypt::hash_with_salt(&text, 4, [9; 16]).unwrap();
        let stored = imported(&bench, &tag.to_string()).unwrap();
        prop_assert_eq!(verdict(&bench, &text, &stored), OUTDATED);
        let other = verdict(&bench, &format!("x{text}"), &stored);
        prop_assert_eq!(other, Verdict::Mismatch);
    }
}
