//! What an attempt's answer, or its end, tells the breaker.
//!
//! The verdict falls before the client can have the whole answer: a failure when the head or the error arrives, a
//! success when the last byte is handed on. Settling it once the answer is out would let the client's next request
//! overtake it. Of a tunnel or a stream the head is judged, for it has no end to wait for; of a call over gRPC its status,
//! which comes last.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use pingora::{Error, ErrorType, http::ResponseHeader, proxy::Session};
use portcullis_policy::{
    breaker::{BreakerPermit, Transition},
    clock::Moment,
};

use crate::{
    attempt::Attempt, exchange::Exchange, gateway::Gateway, grpc, lasting, observe, retry,
};

/// What an upstream may send ahead of a body: one head of that many bytes, after a few interim ones (RFC 9110
/// section 15.2). An upstream is not trusted either.
const LARGEST_HEAD: usize = 64 * 1024;
const MOST_HEADS: u32 = 16;

/// Once its answer is whole, a client that still owes its body has this long for each piece of it: Pingora reads on, and
/// the request stays in flight meanwhile.
const OWED_BODY: Duration = Duration::from_secs(1);

/// # Errors
/// Where the head is none that a client should see: an upgrade nobody asked for, one that never ends, or an answer that
/// another attempt may better.
pub(crate) fn head_arrived(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    head: &ResponseHeader,
) -> pingora::Result<()> {
    exchange.heads += 1;
    if size_of(&head.headers) > LARGEST_HEAD || exchange.heads > MOST_HEADS {
        return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return open_tunnel(gateway, exchange, session, head);
    }
    if head.status.is_informational() {
        return Ok(());
    }
    if says_it_failed(head.status) {
        fail(gateway, exchange);
        let again = retry::instead_of(head.status, gateway, exchange, session);
        return again.map_or(Ok(()), Err);
    }
    judge_head(gateway, exchange, &session.req_header().method, head);
    if has_no_body(&session.req_header().method, head) {
        answer_is_whole(gateway, exchange, session, Some(head.status));
    }
    Ok(())
}

fn judge_head(gateway: &Gateway, exchange: &mut Exchange, method: &Method, head: &ResponseHeader) {
    let now = gateway.now();
    if grpc::is_call(&head.headers) {
        exchange.begin_to_last(now);
        // Where the whole answer is one head, the status stands there.
        judge_call(gateway, exchange, &head.headers);
    } else if lasting::is_stream(&head.headers) {
        exchange.begin_to_last(now);
        succeed(gateway, exchange, now);
    } else if has_no_body(method, head) {
        succeed(gateway, exchange, now);
    }
}

/// # Errors
/// Where nobody asked for a tunnel, or not for this one: what follows would not be HTTP, and nobody would look at it.
fn open_tunnel(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    head: &ResponseHeader,
) -> pingora::Result<()> {
    let is_websocket = head
        .headers
        .get(header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let Some(tunnel) = exchange.tunnel.clone().filter(|_| is_websocket) else {
        return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
    };
    tunnel.open();
    let now = gateway.now();
    exchange.begin_to_last(now);
    succeed(gateway, exchange, now);
    // A client may be silent for as long as the tunnel lasts, and the tunnel knows when that is over. One that does not
    // read is still given up.
    session.set_read_timeout(None);
    Ok(())
}

/// # Errors
/// Where the exchange has taken longer than its route allows: Pingora bounds each read, not their sum.
pub(crate) fn body_arrived(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    end: bool,
) -> pingora::Result<()> {
    let now = gateway.now();
    if end {
        succeed(gateway, exchange, now);
        answer_is_whole(gateway, exchange, session, None);
        return Ok(());
    }
    if exchange.lasts() {
        return lasting::check(exchange, now);
    }
    if exchange.remaining(now).is_zero() {
        return Err(Error::new_up(ErrorType::ReadTimedout));
    }
    Ok(())
}

/// What the client still owes of its body is not waited for as the body was. In HTTP/2 nothing bounds the reads of one:
/// the exchange is closed here and now, and its stream is ended before long, with no hook to run at its end.
fn answer_is_whole(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    unwritten: Option<StatusCode>,
) {
    exchange.end_upstreams_side();
    session.set_read_timeout(Some(OWED_BODY));
    if session.as_downstream().is_http2() && !session.as_downstream_mut().is_body_done() {
        exchange.answered = unwritten;
        exchange.owes_body();
        observe::close(gateway, session, exchange, None);
    }
}

/// The end of an answer that has trailers; no piece of its body was the last.
pub(crate) fn trailers_arrived(
    gateway: &Gateway,
    exchange: &mut Exchange,
    session: &mut Session,
    trailers: &HeaderMap,
) {
    judge_call(gateway, exchange, trailers);
    succeed(gateway, exchange, gateway.now());
    answer_is_whole(gateway, exchange, session, None);
}

/// By the status of a call, where `fields` have one.
fn judge_call(gateway: &Gateway, exchange: &mut Exchange, fields: &HeaderMap) {
    match grpc::says_it_failed(fields) {
        Some(true) => fail(gateway, exchange),
        Some(false) => succeed(gateway, exchange, gateway.now()),
        None => {}
    }
}

fn size_of(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    sizes.sum()
}

/// 501 and 505 are answers about the request, not about the upstream's health; 429 is one about the client.
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

pub(crate) fn succeed(gateway: &Gateway, exchange: &mut Exchange, now: Moment) {
    exchange.answered_at.get_or_insert(now);
    settle(gateway, exchange, now, |permit, attempt, took| {
        attempt.target.record.outlier.succeed();
        permit.succeed(now, took)
    });
}

pub(crate) fn fail(gateway: &Gateway, exchange: &mut Exchange) {
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
    // What lasts is as slow as the wait for its head, not as long as it went on.
    let until = exchange.lasts_since.unwrap_or(now);
    let (Some(attempt), Some(admitted)) = (&mut exchange.attempt, &exchange.admitted) else {
        return;
    };
    if let Some(permit) = attempt.permit.take() {
        let took = until.since_start.saturating_sub(attempt.began.since_start);
        let transition = verdict(permit, attempt, took);
        gateway.note(&admitted.route().upstream, transition, now);
    }
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
