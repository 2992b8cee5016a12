//! Where connections come in: counts them, turns away those over a cap, and hands the rest to Pingora.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    protocols::Stream,
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use portcullis_policy::rejection::Rejection;
use prometheus::{IntCounter, IntGauge};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    connection::{Connection, GuardedStream, Patience, Protocol},
    http2,
    lifecycle::Lifecycle,
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
    /// Absent where the listener is plain.
    pub(crate) terminator: Option<Arc<Terminator>>,
    pub(crate) open_connections: IntGauge,
    pub(crate) malformed_requests: IntCounter,
    pub(crate) turned_away: IntCounter,
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
        let Some(_place) = self.occupancy.enter(peer) else {
            self.turned_away.inc();
            // To tell a client over TLS would take the handshake that the cap is there to save.
            if self.terminator.is_none() {
                turn_away(accepted, &self.reception.full_house()).await;
            }
            return None;
        };
        let _counted = Counted::new(&self.open_connections);
        if let Some(stream) = self.secure(accepted).await {
            self.serve(stream, peer, shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        // Wakes the idle connections so that they close; without it they would keep the process until the timeout.
        self.proxy.http_cleanup().await;
    }
}

impl FrontDoor {
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

/// The open connections, in all and by address.
pub(crate) struct Occupancy {
    open: AtomicUsize,
    /// A reload may lower the caps below what is open: then nobody is let in until enough have left.
    most: AtomicUsize,
    most_per_address: AtomicUsize,
    /// Bounded by `most`: an address stands here only while it holds a connection.
    by_address: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    seed: RandomState,
}

const SHARDS: usize = 16;

impl Occupancy {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Self {
        Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            most_per_address: AtomicUsize::new(most_per_address),
            by_address: std::array::from_fn(|_| Mutex::default()),
            seed: RandomState::new(),
        }
    }

    pub(crate) fn resize(&self, most: usize, most_per_address: usize) {
        self.most.store(most, Relaxed);
        self.most_per_address.store(most_per_address, Relaxed);
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// A place that is given back when dropped, or `None` where a cap is reached.
    pub(crate) fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let entered = self.open.fetch_update(Relaxed, Relaxed, |open| {
            (open < self.most.load(Relaxed)).then_some(open + 1)
        });
        entered.ok()?;
        // From here on the place exists, and dropping it gives the count back.
        let mut place = Place {
            occupancy: Arc::clone(self),
            peer: None,
        };
        if let Some(address) = peer {
            let mut shard = self.shard(address).lock();
            let held = shard.entry(address).or_insert(0);
            if *held >= self.most_per_address.load(Relaxed) {
                return None;
            }
            *held += 1;
            drop(shard);
            place.peer = Some(address);
        }
        Some(place)
    }

    fn leave(&self, peer: Option<IpAddr>) {
        self.open.fetch_sub(1, Relaxed);
        let Some(address) = peer else { return };
        if let Entry::Occupied(mut held) = self.shard(address).lock().entry(address) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn shard(&self, address: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let [first, ..] = &self.by_address;
        let index = usize::try_from(self.seed.hash_one(address) % SHARDS as u64).unwrap_or(0);
        self.by_address.get(index).unwrap_or(first)
    }
}

/// One open connection's share of the caps.
pub(crate) struct Place {
    occupancy: Arc<Occupancy>,
    peer: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.occupancy.leave(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn an_address_at_its_cap_leaves_room_for_others() {
        let occupancy = Arc::new(Occupancy::new(10, 1));
        let held = occupancy.enter(Some(ALICE));
        assert!(
            held.is_some(),
            "the first connection of an address is let in"
        );
        assert!(
            occupancy.enter(Some(ALICE)).is_none(),
            "the second is over the address's cap"
        );
        assert!(
            occupancy.enter(Some(BOB)).is_some(),
            "another address is not affected"
        );
    }

    #[test]
    fn a_connection_turned_away_holds_no_place() {
        let occupancy = Arc::new(Occupancy::new(2, 1));
        let held = occupancy.enter(Some(ALICE));
        assert!(occupancy.enter(Some(ALICE)).is_none());
        assert_eq!(occupancy.open(), 1, "a refusal must give its count back");
        drop(held);
        assert_eq!(occupancy.open(), 0);
        assert!(
            occupancy.enter(Some(ALICE)).is_some(),
            "a closed connection frees its address"
        );
    }

    #[test]
    fn a_lowered_cap_lets_nobody_in_until_enough_have_left() {
        let occupancy = Arc::new(Occupancy::new(2, 2));
        let (first, second) = (occupancy.enter(None), occupancy.enter(None));
        occupancy.resize(1, 1);
        drop(first);
        assert!(
            occupancy.enter(None).is_none(),
            "the one that is left fills it"
        );
        drop(second);
        assert!(occupancy.enter(None).is_some());
    }

    #[test]
    fn no_more_connections_are_open_than_the_cap() {
        let occupancy = Arc::new(Occupancy::new(1, 5));
        let _held = occupancy.enter(None);
        assert!(occupancy.enter(Some(BOB)).is_none());
    }
}
