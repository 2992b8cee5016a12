//! One try at one endpoint: how it begins, and what its end tells the breaker.
//!
//! The verdict falls before the client can have the whole answer: a failure when the head or the error arrives, a
//! success when the last byte is handed on. Settling it once the answer is out would let the client's next request
//! overtake it.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode, Version, header};
use pingora::{
    Error, ErrorSource, ErrorType, http::ResponseHeader, proxy::Session, upstreams::peer::HttpPeer,
};
use portcullis_config::shadow::Check;
use portcullis_policy::{
    breaker::{BreakerPermit, Transition},
    clock::Moment,
    rejection::Rejection,
};

use crate::{
    exchange::{Exchange, InFlight},
    gateway::Gateway,
    retry::{self, Leave},
    target::Target,
    upstream::Upstream,
};

/// An upstream at its cap is expected to have room again as soon as one of its requests ends.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// What an upstream may send ahead of a body: one head of that many bytes, after a few interim ones (RFC 9110
/// section 15.2). An upstream is not trusted either.
const LARGEST_HEAD: usize = 64 * 1024;
const MOST_HEADS: u32 = 16;

/// Once its answer is whole, a client that still owes its body has this long for each piece of it: Pingora reads on, and
/// the request stays in flight meanwhile.
const OWED_BODY: Duration = Duration::from_secs(1);

/// The endpoint in use, and the leave to use it.
pub(crate) struct Attempt {
    pub(crate) target: Arc<Target>,
    /// Given its verdict once; dropped without one it counts as neither success nor failure.
    permit: Option<BreakerPermit>,
    began: Moment,
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
    gateway: &Gateway,
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
    let permit = match exchange.leave.take() {
        _ if exchange.attempts == 1 => {
            upstream.retry_budget.earn();
            admitted.take_permit()
        }
        Some(Leave(permit)) => permit,
        None => {
            let permit = enter_breaker(gateway, &upstream, now);
            let permit = exchange.progress.past(Check::CircuitBreaker, permit);
            permit
                .map_err(|rejection| exchange.give_up(rejection))?
                .flatten()
        }
    };
    if exchange.attempts > 1 {
        upstream.metrics.retries.inc();
    }
    if remaining.is_zero() {
        return Err(exchange.give_up(Rejection::UpstreamTimeout));
    }
    let failed = exchange.attempt.take().map(|attempt| attempt.target);
    let key = upstream.key_of(&exchange.hashed_by(session.req_header()));
    let target = upstream
        .choose(key, failed.as_deref(), now)
        .ok_or_else(|| exchange.give_up(Rejection::UpstreamUnreachable))?;
    let peer = target.peer(remaining);
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

/// # Errors
/// Where the head is none that a client should see: an upgrade nobody asked for, one that never ends, or an answer that
/// another attempt may better.
pub(crate) fn head_arrived(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &Session,
    head: &ResponseHeader,
) -> pingora::Result<()> {
    exchange.heads += 1;
    let size: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
    if is_upgrade || size > LARGEST_HEAD || exchange.heads > MOST_HEADS {
        return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
    }
    if head.status.is_informational() {
        return Ok(());
    }
    if says_it_failed(head.status) {
        fail(gateway, exchange);
        if let Some(again) = retry::instead_of(head.status, gateway, exchange, session) {
            return Err(again);
        }
    } else if has_no_body(&session.req_header().method, head) {
        succeed(gateway, exchange, gateway.now());
    }
    Ok(())
}

/// # Errors
/// Where the whole request has taken longer than its route allows: Pingora bounds each read, not their sum.
pub(crate) fn body_arrived(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    end: bool,
) -> pingora::Result<()> {
    let now = gateway.now();
    if end {
        succeed(gateway, exchange, now);
        session.set_read_timeout(Some(OWED_BODY));
        return Ok(());
    }
    if exchange.remaining(now).is_zero() {
        return Err(Error::new_up(ErrorType::ReadTimedout));
    }
    Ok(())
}

/// An error after the connection was made. Beside an answer that was given up for another attempt, only a pooled
/// connection that turned out to be closed is tried again, and only for a request that may be repeated.
pub(crate) fn broke_off(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &Session,
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
    let is_upstreams = matches!(error.esource(), ErrorSource::Upstream);
    // A stale pooled connection says nothing about the upstream, nor does a client that left: the permit stays neutral.
    if is_upstreams && !error.retry() {
        fail(gateway, exchange);
    }
    error
}

/// 501 and 505 are answers about the request, not about the upstream's health.
fn says_it_failed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Where the head is the whole answer, no body filter will run (RFC 9110 section 6.4.1).
fn has_no_body(method: &Method, head: &ResponseHeader) -> bool {
    let empty = || {
        head.headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() == b"0")
    };
    *method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304) || empty()
}

fn succeed(gateway: &Gateway, exchange: &mut Exchange, now: Moment) {
    exchange.answered_at = Some(now);
    settle(gateway, exchange, now, |permit, attempt, took| {
        attempt.target.record.outlier.succeed();
        permit.succeed(now, took)
    });
}

fn fail(gateway: &Gateway, exchange: &mut Exchange) {
    let now = gateway.now();
    let upstream = exchange.upstream().cloned();
    settle(gateway, exchange, now, |permit, attempt, _| {
        if let Some(upstream) = upstream {
            upstream.endpoint_failed(&attempt.target, now);
        }
        permit.fail(now)
    });
}

fn settle(
    gateway: &Gateway,
    exchange: &mut Exchange,
    now: Moment,
    verdict: impl FnOnce(BreakerPermit, &Attempt, Duration) -> Option<Transition>,
) {
    let (Some(attempt), Some(admitted)) = (&mut exchange.attempt, &exchange.admitted) else {
        return;
    };
    if let Some(permit) = attempt.permit.take() {
        let took = now.since_start.saturating_sub(attempt.began.since_start);
        let transition = verdict(permit, attempt, took);
        gateway.note(&admitted.route().upstream, transition, now);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, length: Option<&str>) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).expect("a valid status");
        if let Some(length) = length {
            head.insert_header(header::CONTENT_LENGTH, length)
                .expect("a valid header");
        }
        head
    }

    #[test]
    fn only_the_statuses_of_a_sick_upstream_are_failures() {
        let failures: Vec<_> = (100..=599)
            .filter(|status| StatusCode::from_u16(*status).is_ok_and(says_it_failed))
            .collect();
        assert_eq!(failures, [500, 502, 503, 504]);
    }

    #[test]
    fn an_answer_without_body_ends_with_its_head() {
        assert!(has_no_body(&Method::GET, &head(204, None)));
        assert!(has_no_body(&Method::GET, &head(200, Some("0"))));
        assert!(has_no_body(&Method::HEAD, &head(200, Some("12"))));
        assert!(!has_no_body(&Method::GET, &head(200, Some("12"))));
        assert!(
            !has_no_body(&Method::GET, &head(200, None)),
            "a chunked body may follow"
        );
    }
}
