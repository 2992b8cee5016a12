//! What comes in: who asks (as the gateway says it), and bodies that are exactly what an endpoint takes.
//!
//! A body is bounded in size and time before it is looked at, and read into a type that knows every field: unknown and
//! repeated fields, other types, deep nesting and anything after the value are refused by the parser. What was wrong is
//! told in our words; the parser's message would repeat the input.
//!
//! [`InPath`], [`InQuery`] and [`InBody`] are how an endpoint says in its signature what it takes.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Query},
    http::{HeaderMap, Request, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use portcullis_policy::rejection::{Malformation, Rejection};
use portcullis_tokens::ScopeSet;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::error::Category;
use zeroize::Zeroizing;

use crate::answer::Refusal;

/// Room for the longest name and password with every character escaped is not needed: nobody types that.
pub(crate) const MAX_BODY_BYTES: usize = 4 * 1024;
/// A sign-in is one packet. Who needs longer than this is holding a connection, not typing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const NOT_JSON: &str = "The body is not one JSON object.";
const BAD_SCOPE: &str = "The scope must be one or more scopes, separated by spaces.";

/// Set by the gateway, and only the gateway reaches the socket.
const CLIENT_ADDRESS: &str = "x-portcullis-client-address";
const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID_BYTES: usize = 128;
const MAX_USER_AGENT_BYTES: usize = 256;

/// The request as the gateway describes it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) address: Option<IpAddr>,
    pub(crate) request_id: Arc<str>,
    /// As the client names itself, cut to 256 bytes.
    pub(crate) user_agent: Option<Arc<str>>,
}

impl Call {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID).filter(|id| id.len() <= MAX_REQUEST_ID_BYTES);
        Self {
            address: text(CLIENT_ADDRESS).and_then(|address| address.parse().ok()),
            request_id: request_id.unwrap_or_default().into(),
            user_agent: text(header::USER_AGENT.as_str()).map(user_agent),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// `to_str` has seen to it that every byte is a character.
fn user_agent(text: &str) -> Arc<str> {
    text.get(..MAX_USER_AGENT_BYTES).unwrap_or(text).into()
}

/// What the path names. What cannot be read as a name of its kind is the name of nothing.
pub(crate) struct InPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(_unreadable) => Err(Rejection::RouteNotFound.into()),
        }
    }
}

/// A query that an endpoint takes. It must refuse unknown fields.
pub(crate) trait Queried: DeserializeOwned {
    /// For whoever sent another.
    const TAKES: &'static str;
}

pub(crate) struct InQuery<T>(pub(crate) T);

impl<S: Sync, T: Queried> FromRequestParts<S> for InQuery<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(_repeats_the_input) => Err(malformed_field(T::TAKES)),
        }
    }
}

/// A JSON object, as [`json`] reads it. The last of an endpoint's arguments: who may not ask is refused without a look at
/// it.
pub(crate) struct InBody<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for InBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, Refusal> {
        json(request).await.map(Self)
    }
}

/// The same request with its body taken off the connection, for what is refused without a look at it as well: a body
/// that nobody reads makes the server close, and the next sign-in that the gateway sends there would be lost.
pub(crate) async fn gathered(request: Request<Body>) -> Result<Request<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let bytes = read(&head.headers, body).await?;
    Ok(Request::from_parts(head, Body::from(bytes.to_vec())))
}

/// Reads a JSON object of type `T`, which must refuse unknown fields.
pub(crate) async fn json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Refusal> {
    let bytes = bytes(request, "application/json").await?;
    // serde would take an array for a struct, field by field.
    let is_object = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    if !is_object {
        return Err(malformed_field(NOT_JSON));
    }
    // Which of the two it was can be said; the parser's message would repeat the input.
    serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        Category::Data => malformed_body(),
        Category::Syntax | Category::Eof | Category::Io => malformed_field(NOT_JSON),
    })
}

/// Reads a body of the given media type.
pub(crate) async fn bytes(
    request: Request<Body>,
    media_type: &str,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let (head, body) = request.into_parts();
    check_media_type(&head.headers, media_type)?;
    read(&head.headers, body).await
}

/// The media type asked for, in UTF-8 (for JSON: RFC 8259 section 8.1). Of JSON, anything a browser sends without asking first is refused, which
/// is what keeps other sites from posting here.
fn check_media_type(headers: &HeaderMap, media_type: &str) -> Result<(), Refusal> {
    let refused = || Err(Rejection::UnsupportedMediaType.into());
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refused();
    }
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return refused();
    };
    let Ok(text) = value.to_str() else {
        return refused();
    };
    let mut parts = text.split(';').map(str::trim);
    let is_wanted = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
    if is_wanted && parts.all(is_utf8_parameter) {
        Ok(())
    } else {
        refused()
    }
}

fn is_utf8_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(Rejection::BodyTooLarge.into());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Err(_elapsed) => Err(Rejection::RequestTimeout.into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Rejection::BodyTooLarge.into()),
        Ok(Err(_broken_off)) => Err(malformed_body()),
        Ok(Ok(collected)) => Ok(Zeroizing::new(collected.to_bytes().to_vec())),
    }
}

/// A text that is wiped when it is dropped.
pub(crate) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// Of a body that was gathered.
pub(crate) fn is_empty(body: &Body) -> bool {
    body.size_hint().exact() == Some(0)
}

/// A `scope` as it came: one or more words, or nothing asked for.
pub(crate) fn scopes(scope: Option<&str>) -> Result<Option<ScopeSet>, Refusal> {
    let parsed = scope.map(ScopeSet::parse).transpose();
    match parsed {
        Ok(scopes) if !scopes.as_ref().is_some_and(ScopeSet::is_empty) => Ok(scopes),
        Ok(_) | Err(_) => Err(malformed_field(BAD_SCOPE)),
    }
}

fn malformed_body() -> Refusal {
    Rejection::Malformed(Malformation::Body).into()
}

pub(crate) fn malformed_field(sentence: &'static str) -> Refusal {
    Rejection::Malformed(Malformation::Field(sentence)).into()
}
