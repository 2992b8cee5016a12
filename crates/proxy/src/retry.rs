//! Whether an answer is thrown away and the request sent once more.
//!
//! Only where it cannot be carried out twice, the client has seen nothing, and the upstream can bear it. Everything is
//! asked before the answer is given up: where one thing is missing, it is passed on as it came.

use std::sync::Arc;

use http::StatusCode;
use pingora::{Error, ErrorType, proxy::Session};
use portcullis_policy::{breaker::BreakerPermit, clock::Moment};

use crate::{attempt::enter_breaker, exchange::Exchange, gateway::Gateway, upstream::Upstream};

/// The breaker's leave for the next attempt, taken while the answer at hand can still be passed on.
pub(crate) struct Leave(pub(crate) Option<BreakerPermit>);

/// The error that ends this attempt and begins the next, if there is to be one.
pub(crate) fn instead_of(
    status: StatusCode,
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &Session,
) -> Option<Box<Error>> {
    let upstream = Arc::clone(exchange.upstream()?);
    let now = gateway.now();
    let wanted = upstream.retries.on_status.contains(&status.as_u16())
        && exchange.attempts < upstream.retries.attempts;
    let safe = wanted && is_repeatable(session) && session.response_written().is_none();
    if !safe || exchange.remaining(now).is_zero() {
        return None;
    }
    let leave = bearable(gateway, &upstream, now)?;
    exchange.leave = Some(leave);
    Some(Error::new_up(ErrorType::HTTPStatus(status.as_u16())))
}

/// Whether sending the request again cannot do more than sending it once, and its body is still at hand.
pub(crate) fn is_repeatable(session: &Session) -> bool {
    session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated()
}

fn bearable(gateway: &Gateway, upstream: &Upstream, now: Moment) -> Option<Leave> {
    if !upstream.retry_budget.spend(now) {
        return None;
    }
    enter_breaker(gateway, upstream, now).ok().map(Leave)
}
