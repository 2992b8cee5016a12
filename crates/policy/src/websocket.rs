//! Whether a request opens a WebSocket: the client's side of the handshake of RFC 6455 section 4.1.
//!
//! Whoever gets this far gets a tunnel, in which nothing is looked at any more. So the whole handshake is asked for, and
//! what is only nearly one travels as an ordinary request.

use http::{HeaderMap, HeaderName, Method, Version, header};

use crate::hygiene::{BodyLength, Examined};

/// Sixteen bytes in base64.
const KEY_LENGTH: usize = 24;

/// `request` has passed hygiene, which has looked at `Connection` already.
pub fn is_handshake(
    request: &Examined<'_>,
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> bool {
    request.wants_upgrade
        && matches!(request.body, BodyLength::Unsaid | BodyLength::Exactly(0))
        && *method == Method::GET
        && version == Version::HTTP_11
        && sole(headers, &header::UPGRADE)
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && sole(headers, &header::SEC_WEBSOCKET_VERSION) == Some(b"13")
        && sole(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_key)
}

/// The value, where there is exactly one: of two, the upstream might read the other.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.as_bytes().trim_ascii())
}

fn is_key(key: &[u8]) -> bool {
    let Some((digits, b"==")) = key.split_last_chunk::<2>() else {
        return false;
    };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == KEY_LENGTH && digits.iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::HeaderValue;
    use smallvec::SmallVec;

    use super::*;
    use crate::hygiene::CanonicalTarget;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn handshake() -> HeaderMap {
        let field = |name: HeaderName, value| (name, HeaderValue::from_static(value));
        HeaderMap::from_iter([
            field(header::UPGRADE, "WebSocket"),
            field(header::SEC_WEBSOCKET_VERSION, "13"),
            field(header::SEC_WEBSOCKET_KEY, KEY),
        ])
    }

    fn examined(wants_upgrade: bool, body: BodyLength) -> Examined<'static> {
        Examined {
            target: CanonicalTarget {
                host: Cow::Borrowed("a.test"),
                path: Cow::Borrowed("/"),
                query: None,
            },
            body,
            dropped: SmallVec::new(),
            wants_upgrade,
        }
    }

    fn opens(headers: &HeaderMap) -> bool {
        let request = examined(true, BodyLength::Unsaid);
        is_handshake(&request, &Method::GET, Version::HTTP_11, headers)
    }

    #[test]
    fn a_whole_handshake_opens_a_tunnel() {
        assert!(opens(&handshake()));
    }

    #[test]
    fn half_a_handshake_does_not() {
        for missing in [
            header::UPGRADE,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_KEY,
        ] {
            let mut headers = handshake();
            headers.remove(&missing);
            assert!(!opens(&headers), "without {missing}");
        }
    }

    #[test]
    fn what_it_says_must_be_right_and_said_once() {
        let cases = [
            (header::UPGRADE, "h2c"),
            (header::UPGRADE, "websocket, h2c"),
            (header::SEC_WEBSOCKET_VERSION, "8"),
            (header::SEC_WEBSOCKET_KEY, "short=="),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQAA"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25j!!=="),
        ];
        for (name, value) in cases {
            let mut headers = handshake();
            headers.insert(&name, HeaderValue::from_static(value));
            assert!(!opens(&headers), "{name}: {value}");
        }
        let mut twice = handshake();
        twice.append(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!opens(&twice));
    }

    #[test]
    fn only_a_get_without_a_body_over_http_1_1_can_be_upgraded() {
        let check = |request: &Examined<'_>, method, version| {
            assert!(
                !is_handshake(request, &method, version, &handshake()),
                "{method} {version:?} {request:?}"
            );
        };
        let plain = examined(true, BodyLength::Unsaid);
        check(&plain, Method::POST, Version::HTTP_11);
        check(&plain, Method::GET, Version::HTTP_10);
        check(&plain, Method::GET, Version::HTTP_2);
        for body in [BodyLength::Exactly(1), BodyLength::Chunked] {
            check(&examined(true, body), Method::GET, Version::HTTP_11);
        }
        check(
            &examined(false, BodyLength::Unsaid),
            Method::GET,
            Version::HTTP_11,
        );
    }
}
