//! W3C Trace Context: which trace a request belongs to, and what is told of it when it has ended.
//!
//! A trace that a client began goes on, and its word on whether it is recorded is kept. Where none was begun, or what
//! was sent is no `traceparent`, the request's own id begins one.

use std::time::Duration;

use portcullis_config::units::Timestamp;

/// Where in a trace something happens (W3C Trace Context section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace: u128,
    /// The span that this one is called from; not zero. Absent where the trace begins here.
    pub parent: Option<u64>,
    /// Whether whoever began the trace records it.
    pub is_recorded: bool,
}

impl TraceContext {
    /// The client's trace, or one named after the request. `None` where neither is a name that a trace may have.
    pub fn of(traceparent: Option<&[u8]>, request_id: &[u8]) -> Option<Self> {
        traceparent
            .and_then(Self::parse)
            .or_else(|| Self::begun_by(request_id))
    }

    fn begun_by(request_id: &[u8]) -> Option<Self> {
        Some(Self {
            trace: hex(request_id, 32).filter(|trace| *trace != 0)?,
            parent: None,
            is_recorded: true,
        })
    }

    /// Version 00 alone: of a later one nothing but the length is known to be the same, and a new trace harms nobody.
    fn parse(value: &[u8]) -> Option<Self> {
        let is_shaped = value.len() == 55
            && value.starts_with(b"00-")
            && value.get(35) == Some(&b'-')
            && value.get(52) == Some(&b'-');
        if !is_shaped {
            return None;
        }
        let trace = hex(value.get(3..35)?, 32).filter(|trace| *trace != 0)?;
        let parent = hex(value.get(36..52)?, 16).filter(|parent| *parent != 0)?;
        let flags = hex(value.get(53..55)?, 2)?;
        Some(Self {
            trace,
            parent: Some(u64::try_from(parent).ok()?),
            is_recorded: flags & 1 == 1,
        })
    }

    /// The field for whom is called from `span`.
    pub fn traceparent(&self, span: u64) -> [u8; 55] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (head, tail) = value.split_at_mut(36);
        write_hex(self.trace, head.get_mut(3..35).unwrap_or_default());
        write_hex(u128::from(span), tail.get_mut(..16).unwrap_or_default());
        if let (true, Some(flag)) = (self.is_recorded, tail.last_mut()) {
            *flag = b'1';
        }
        value
    }
}

/// Lower case digits only, as the specification asks, and exactly so many.
fn hex(digits: &[u8], count: usize) -> Option<u128> {
    if digits.len() != count {
        return None;
    }
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// As many digits as there are places.
pub fn write_hex(number: u128, places: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (nth, place) in places.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * nth)) & 0xf;
        *place = usize::try_from(nibble)
            .ok()
            .and_then(|nibble| HEX.get(nibble))
            .copied()
            .unwrap_or(b'0');
    }
}

/// One request that has ended, as a trace tells of it. Neither query nor headers: that is where tokens travel.
#[derive(Clone, Debug)]
pub struct RequestSpan {
    pub context: TraceContext,
    /// The gateway's own span.
    pub span: u64,
    pub began: Timestamp,
    pub took: Duration,
    pub request_id: String,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub route: Option<String>,
    /// The problem code where the gateway answered for itself.
    pub code: Option<&'static str>,
    /// Absent where no upstream was asked.
    pub call: Option<UpstreamCall>,
}

/// The time a request spent at its upstream: a span below the gateway's.
#[derive(Clone, Debug)]
pub struct UpstreamCall {
    /// What the upstream was told to be called from.
    pub span: u64,
    pub upstream: String,
    /// From the request's beginning to the first attempt.
    pub after: Duration,
    pub took: Duration,
    pub attempts: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_clients_trace_goes_on_and_is_recorded_as_it_says() {
        let sent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let context = TraceContext::of(Some(sent), ID).expect("a trace");
        assert_eq!(context.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(!context.is_recorded);
        assert_eq!(
            &context.traceparent(0xabc),
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000abc-00"
        );
    }

    #[test]
    fn what_is_no_traceparent_is_replaced_by_the_request_id() {
        for broken in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let context = TraceContext::of(Some(broken.as_bytes()), ID).expect("a trace");
            assert_eq!(
                &context.traceparent(1),
                b"00-0123456789abcdef0123456789abcdef-0000000000000001-01",
                "after {broken:?}"
            );
        }
    }

    #[test]
    fn an_id_of_another_shape_begins_no_trace() {
        assert_eq!(TraceContext::of(None, b"order-4711"), None);
        assert_eq!(TraceContext::of(None, &[b'0'; 32]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_trace(
            trace in 1u128.., span in 1u64.., is_recorded: bool,
        ) {
            let context = TraceContext { trace, parent: None, is_recorded };
            let read = TraceContext::of(Some(&context.traceparent(span)), ID);
            prop_assert_eq!(read, Some(TraceContext { parent: Some(span), ..context }));
        }

        #[test]
        fn no_bytes_make_it_fail(value: Vec<u8>) {
            prop_assert!(TraceContext::of(Some(&value), ID).is_some());
        }
    }
}
