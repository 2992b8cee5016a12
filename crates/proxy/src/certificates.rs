//! The certificates of all listeners: renewed together, and watched for their end.

use std::{net::SocketAddr, sync::Arc};

use portcullis_config::{certificates::KeyPair, server::Listener};

use crate::{
    gateway::Gateway,
    tls::{Terminator, Terms, TlsError},
};

/// What the listeners that speak TLS show to their clients.
pub(crate) struct Certificates {
    terminators: Vec<(SocketAddr, Arc<Terminator>)>,
}

/// What is to be shown, made and not yet in force.
pub(crate) struct Renewal(Vec<(Arc<Terminator>, Terms)>);

impl Certificates {
    pub(crate) fn new(terminators: Vec<(SocketAddr, Arc<Terminator>)>) -> Self {
        Self { terminators }
    }

    /// Where this fails nothing has changed anywhere. What is the same as before is left out, and with it the sessions
    /// that clients may resume.
    pub(crate) fn prepare(&self, listeners: &[Listener]) -> Result<Renewal, TlsError> {
        let mut renewal = Vec::new();
        for (address, terminator) in &self.terminators {
            let wanted = listeners.iter().find(|wanted| wanted.address == *address);
            let Some(tls) = wanted.and_then(|wanted| wanted.tls.as_ref()) else {
                continue;
            };
            if !terminator.shows(tls) {
                renewal.push((Arc::clone(terminator), Terms::of(tls)?));
            }
        }
        Ok(Renewal(renewal))
    }

    /// From the next handshake on. Connections that are open stay as they are.
    pub(crate) fn renew(&self, renewal: Renewal, gateway: &Gateway) {
        for (terminator, terms) in renewal.0 {
            terminator.renew(terms);
        }
        self.tell(gateway);
    }

    /// Until when each is good: as a metric, and in the log where that is over.
    pub(crate) fn tell(&self, gateway: &Gateway) {
        let now = gateway.now().wall;
        gateway.metrics.certificate_expiry.reset();
        for (listener, terminator) in &self.terminators {
            for pair in &terminator.tls().certificates {
                gateway.metrics.certificate_expires(*listener, pair);
                if pair.expires() <= now {
                    tell_expired(*listener, pair);
                }
            }
        }
    }
}

fn tell_expired(listener: SocketAddr, pair: &KeyPair) {
    let certificate = pair.certificate.display();
    tracing::warn!(%listener, %certificate, "the certificate has expired: clients will refuse it");
}
