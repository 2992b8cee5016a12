//! Whose bucket it is: what a limit counts apart, hashed into one key.
//!
//! Every request has a key under every limit. What a request lacks is a value as any other, so that leaving a header
//! out is no way past a limit: all who leave it out are counted together.

use std::{hash::Hasher, net::IpAddr};

use http::{HeaderMap, HeaderValue, header::GetAll};
use portcullis_config::limits::KeyPart;
use portcullis_tokens::{Principal, RememberedClaims};
use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher13};

/// A hash of 128 bits stands for the caller: at a million keys two of them meet with a chance of about 10⁻²⁷, and as
/// the hash is keyed with a secret, nobody can look for such a pair. They would share a budget, nothing worse. Nor can
/// a header or a claim be read back from it.
pub(super) type Key = [u64; 2];

/// The same caller under the same limit, as every replica names it: SHA-256, cut to 128 bits. Nobody finds a second
/// caller with the same name, and no subject or address stands in the store that replicas share.
pub type SharedKey = [u8; 16];

/// Whom a request is counted for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub address: IpAddr,
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// The name of the route, which outlives a reload where its number may not.
    pub route: &'a str,
    /// Absent before the token is known, and on public routes: the address is counted in its place.
    pub principal: Option<Identity<'a>>,
}

/// What limits want to know of a principal.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub issuer: &'a str,
    pub subject: &'a str,
    pub roles: &'a [Box<str>],
    pub tenant: Option<&'a str>,
    pub claims: &'a RememberedClaims,
}

impl<'a> From<&'a Principal> for Identity<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            issuer: principal.issuer().as_str(),
            subject: principal.subject(),
            roles: principal.roles(),
            tenant: principal.tenant(),
            claims: principal.remembered(),
        }
    }
}

/// What one limit counts apart.
pub(super) struct Keying {
    seed: (u64, u64),
    parts: Box<[KeyPart]>,
    ipv6_mask: u128,
}

impl Keying {
    pub(super) fn new(parts: &[KeyPart], ipv6_prefix: u8, seed: (u64, u64)) -> Self {
        let host_bits = u32::from(128 - ipv6_prefix.min(128));
        Self {
            seed,
            parts: parts.into(),
            ipv6_mask: u128::MAX.checked_shl(host_bits).unwrap_or(0),
        }
    }

    /// Every part is written with a mark of its kind and its length, so that no two lists of parts read the same.
    pub(super) fn key_of(&self, caller: &Caller<'_>) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        for part in &self.parts {
            self.write(&mut hasher, part, caller);
        }
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    pub(super) fn shared_key_of(&self, caller: &Caller<'_>) -> SharedKey {
        let mut hasher = SharedHasher(Sha256::new());
        for part in &self.parts {
            self.write(&mut hasher, part, caller);
        }
        let mut bytes = hasher.0.finalize().into_iter();
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }

    fn write(&self, hasher: &mut impl Hasher, part: &KeyPart, caller: &Caller<'_>) {
        match (part, caller.principal) {
            (KeyPart::Route, _) => write_text(hasher, b'r', caller.route),
            (KeyPart::Header(name), _) => write_lines(hasher, &caller.headers.get_all(name)),
            (KeyPart::User, Some(principal)) => write_text(hasher, b'u', principal.subject),
            (KeyPart::Tenant, Some(principal)) => {
                write_claim(hasher, principal.issuer, principal.tenant)
            }
            (KeyPart::Claim(name), Some(principal)) => {
                write_claim(hasher, principal.issuer, principal.claims.value(name))
            }
            (KeyPart::Ip, _) | (KeyPart::User | KeyPart::Tenant | KeyPart::Claim(_), None) => {
                self.write_address(hasher, caller.address)
            }
        }
    }

    fn write_address(&self, hasher: &mut impl Hasher, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                hasher.write_u8(b'4');
                hasher.write_u32(address.to_bits());
            }
            IpAddr::V6(address) => {
                hasher.write_u8(b'6');
                hasher.write_u128(address.to_bits() & self.ipv6_mask);
            }
        }
    }
}

/// Writes numbers in one order of bytes: replicas may be machines of different kinds.
struct SharedHasher(Sha256);

impl Hasher for SharedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&(number as u64).to_le_bytes());
    }

    /// Nobody asks: the hash is taken whole.
    fn finish(&self) -> u64 {
        0
    }
}

fn write_text(hasher: &mut impl Hasher, kind: u8, text: &str) {
    hasher.write_u8(kind);
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

/// Of one issuer: what another calls by the same name is not the same, and must not be spent by its users.
fn write_claim(hasher: &mut impl Hasher, issuer: &str, value: Option<&str>) {
    write_text(hasher, b'i', issuer);
    match value {
        Some(value) => write_text(hasher, b'c', value),
        None => hasher.write_u8(b'-'),
    }
}

/// Several lines of one name are the one value that RFC 9110 section 5.3 makes of them, however a proxy sends it. Its
/// length is bounded by `server.limits.header_bytes`.
fn write_lines(hasher: &mut impl Hasher, lines: &GetAll<'_, HeaderValue>) {
    const BETWEEN: &[u8] = b", ";
    let lengths = lines.iter().map(|line| line.len() + BETWEEN.len());
    let Some(length) = lengths.sum::<usize>().checked_sub(BETWEEN.len()) else {
        hasher.write_u8(b'-');
        return;
    };
    hasher.write_u8(b'h');
    hasher.write_usize(length);
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            hasher.write(BETWEEN);
        }
        hasher.write(line.as_bytes());
    }
}

#[cfg(test)]
mod tests;
