//! Keeps the addresses of endpoints that are written as names fresh, away from the request path.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

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
            let mut failing = HashSet::new();
            loop {
                ticks.tick().await;
                refresh(&upstream, &mut failing).await;
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
        lookups.spawn(async move { refresh(&upstream, &mut HashSet::new()).await });
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

/// Sets the targets that need no resolving, and those that names resolved to where the upstream was there before; other
/// names follow with the first answer. Every address that stays keeps its record.
pub(crate) fn set_known(upstream: &Upstream, before: Option<&Upstream>) {
    let known = before.map(|before| before.roster.load_full());
    let known = known.as_ref().map_or(&[][..], |roster| &roster.targets);
    let sites = upstream.endpoints.iter().flat_map(|endpoint| {
        let site = known_site(endpoint).into_iter();
        site.chain(last_known(endpoint, known))
    });
    settle(upstream, sites.collect(), known);
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

/// What a name resolved to last.
fn last_known<'a>(
    endpoint: &'a Endpoint,
    known: &'a [Arc<Target>],
) -> impl Iterator<Item = Site> + 'a {
    let named = name_of(endpoint);
    let is_its = move |target: &&Arc<Target>| named.as_deref() == Some(&*target.site.host);
    known.iter().filter(is_its).map(|target| Site {
        weight: endpoint.weight,
        ..target.site.clone()
    })
}

fn name_of(endpoint: &Endpoint) -> Option<String> {
    match &endpoint.at {
        Location::Name { host, port } => Some(format!("{host}:{port}")),
        Location::Address(_) | Location::Unix(_) => None,
    }
}

/// Asks for every name; while one cannot be resolved, its last good addresses stay. `failing` are those that could not
/// be the last time, so that each change is told once.
async fn refresh(upstream: &Upstream, failing: &mut HashSet<String>) {
    let mut found = HashMap::new();
    for name in upstream.endpoints.iter().filter_map(name_of) {
        match resolved(&name).await {
            Ok(addresses) => {
                if failing.remove(&name) {
                    tracing::info!(upstream = %upstream.name, %name, "name resolves again");
                }
                found.insert(name, addresses);
            }
            Err(cause) => {
                if failing.insert(name.clone()) {
                    tracing::warn!(upstream = %upstream.name, %name, %cause, "name not resolved; the addresses it had stay");
                }
            }
        }
    }
    let current = upstream.roster.load_full();
    let mut sites = Vec::new();
    for endpoint in &upstream.endpoints {
        let answer = name_of(endpoint).and_then(|name| Some((found.get(&name)?, name)));
        match answer {
            Some((addresses, name)) => sites.extend(addresses.iter().map(|address| Site {
                address: Address::Inet(*address),
                weight: endpoint.weight,
                host: Arc::from(name.as_str()),
            })),
            None => {
                sites.extend(known_site(endpoint));
                sites.extend(last_known(endpoint, &current.targets));
            }
        }
    }
    settle(upstream, sites, &current.targets);
}

async fn resolved(name: &str) -> Result<Vec<SocketAddr>, String> {
    let found = timeout(PATIENCE, tokio::net::lookup_host(name)).await;
    let found = found.map_err(|_late| format!("no answer within {PATIENCE:?}"))?;
    let mut addresses: Vec<_> = found.map_err(|error| error.to_string())?.collect();
    // Resolvers turn the order with every answer, which is no change.
    addresses.sort_unstable();
    Ok(addresses)
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

#[cfg(test)]
mod tests {
    use portcullis_config::upstreams::Upstream as Settings;
    use portcullis_policy::clock::Moment;

    use super::*;
    use crate::metrics::Metrics;

    /// Not connected to anything; no name in it has been resolved.
    fn upstream(endpoints: &str) -> Upstream {
        let text = format!(
            "version: 1\nupstreams: {{ hotel: {{ endpoints: {endpoints} }} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, upstream: hotel, auth: public }}]"
        );
        let config = portcullis_config::parse(&text, "g.yaml", &|_| Err("none".into())).unwrap();
        let settings: &Settings = &config.upstreams[0];
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let upstream = Upstream::new(settings, None, &metrics, 1);
        set_known(&upstream, None);
        upstream
    }

    fn addresses(upstream: &Upstream) -> Vec<String> {
        let roster = upstream.roster.load();
        let addresses = roster.targets.iter();
        addresses
            .map(|target| target.site.address.to_string())
            .collect()
    }

    fn resolved_before(upstream: &Upstream, address: &str, name: &str) {
        let site = Site {
            address: Address::Inet(address.parse().unwrap()),
            weight: 1,
            host: Arc::from(name),
        };
        let target = Target::keep_or_make(site, &upstream.transport, &[]).unwrap();
        upstream.replace(vec![target]);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_keeps_its_last_addresses() {
        let upstream = upstream("[hotel.invalid:9, 127.0.0.2:9]");
        assert_eq!(
            addresses(&upstream),
            ["127.0.0.2:9"],
            "nothing is known of it"
        );
        resolved_before(&upstream, "127.0.0.9:9", "hotel.invalid:9");
        let before = Arc::clone(&upstream.roster.load().targets[0]);
        let mut failing = HashSet::new();
        refresh(&upstream, &mut failing).await;
        assert_eq!(addresses(&upstream), ["127.0.0.9:9", "127.0.0.2:9"]);
        assert!(failing.contains("hotel.invalid:9"));
        assert!(Arc::ptr_eq(&before, &upstream.roster.load().targets[0]));
    }

    /// As two requests meet it right after a start or a reload.
    #[test]
    fn whoever_comes_while_endpoints_are_assessed_finds_one() {
        let upstream = upstream("[127.0.0.1:9, { address: 127.0.0.2:9, weight: 0 }]");
        let now = Moment {
            since_start: Duration::from_secs(1),
            wall: portcullis_config::units::Timestamp::from_secs(1),
        };
        let by_another = upstream.assessing.lock();
        for _ in 0..4 {
            let chosen = upstream.choose(None, None, now).expect("an endpoint");
            assert_eq!(chosen.site.address.to_string(), "127.0.0.1:9");
        }
        drop(by_another);
    }

    #[tokio::test]
    async fn one_name_that_does_not_resolve_holds_up_no_other() {
        let upstream = upstream("[hotel.invalid:9, { address: 'localhost:9', weight: 5 }]");
        refresh(&upstream, &mut HashSet::new()).await;
        let roster = upstream.roster.load_full();
        assert!(!roster.targets.is_empty());
        for target in &roster.targets {
            assert_eq!((target.site.weight, &*target.site.host), (5, "localhost:9"));
        }
        refresh(&upstream, &mut HashSet::new()).await;
        assert!(
            Arc::ptr_eq(&roster, &upstream.roster.load_full()),
            "the same answer changes nothing"
        );
    }
}
