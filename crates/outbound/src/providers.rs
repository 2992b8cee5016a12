//! Signing in elsewhere: OIDC's code flow, with us as the client (OIDC Core 1.0 section 3.1,
//! RFC 9700 section 2.1).
//!
//! The browser is sent to the provider with [`Provider::address`] and comes back with a code, which
//! [`Provider::identify`] exchanges for an ID token. What ties the two moments together is a [`Begun`], which the caller
//! keeps where only the same browser brings it back. Nothing is remembered here.

mod exchange;
mod metadata;

use std::{sync::Arc, time::Duration};

use portcullis_config::{issuers::Algorithm, providers::Provider as Settings, units::Timestamp};
use portcullis_tokens::{IdTokens, Identity, MissingKey, Refused, TokenError};
use secrecy::SecretString;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use self::metadata::MetadataKeeper;
use crate::{
    discovery::DiscoveryError,
    fetch::{FetchError, Fetcher},
    issuer_keys::{KeyKeeper, RenewalError},
};

/// What providers sign with. All are public-key algorithms: a secret that is known on both sides proves nothing.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
];

/// Sign-ins at one provider that may wait for its answer at the same time.
const PLACES: usize = 64;

/// A key that was published a moment ago is there within this, or this sign-in fails.
const KEYS_WITHIN: Duration = Duration::from_secs(3);

/// One provider, as its client.
pub struct Provider {
    settings: Settings,
    redirect_url: String,
    fetcher: Fetcher,
    metadata: MetadataKeeper,
    id_tokens: IdTokens,
    places: Semaphore,
}

/// What was drawn at random when a sign-in began: each at least 128 bits, in characters of base64url.
pub struct Begun {
    /// Comes back in the address.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Tells the provider that whoever brings the code has sent the browser (RFC 7636).
    pub verifier: SecretString,
}

/// What the browser brought back.
pub struct Returned<'a> {
    pub code: &'a str,
    /// Of RFC 9207.
    pub issuer: Option<&'a str>,
}

/// Why nobody was identified. The texts are for the log and hold nothing of what was sent or answered.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("too many sign-ins wait for the provider")]
    Busy,
    #[error("it could not be asked a moment ago")]
    Away,
    #[error("{0}")]
    Discovery(#[from] DiscoveryError),
    #[error("its metadata names no {0} that may be used")]
    NoEndpoint(&'static str),
    #[error("its token endpoint {0}")]
    Fetch(#[from] FetchError),
    #[error("its token endpoint does not accept us as a client")]
    NotItsClient,
    #[error("its token endpoint gave no usable answer")]
    Unusable,
    /// The code is unknown, was used, or is somebody else's.
    #[error("it does not know the code")]
    Code,
    #[error("the answer is that of another provider")]
    OtherIssuer,
    #[error("{0}")]
    IdToken(TokenError),
}

/// Why a provider of the configuration cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Keys(#[from] RenewalError),
}

impl Provider {
    /// Its keys are kept from now on. `issuer` is our own, under which the browser comes back.
    pub fn new(
        settings: &Settings,
        issuer: &str,
        keeper: &KeyKeeper,
    ) -> Result<Self, ProviderSetupError> {
        let (name, theirs) = (&settings.name, &settings.issuer);
        let keys = keeper.published_keys(&format!("provider:{name}"), theirs, &ALGORITHMS)?;
        let ours = issuer.trim_end_matches('/');
        Ok(Self {
            redirect_url: format!("{ours}/v1/auth/providers/{name}/callback"),
            fetcher: Fetcher::new()?,
            metadata: MetadataKeeper::default(),
            id_tokens: IdTokens::new(theirs, &settings.client_id, keys),
            places: Semaphore::new(PLACES),
            settings: settings.clone(),
        })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the browser signs in.
    pub async fn address(&self, begun: &Begun) -> Result<String, ProviderError> {
        let _place = self.place()?;
        let metadata = self.metadata.at(&self.fetcher, &self.settings.issuer);
        let client = exchange::client(self, &*metadata.await?)?;
        Ok(exchange::address(&client, &self.settings, begun))
    }

    /// Who signed in.
    pub async fn identify(
        &self,
        begun: &Begun,
        returned: Returned<'_>,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let _place = self.place()?;
        let metadata = self.metadata.at(&self.fetcher, &self.settings.issuer);
        let metadata = metadata.await?;
        // RFC 9207 section 2.4: whoever says who it is has to be who was asked, and whoever promised to has to.
        let is_missing = returned.issuer.is_none() && metadata.names_itself;
        if is_missing
            || returned
                .issuer
                .is_some_and(|issuer| issuer != self.settings.issuer)
        {
            return Err(ProviderError::OtherIssuer);
        }
        let client = exchange::client(self, &metadata)?;
        let token = exchange::id_token(&client, &self.fetcher, returned.code, begun).await?;
        self.read(&token, &begun.nonce, now).await
    }

    /// Asks for the provider's keys once more where one is missing.
    async fn read(
        &self,
        token: &str,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let refused = match self.id_tokens.read(token, nonce, now) {
            Ok(identity) => return Ok(identity),
            Err(refused) => refused,
        };
        let Some(renewal) = refused.missing.as_ref().and_then(MissingKey::renew) else {
            return Err(refused.into());
        };
        // Whether it came is seen by reading again.
        let _in_time = timeout(KEYS_WITHIN, renewal).await;
        Ok(self.id_tokens.read(token, nonce, now)?)
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, ProviderError> {
        let place = self.places.try_acquire();
        place.map_err(|_none_left| ProviderError::Busy)
    }
}

impl From<Refused> for ProviderError {
    fn from(refused: Refused) -> Self {
        Self::IdToken(refused.cause)
    }
}

/// The providers of a configuration.
#[derive(Clone, Default)]
pub struct Providers(Arc<[Provider]>);

impl Providers {
    pub fn new(
        settings: &[Settings],
        issuer: &str,
        keeper: &KeyKeeper,
    ) -> Result<Self, ProviderSetupError> {
        let provider = |settings| Provider::new(settings, issuer, keeper);
        let providers = settings.iter().map(provider);
        Ok(Self(providers.collect::<Result<_, _>>()?))
    }

    pub fn named(&self, name: &str) -> Option<&Provider> {
        let mut providers = self.0.iter();
        providers.find(|provider| provider.settings.name == name)
    }
}

#[cfg(test)]
mod tests;
