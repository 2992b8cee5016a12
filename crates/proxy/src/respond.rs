//! The only writer of answers the gateway makes itself.
//!
//! Pingora's own `respond_error` closes the connection; a refusal would then cost every client a handshake, and an
//! attacker nothing. Answers are written here instead, so that keep-alive survives them.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::ResponseHeader,
    protocols::http::HttpTask,
    proxy::{FailToProxy, Session},
};
use portcullis_policy::{
    problem::{CONTENT_TYPE, Problem},
    rejection::{Malformation, Rejection},
};

use crate::{
    answer::{Answer, Stop},
    exchange::Exchange,
    forward,
    gateway::Gateway,
    grpc,
    observe::CLIENT_LEFT,
    snapshot::Snapshot,
};

/// An unread request body up to this size is read and thrown away to keep the connection; beyond, closing is cheaper.
const DRAINED_AT_MOST: u64 = 64 * 1024;
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Answers a request that admission did not send on. Always answers `true`: the request ends here.
pub(crate) async fn stop(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    stop: Stop,
) -> pingora::Result<bool> {
    let closes = matches!(&stop, Stop::Refused(rejection) if rejection.closes_connection());
    // In HTTP/2 a stream ends alone, and what its client still sends is thrown away frame by frame.
    let is_stream = session.as_downstream().is_http2();
    if !is_stream && (closes || !can_stay_open(session) || drain(session).await.is_err()) {
        session.set_keepalive(None);
    }
    match stop {
        Stop::Refused(rejection) => write(gateway, session, exchange, rejection).await?,
        Stop::Answered(answer) => {
            let head = head(gateway, session, exchange, answer);
            session.write_response_header(Box::new(head), true).await?;
        }
    }
    Ok(true)
}

/// Answers for a request that failed on its way, whatever the phase, and says what the log shall show.
pub(crate) async fn fail(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    error: &Error,
) -> FailToProxy {
    // The connection is in an unknown state: a body half read, an upstream half written.
    session.set_keepalive(None);
    if exchange.cut().is_some() {
        // Broken off on purpose; there is nothing to refuse any more.
        return FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
    }
    let rejection = exchange
        .rejection
        .take()
        .or_else(|| exchange.fault_in_body())
        .or_else(|| reason_of(error));
    let error_code = match rejection {
        Some(rejection) if session.response_written().is_none() => {
            let status = rejection.status().as_u16();
            match write(gateway, session, exchange, rejection).await {
                Ok(()) => status,
                Err(_gone) => CLIENT_LEFT,
            }
        }
        // The head is out: the answer can only be cut off, so that the client sees it is not whole.
        Some(rejection) => {
            exchange.rejection = Some(rejection);
            0
        }
        None => CLIENT_LEFT,
    };
    FailToProxy {
        error_code,
        can_reuse_downstream: false,
    }
}

/// Whether it was the client that ended a request which the gateway would have gone on with.
pub(crate) fn has_client_left(error: &Error) -> bool {
    reason_of(error).is_none()
}

/// What a failure means to the client; `None` where there is no client left to tell.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Pingora's errors are many; what is not told apart is a failure"
)]
fn reason_of(error: &Error) -> Option<Rejection> {
    use ErrorType as E;
    let kind = error.etype();
    match error.esource() {
        ErrorSource::Upstream => Some(match kind {
            E::ConnectTimedout | E::TLSHandshakeTimedout | E::ReadTimedout | E::WriteTimedout => {
                Rejection::UpstreamTimeout
            }
            E::ConnectRefused
            | E::ConnectNoRoute
            | E::ConnectError
            | E::SocketError
            | E::BindError
            | E::TLSHandshakeFailure
            | E::InvalidCert => Rejection::UpstreamUnreachable,
            _ if has_timed_out(error) => Rejection::UpstreamTimeout,
            _ => Rejection::UpstreamFailed,
        }),
        ErrorSource::Downstream => match kind {
            E::ReadTimedout => Some(Rejection::RequestTimeout),
            E::ReadError
            | E::WriteError
            | E::WriteTimedout
            | E::ConnectionClosed
            // A stream that was reset.
            | E::H2Error => None,
            _ => Some(Rejection::Malformed(Malformation::Framing)),
        },
        // Pingora's own checks between the filters speak of the request's head and are marked internal or not at all.
        ErrorSource::Internal | ErrorSource::Unset => Some(match kind {
            E::InvalidHTTPHeader => Rejection::Malformed(Malformation::Framing),
            _ => Rejection::InternalError,
        }),
    }
}

/// A deadline that was kept in the connection itself, by a tunnel or by the system.
fn has_timed_out(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether the body of a request that is not sent on is worth reading to keep its connection.
fn can_stay_open(session: &Session) -> bool {
    let headers = &session.req_header().headers;
    // A client that waits for leave to send its body must not be read from: it may never send it.
    if headers.contains_key(header::EXPECT) || headers.contains_key(header::TRANSFER_ENCODING) {
        return false;
    }
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .map(|length| length.to_str().ok()?.parse::<u64>().ok());
    declared
        .unwrap_or(Some(0))
        .is_some_and(|length| length <= DRAINED_AT_MOST)
}

/// A whole answer in bytes, for where there is no session to answer on: a header that never ends, a connection that is
/// not read at all. It closes the connection.
pub(crate) fn whole_answer(rejection: &Rejection, snapshot: &Snapshot) -> Bytes {
    let body = Problem::of(rejection, "").to_json();
    let status = rejection.status();
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len()
    )
    .into_bytes();
    let own = snapshot
        .security_headers
        .iter()
        .chain(&snapshot.own_answer_headers)
        .cloned();
    for (name, value) in rejection.headers().into_iter().chain(own) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(&body);
    Bytes::from(head)
}

async fn drain(session: &mut Session) -> pingora::Result<()> {
    session.set_total_drain_timeout(Some(DRAIN_WITHIN));
    session.drain_request_body().await
}

async fn write(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    rejection: Rejection,
) -> pingora::Result<()> {
    let id = exchange.id.to_str().unwrap_or_default();
    let (mut answer, body) = if grpc::is_call(&session.req_header().headers) {
        (grpc::refusal(&rejection), Bytes::new())
    } else {
        problem(&rejection, id)
    };
    answer.headers.extend([
        (header::CONTENT_LENGTH, HeaderValue::from(body.len())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    answer.headers.extend(rejection.headers());
    let refused = rejection.refused_limit();
    answer.standing = refused.map(|refused| refused.standing.clone());
    let head = head(gateway, session, exchange, answer);
    // Kept for the log before the client can have the answer.
    exchange.rejection = Some(rejection);
    send(session, head, body).await
}

fn problem(rejection: &Rejection, id: &str) -> (Answer, Bytes) {
    let answer = Answer {
        status: rejection.status(),
        standing: None,
        headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))],
    };
    (answer, Bytes::from(Problem::of(rejection, id).to_json()))
}

/// A head without a body is the end of the answer by itself: over HTTP/2 a client of gRPC looks for the status nowhere
/// else.
async fn send(session: &mut Session, head: ResponseHeader, body: Bytes) -> pingora::Result<()> {
    let head = Box::new(head);
    if body.is_empty() {
        let whole = vec![HttpTask::Header(head, true)];
        return session.write_response_tasks(whole).await.map(|_| ());
    }
    let is_head = session.req_header().method == Method::HEAD;
    session.write_response_header(head, is_head).await?;
    if !is_head {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

fn head(
    gateway: &Gateway,
    session: &Session,
    exchange: &Exchange,
    answer: Answer,
) -> ResponseHeader {
    let mut parts = http::Response::new(()).into_parts().0;
    parts.status = answer.status;
    let standing = answer.standing.as_ref();
    forward::add_own_headers(gateway, session, exchange, standing, &mut parts.headers);
    let own = exchange.snapshot.own_answer_headers.iter().cloned();
    parts.headers.extend(own);
    parts.headers.extend(answer.headers);
    ResponseHeader::from(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_the_upstream_is_not_called_a_failure() {
        let error = Error::new_up(ErrorType::ReadTimedout);
        assert_eq!(
            reason_of(&error).map(|reason| reason.code()),
            Some("upstream-timeout")
        );
    }

    #[test]
    fn a_client_that_left_is_told_nothing() {
        assert!(reason_of(&Error::new_down(ErrorType::ConnectionClosed)).is_none());
    }
}
