//! Which of an upstream's endpoints a request goes to.
//!
//! Each kind of balance is one question: whose turn it is ([`Rota`]), which of two is less busy ([`is_busier`]), which
//! one a key belongs to ([`home`]). All of them honour weights, and none keeps state or allocates for a request.

use std::{hash::Hasher, net::IpAddr};

use http::{HeaderMap, header};
use portcullis_config::upstreams::HashKey;
use siphasher::sip::SipHasher13;

/// The turns of one round, in which every endpoint comes as often as it weighs, spread over the round as evenly as the
/// weights allow: a heavy one gets no burst.
#[derive(Debug, Default)]
pub struct Rota {
    turns: Box<[usize]>,
}

impl Rota {
    /// Of endpoints that are told apart by their index. A weight of 0 has no turn.
    pub fn new(weights: impl IntoIterator<Item = (usize, u8)>) -> Self {
        let weighed: Vec<(usize, u64)> = weights
            .into_iter()
            .map(|(endpoint, weight)| (endpoint, u64::from(weight)))
            .filter(|(_, weight)| *weight > 0)
            .collect();
        let divisor = weighed
            .iter()
            .fold(0, |all, (_, weight)| common(all, *weight));
        // The round is 1 long. Each endpoint has a turn in each of `weight` equal parts of it, and each another place
        // within its parts, so that those of the same weight do not all come at once.
        let endpoints = u64::try_from(weighed.len()).unwrap_or(u64::MAX);
        let mut turns: Vec<(Fraction, usize)> = Vec::new();
        for ((endpoint, weight), nth) in weighed.into_iter().zip(0..) {
            let parts = weight / divisor;
            let place = |part| Fraction(2 * endpoints * part + 2 * nth + 1, parts);
            turns.extend((0..parts).map(|part| (place(part), endpoint)));
        }
        turns.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            turns: turns.into_iter().map(|(_, endpoint)| endpoint).collect(),
        }
    }

    pub fn at(&self, turn: u64) -> Option<usize> {
        let length = u64::try_from(self.turns.len()).ok()?;
        let turn = usize::try_from(turn.checked_rem(length)?).ok()?;
        self.turns.get(turn).copied()
    }

    /// Any endpoint but the one that [`Self::at`] gives, where there is another, drawn by weight.
    pub fn other(&self, turn: u64) -> Option<usize> {
        let first = self.at(turn)?;
        let length = u64::try_from(self.turns.len()).ok()?;
        let from = turn.wrapping_add(scatter(turn) % length);
        let mut following = (0..length).filter_map(|step| self.at(from.wrapping_add(step)));
        following.find(|endpoint| *endpoint != first)
    }
}

/// Compared without dividing.
#[derive(PartialEq, Eq)]
struct Fraction(u64, u64);

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0 * other.1).cmp(&(other.0 * self.1))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The greatest common divisor.
fn common(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        common(other, one % other)
    }
}

/// What an endpoint carries, beside what it should.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub in_flight: usize,
    pub weight: u8,
}

/// Whether `one` carries more for its weight than `other`. Two that are idle are equal: turns then decide.
///
/// The less busy of two keeps the load as even as comparing all would, for the price of two reads.
pub fn is_busier(one: Load, other: Load) -> bool {
    let (one_weight, other_weight) = (usize::from(one.weight), usize::from(other.weight));
    one.in_flight.saturating_mul(other_weight) > other.in_flight.saturating_mul(one_weight)
}

/// Which endpoint the key belongs to (rendezvous hashing): each endpoint draws a lot for the key, the best one wins. So an
/// endpoint that leaves takes only its own keys with it, and gateways that know the same endpoints agree.
pub fn home(key: u64, endpoints: impl IntoIterator<Item = (usize, u64, u8)>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (endpoint, name, weight) in endpoints {
        let lot = -unit(scatter(key ^ name)).ln() / f64::from(weight);
        if best.is_none_or(|(_, least)| lot < least) {
            best = Some((endpoint, lot));
        }
    }
    best.map(|(endpoint, _)| endpoint)
}

/// Above 0 and below 1, so that its logarithm is a number below zero.
#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits fit the mantissa of an f64"
)]
fn unit(random: u64) -> f64 {
    ((random >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The same on every gateway: replicas must send a key to the same endpoint.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x706f_7274, 0x6375_6c6c);
    hasher.write(bytes);
    hasher.finish()
}

/// Spreads consecutive numbers over the whole range (the finaliser of `SplitMix64`).
pub fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a request brings to be hashed by.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub headers: &'a HeaderMap,
    pub address: IpAddr,
    pub subject: Option<&'a str>,
}

/// `None` where the request does not have what is asked for.
pub fn key_of(by: &HashKey, caller: &Caller<'_>) -> Option<u64> {
    match by {
        HashKey::Header(name) => {
            let value = caller.headers.get(name)?.as_bytes();
            (!value.is_empty()).then(|| digest(value))
        }
        HashKey::Cookie(name) => cookie(caller.headers, name).map(digest),
        HashKey::Ip => Some(address_key(caller.address)),
        HashKey::User => Some(match caller.subject {
            Some(subject) => digest(subject.as_bytes()),
            None => address_key(caller.address),
        }),
    }
}

fn address_key(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => digest(&v4.octets()),
        IpAddr::V6(v6) => digest(&v6.octets()),
    }
}

/// HTTP/2 may bring each cookie in a line of its own (RFC 9113 section 8.2.3).
fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(wanted.len())?;
        let value = value.strip_prefix(b"=")?;
        (name == wanted.as_bytes() && !value.is_empty()).then_some(value)
    });
    values.next()
}

#[cfg(test)]
mod tests;
