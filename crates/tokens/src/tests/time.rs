//! The exact borders. The clock skew of our own issuer is five seconds, its longest lifetime here 300.

use super::*;

/// What becomes of a token with these claims at that time, which must be the same when it is seen again.
fn verdict(claims: &Value, now_millis: u64) -> Option<TokenError> {
    let key = key(SigningAlgorithm::Hs256);
    let token = forged(
        &key,
        &header_of(&key).to_string(),
        changed(payload(), claims).to_string(),
    );
    let verifier = verifier(&key);
    let first = verifier
        .verify(&token, Timestamp::from_millis(now_millis))
        .err();
    let again = verifier
        .verify(&token, Timestamp::from_millis(now_millis))
        .err();
    assert_eq!(first, again, "remembered or not, {claims} at {now_millis}");
    first
}

const MILLIS: u64 = NOW * 1000;

#[test]
fn a_token_is_refused_from_its_expiry_and_the_skew_on() {
    let exp = json!({"exp": NOW + 10});
    let end = MILLIS + 10_000 + 5_000;
    assert_eq!(verdict(&exp, MILLIS), None);
    assert_eq!(
        verdict(&exp, MILLIS + 10_000),
        None,
        "expired, within the skew"
    );
    assert_eq!(verdict(&exp, end - 1), None);
    assert_eq!(
        verdict(&exp, end),
        Some(TokenError::Expired),
        "the border itself is outside (RFC 7519 section 4.1.4)"
    );
    assert_eq!(verdict(&exp, end + 1), Some(TokenError::Expired));
    assert_eq!(verdict(&exp, u64::MAX), Some(TokenError::Expired));
}

#[test]
fn a_fraction_of_a_second_counts() {
    let exp = json!({"exp": 1_800_000_000.5});
    assert_eq!(verdict(&exp, MILLIS + 5_499), None);
    assert_eq!(verdict(&exp, MILLIS + 5_500), Some(TokenError::Expired));
}

#[test]
fn a_token_from_the_future_is_refused_beyond_the_skew() {
    for claim in ["nbf", "iat"] {
        let begin = json!({claim: NOW + 10, "exp": NOW + 100});
        assert_eq!(
            verdict(&begin, MILLIS + 5_000),
            None,
            "{claim} at the border"
        );
        assert_eq!(
            verdict(&begin, MILLIS + 4_999),
            Some(TokenError::NotYetValid),
            "{claim} a millisecond before"
        );
        assert_eq!(
            verdict(&begin, 0),
            Some(TokenError::NotYetValid),
            "{claim} on a clock that was never set"
        );
    }
}

#[test]
fn a_lifetime_is_bounded_whatever_the_number() {
    let too_long = Some(TokenError::LifetimeTooLong);
    assert_eq!(verdict(&json!({"exp": NOW + 300}), MILLIS), None);
    assert_eq!(verdict(&json!({"exp": NOW + 301}), MILLIS), too_long);
    assert_eq!(
        verdict(&json!({"exp": NOW + 300, "iat": NOW - 1}), MILLIS),
        too_long
    );
    assert_eq!(
        verdict(&json!({"exp": 9_999_999_999.999}), MILLIS),
        too_long
    );
    assert_eq!(verdict(&json!({"exp": 1e18}), MILLIS), too_long);
    assert_eq!(verdict(&json!({"exp": 1u64 << 63}), MILLIS), too_long);
    assert_eq!(verdict(&json!({"exp": u64::MAX}), MILLIS), too_long);
    assert_eq!(
        verdict(&json!({"exp": 18_446_744_073_709_551_616.0}), MILLIS),
        Some(TokenError::BadClaims("exp")),
        "2^64"
    );
    assert_eq!(
        verdict(&json!({"exp": 0}), MILLIS),
        Some(TokenError::Expired)
    );
}

#[test]
fn a_clock_that_steps_back_costs_nothing_and_one_that_steps_on_expires() {
    let key = key(SigningAlgorithm::Hs256);
    let (verifier, token) = (verifier(&key), signed(&key));
    assert!(verifier.verify(&token, now()).is_ok());
    let an_hour_ago = Timestamp::from_secs(NOW - 3600);
    assert!(
        verifier.verify(&token, an_hour_ago).is_ok(),
        "it was good a moment ago, whatever the clock says now"
    );
    let in_an_hour = Timestamp::from_secs(NOW + 3600);
    assert_eq!(
        verifier.verify(&token, in_an_hour).err(),
        Some(TokenError::Expired)
    );
}
