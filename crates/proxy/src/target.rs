//! One address that can be connected to: the peer Pingora is given for it, and what is known of the address.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use portcullis_policy::{
    balance::{Load, digest},
    fitness::{Health, Outlier},
};

use crate::transport::Transport;

pub(crate) struct Target {
    pub(crate) site: Site,
    pub(crate) record: Arc<Record>,
    pub(crate) transport: Arc<Transport>,
    /// Cloned for each attempt: building one parses and allocates more.
    peer: HttpPeer,
    /// By which keys are told apart that belong here.
    pub(crate) name: u64,
}

/// An address as an endpoint stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) address: Address,
    pub(crate) weight: u8,
    /// What a request of our own calls it.
    pub(crate) host: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Inet(SocketAddr),
    Unix(String),
}

/// What is known of an address, whatever else the configuration says of it: a reload hands it on.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) health: Mutex<Health>,
    pub(crate) outlier: Outlier,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(inet) => inet.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl Target {
    /// The target of `known` where nothing about it has changed, else one that goes on with its record. `None` where the
    /// path of a Unix socket is longer than the system can name.
    pub(crate) fn keep_or_make(
        site: Site,
        transport: &Arc<Transport>,
        known: &[Arc<Self>],
    ) -> Option<Arc<Self>> {
        let before = known
            .iter()
            .find(|target| target.site.address == site.address);
        match before {
            Some(before) if before.site == site && before.transport.is_same_as(transport) => {
                Some(Arc::clone(before))
            }
            Some(before) => Self::new(site, transport, Arc::clone(&before.record)),
            None => Self::new(site, transport, Arc::default()),
        }
    }

    fn new(site: Site, transport: &Arc<Transport>, record: Arc<Record>) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            peer: transport.peer(&site.address)?,
            name: digest(site.address.to_string().as_bytes()),
            transport: Arc::clone(transport),
            record,
            site,
        }))
    }

    /// The peer for one attempt that may take `timeout` in all.
    pub(crate) fn peer(&self, timeout: Duration) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        peer.options.read_timeout = Some(timeout);
        peer.options.write_timeout = Some(timeout);
        peer
    }

    /// The peer for a health check: a connection of its own, that is not kept afterwards.
    pub(crate) fn check_peer(&self, timeout: Duration) -> HttpPeer {
        let mut peer = self.peer.clone();
        peer.options.connection_timeout = Some(timeout);
        peer.options.total_connection_timeout = Some(timeout);
        // Of a connection that carries one stream Pingora keeps none for a second.
        peer.options.max_h2_streams = 1;
        peer
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            in_flight: self.record.in_flight.load(Relaxed),
            weight: self.site.weight,
        }
    }
}
