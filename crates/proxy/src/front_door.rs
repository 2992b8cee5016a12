//! Where connections come in: counts them, turns away those over a cap, and hands the rest to Pingora.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::Stream,
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use portcullis_policy::{
    client_address::TrustedProxies, proxy_protocol::Origin, rejection::Rejection,
};
use prometheus::{IntCounter, IntGauge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    announcement::{self, AnnouncementError},
    connection::{Connection, GuardedStream, Patience, Protocol},
    http2,
    lifecycle::Lifecycle,
    occupancy::{Occupancy, Place},
    respond::whole_answer,
    snapshot::Snapshot,
    tls::{HandshakeError, Terminator},
};

/// How long a client that was turned away may take to read its answer and close.
const LINGER: Duration = Duration::from_millis(250);

/// Told to a connection over a cap.
const RETRY_CONNECTION: Duration = Duration::from_secs(1);

/// The application Pingora runs for one listener.
pub(crate) struct FrontDoor {
    pub(crate) proxy: Arc<HttpProxy<Lifecycle>>,
    pub(crate) occupancy: Arc<Occupancy>,
    pub(crate) reception: Arc<Reception>,
    /// Whether a load balancer says ahead of each connection whose it is.
    pub(crate) is_announced: bool,
    /// Absent where the listener is plain.
    pub(crate) terminator: Option<Arc<Terminator>>,
    pub(crate) open_connections: IntGauge,
    pub(crate) malformed_requests: IntCounter,
    pub(crate) turned_away: IntCounter,
    /// Connections that were to be announced, and came from somebody whose word is not taken.
    pub(crate) strangers: IntCounter,
    pub(crate) failed_handshakes: IntCounter,
}

#[async_trait]
impl ServerApp for FrontDoor {
    async fn process_new(
        self: &Arc<Self>,
        accepted: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let peer = peer_of(&accepted);
        let place = if self.is_announced {
            self.occupancy.enter_unnamed()
        } else {
            self.occupancy.enter(peer)
        };
        let Some(place) = place else {
            self.turn_away(accepted).await;
            return None;
        };
        let _counted = Counted::new(&self.open_connections);
        let known = self.identify(accepted, peer, place).await?;
        if let Some(stream) = self.secure(known.accepted).await {
            self.serve(stream, known.peer, shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        // Wakes the idle connections so that they close; without it they would keep the process until the timeout.
        self.proxy.http_cleanup().await;
    }
}

/// A connection whose client is known by its address.
struct Known {
    accepted: Stream,
    peer: Option<IpAddr>,
    _place: Place,
}

impl FrontDoor {
    /// Where connections are announced, the client is the one that was announced, for every purpose from here on.
    async fn identify(
        &self,
        mut accepted: Stream,
        peer: Option<IpAddr>,
        place: Place,
    ) -> Option<Known> {
        if !self.is_announced {
            return Some(Known {
                accepted,
                peer,
                _place: place,
            });
        }
        let is_trusted = peer.is_some_and(|peer| self.reception.trusts(peer));
        let within = self.reception.patience().header;
        let peer = match announcement::read(&mut accepted, is_trusted, within).await {
            Ok(Origin::Client(client)) => Some(client),
            Ok(Origin::Balancer) => peer,
            Err(error) => {
                self.note_unannounced(&error);
                return None;
            }
        };
        let place = match peer {
            Some(address) => place.of(address),
            None => Some(place),
        };
        let Some(place) = place else {
            self.turn_away(accepted).await;
            return None;
        };
        Some(Known {
            accepted,
            peer,
            _place: place,
        })
    }

    fn note_unannounced(&self, error: &AnnouncementError) {
        match error {
            AnnouncementError::Untrusted => self.strangers.inc(),
            AnnouncementError::Missing => self.malformed_requests.inc(),
            AnnouncementError::TooSlow | AnnouncementError::Closed(_) => {}
        }
        tracing::debug!(%error, "no PROXY protocol");
    }

    async fn turn_away(&self, accepted: Stream) {
        self.turned_away.inc();
        // To tell a client over TLS would take the handshake that the cap is there to save.
        if self.terminator.is_none() {
            turn_away(accepted, &self.reception.full_house()).await;
        }
    }

    /// The stream as requests are read from it. Its place is taken already: a handshake costs more than a request.
    async fn secure(&self, accepted: Stream) -> Option<Stream> {
        let Some(terminator) = &self.terminator else {
            return Some(accepted);
        };
        let within = self.reception.patience().header;
        match terminator.shake_hands(accepted, within).await {
            Ok(stream) => Some(stream),
            Err(HandshakeError::Silent) => None,
            Err(error) => {
                self.failed_handshakes.inc();
                tracing::debug!(%error, "no TLS handshake");
                None
            }
        }
    }

    async fn serve(&self, stream: Stream, peer: Option<IpAddr>, shutdown: &ShutdownWatch) {
        let connection = Arc::new(Connection::new(peer, &stream));
        let guarded = Box::new(GuardedStream::new(
            stream,
            Arc::clone(&connection),
            self.reception.patience(),
        ));
        match connection.protocol() {
            Protocol::Http1 => {
                let served = self.proxy.process_new(guarded, shutdown);
                connection.scope(served).await;
            }
            Protocol::Http2 => {
                let (proxy, terms) = (Arc::clone(&self.proxy), self.reception.http2());
                http2::serve(proxy, Arc::clone(&connection), terms, guarded, shutdown).await;
            }
        }
        if connection.ended_malformed() {
            self.malformed_requests.inc();
        }
    }
}

/// How connections are received, as the configuration in force has it. One that is open keeps what it began with.
pub(crate) struct Reception(ArcSwap<Terms>);

struct Terms {
    trusted_proxies: TrustedProxies,
    patience: Patience,
    http2: http2::Terms,
    /// The whole answer to a connection over a cap.
    full_house: Bytes,
}

impl Reception {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self(ArcSwap::from_pointee(Terms::of(snapshot)))
    }

    pub(crate) fn renew(&self, snapshot: &Snapshot) {
        self.0.store(Arc::new(Terms::of(snapshot)));
    }

    fn patience(&self) -> Patience {
        self.0.load().patience.clone()
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        self.0.load().trusted_proxies.trusts(peer)
    }

    fn http2(&self) -> http2::Terms {
        self.0.load().http2.clone()
    }

    fn full_house(&self) -> Bytes {
        self.0.load().full_house.clone()
    }
}

impl Terms {
    fn of(snapshot: &Snapshot) -> Self {
        let limits = &snapshot.server.limits;
        let full = Rejection::Overloaded {
            retry_after: RETRY_CONNECTION,
        };
        Self {
            patience: Patience {
                idle: limits.idle_timeout,
                header: limits.header_timeout,
                farewell: whole_answer(&Rejection::RequestTimeout, snapshot),
            },
            trusted_proxies: snapshot.trusted_proxies.clone(),
            http2: http2::Terms::of(limits),
            full_house: whole_answer(&full, snapshot),
        }
    }
}

/// Counts on a gauge while it lives, through a panic of the task as well.
struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn peer_of(accepted: &Stream) -> Option<IpAddr> {
    let digest = accepted.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// One answer without reading the request: reading would cost what the cap is there to save.
async fn turn_away(mut accepted: Stream, answer: &[u8]) {
    // A client that is gone already cannot be told; either way the connection ends here.
    if accepted.write_all(answer).await.is_ok()
        && AsyncWriteExt::shutdown(&mut accepted).await.is_ok()
    {
        // Closing over unread bytes resets the connection, and the reset can overtake the answer.
        let mut unread = [0; 1024];
        let until_closed = async { while accepted.read(&mut unread).await.is_ok_and(|n| n > 0) {} };
        timeout(LINGER, until_closed).await.ok();
    }
}
