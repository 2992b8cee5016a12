//! Whose tokens are accepted: our own issuer's, and those of the configuration, with their keys read from where it says.

use std::{fs, sync::Arc};

use anyhow::Context;
use portcullis_config::{
    Config,
    issuers::{Issuer, KeySource},
};
use portcullis_outbound::{issuer_keys::KeyKeeper, revocation_feeds::FeedKeeper};
use portcullis_tokens::{IssuerKeys, IssuerSpec, KeySet, Revocations, Verifier, VerifierParts};

/// Where no issuer says more. Our own tokens live minutes; this many are alive at once only in a large shop.
const CACHED_TOKENS: usize = 100_000;
/// The bound that counts when tokens are long: some 100 MiB in all, at the very most.
const CACHED_BYTES: usize = 100 * 1024 * 1024;

/// What changes while the gateway runs, and outlives a reload.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    pub(crate) keys: &'a KeyKeeper,
    pub(crate) feeds: &'a FeedKeeper,
}

/// The verifier of everything the configuration names. `own` keys are absent where `auth` is, `kept` where nobody is to be
/// asked for anything.
pub(crate) fn verifier(
    config: &Config,
    own: Option<Arc<IssuerKeys>>,
    kept: Option<Kept<'_>>,
    revocations: Arc<Revocations>,
) -> anyhow::Result<Verifier> {
    let remembered: Arc<[Arc<str>]> = config.counted_claims().into_iter().map(Arc::from).collect();
    let own = config.auth.as_ref().zip(own).map(|(auth, keys)| {
        let resources = auth.resources.keys().cloned();
        let lifetime = auth.access_token_lifetime;
        Ok(IssuerSpec::local(&auth.issuer, resources, lifetime, keys))
    });
    let foreign = config.issuers.iter().map(|issuer| foreign(issuer, kept));
    let largest = config.issuers.iter().map(|issuer| issuer.token_cache).max();
    let issuers = own
        .into_iter()
        .chain(foreign)
        .map(|issuer| Ok(issuer?.remembering(Arc::clone(&remembered))));
    let parts = VerifierParts {
        issuers: issuers.collect::<anyhow::Result<_>>()?,
        cache_entries: largest.unwrap_or(0).max(CACHED_TOKENS),
        cache_bytes: CACHED_BYTES,
        revocations,
    };
    Ok(Verifier::new(parts)?)
}

/// Why the start would fail at the keys of other issuers, as far as files on this machine tell.
pub(crate) fn unusable_issuers(config: &Config) -> Vec<anyhow::Error> {
    let issuers = config.issuers.iter();
    issuers
        .filter_map(|issuer| foreign(issuer, None).err())
        .collect()
}

fn foreign(issuer: &Issuer, kept: Option<Kept<'_>>) -> anyhow::Result<IssuerSpec> {
    spec(issuer, kept).with_context(|| format!("issuers: {} cannot be used", issuer.name))
}

fn spec(issuer: &Issuer, kept: Option<Kept<'_>>) -> anyhow::Result<IssuerSpec> {
    let keys = kept.map(|kept| kept.keys.keys_of(issuer)).transpose()?;
    let keys = match keys.flatten() {
        Some(keys) => keys,
        None => fixed_keys(issuer)?.into(),
    };
    let spec = IssuerSpec::foreign(issuer, keys)?;
    let Some(feed) = &issuer.revocations else {
        return Ok(spec);
    };
    Ok(spec.following(match kept {
        Some(kept) => kept.feeds.revocations_of(issuer, feed)?,
        None => Arc::new(Revocations::assumed_complete()),
    }))
}

/// What lies on this machine. Keys that would have to be fetched are none.
fn fixed_keys(issuer: &Issuer) -> anyhow::Result<KeySet> {
    Ok(match &issuer.keys {
        KeySource::PublicKeyFile(path) => {
            let pem = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            KeySet::from_pem(&pem, &issuer.algorithms)?
        }
        KeySource::Secret(secret) => KeySet::from_secret(secret, &issuer.algorithms)?,
        KeySource::JwksFile(path) => {
            let document =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            KeySet::from_jwks(&document, &issuer.algorithms)?.keys
        }
        KeySource::JwksUrl(_) | KeySource::Discovery => KeySet::empty(),
    })
}
