//! What travels on: the request as the upstream gets it, and what the gateway adds to every answer.
//!
//! Identity is written here and nowhere earlier: Pingora removes what a client's `Connection` header nominates before
//! this phase, so that a header set sooner could be taken away again by the client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Version, header};
use pingora::{
    Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use portcullis_config::routes::Access;
use portcullis_policy::{limits::Standing, rate_headers::rate_headers, rejection::Rejection};

use crate::{admission::Admitted, exchange::Exchange, gateway::Gateway, ids};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// For the auth service alone, over a socket that only the gateway can reach.
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-portcullis-client-address");

/// What only the gateway may tell an upstream, beside the identity headers of the routes.
const GATEWAY_ONLY: [HeaderName; 4] = [
    X_REAL_IP,
    CLIENT_ADDRESS,
    header::FORWARDED,
    X_FORWARDED_HOST,
];

/// Hop-by-hop fields of an answer that Pingora would pass on (RFC 9110 section 7.6.1).
const NOT_FOR_THE_CLIENT: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
];

/// Writes the request that was decided on: its canonical target, without what only the gateway may say.
pub(crate) fn prepare_request(
    gateway: &Gateway,
    session: &Session,
    request: &mut RequestHeader,
    exchange: &Exchange,
) -> pingora::Result<()> {
    let admitted = exchange
        .admitted
        .as_ref()
        .ok_or_else(|| Error::new(ErrorType::InternalError))?;
    if let Some(target) = admitted.target() {
        request.set_uri(target.clone());
    }
    remove_untrusted(exchange, admitted, request);
    add_identity(admitted, request)?;
    add_origin(exchange, admitted, session, request)?;
    request.insert_header(X_REQUEST_ID, exchange.id.clone())?;
    let inbound = session.req_header().headers.get(&TRACEPARENT);
    if let Some(ours) = ids::traceparent(inbound, &exchange.id, gateway.ids.span()) {
        request.insert_header(TRACEPARENT, ours)?;
    }
    Ok(())
}

/// Looks before it removes: a removal walks two maps, and nearly no request has anything to remove.
fn remove_untrusted(exchange: &Exchange, admitted: &Admitted, request: &mut RequestHeader) {
    let identity = &exchange.snapshot.identity_headers;
    for name in admitted
        .dropped()
        .iter()
        .chain(identity)
        .chain(&GATEWAY_ONLY)
    {
        if request.headers.contains_key(name) {
            request.remove_header(name);
        }
    }
    let route = admitted.route();
    // On a public route the token is the upstream's to look at; elsewhere it has done its work.
    let token_travels = matches!(route.access, Access::Public) || route.forward.token;
    if !token_travels {
        request.remove_header(&header::AUTHORIZATION);
    }
}

/// From the verified token alone.
fn add_identity(admitted: &Admitted, request: &mut RequestHeader) -> pingora::Result<()> {
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
        request.insert_header(name.clone(), value)?;
    }
    Ok(())
}

/// Where the request came from, as we found it: what a client says of it is overwritten. Only the protocol is taken from
/// a trusted proxy, which alone can know it.
fn add_origin(
    exchange: &Exchange,
    admitted: &Admitted,
    session: &Session,
    request: &mut RequestHeader,
) -> pingora::Result<()> {
    let client = address_value(exchange)?;
    if admitted.route().upstream.is_auth {
        request.insert_header(CLIENT_ADDRESS, client.clone())?;
    }
    request.insert_header(X_FORWARDED_FOR, client)?;
    let headers = &session.req_header().headers;
    let said_by_proxy = headers
        .get(&X_FORWARDED_PROTO)
        .filter(|_| exchange.client.via_trusted_proxy);
    let protocol = said_by_proxy
        .cloned()
        .unwrap_or(HeaderValue::from_static("http"));
    request.insert_header(X_FORWARDED_PROTO, protocol)?;
    if let Some(host) = headers.get(header::HOST) {
        request.insert_header(X_FORWARDED_HOST, host.clone())?;
    }
    Ok(())
}

fn address_value(exchange: &Exchange) -> pingora::Result<HeaderValue> {
    HeaderValue::from_str(&exchange.client.ip.to_string())
        .map_err(|_unwritable| Error::new(ErrorType::InternalError))
}

/// Counts a request body as it streams, in bytes and in time: Pingora bounds each read of it, not their sum.
pub(crate) fn count_body(
    gateway: &Gateway,
    exchange: &mut Exchange,
    chunk: Option<&Bytes>,
) -> pingora::Result<()> {
    let Some(chunk) = chunk else { return Ok(()) };
    exchange.body_received = exchange.body_received.saturating_add(chunk.len() as u64);
    let limit = exchange
        .admitted
        .as_ref()
        .map_or(0, |admitted| admitted.route().body_limit);
    if exchange.body_received > limit {
        return Err(exchange.give_up(Rejection::BodyTooLarge));
    }
    if exchange.remaining(gateway.now()).is_zero() {
        return Err(exchange.give_up(Rejection::RequestTimeout));
    }
    Ok(())
}

/// The upstream's head on its way to the client: what the upstream set stays, ours is added.
pub(crate) fn prepare_response(
    gateway: &Gateway,
    exchange: &Exchange,
    head: &mut ResponseHeader,
) -> pingora::Result<()> {
    if head.status.is_informational() {
        return Ok(());
    }
    // The version is each hop's own (RFC 9110 section 2.5); an old upstream must not cost the client its keep-alive.
    head.set_version(Version::HTTP_11);
    for name in &NOT_FOR_THE_CLIENT {
        if head.headers.contains_key(name) {
            head.remove_header(name);
        }
    }
    collapse_length(head)?;
    let standing = exchange.admitted.as_ref().and_then(Admitted::standing);
    add_own_headers(gateway, exchange, standing, head)
}

/// Pingora refuses two lengths that differ and takes the same one twice (RFC 9112 section 6.3); a client is told it once.
fn collapse_length(head: &mut ResponseHeader) -> pingora::Result<()> {
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next().cloned(), lengths.next()) {
        (Some(first), Some(_)) => head.insert_header(header::CONTENT_LENGTH, first),
        (Some(_) | None, _) => Ok(()),
    }
}

/// What every answer carries, the gateway's own and the upstreams' alike.
pub(crate) fn add_own_headers(
    gateway: &Gateway,
    exchange: &Exchange,
    standing: Option<&Standing>,
    head: &mut ResponseHeader,
) -> pingora::Result<()> {
    let settings = &exchange.snapshot.server.headers;
    head.insert_header(X_REQUEST_ID, exchange.id.clone())?;
    for (name, value) in &exchange.snapshot.security_headers {
        if !head.headers.contains_key(name) {
            head.insert_header(name, value)?;
        }
    }
    if let Some(standing) = standing {
        for (name, value) in rate_headers(settings.rate_limit, standing, exchange.began) {
            head.insert_header(name, value)?;
        }
    }
    if settings.process_time {
        let took = gateway
            .now()
            .since_start
            .saturating_sub(exchange.began.since_start);
        head.insert_header(X_PROCESS_TIME, seconds(took))?;
    }
    Ok(())
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
