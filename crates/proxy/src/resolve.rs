//! Keeps the addresses of endpoints that are written as names fresh, away from the request path.

use std::{sync::Arc, time::Duration};

use portcullis_config::upstreams::Endpoint;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    snapshot::Snapshot,
    upstream::{Address, Target, Upstream},
};

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolves every name once at its start and again every five seconds, for as long as the runtime lives.
pub(crate) fn keep_fresh(snapshot: &Arc<Snapshot>) {
    for upstream in &snapshot.upstreams {
        let named = upstream
            .endpoints
            .iter()
            .any(|endpoint| matches!(endpoint, Endpoint::Name { .. }));
        if named {
            let upstream = Arc::clone(upstream);
            tokio::spawn(async move {
                let mut ticks = interval(EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    refresh(&upstream).await;
                }
            });
        }
    }
}

/// Sets the targets of an upstream whose endpoints are all addresses; names follow with the first answer.
pub(crate) fn set_known(upstream: &Upstream) {
    let known = upstream
        .endpoints
        .iter()
        .filter_map(known_address)
        .collect();
    replace(upstream, known);
}

fn known_address(endpoint: &Endpoint) -> Option<Address> {
    match endpoint {
        Endpoint::Address(address) => Some(Address::Inet(*address)),
        Endpoint::Unix(path) => Some(Address::Unix(path.to_string_lossy().into_owned())),
        Endpoint::Name { .. } => None,
    }
}

/// Asks for every name; while one cannot be resolved, its last good addresses stay.
async fn refresh(upstream: &Upstream) {
    let mut addresses = Vec::new();
    for endpoint in &upstream.endpoints {
        let Endpoint::Name { host, port } = endpoint else {
            addresses.extend(known_address(endpoint));
            continue;
        };
        match timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => addresses.extend(found.map(Address::Inet)),
            Ok(Err(cause)) => {
                return tracing::warn!(upstream = %upstream.name, %host, %cause, "name not resolved; last addresses stay");
            }
            Err(_late) => {
                return tracing::warn!(upstream = %upstream.name, %host, "name not resolved in time; last addresses stay");
            }
        }
    }
    addresses.dedup();
    replace(upstream, addresses);
}

/// Targets that stay keep their counts.
fn replace(upstream: &Upstream, addresses: Vec<Address>) {
    let current = upstream.targets.load();
    let same = current.len() == addresses.len()
        && current
            .iter()
            .zip(&addresses)
            .all(|(target, address)| target.address == *address);
    if same {
        return;
    }
    let keep_or_make = |address: Address| {
        let kept = current
            .iter()
            .find(|target| target.address == address)
            .cloned();
        kept.or_else(|| Target::new(address, &upstream.timeouts).map(Arc::new))
    };
    upstream.targets.store(Arc::new(
        addresses.into_iter().filter_map(keep_or_make).collect(),
    ));
}
