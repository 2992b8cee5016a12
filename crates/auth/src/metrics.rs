//! What is counted. No user, no address and no name of a resource is ever a label.

use portcullis_policy::rejection::Rejection;
use prometheus::{IntCounterVec, Opts, Registry};

use crate::{answer::Refusal, password::Hasher};

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

    /// Counts `success`, or the code of the rejection.
    pub(crate) fn count_login<T>(&self, result: &Result<T, Refusal>) {
        let outcome = result
            .as_ref()
            .map_or_else(|refusal| Rejection::code(&refusal.rejection), |_| "success");
        self.logins.with_label_values(&[outcome]).inc();
    }
}
