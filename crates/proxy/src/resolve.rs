//! Keeps the addresses of endpoints that are written as names fresh, away from the request path.

use std::{collections::HashSet, sync::Arc, time::Duration};

use portcullis_config::upstreams::{Endpoint, Location};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    snapshot::Snapshot,
    target::{Address, Site, Target},
    upstream::Upstream,
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
        endpoints.any(|endpoint| matches!(endpoint.at, Location::Name { .. }))
    };
    snapshot.upstreams.iter().filter(has_names)
}

/// Sets the targets that need no resolving; names follow with the first answer. Of an upstream that was there before
/// with the same endpoints what they resolved to stays as well, and every address that stays keeps its record.
pub(crate) fn set_known(upstream: &Upstream, before: Option<&Upstream>) {
    let known = before.map(|before| before.roster.load_full());
    let known = known.as_ref().map_or(&[][..], |roster| &roster.targets);
    let is_unchanged = before.is_some_and(|before| before.endpoints == upstream.endpoints);
    let sites = if is_unchanged {
        known.iter().map(|target| target.site.clone()).collect()
    } else {
        upstream.endpoints.iter().filter_map(known_site).collect()
    };
    settle(upstream, sites, known);
}

fn known_site(endpoint: &Endpoint) -> Option<Site> {
    let (address, host) = match &endpoint.at {
        Location::Address(address) => (Address::Inet(*address), address.to_string()),
        Location::Unix(path) => (
            Address::Unix(path.to_string_lossy().into_owned()),
            "localhost".to_owned(),
        ),
        Location::Name { .. } => return None,
    };
    Some(Site {
        address,
        weight: endpoint.weight,
        host: Arc::from(host),
    })
}

/// Asks for every name; while one cannot be resolved, its last good addresses stay.
async fn refresh(upstream: &Upstream) {
    let mut sites = Vec::new();
    for endpoint in &upstream.endpoints {
        let Location::Name { host, port } = &endpoint.at else {
            sites.extend(known_site(endpoint));
            continue;
        };
        match timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => {
                let named: Arc<str> = format!("{host}:{port}").into();
                sites.extend(found.map(|address| Site {
                    address: Address::Inet(address),
                    weight: endpoint.weight,
                    host: Arc::clone(&named),
                }));
            }
            Ok(Err(cause)) => {
                return tracing::warn!(upstream = %upstream.name, %host, %cause, "name not resolved; last addresses stay");
            }
            Err(_late) => {
                return tracing::warn!(upstream = %upstream.name, %host, "name not resolved in time; last addresses stay");
            }
        }
    }
    let current = upstream.roster.load_full();
    settle(upstream, sites, &current.targets);
}

/// Two names may lead to one address: it stands once, for the first of them.
fn settle(upstream: &Upstream, mut sites: Vec<Site>, known: &[Arc<Target>]) {
    let mut seen = HashSet::new();
    sites.retain(|site| seen.insert(site.address.clone()));
    let targets: Vec<Arc<Target>> = sites
        .into_iter()
        .filter_map(|site| Target::keep_or_make(site, &upstream.transport, known))
        .collect();
    let current = upstream.roster.load();
    let is_same = current.targets.len() == targets.len()
        && current
            .targets
            .iter()
            .zip(&targets)
            .all(|(one, other)| Arc::ptr_eq(one, other));
    if !is_same {
        upstream.replace(targets);
    }
}
