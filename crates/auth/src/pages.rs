//! What describes the endpoints to people and to programs: the OpenAPI document.
//!
//! It is made once, with the router. A client that has it already asks with the tag it got and is answered 304.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use utoipa::openapi::OpenApi;

/// Under which nothing is an endpoint.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    // A document is texts, numbers and lists; there is nothing in it that JSON has no form for.
    let json = serde_json::to_vec(document).unwrap_or_default();
    let document = Arc::new(Asset::new("application/json", json.into()));
    Router::new().route(
        "/openapi.json",
        get(async move |headers: HeaderMap| document.answer(&headers)),
    )
}

/// A body that never changes while the process runs.
struct Asset {
    media_type: &'static str,
    tag: HeaderValue,
    bytes: Bytes,
}

impl Asset {
    fn new(media_type: &'static str, bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes);
        let text = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest));
        Self {
            media_type,
            tag: HeaderValue::try_from(text).expect("base64 in quotes is a header value"),
            bytes,
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let kept = [
            (header::ETAG, self.tag.clone()),
            // Kept, but asked about each time: a new version must be seen at once.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if headers.get(header::IF_NONE_MATCH) == Some(&self.tag) {
            return (StatusCode::NOT_MODIFIED, kept).into_response();
        }
        let media_type = [(header::CONTENT_TYPE, self.media_type)];
        (kept, media_type, self.bytes.clone()).into_response()
    }
}
