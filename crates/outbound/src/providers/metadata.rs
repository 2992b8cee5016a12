//! Where a provider wants to be asked, told by itself and asked for anew now and then. Whoever comes while it is asked
//! waits for that answer, good or bad.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::ProviderError;
use crate::{
    discovery::{self, Metadata},
    fetch::Fetcher,
};

/// Endpoints move once in years.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);

/// A provider that is away is not asked for everybody who comes.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What of the metadata a client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) authorization: String,
    pub(super) token: String,
    /// It takes our secret in the form only, and not in a header.
    pub(super) takes_form: bool,
    /// Its answers bear its name (RFC 9207).
    pub(super) names_itself: bool,
}

#[derive(Default)]
pub(super) struct MetadataKeeper(Mutex<State>);

#[derive(Default)]
struct State {
    known: Option<(Arc<Endpoints>, Instant)>,
    failed_at: Option<Instant>,
}

impl MetadataKeeper {
    /// What is known is used on while the provider cannot be asked: whether it is there shows when it is.
    pub(super) async fn at(
        &self,
        fetcher: &Fetcher,
        issuer: &str,
    ) -> Result<Arc<Endpoints>, ProviderError> {
        let mut state = self.0.lock().await;
        let (known, is_fresh) = match &state.known {
            Some((known, since)) => (Some(Arc::clone(known)), since.elapsed() < FRESH_FOR),
            None => (None, false),
        };
        let has_just_failed = state.failed_at.is_some_and(|at| at.elapsed() < RETRY_AFTER);
        if let Some(known) = known.as_ref().filter(|_| is_fresh || has_just_failed) {
            return Ok(Arc::clone(known));
        }
        if has_just_failed {
            return Err(ProviderError::Away);
        }
        match ask(fetcher, issuer).await {
            Ok(endpoints) => {
                let endpoints = Arc::new(endpoints);
                state.known = Some((Arc::clone(&endpoints), Instant::now()));
                state.failed_at = None;
                Ok(endpoints)
            }
            Err(error) => {
                state.failed_at = Some(Instant::now());
                known.ok_or(error)
            }
        }
    }
}

async fn ask(fetcher: &Fetcher, issuer: &str) -> Result<Endpoints, ProviderError> {
    let metadata = discovery::metadata(fetcher, issuer).await?;
    Endpoints::of(&metadata)
}

impl Endpoints {
    fn of(metadata: &Metadata) -> Result<Self, ProviderError> {
        let address = |name| {
            metadata
                .address(name)
                .ok_or(ProviderError::NoEndpoint(name))
        };
        let takes = |method| metadata.lists("token_endpoint_auth_methods_supported", method);
        Ok(Self {
            authorization: address("authorization_endpoint")?,
            token: address("token_endpoint")?,
            // RFC 8414 section 2: where nothing is said, it is the header.
            takes_form: takes("client_secret_basic") == Some(false)
                && takes("client_secret_post") == Some(true),
            names_itself: metadata.says("authorization_response_iss_parameter_supported"),
        })
    }
}
