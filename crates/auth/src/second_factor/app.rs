//! What the authenticator app on somebody's phone does (RFC 6238), in the one form that all of them know: SHA-1, six
//! digits, thirty seconds.

use portcullis_config::units::Timestamp;
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use crate::{answer::Refusal, random};

/// 160 bits, as RFC 4226 section 4 asks for.
pub(super) const SECRET_BYTES: usize = 20;
pub(super) const CODE_DIGITS: usize = 6;
/// A phone may be this many steps behind or ahead.
const SKEW: u16 = 1;
const STEP_SECONDS: u64 = 30;

/// A secret as an app would keep it. Deliberately without `Debug`.
pub(crate) struct App(Totp);

impl App {
    /// With a new secret, for the picture. `issuer` and `account` are what the person reads beside the codes.
    pub(crate) fn new(issuer: &str, account: &str) -> Result<Self, Refusal> {
        let secret = random::bytes::<SECRET_BYTES>()?;
        Self::built(secret, issuer, account)
    }

    /// With a secret that was kept, to check codes.
    pub(crate) fn of(secret: &[u8]) -> Result<Self, Refusal> {
        let Ok(secret) = secret.try_into() else {
            return Err(Refusal::internal(
                "a TOTP secret has another length than ours",
            ));
        };
        Self::built(secret, "", "")
    }

    fn built(secret: [u8; SECRET_BYTES], issuer: &str, account: &str) -> Result<Self, Refusal> {
        let totp = Builder::new()
            .with_secret(Secret::new_stack(secret))
            .with_skew(SKEW)
            .with_step_duration(STEP_SECONDS)
            .with_issuer(Some(issuer))
            .with_account_name(account)
            .build();
        totp.map(Self)
            .map_err(|error| Refusal::internal(format!("TOTP: {error}")))
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.0.secret().as_bytes()
    }

    /// For those who type it instead of taking a picture.
    pub(crate) fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.secret().to_base32())
    }

    /// `otpauth://totp/…`, which the picture shows.
    pub(crate) fn uri(&self) -> Result<Zeroizing<String>, Refusal> {
        let uri = self.0.to_url();
        uri.map(Zeroizing::new)
            .map_err(|error| Refusal::internal(format!("TOTP: {error}")))
    }

    /// The time step the code was made for, if this app shows it about now.
    pub(crate) fn step_of(&self, code: &str, now: Timestamp) -> Option<u64> {
        self.0.check(code, now.as_secs())
    }
}

/// What an app shows as the place its codes are for: the host of our issuer. A colon separates there, so no port
/// and no IPv6 address can be shown.
pub(crate) fn place(issuer: &str) -> &str {
    let (_scheme, rest) = issuer.split_once("://").unwrap_or(("", issuer));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split(':').next().unwrap_or_default();
    if host.is_empty() || host.starts_with('[') {
        "Portcullis"
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238 appendix B.
    const RFC_SECRET: &[u8; SECRET_BYTES] = b"12345678901234567890";

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B, the rows for SHA-1; six digits are the last six of its eight.
        let app = App::of(RFC_SECRET).unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = app.step_of(code, Timestamp::from_secs(seconds));
            assert_eq!(step, Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_phone_may_be_one_step_off_and_no_more() {
        let app = App::of(RFC_SECRET).unwrap();
        // 081804 is of the step from 1111111080 to 1111111109.
        for (seconds, fits) in [
            (1_111_111_019, false),
            (1_111_111_049, false),
            (1_111_111_050, true),
            (1_111_111_080, true),
            (1_111_111_139, true),
            (1_111_111_140, false),
            (1_111_111_170, false),
        ] {
            let step = app.step_of("081804", Timestamp::from_secs(seconds));
            assert_eq!(step, fits.then_some(37_037_036), "{seconds}");
        }
    }

    #[test]
    fn only_six_digits_are_a_code() {
        let app = App::of(RFC_SECRET).unwrap();
        for code in [
            "",
            "28708",
            "2870820",
            "94287082",
            "+87082",
            "28708 ",
            "２８７０８２",
        ] {
            assert_eq!(
                app.step_of(code, Timestamp::from_secs(59)),
                None,
                "{code:?}"
            );
        }
    }

    #[test]
    fn the_place_is_the_host_of_the_issuer() {
        for (issuer, expected) in [
            ("http://localhost:8080", "localhost"),
            ("https://login.example.com", "login.example.com"),
            ("https://example.com/gateway?x#y", "example.com"),
            ("http://[::1]:8080", "Portcullis"),
            ("example.com", "example.com"),
            ("", "Portcullis"),
        ] {
            assert_eq!(place(issuer), expected, "{issuer}");
        }
    }

    #[test]
    fn the_uri_has_what_an_app_needs_and_nothing_that_it_would_misread() {
        let app = App::new("login.example.com", "a+b@example.com").unwrap();
        let (uri, secret) = (app.uri().unwrap(), app.secret_text());
        assert_eq!(secret.len(), 32, "160 bits in base32");
        assert_eq!(
            *uri,
            format!(
                "otpauth://totp/login.example.com:a%2Bb%40example.com?secret={}&issuer=login.example.com",
                *secret
            )
        );
    }

    #[test]
    fn no_two_secrets_are_alike() {
        let (one, other) = (App::new("a", "b").unwrap(), App::new("a", "b").unwrap());
        assert_ne!(one.secret(), other.secret());
    }
}
