//! The keys of one issuer in the course of time. They are shared by all verifiers that accept the issuer, so that a
//! configuration that is replaced and the one that replaces it learn of a rotation in the same moment.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use crate::keys::KeySet;

/// Whoever can ask an issuer for its keys again.
pub trait KeyRenewal: Send + Sync {
    /// For a token that names `key_id`, which is not held, or that came before there was any key. `None`: the issuer is
    /// not asked for this now, and there is nothing to wait for. Must be cheap, for a stranger can call it at will.
    fn renew(&self, key_id: Option<&str>) -> Option<Renewal>;
}

/// Ends when the issuer has answered, or has failed to. What came of it is seen by verifying again; how long to wait
/// for it is for the caller to say.
pub type Renewal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What verifies the tokens of one issuer now.
pub struct IssuerKeys {
    current: ArcSwap<Generation>,
    /// That of `current`, where a remembered token can be compared with it without touching the keys.
    generation: AtomicU64,
    renewal: Option<Arc<dyn KeyRenewal>>,
}

/// One state of the keys.
pub(crate) struct Generation {
    pub(crate) keys: KeySet,
    number: u64,
}

/// Which keys vouched for a token.
pub(crate) struct Warrant {
    keys: Arc<IssuerKeys>,
    generation: u64,
}

impl IssuerKeys {
    /// None yet, and somebody to ask for them.
    pub fn renewed_by(renewal: Arc<dyn KeyRenewal>) -> Self {
        Self {
            renewal: Some(renewal),
            ..Self::from(KeySet::empty())
        }
    }

    /// From the return of this call on, no token of the issuer passes that these keys do not verify, remembered ones
    /// included.
    pub fn replace(&self, keys: KeySet) {
        let number = self.generation.load(Ordering::Acquire).wrapping_add(1);
        self.current.store(Arc::new(Generation { keys, number }));
        self.generation.store(number, Ordering::Release);
    }

    /// How many keys there are; with none its tokens are answered with [`crate::TokenError::KeysUnavailable`].
    pub fn count(&self) -> usize {
        self.current().keys.count()
    }

    pub(crate) fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    pub(crate) fn renew(&self, key_id: Option<&str>) -> Option<Renewal> {
        self.renewal.as_ref()?.renew(key_id)
    }
}

impl From<KeySet> for IssuerKeys {
    /// Keys that nobody can be asked for again.
    fn from(keys: KeySet) -> Self {
        Self {
            current: ArcSwap::from_pointee(Generation { keys, number: 0 }),
            generation: AtomicU64::new(0),
            renewal: None,
        }
    }
}

impl From<KeySet> for Arc<IssuerKeys> {
    fn from(keys: KeySet) -> Self {
        Self::new(IssuerKeys::from(keys))
    }
}

impl Generation {
    /// For a token that these keys have verified. `keys` is where this state was loaded from.
    pub(crate) fn warrant(&self, keys: &Arc<IssuerKeys>) -> Warrant {
        Warrant {
            keys: Arc::clone(keys),
            generation: self.number,
        }
    }
}

impl Warrant {
    /// Whether the keys are still those that vouched.
    pub(crate) fn stands(&self) -> bool {
        self.keys.generation.load(Ordering::Acquire) == self.generation
    }
}
