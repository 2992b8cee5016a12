//! One try at one endpoint: how it begins, and how it ends where no answer came. What an answer says of its upstream is
//! in `verdict.rs`.

use std::{sync::Arc, time::Duration};

use http::Version;
use pingora::{Error, ErrorSource, ErrorType, proxy::Session, upstreams::peer::HttpPeer};
use portcullis_config::shadow::Check;
use portcullis_policy::{breaker::BreakerPermit, clock::Moment, rejection::Rejection};

use crate::{
    exchange::{Exchange, InFlight},
    gateway::Gateway,
    retry::{self, Leave},
    target::Target,
    tunnel::Tunnel,
    upstream::Upstream,
    verdict::fail,
};

/// An upstream at its cap is expected to have room again as soon as one of its requests ends.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// The endpoint in use, and the leave to use it.
pub(crate) struct Attempt {
    pub(crate) target: Arc<Target>,
    /// Given its verdict once; dropped without one it counts as neither success nor failure.
    pub(crate) permit: Option<BreakerPermit>,
    pub(crate) began: Moment,
    _busy: InFlight,
}

/// Asks the breaker, and counts the change of state that asking can make.
pub(crate) fn enter_breaker(
    gateway: &Gateway,
    upstream: &Upstream,
    now: Moment,
) -> Result<Option<BreakerPermit>, Rejection> {
    let Some(breaker) = &upstream.breaker else {
        return Ok(None);
    };
    let permit = breaker.enter(now).map_err(|open| Rejection::CircuitOpen {
        retry_after: open.retry_after,
    })?;
    gateway.note(upstream, permit.transition(), now);
    Ok(Some(permit))
}

/// Chooses where to connect. Runs on each attempt; the first has its permit from admission.
pub(crate) fn begin(
    gateway: &Arc<Gateway>,
    session: &Session,
    exchange: &mut Exchange,
) -> pingora::Result<Box<HttpPeer>> {
    // The first attempt begins where admission ended, which was no time ago.
    let now = if exchange.attempts == 0 {
        exchange.began
    } else {
        gateway.now()
    };
    let remaining = exchange.remaining(now);
    let admitted = exchange.admitted.as_mut().ok_or_else(not_admitted)?;
    let upstream = Arc::clone(&admitted.route().upstream);
    exchange.attempts += 1;
    let permit = if exchange.attempts == 1 {
        upstream.retry_budget.earn();
        admitted.take_permit()
    } else {
        upstream.metrics.retries.inc();
        next_permit(gateway, exchange, &upstream, now)
            .map_err(|rejection| exchange.give_up(rejection))?
    };
    if remaining.is_zero() {
        return Err(exchange.give_up(Rejection::UpstreamTimeout));
    }
    let failed = exchange.attempt.take().map(|attempt| attempt.target);
    let key = upstream.key_of(&exchange.hashed_by(session.req_header()));
    let target = upstream
        .choose(key, failed.as_deref(), now)
        .ok_or_else(|| exchange.give_up(Rejection::UpstreamUnreachable))?;
    let mut peer = target.peer(remaining);
    exchange.tunnel = exchange.opens_tunnel().map(|admitted| {
        let tunnel = Tunnel::new(gateway, admitted, remaining);
        tunnel.lead(&mut peer);
        tunnel
    });
    exchange.heads = 0;
    // What was kept of a body is sent again, and counted again.
    exchange.body_received = 0;
    exchange.asked_at.get_or_insert(now);
    exchange.attempt = Some(Attempt {
        permit,
        began: now,
        _busy: InFlight::new(&target.record.in_flight),
        target,
    });
    Ok(peer)
}

/// Taken already where an answer was given up for this attempt.
fn next_permit(
    gateway: &Gateway,
    exchange: &mut Exchange,
    upstream: &Upstream,
    now: Moment,
) -> Result<Option<BreakerPermit>, Rejection> {
    if let Some(Leave(permit)) = exchange.leave.take() {
        return Ok(permit);
    }
    let permit = enter_breaker(gateway, upstream, now);
    let permit = exchange.progress.past(Check::CircuitBreaker, permit)?;
    Ok(permit.flatten())
}

/// Nothing was sent, so any method may be tried again.
pub(crate) fn not_connected(
    gateway: &Gateway,
    exchange: &mut Exchange,
    mut error: Box<Error>,
) -> Box<Error> {
    fail(gateway, exchange);
    let again = exchange.upstream().is_some_and(|upstream| {
        upstream.retries.on_connect && exchange.attempts < upstream.retries.attempts
    });
    error.set_retry(again);
    error
}

/// # Errors
/// Where the endpoint speaks another protocol than it is asked to. Nothing has been sent.
pub(crate) fn connected(exchange: &Exchange, spoken: Version) -> pingora::Result<()> {
    let attempt = exchange.attempt.as_ref();
    attempt.map_or(Ok(()), |attempt| attempt.target.transport.check(spoken))
}

/// An error after the connection was made. Beside an answer that was given up for another attempt, only a pooled
/// connection that turned out to be closed is tried again, and only for a request that may be repeated.
pub(crate) fn broke_off(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if exchange.leave.is_some() {
        error.set_retry(true);
        return error;
    }
    // Decided in any case: Pingora panics on an error that leaves it open.
    if retry::is_repeatable(session) {
        error.retry.decide_reuse(reused);
    } else {
        error.set_retry(false);
    }
    if waits_for_client(exchange, session, &error) {
        exchange.rejection = Some(Rejection::RequestTimeout);
        return error;
    }
    let is_upstreams = matches!(error.esource(), ErrorSource::Upstream);
    // A stale pooled connection says nothing about the upstream, nor does a client that left: the permit stays neutral.
    if is_upstreams && !error.retry() {
        fail(gateway, exchange);
    }
    error
}

/// Whether an upstream that has said nothing in time could not: it was sent all that came of a body, and the body is
/// not at its end. Over HTTP/2 the upstream's side is not counted, and the silence is then the upstream's.
fn waits_for_client(exchange: &Exchange, session: &mut Session, error: &Error) -> bool {
    let is_silent = *error.etype() == ErrorType::ReadTimedout
        && matches!(error.esource(), ErrorSource::Upstream);
    let sent = session.upstream_body_bytes_sent();
    is_silent
        && sent.is_some_and(|sent| sent as u64 == exchange.body_received)
        && !session.as_downstream_mut().is_body_done()
}

/// Cannot happen while `request_filter` runs first; were it to, the request fails closed.
fn not_admitted() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the request was not admitted")
}

/// Counts a request at its upstream, and refuses it where the upstream is at its cap.
pub(crate) fn occupy(upstream: &Upstream) -> Result<InFlight, Rejection> {
    let Some(most) = upstream.max_in_flight else {
        return Ok(InFlight::new(&upstream.in_flight));
    };
    InFlight::within(&upstream.in_flight, most).ok_or(Rejection::Overloaded {
        retry_after: OVERLOAD_RETRY,
    })
}
