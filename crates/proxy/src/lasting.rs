//! Exchanges that go on after the head of their answer: tunnels and streams. The route's `timeout` bounds them up to
//! the head, `max_connection_life` from then on; and they end when what they were admitted with is taken back.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use pingora::{Error, ErrorType};
use portcullis_policy::clock::Moment;
use portcullis_tokens::Principal;

use crate::exchange::Exchange;

/// Why the gateway ended an exchange that both peers would have gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It has lasted as long as its route allows.
    TooLong,
    /// The session or the user behind it was taken back.
    Revoked,
}

impl Cut {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "max-connection-life",
            Self::Revoked => "session-revoked",
        }
    }

    /// Whether an exchange that may last until `until` has to end.
    pub(crate) fn of(principal: Option<&Principal>, until: Duration, now: Moment) -> Option<Self> {
        if now.since_start >= until {
            return Some(Self::TooLong);
        }
        let is_revoked = |principal: &Principal| !principal.still_stands(now.wall);
        principal.is_some_and(is_revoked).then_some(Self::Revoked)
    }
}

/// Whether an answer is read as it comes, for as long as it comes.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        STREAMS
            .iter()
            .any(|stream| essence.eq_ignore_ascii_case(stream))
    };
    headers.get(header::CONTENT_TYPE).is_some_and(essence)
}

/// Media types whose bodies have no end of their own.
const STREAMS: [&str; 5] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/stream+json",
    "application/json-seq",
    "multipart/x-mixed-replace",
];

/// A piece of a stream is about to be passed on.
///
/// # Errors
/// Where it must not be. The answer then breaks off: its end is not the upstream's.
pub(crate) fn check(exchange: &mut Exchange, now: Moment) -> pingora::Result<()> {
    let Some(admitted) = &exchange.admitted else {
        return Ok(());
    };
    let until = exchange
        .began
        .since_start
        .saturating_add(admitted.route().max_connection_life);
    let principal = admitted.principal().map(|principal| &**principal);
    match Cut::of(principal, until, now) {
        None => Ok(()),
        Some(cut) => {
            exchange.cut = Some(cut);
            Err(Error::explain(ErrorType::InternalError, cut.reason()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_media_type() {
        let check = |value: &'static str, expected| {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(is_stream(&headers), expected, "{value}");
        };
        check("text/event-stream", true);
        check("Text/Event-Stream; charset=utf-8", true);
        check("application/json", false);
        check("text/event-stream-like", false);
        assert!(!is_stream(&HeaderMap::new()));
    }
}
