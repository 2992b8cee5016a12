//! What is counted. No user, no address and no name of a resource is ever a label.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::{answer::Refusal, password::Hasher, sign_in::SignedIn};

pub(crate) struct Metrics {
    logins: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(
        registry: &Registry,
        hasher: &Hasher,
    ) -> Result<Self, prometheus::Error> {
        let opts = Opts::new("portcullis_logins_total", "Sign-ins, by how they ended.");
        let logins = IntCounterVec::new(opts, &["outcome"])?;
        registry.register(Box::new(logins.clone()))?;
        registry.register(Box::new(hasher.waiting().clone()))?;
        Ok(Self { logins })
    }

    /// Counts what followed, or the code of the rejection.
    pub(crate) fn count_login(&self, result: &Result<SignedIn, Refusal>) {
        let outcome = result
            .as_ref()
            .map_or_else(|refusal| refusal.rejection.code(), SignedIn::outcome);
        self.logins.with_label_values(&[outcome]).inc();
    }
}
