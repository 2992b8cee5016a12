//! A sign-in that was begun here and goes on at a provider. It is kept in a cookie of the browser that began it, so that
//! an answer which somebody else fetched for another browser is worth nothing there (RFC 9700 section 4.7), and so that
//! those who begin and never come back cost nothing here.
//!
//! The cookie is encrypted, for the verifier in it is a secret towards whoever sees the answer pass. It bears the prefix
//! `__Host-`: no other host, not even a sub-domain, can put one of its own in its place. That makes it go to every path
//! of this host, for ten minutes at the most.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_config::units::Timestamp;
use portcullis_outbound::providers::Begun;
use portcullis_tokens::WrappingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

const NAME: &str = "__Host-portcullis-sign-in";

/// Long enough to find one's password there.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A name of a resource that the operator chose is shorter.
const MAX_COOKIE_BYTES: usize = 2048;

/// Never printed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BegunSignIn {
    provider: String,
    state: String,
    nonce: String,
    /// Of PKCE.
    verifier: String,
    /// What the token shall be for, as it was asked for.
    pub(crate) resource: Option<String>,
    expires_ms: u64,
}

impl BegunSignIn {
    pub(crate) fn draw(
        provider: &str,
        resource: Option<String>,
        now: Timestamp,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            provider: provider.to_owned(),
            state: drawn()?,
            nonce: drawn()?,
            verifier: drawn()?,
            resource,
            expires_ms: now.plus(LIFETIME).as_millis(),
        })
    }

    /// As the client of the provider needs it.
    pub(crate) fn drawn(&self) -> Begun {
        Begun {
            state: self.state.clone(),
            nonce: self.nonce.clone(),
            verifier: self.verifier.clone().into(),
        }
    }

    /// The whole `Set-Cookie` value; nothing if it could not be encrypted.
    pub(crate) fn cookie(&self, key: &WrappingKey) -> Option<HeaderValue> {
        let plain = Zeroizing::new(serde_json::to_vec(self).ok()?);
        let sealed = URL_SAFE_NO_PAD.encode(key.wrap(&plain).ok()?);
        cookie(&sealed, LIFETIME)
    }

    /// The one this browser began with that provider, if the answer is to it and it is not too late.
    pub(crate) fn of(
        headers: &HeaderMap,
        key: &WrappingKey,
        (provider, state): (&str, &str),
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let sealed = only_value(headers).ok_or("no-cookie")?;
        let begun = Self::opened(&sealed, key).ok_or("no-cookie")?;
        let is_same = begun.state.as_bytes().ct_eq(state.as_bytes());
        if begun.provider != provider || !bool::from(is_same) {
            return Err("other-state");
        }
        if now >= begun.expires_at() {
            return Err("too-late");
        }
        Ok(begun)
    }

    fn opened(sealed: &str, key: &WrappingKey) -> Option<Self> {
        if sealed.len() > MAX_COOKIE_BYTES {
            return None;
        }
        let plain = key.unwrap(&URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.expires_ms)
    }

    /// What it is known by once it was spent.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"sign-in elsewhere\0")
            .chain_update(&self.state)
            .finalize()
            .into()
    }
}

fn drawn() -> Result<String, NoRandomness> {
    Ok(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?))
}

/// Takes the cookie away from a browser that has used it.
pub(crate) fn removal() -> Option<HeaderValue> {
    cookie("", Duration::ZERO)
}

/// `Lax` and not `Strict`: the browser comes back from another site.
fn cookie(value: &str, lifetime: Duration) -> Option<HeaderValue> {
    let seconds = lifetime.as_secs();
    let text = format!("{NAME}={value}; Max-Age={seconds}; Path=/; Secure; HttpOnly; SameSite=Lax");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Of two of that name neither is used: one of them is not ours.
fn only_value(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='));
    let mut values = pairs
        .filter(|(name, _)| name.trim() == NAME)
        .map(|(_, value)| value.trim());
    let value = values.next()?;
    values.next().is_none().then(|| value.to_owned())
}
