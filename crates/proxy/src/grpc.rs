//! Calls over gRPC: the status that stands in trailers, and refusals that a client of gRPC can read.
//!
//! To HTTP every call is a `200`; how it went is told by `grpc-status`, behind the body or, where there is none, in the
//! head ("trailers-only", as all answers of the gateway's own are).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use portcullis_policy::rejection::Rejection;

use crate::answer::Answer;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The codes of gRPC that are told apart here, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// Of a request or of an answer: `application/grpc` with or without a message format, as in `application/grpc+proto`, and
/// not `application/grpc-web`.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some((essence, rest)) = value.as_bytes().split_at_checked(b"application/grpc".len()) else {
        return false;
    };
    essence.eq_ignore_ascii_case(b"application/grpc")
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// A call says `te: trailers`, or its server takes the gateway for one that would lose them. Pingora removes it as it must
/// from what is not a call.
pub(crate) fn keep_trailers(came: &HeaderMap, sent: &mut HeaderMap) {
    let takes_trailers = came.get(header::TE).is_some_and(|te| te == "trailers");
    if takes_trailers && is_call(came) {
        sent.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether these trailers tell of a sick upstream; `None` where they tell nothing. The codes are those that stand for
/// 500, 503 and 504: an upstream that refuses a call is well.
pub(crate) fn says_it_failed(trailers: &HeaderMap) -> Option<bool> {
    const FAILURES: [Code; 5] = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    let status = trailers.get(&GRPC_STATUS)?.to_str().ok()?;
    let status: u8 = status.trim().parse().ok()?;
    Some(FAILURES.iter().any(|code| *code as u8 == status))
}

/// What refuses a call: a head that is the whole answer.
pub(crate) fn refusal(rejection: &Rejection) -> Answer {
    let kind = HeaderValue::from_static("application/grpc");
    Answer {
        status: StatusCode::OK,
        standing: None,
        headers: vec![
            (header::CONTENT_TYPE, kind),
            (GRPC_STATUS, HeaderValue::from(code_of(rejection) as u16)),
            (GRPC_MESSAGE, message(rejection)),
        ],
    }
}

/// As gRPC maps HTTP statuses, with those told apart that it lumps together.
fn code_of(rejection: &Rejection) -> Code {
    match rejection.status() {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        status if status.is_client_error() => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// Ours are plain ASCII; only the percent sign would have to be escaped, and none has one.
fn message(rejection: &Rejection) -> HeaderValue {
    let text = format!("{}: {}", rejection.code(), rejection.detail());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn a_call_is_known_by_its_media_type() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC; charset=x",
        ] {
            assert!(is_call(&of(kind)), "{kind}");
        }
        for kind in ["application/grpc-web", "application/json", "text/plain"] {
            assert!(!is_call(&of(kind)), "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn only_the_statuses_of_a_sick_service_are_failures() {
        let told = |status: u16| {
            let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from(status))]);
            says_it_failed(&trailers)
        };
        let failures: Vec<_> = (0..=16)
            .filter(|status| told(*status) == Some(true))
            .collect();
        assert_eq!(failures, [2, 4, 13, 14, 15]);
        assert_eq!(says_it_failed(&HeaderMap::new()), None);
    }

    #[test]
    fn each_kind_of_refusal_has_its_code() {
        let retry_after = Duration::from_secs(1);
        let cases = [
            (Rejection::AuthenticationRequired, 16),
            (Rejection::AddressNotAllowed, 7),
            (Rejection::RouteNotFound, 12),
            (Rejection::BodyTooLarge, 8),
            (Rejection::CircuitOpen { retry_after }, 14),
            (Rejection::UpstreamUnreachable, 14),
            (Rejection::UpstreamTimeout, 4),
            (Rejection::Conflict, 3),
            (Rejection::InternalError, 13),
        ];
        for (rejection, code) in cases {
            assert_eq!(code_of(&rejection) as u16, code, "{rejection:?}");
            assert!(!message(&rejection).is_empty(), "{rejection:?}");
        }
    }
}
