//! Keeps the addresses of endpoints that are written as names fresh, away from the request path.

use std::{sync::Arc, time::Duration};

use portcullis_config::upstreams::Endpoint;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    snapshot::Snapshot,
    upstream::{Address, Target, Upstream},
};

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolves every name once at its start and again every five seconds, until the tasks are dropped.
pub(crate) fn keep_fresh(snapshot: &Snapshot, tasks: &mut JoinSet<()>, runtime: &Handle) {
    for upstream in with_names(snapshot) {
        let upstream = Arc::clone(upstream);
        let keep_fresh = async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                refresh(&upstream).await;
            }
        };
        tasks.spawn_on(keep_fresh, runtime);
    }
}

/// Resolves every name once, side by side, and waits for no answer longer than for any other.
pub(crate) async fn look_up(snapshot: &Snapshot) {
    let mut lookups = JoinSet::new();
    for upstream in with_names(snapshot) {
        let upstream = Arc::clone(upstream);
        lookups.spawn(async move { refresh(&upstream).await });
    }
    // What has not come by then comes with the next round; what is still asked ends here.
    timeout(2 * PATIENCE, async {
        while lookups.join_next().await.is_some() {}
    })
    .await
    .ok();
}

fn with_names(snapshot: &Snapshot) -> impl Iterator<Item = &Arc<Upstream>> {
    let has_names = |upstream: &&Arc<Upstream>| {
        let mut endpoints = upstream.endpoints.iter();
        endpoints.any(|endpoint| matches!(endpoint, Endpoint::Name { .. }))
    };
    snapshot.upstreams.iter().filter(has_names)
}

/// Sets the targets that need no resolving; names follow with the first answer. Of an upstream that was there before
/// with the same endpoints what they resolved to stays as well, and every address that stays keeps its counts.
pub(crate) fn set_known(upstream: &Upstream, before: Option<&Upstream>) {
    let targets = before.map(|before| before.targets.load_full());
    let targets = targets.as_deref().map_or(&[][..], Vec::as_slice);
    let is_unchanged = before.is_some_and(|before| before.endpoints == upstream.endpoints);
    let addresses: Vec<Address> = if is_unchanged {
        targets
            .iter()
            .map(|target| target.address.clone())
            .collect()
    } else {
        upstream
            .endpoints
            .iter()
            .filter_map(known_address)
            .collect()
    };
    let same_timeouts = before.is_some_and(|before| before.timeouts == upstream.timeouts);
    let keep_or_make = |address: Address| {
        let known = targets.iter().find(|target| target.address == address);
        match known {
            Some(target) if same_timeouts => Some(Arc::clone(target)),
            Some(target) => target.renewed(&upstream.timeouts).map(Arc::new),
            None => Target::new(address, &upstream.timeouts).map(Arc::new),
        }
    };
    let targets = addresses.into_iter().filter_map(keep_or_make).collect();
    upstream.targets.store(Arc::new(targets));
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
