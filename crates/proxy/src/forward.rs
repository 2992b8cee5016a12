//! What travels on: the request as the upstream gets it, and what the gateway adds to every answer.
//!
//! Identity is written here and nowhere earlier: Pingora removes what a client's `Connection` header nominates before
//! this phase, so that a header set sooner could be taken away again by the client.

use std::{mem, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request, response};
use pingora::{
    Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use portcullis_config::{header_rules::HeaderChanges, routes::Access};
use portcullis_policy::{cors, limits::Standing, rate_headers::rate_headers, rejection::Rejection};
use smallvec::SmallVec;

use crate::{
    admission::Admitted,
    exchange::{Exchange, TRACEPARENT},
    gateway::Gateway,
    grpc,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// For the auth service alone, over a socket that only the gateway can reach.
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-portcullis-client-address");

/// As many as are added to a head here, so that its map grows once and not twice.
const ADDED: usize = 12;

/// What only the gateway may tell an upstream, beside the identity headers of the routes and what it overwrites anyway.
fn is_gateways(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "x-real-ip" | "x-portcullis-client-address" | "forwarded" | "x-forwarded-host"
    )
}

/// Hop-by-hop fields of an answer that Pingora would pass on (RFC 9110 section 7.6.1).
fn is_for_one_hop(name: &HeaderName) -> bool {
    matches!(name.as_str(), "keep-alive" | "proxy-connection" | "upgrade")
}

/// Writes the request that was decided on: its canonical target, without what only the gateway may say.
///
/// The head is taken apart for it. Pingora keeps the spelling of every name in a second map, and setting a header
/// through it parses the name and copies it, twice; ten of them cost a tenth of a whole request. The price is that
/// names travel on in lower case, as they do in HTTP/2.
pub(crate) fn prepare_request(
    gateway: &Gateway,
    session: &Session,
    request: &mut RequestHeader,
    exchange: &mut Exchange,
) -> pingora::Result<()> {
    exchange.call_span = gateway.ids.span();
    let admitted = exchange
        .admitted
        .as_ref()
        .ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let blank = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(mem::replace(request, blank));
    if let Some(target) = admitted.target() {
        parts.uri.clone_from(target);
    }
    let headers = &mut parts.headers;
    join_cookies(headers);
    remove_untrusted(exchange, admitted, headers);
    headers.reserve(ADDED);
    add_identity(admitted, headers)?;
    add_origin(exchange, admitted, session, headers);
    headers.insert(X_REQUEST_ID, exchange.id.clone());
    grpc::keep_trailers(&session.req_header().headers, headers);
    add_trace(exchange, session, headers);
    change(headers, &admitted.route().headers.request);
    *request = RequestHeader::from(parts);
    if let Some(tunnel) = &exchange.tunnel {
        tunnel.ask();
    }
    Ok(())
}

/// What the operator wants otherwise comes last. The loader has kept out what is not an operator's to say.
fn change(headers: &mut HeaderMap, changes: &HeaderChanges) {
    for name in &changes.remove {
        headers.remove(name);
    }
    for (name, value) in &changes.set {
        headers.insert(name.clone(), value.clone());
    }
}

/// HTTP/2 may send the cookies one by one (RFC 9113 section 8.2.3); HTTP/1 knows a single line of them.
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Looks before it removes: nearly no request has anything to remove.
fn remove_untrusted(exchange: &Exchange, admitted: &Admitted, headers: &mut HeaderMap) {
    let identity = &exchange.snapshot.identity_headers;
    remove_where(headers, |name| is_gateways(name) || identity.contains(name));
    for name in admitted.dropped() {
        headers.remove(name);
    }
    let route = admitted.route();
    // On a public route the token is the upstream's to look at; elsewhere it has done its work.
    let token_travels = matches!(route.access, Access::Public) || route.forward.token;
    if !token_travels {
        headers.remove(header::AUTHORIZATION);
    }
}

fn remove_where(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| is_unwanted(name))
        .cloned()
        .collect();
    for name in &unwanted {
        headers.remove(name);
    }
}

/// From the verified token alone.
fn add_identity(admitted: &Admitted, headers: &mut HeaderMap) -> pingora::Result<()> {
    let Some(principal) = admitted.principal() else {
        return Ok(());
    };
    let forward = &admitted.route().forward;
    let told = [
        (&forward.user, principal.subject()),
        (&forward.roles, principal.role_line()),
        (&forward.scopes, principal.scope_line()),
    ];
    for (name, text) in told {
        let Some(name) = name else { continue };
        // A foreign subject may be any text; one that no header can hold ends the request rather than being bent.
        let value = HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_unwritable| Error::new(ErrorType::InternalError))?;
        headers.insert(name.clone(), value);
    }
    Ok(())
}

/// Where the request came from, as we found it: what a client says of it is overwritten. Only the protocol is taken from
/// a trusted proxy, which alone can know it.
fn add_origin(
    exchange: &Exchange,
    admitted: &Admitted,
    session: &Session,
    headers: &mut HeaderMap,
) {
    let client = exchange.client_value();
    if admitted.route().upstream.is_auth {
        headers.insert(CLIENT_ADDRESS, client.clone());
    }
    headers.insert(X_FORWARDED_FOR, client);
    let came = &session.req_header().headers;
    let said_by_proxy = came
        .get(&X_FORWARDED_PROTO)
        .filter(|_| exchange.client.via_trusted_proxy);
    let protocol = said_by_proxy
        .cloned()
        .unwrap_or(HeaderValue::from_static(exchange.scheme()));
    headers.insert(X_FORWARDED_PROTO, protocol);
    if let Some(host) = came.get(header::HOST) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

/// The client's trace goes on below a span of ours.
fn add_trace(exchange: &Exchange, session: &Session, headers: &mut HeaderMap) {
    let Some(trace) = exchange.trace(session.req_header()) else {
        return;
    };
    if let Ok(ours) = HeaderValue::from_bytes(&trace.traceparent(exchange.call_span)) {
        headers.insert(TRACEPARENT, ours);
    }
}

/// Counts a request body as it streams, in bytes and in time: Pingora bounds each read of it, not their sum.
pub(crate) fn count_body(
    gateway: &Gateway,
    exchange: &mut Exchange,
    chunk: Option<&Bytes>,
) -> pingora::Result<()> {
    let Some(chunk) = chunk else { return Ok(()) };
    exchange.body_received = exchange.body_received.saturating_add(chunk.len() as u64);
    if exchange.is_tunnel() {
        return Ok(());
    }
    if let Err(rejection) = exchange.progress.check_body(exchange.body_received) {
        return Err(exchange.give_up(rejection));
    }
    if exchange.remaining(gateway.now()).is_zero() {
        return Err(exchange.give_up(Rejection::RequestTimeout));
    }
    Ok(())
}

/// The upstream's head on its way to the client: what the upstream set stays, ours is added. Taken apart as the request
/// is, for the same reason.
pub(crate) fn prepare_response(
    gateway: &Gateway,
    session: &Session,
    exchange: &Exchange,
    head: &mut ResponseHeader,
) {
    if head.status.is_informational() {
        return;
    }
    let blank = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = response::Parts::from(mem::replace(head, blank));
    // The version is each hop's own (RFC 9110 section 2.5); an old upstream must not cost the client its keep-alive.
    parts.version = Version::HTTP_11;
    remove_where(&mut parts.headers, is_for_one_hop);
    collapse_length(&mut parts.headers);
    let standing = exchange.admitted.as_ref().and_then(Admitted::standing);
    add_own_headers(gateway, session, exchange, standing, &mut parts.headers);
    if let Some(route) = &exchange.progress.route {
        change(&mut parts.headers, &route.headers.response);
    }
    *head = ResponseHeader::from(parts);
}

/// Pingora refuses two lengths that differ and takes the same one twice (RFC 9112 section 6.3); a client is told it once.
fn collapse_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        headers.insert(header::CONTENT_LENGTH, first);
    }
}

/// What every answer carries, the gateway's own and the upstreams' alike.
pub(crate) fn add_own_headers(
    gateway: &Gateway,
    session: &Session,
    exchange: &Exchange,
    standing: Option<&Standing>,
    headers: &mut HeaderMap,
) {
    let settings = &exchange.snapshot.server.headers;
    headers.reserve(ADDED);
    headers.insert(X_REQUEST_ID, exchange.id.clone());
    for (name, value) in &exchange.snapshot.security_headers {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    if let Some(standing) = standing {
        for (name, value) in rate_headers(settings.rate_limit, standing, exchange.began) {
            headers.insert(name, value);
        }
    }
    if settings.process_time {
        let took = gateway
            .now()
            .since_start
            .saturating_sub(exchange.began.since_start);
        headers.insert(X_PROCESS_TIME, seconds(took));
    }
    let route = exchange.progress.route.as_ref();
    if let Some(cors) = route.and_then(|route| route.cors.as_ref()) {
        cors.mark(cors::origin(&session.req_header().headers), headers);
    }
}

/// Seconds with six decimals, written without `format!`: this is on the path of every answer.
fn seconds(took: Duration) -> HeaderValue {
    let mut text = [b'0'; 27];
    let mut digits = itoa::Buffer::new();
    let whole = digits.format(took.as_secs()).as_bytes();
    let length = whole.len() + 7;
    let mut micros = took.subsec_micros();
    if let Some((before, after)) = text
        .get_mut(..length)
        .and_then(|text| text.split_at_mut_checked(whole.len()))
    {
        before.copy_from_slice(whole);
        for (place, digit) in after.iter_mut().rev().enumerate() {
            if place == 6 {
                *digit = b'.';
            } else {
                *digit = b'0' + u8::try_from(micros % 10).unwrap_or(0);
                micros /= 10;
            }
        }
    }
    HeaderValue::from_bytes(text.get(..length).unwrap_or_default())
        .unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_with_six_decimals() {
        let check = |nanos, expected: &'static str| {
            assert_eq!(
                seconds(Duration::from_nanos(nanos)),
                HeaderValue::from_static(expected)
            );
        };
        check(0, "0.000000");
        check(1_234_567, "0.001234");
        check(12_000_000_999, "12.000000");
        assert_eq!(
            seconds(Duration::MAX),
            HeaderValue::from_static("18446744073709551615.999999")
        );
    }
}
