//! Asks endpoints how they are, away from the request path.
//!
//! A check is a request of our own over the transport that requests take, on a connection of its own: a kept one would
//! say nothing about whether the endpoint still accepts.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, Version, header};
use pingora::{
    Error, ErrorType, connectors::http::Connector, http::RequestHeader, upstreams::peer::HttpPeer,
};
use portcullis_config::upstreams::HealthCheck;
use portcullis_policy::balance::scatter;
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    snapshot::Snapshot, target::Target, transport::count_system_roots, upstream::Upstream,
};

/// Of one upstream at the same time.
const MOST_AT_ONCE: usize = 32;

/// Ahead of the answer that counts.
const MOST_INTERIM: u32 = 4;

/// Checks every endpoint of the upstreams that ask for it, until the tasks are dropped.
pub(crate) fn keep_checking(
    snapshot: &Snapshot,
    seed: u64,
    tasks: &mut JoinSet<()>,
    runtime: &Handle,
) {
    let checked = snapshot.upstreams.iter().filter_map(|upstream| {
        let check = upstream.health_check.clone()?;
        Some((upstream, check))
    });
    let mut checked = checked.zip(0..).peekable();
    // Made only where it is needed, as it reads what the system trusts, and panics where that cannot be read.
    let connector = match checked.peek().map(|_| count_system_roots()) {
        Some(Ok(_)) => Arc::new(Connector::new(None)),
        Some(Err(cause)) => {
            return tracing::error!(%cause, "no endpoint is checked: what this system trusts cannot be read any more");
        }
        None => return,
    };
    for ((upstream, check), nth) in checked {
        let checker = Arc::new(Checker {
            connector: Arc::clone(&connector),
            upstream: Arc::clone(upstream),
            check,
        });
        tasks.spawn_on(checker.keep_checking(scatter(seed ^ nth)), runtime);
    }
}

struct Checker {
    connector: Arc<Connector>,
    upstream: Arc<Upstream>,
    check: HealthCheck,
}

impl Checker {
    async fn keep_checking(self: Arc<Self>, seed: u64) {
        for round in 0.. {
            self.check_all().await;
            sleep(jittered(self.check.interval, seed.wrapping_add(round))).await;
        }
    }

    async fn check_all(self: &Arc<Self>) {
        let roster = self.upstream.roster.load_full();
        let mut running = JoinSet::new();
        for target in &roster.targets {
            if running.len() >= MOST_AT_ONCE {
                running.join_next().await;
            }
            let (checker, target) = (Arc::clone(self), Arc::clone(target));
            running.spawn(async move { checker.check(&target).await });
        }
        while running.join_next().await.is_some() {}
    }

    async fn check(&self, target: &Target) {
        let asked = timeout(self.check.timeout, self.ask(target)).await;
        let failure = match asked {
            Ok(Ok(status)) if status.is_success() => None,
            Ok(Ok(status)) => Some(format!("it answered {status}")),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_late) => Some(format!("no answer within {:?}", self.check.timeout)),
        };
        let changed = target
            .record
            .health
            .lock()
            .observe(failure.is_none(), &self.check);
        if changed.is_some() {
            self.upstream.look_again();
            let (upstream, endpoint) = (&self.upstream.name, &target.site.address);
            match failure {
                None => tracing::info!(%upstream, %endpoint, "endpoint is healthy again"),
                Some(cause) => {
                    tracing::warn!(%upstream, %endpoint, %cause, "endpoint is unhealthy")
                }
            }
        }
    }

    async fn ask(&self, target: &Target) -> pingora::Result<StatusCode> {
        let peer: HttpPeer = target.check_peer(self.check.timeout);
        let (mut session, _) = self.connector.get_http_session(&peer).await?;
        let spoken = match session.as_http2() {
            Some(_) => Version::HTTP_2,
            None => Version::HTTP_11,
        };
        target.transport.check(spoken)?;
        session.set_read_timeout(Some(self.check.timeout));
        let request = Box::new(self.request(target)?);
        session.write_request_header(request).await?;
        session.finish_request_body().await?;
        for _ in 0..=MOST_INTERIM {
            session.read_response_header().await?;
            let status = session.response_header().map(|head| head.status);
            match status {
                Some(status) if status.is_informational() => {}
                Some(status) => {
                    session.shutdown().await;
                    return Ok(status);
                }
                None => break,
            }
        }
        Error::e_explain(ErrorType::InvalidHTTPHeader, "no final answer")
    }

    fn request(&self, target: &Target) -> pingora::Result<RequestHeader> {
        let host = target.transport.server_name().unwrap_or(&target.site.host);
        let mut request = RequestHeader::build("GET", self.check.path.as_bytes(), None)?;
        request.insert_header(header::HOST, host)?;
        request.insert_header(header::USER_AGENT, "portcullis-health-check")?;
        Ok(request)
    }
}

/// Within a tenth of the interval: gateways that were started together drift apart.
fn jittered(interval: Duration, random: u64) -> Duration {
    let tenth = interval / 10;
    let spread = u32::try_from(scatter(random) % 1000).unwrap_or(0);
    interval - tenth + (2 * tenth) * spread / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_stay_within_a_tenth() {
        let interval = Duration::from_secs(5);
        let drawn: Vec<Duration> = (0..1000).map(|round| jittered(interval, round)).collect();
        let (least, most) = (Duration::from_millis(4500), Duration::from_millis(5500));
        assert!(drawn.iter().all(|drawn| (least..=most).contains(drawn)));
        assert!(
            drawn.iter().any(|drawn| *drawn < interval)
                && drawn.iter().any(|drawn| *drawn > interval)
        );
    }
}
