//! Names for requests: unique, cheap to make, and not secret.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, HeaderValue};

use portcullis_policy::traces::write_hex;

use portcullis_policy::balance::scatter;

/// Longest inbound `X-Request-ID` that is kept.
const LONGEST_KEPT: usize = 128;

/// Numbers requests from a random start. Two processes share a name only if their 128-bit starts collide.
pub(crate) struct RequestIds {
    seed: [u64; 2],
    next: AtomicU64,
    /// Counted apart: a request has several spans, and no two may share a name.
    spans: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self {
            seed,
            next: AtomicU64::new(0),
            spans: AtomicU64::new(0),
        }
    }

    /// 32 hexadecimal digits, never all zero in practice, so that they serve as a trace id too.
    pub(crate) fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Relaxed);
        let mut digits = [0; 32];
        let (high, low) = digits.split_at_mut(16);
        write_hex(scatter(self.seed[0].wrapping_add(number)).into(), high);
        write_hex(scatter(self.seed[1] ^ scatter(number)).into(), low);
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    }

    pub(crate) fn span(&self) -> u64 {
        let number = self.spans.fetch_add(1, Relaxed);
        // Zero is the one span id that W3C Trace Context forbids.
        scatter(self.seed[1].wrapping_add(number)).max(1)
    }
}

/// The id a trusted proxy gave the request, where it is one that can be written into a log as it stands.
pub(crate) fn inbound(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get("x-request-id")?;
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    (visible && (1..=LONGEST_KEPT).contains(&value.len())).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use portcullis_policy::traces::TraceContext;

    use super::*;

    #[test]
    fn request_ids_are_distinct_hexadecimal() {
        let ids = RequestIds::new([7, 9]);
        let (one, two) = (ids.next(), ids.next());
        assert_ne!(one, two);
        let begun = TraceContext::of(None, one.as_bytes());
        assert!(begun.is_some(), "an id of ours begins a trace: {one:?}");
    }

    #[test]
    fn no_two_spans_share_a_name() {
        let ids = RequestIds::new([7, 9]);
        assert_ne!(ids.span(), ids.span());
    }

    #[test]
    fn an_inbound_id_that_could_break_a_log_line_is_not_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("with space"));
        assert_eq!(inbound(&headers), None);
        headers.insert("x-request-id", HeaderValue::from_static("fine-1"));
        assert_eq!(inbound(&headers), Some(HeaderValue::from_static("fine-1")));
    }
}
