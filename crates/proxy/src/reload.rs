//! Another configuration under a running gateway: compiled beside the one in force, then swapped in as a whole.
//!
//! A request keeps the snapshot it began with. What must not begin anew (buckets, breakers, counts in flight, resolved
//! names) is handed from the old snapshot to the new one by name. Listeners and threads are made once and stay.

use std::sync::Arc;

use portcullis_config::Config;
use portcullis_tokens::Verifier;
use tokio::runtime::Handle;

use crate::{
    certificates::Certificates, front_door::Reception, gateway::Gateway, occupancy::Occupancy,
    resolve, tls::TlsError,
};

/// What a reload brings; everything else the gateway was made of stays.
pub struct ReloadParts<'a> {
    /// Without anything that is read only at the start: whoever reloads has put back what is in force of that.
    pub config: &'a Config,
    pub verifier: Arc<Verifier>,
}

/// The handle by which the binary brings a new configuration into force.
pub struct Reloader {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) occupancy: Arc<Occupancy>,
    pub(crate) reception: Arc<Reception>,
    pub(crate) certificates: Arc<Certificates>,
    /// The proxy's own: what tends a snapshot in the background runs there.
    pub(crate) runtime: Handle,
}

impl Reloader {
    /// Returns once new requests get the new configuration. Waits only for names that are to be resolved, and for those
    /// not long; two reloads must not overlap, hence `&mut`.
    ///
    /// # Errors
    /// Where a certificate cannot be used after all. What was in force then stays.
    pub async fn reload(&mut self, parts: ReloadParts<'_>) -> Result<(), TlsError> {
        let renewal = self.certificates.prepare(&parts.config.server.listeners)?;
        let snapshot = Arc::new(self.gateway.compile(parts.config, &parts.verifier));
        // Before the first request needs them, so that a new upstream is not refused for want of an address.
        resolve::look_up(&snapshot).await;
        snapshot.take_over(&parts.config.upstreams);
        let limits = &snapshot.server.limits;
        self.occupancy
            .resize(limits.connections, limits.connections_per_ip);
        self.reception.renew(&snapshot);
        self.gateway.put_in_force(snapshot, &self.runtime);
        self.certificates.renew(renewal, &self.gateway);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
