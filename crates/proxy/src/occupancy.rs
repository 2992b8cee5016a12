//! The open connections against their caps, in all and by address.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

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
        let place = self.enter_unnamed()?;
        match peer {
            Some(address) => place.of(address),
            None => Some(place),
        }
    }

    /// For a connection that is not known yet by its client's address.
    pub(crate) fn enter_unnamed(self: &Arc<Self>) -> Option<Place> {
        let entered = self.open.fetch_update(Relaxed, Relaxed, |open| {
            (open < self.most.load(Relaxed)).then_some(open + 1)
        });
        entered.ok()?;
        // From here on the place exists, and dropping it gives the count back.
        Some(Place {
            occupancy: Arc::clone(self),
            peer: None,
        })
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

impl Place {
    /// Counted for this address from now on, and given back where it has as many as it may.
    pub(crate) fn of(mut self, address: IpAddr) -> Option<Self> {
        let most = self.occupancy.most_per_address.load(Relaxed);
        let mut shard = self.occupancy.shard(address).lock();
        let held = shard.entry(address).or_insert(0);
        if *held >= most {
            return None;
        }
        *held += 1;
        drop(shard);
        self.peer = Some(address);
        Some(self)
    }
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
