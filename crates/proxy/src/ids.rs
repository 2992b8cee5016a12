//! Names for requests: unique, cheap to make, and not secret.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, HeaderValue};

use crate::upstream::scatter;

/// Longest inbound `X-Request-ID` that is kept.
const LONGEST_KEPT: usize = 128;

/// Numbers requests from a random start. Two processes share a name only if their 128-bit starts collide.
pub(crate) struct RequestIds {
    seed: [u64; 2],
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self {
            seed,
            next: AtomicU64::new(0),
        }
    }

    /// 32 hexadecimal digits, never all zero in practice, so that they serve as a trace id too.
    pub(crate) fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Relaxed);
        let mut digits = [0; 32];
        let (high, low) = digits.split_at_mut(16);
        write_hex(scatter(self.seed[0].wrapping_add(number)), high);
        write_hex(scatter(self.seed[1] ^ scatter(number)), low);
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    }

    pub(crate) fn span(&self) -> u64 {
        // Zero is the one span id that W3C Trace Context forbids.
        scatter(self.seed[1].wrapping_add(self.next.load(Relaxed))).max(1)
    }
}

fn write_hex(number: u64, digits: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * place)) & 0xf;
        *digit = usize::try_from(nibble)
            .ok()
            .and_then(|nibble| HEX.get(nibble))
            .copied()
            .unwrap_or(b'0');
    }
}

/// The id a trusted proxy gave the request, where it is one that can be written into a log as it stands.
pub(crate) fn inbound(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get("x-request-id")?;
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    (visible && (1..=LONGEST_KEPT).contains(&value.len())).then(|| value.clone())
}

/// `traceparent` for the upstream (W3C Trace Context): the client's trace goes on, under a span of ours; without a
/// valid one the request id starts a trace.
pub(crate) fn traceparent(
    inbound: Option<&HeaderValue>,
    request_id: &HeaderValue,
    span: u64,
) -> Option<HeaderValue> {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-01";
    let (head, tail) = value.split_at_mut(36);
    match inbound
        .map(HeaderValue::as_bytes)
        .and_then(valid_traceparent)
    {
        Some((trace, flags)) => {
            head.get_mut(3..35)?.copy_from_slice(trace);
            tail.get_mut(17..19)?.copy_from_slice(flags);
        }
        None => head.get_mut(3..35)?.copy_from_slice(hex_id(request_id)?),
    }
    write_hex(span, tail.get_mut(..16)?);
    HeaderValue::from_bytes(&value).ok()
}

fn valid_traceparent(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let (trace, span, flags) = (value.get(3..35)?, value.get(36..52)?, value.get(53..55)?);
    let shaped = value.len() == 55
        && value.starts_with(b"00-")
        && value.get(35) == Some(&b'-')
        && value.get(52) == Some(&b'-');
    (shaped && hex(trace) && hex(span) && hex(flags) && !zero(trace) && !zero(span))
        .then_some((trace, flags))
}

/// The request id where it is one of ours; an inbound one of another shape names no trace.
fn hex_id(id: &HeaderValue) -> Option<&[u8]> {
    let digits = id.as_bytes();
    (digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_distinct_hexadecimal() {
        let ids = RequestIds::new([7, 9]);
        let (one, two) = (ids.next(), ids.next());
        assert_ne!(one, two);
        assert!(
            hex_id(&one).is_some(),
            "an id of ours starts a trace: {one:?}"
        );
    }

    #[test]
    fn a_valid_trace_goes_on_under_a_new_span() {
        let inbound =
            HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        let ours = traceparent(Some(&inbound), &HeaderValue::from_static("x"), 0xabc);
        assert_eq!(
            ours,
            Some(HeaderValue::from_static(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-00"
            ))
        );
    }

    #[test]
    fn a_broken_trace_is_replaced_by_the_request_id() {
        let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
        for broken in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let inbound = HeaderValue::from_static(broken);
            let ours = traceparent(Some(&inbound), &id, 1);
            let expected =
                HeaderValue::from_static("00-0123456789abcdef0123456789abcdef-0000000000000001-01");
            assert_eq!(ours, Some(expected), "after {broken:?}");
        }
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
