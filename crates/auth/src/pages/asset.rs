//! A body that never changes while the process runs, and is therefore sent once to each client: who has it already asks
//! with the tag it got and is answered 304.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

pub(super) struct Asset {
    media_type: &'static str,
    encoding: Option<&'static str>,
    tag: HeaderValue,
    bytes: Bytes,
}

impl Asset {
    pub(super) fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&bytes));
        Self {
            media_type,
            encoding: None,
            tag: HeaderValue::try_from(format!("\"{digest}\""))
                .expect("base64 in quotes is a header value"),
            bytes,
        }
    }

    /// Of bytes that are packed with gzip, and leave like that whatever the client says it takes: these files are for
    /// browsers, of which there is none without gzip.
    pub(super) fn packed(media_type: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            encoding: Some("gzip"),
            ..Self::new(media_type, bytes)
        }
    }

    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        // Kept, but asked about each time: after an update nobody looks at what was before.
        let kept = [
            (header::ETAG, self.tag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if self.is_known_to(headers) {
            return (StatusCode::NOT_MODIFIED, kept).into_response();
        }
        let media_type = [(header::CONTENT_TYPE, self.media_type)];
        let encoding = self
            .encoding
            .map(|coding| [(header::CONTENT_ENCODING, coding)]);
        match encoding {
            Some(encoding) => (kept, media_type, encoding, self.bytes.clone()).into_response(),
            None => (kept, media_type, self.bytes.clone()).into_response(),
        }
    }

    /// RFC 9110 section 13.1.2: a list, compared weakly.
    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get_all(header::IF_NONE_MATCH).iter();
        let mut tags = tags
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','));
        tags.any(|tag| tag.trim().trim_start_matches("W/") == self.tag)
    }
}
