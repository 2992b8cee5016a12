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

/// What a client of gRPC asks, whatever its message format.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    is_grpc(headers)
}

pub(crate) fn is_answer(headers: &HeaderMap) -> bool {
    is_grpc(headers)
}

/// `application/grpc` with or without a message format, as in `application/grpc+proto`; not `application/grpc-web`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some((essence, rest)) = value.as_bytes().split_at_checked(b"application/grpc".len()) else {
        return false;
    };
    essence.eq_ignore_ascii_case(b"application/grpc")
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
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
