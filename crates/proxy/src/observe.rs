//! The one place that ends a request: metrics, the access line and the audit. Runs exactly once for each.

use std::time::Duration;

use http::StatusCode;
use pingora::{Error, proxy::Session};
use portcullis_audit::{Action, Event, Outcome, Party, PartyKind, rfc3339};
use portcullis_config::routes::AuditLevel;
use portcullis_policy::{
    clock::Moment,
    rejection::Rejection,
    traces::{RequestSpan, UpstreamCall},
};

use crate::{access_log::Line, exchange::Exchange, gateway::Gateway, respond::has_client_left};

/// The status shown for a client that left before its answer began.
pub(crate) const CLIENT_LEFT: u16 = 499;

pub(crate) fn close(
    gateway: &Gateway,
    session: &Session,
    exchange: &mut Exchange,
    error: Option<&Error>,
) {
    let ended = Ended::of(session, exchange, gateway.now());
    if !exchange.close(ended.status == CLIENT_LEFT) {
        return;
    }
    count(gateway, session, exchange, &ended);
    audit(gateway, exchange, &ended);
    trace(gateway, session, exchange, &ended);
    log(gateway, session, exchange, &ended, error);
}

/// How a request ended, in numbers.
struct Ended {
    at: Moment,
    status: u16,
    took: Duration,
    /// Until the answer was there, which is less where it went on and on.
    answered_in: Duration,
    upstream_took: Duration,
}

impl Ended {
    fn of(session: &Session, exchange: &Exchange, at: Moment) -> Self {
        let written = session.response_written().map(|head| head.status);
        let status = written.or(exchange.answered);
        let status = status.map_or(CLIENT_LEFT, |status| status.as_u16());
        let upstream_took = exchange.asked_at.map_or(Duration::ZERO, |asked| {
            let answered = exchange.lasts_since.or(exchange.answered_at);
            since(asked, answered.unwrap_or(at))
        });
        Self {
            at,
            status,
            took: since(exchange.began, at),
            answered_in: since(exchange.began, exchange.lasts_since.unwrap_or(at)),
            upstream_took,
        }
    }
}

fn since(earlier: Moment, later: Moment) -> Duration {
    later.since_start.saturating_sub(earlier.since_start)
}

fn count(gateway: &Gateway, session: &Session, exchange: &Exchange, ended: &Ended) {
    let route = exchange.progress.route.as_deref();
    let metrics = route.map_or(&gateway.metrics.no_route, |route| &route.metrics);
    metrics
        .requests
        .count(&session.req_header().method, ended.status);
    metrics
        .request_seconds
        .observe(ended.answered_in.as_secs_f64());
    metrics.overhead_seconds.observe(
        ended
            .answered_in
            .saturating_sub(ended.upstream_took)
            .as_secs_f64(),
    );
    if let (Some(route), Some(_)) = (route, exchange.asked_at) {
        route
            .upstream
            .metrics
            .seconds
            .observe(ended.upstream_took.as_secs_f64());
    }
    for code in &exchange.progress.would_reject {
        let route = route.map(|route| &*route.name);
        gateway.metrics.would_reject(route, code);
    }
    if let Some(rejection) = &exchange.rejection {
        gateway
            .metrics
            .rejection(route.map(|route| &*route.name), rejection.code());
    }
}

/// Refusals of a caller are rows; repeats of one kind are counted into one. What the auth service decides it audits
/// itself.
fn audit(gateway: &Gateway, exchange: &Exchange, ended: &Ended) {
    let now = ended.at.wall;
    match &exchange.rejection {
        Some(rejection) => {
            if let Some(action) = action_of(rejection) {
                let event = event(exchange, action, Outcome::Refused)
                    .because(finer_reason(rejection).unwrap_or(rejection.code()));
                gateway.desk.denial(event, now);
            }
        }
        None => {
            let wanted = exchange
                .progress
                .route
                .as_ref()
                .is_some_and(|route| route.audit == AuditLevel::All);
            if wanted {
                let served = StatusCode::from_u16(ended.status).is_ok_and(|status| {
                    let has_tunnel = status == StatusCode::SWITCHING_PROTOCOLS;
                    status.is_success() || status.is_redirection() || has_tunnel
                });
                let outcome = if served {
                    Outcome::Success
                } else {
                    Outcome::Failure
                };
                gateway
                    .desk
                    .offer(event(exchange, Action::ApiAccess, outcome), now);
            }
        }
    }
}

fn action_of(rejection: &Rejection) -> Option<Action> {
    match rejection.status() {
        StatusCode::TOO_MANY_REQUESTS => Some(Action::RateLimited),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Action::AccessDenied),
        _ => None,
    }
}

/// What the code does not tell, or what ended a request that nobody refused.
fn reason(exchange: &Exchange, error: Option<&Error>) -> Option<&'static str> {
    if let Some(cut) = exchange.cut() {
        return Some(cut.reason());
    }
    match &exchange.rejection {
        Some(rejection) => finer_reason(rejection),
        None => error
            .filter(|error| has_client_left(error))
            .map(|_| "client-left"),
    }
}

/// Which check a token failed; the client is told only that it is invalid.
fn finer_reason(rejection: &Rejection) -> Option<&'static str> {
    if let Rejection::InvalidToken { cause } = rejection {
        Some(cause)
    } else {
        None
    }
}

fn event(exchange: &Exchange, action: Action, outcome: Outcome) -> Event {
    let progress = &exchange.progress;
    let actor = progress
        .principal
        .as_ref()
        .map_or_else(Party::anonymous, |principal| {
            Party::user(principal.subject())
        });
    let event = Event::new(exchange.began.wall, action, outcome, actor)
        .from_address(Some(exchange.client.ip))
        .in_request(exchange.id.to_str().unwrap_or_default());
    match &progress.route {
        Some(route) => event
            .on_route(&*route.name)
            .on(Party::new(PartyKind::Route, &*route.name)),
        None => event,
    }
}

/// Only where somebody listens, and only what whoever began the trace records.
fn trace(gateway: &Gateway, session: &Session, exchange: &Exchange, ended: &Ended) {
    let Some(sink) = &gateway.spans else { return };
    let request = session.req_header();
    let recorded = exchange
        .trace(request)
        .filter(|context| context.is_recorded);
    let Some(context) = recorded else { return };
    let route = exchange.progress.route.as_deref();
    let call = exchange
        .asked_at
        .zip(route)
        .map(|(asked, route)| UpstreamCall {
            span: exchange.call_span,
            upstream: route.upstream.name.to_string(),
            after: asked.since_start.saturating_sub(exchange.began.since_start),
            took: ended.upstream_took,
            attempts: exchange.attempts,
        });
    sink(RequestSpan {
        context,
        span: gateway.ids.span(),
        began: exchange.began.wall,
        took: ended.took,
        request_id: exchange.id.to_str().unwrap_or_default().to_owned(),
        method: request.method.as_str().to_owned(),
        path: request.uri.path().to_owned(),
        status: ended.status,
        route: route.map(|route| route.name.to_string()),
        code: exchange.rejection.as_ref().map(Rejection::code),
        call,
    });
}

fn log(
    gateway: &Gateway,
    session: &Session,
    exchange: &Exchange,
    ended: &Ended,
    error: Option<&Error>,
) {
    let progress = &exchange.progress;
    let is_telling =
        exchange.rejection.is_some() || error.is_some() || !progress.would_reject.is_empty();
    if !gateway.access_log.wants(is_telling, gateway.ids.span()) {
        return;
    }
    let request = session.req_header();
    let host = request
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    gateway.access_log.write(&Line {
        time: rfc3339(exchange.began.wall),
        request_id: exchange.id.to_str().unwrap_or_default(),
        client: exchange.client.ip,
        method: request.method.as_str(),
        host,
        path: request.uri.path(),
        status: ended.status,
        code: exchange.rejection.as_ref().map(Rejection::code),
        reason: reason(exchange, error),
        // What we cut ends in an error of our own making, or in none: the reason tells it once.
        cause: error
            .filter(|_| exchange.cut().is_none())
            .map(ToString::to_string),
        would_reject: &progress.would_reject,
        route: progress.route.as_ref().map(|route| &*route.name),
        upstream: exchange
            .asked_at
            .and(progress.route.as_ref())
            .map(|route| &*route.upstream.name),
        attempts: exchange.attempts,
        user: progress
            .principal
            .as_ref()
            .map(|principal| principal.subject()),
        bytes_in: exchange.body_received,
        bytes_out: session.body_bytes_sent(),
        seconds: ended.took.as_secs_f64(),
        upstream_seconds: ended.upstream_took.as_secs_f64(),
    });
}
