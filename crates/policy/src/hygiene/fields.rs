//! What the header lines say about the message itself, read in one pass: how long its body is, what is only for this
//! hop, and what must not travel on.

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use smallvec::SmallVec;

use crate::rejection::Malformation;

/// Colon, space and line end, which a header line has beside name and value.
const LINE_OVERHEAD: usize = 4;

/// Headers that servers behind us rely on, or that the gateway makes. `Connection` must not name them: a field named
/// there is taken away before the upstream sees it (RFC 9110 section 7.6.1).
const PROTECTED: [&str; 19] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "origin",
    "range",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "via",
    "x-real-ip",
    "x-request-id",
];

const PROTECTED_PREFIX: &str = "x-forwarded-";

/// What the head says about the length of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither field: no body in HTTP/1, unknown in HTTP/2.
    Unsaid,
    Exactly(u64),
    Chunked,
}

/// Whether a header must not reach an upstream whoever sent it. An underscore makes `X_User_Id` the same variable as
/// `X-User-Id` to CGI and its heirs; `Proxy` becomes their `HTTP_PROXY`; the other two replace the path that was
/// decided on.
pub fn is_dropped(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.as_bytes().contains(&b'_') || matches!(name, "proxy" | "x-original-url" | "x-rewrite-url")
}

#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) dropped: SmallVec<[&'a HeaderName; 2]>,
    /// All header lines together.
    pub(super) bytes: usize,
    content_length: Option<&'a HeaderValue>,
    transfer_encoding: Option<&'a HeaderValue>,
    authorization: Option<&'a HeaderValue>,
    has_upgrade: bool,
    nominates_upgrade: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn read(
        headers: &'a HeaderMap,
        identity: &[HeaderName],
    ) -> Result<Self, Malformation> {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.bytes += name.as_str().len() + value.len() + LINE_OVERHEAD;
            fields.note(name, value, identity)?;
        }
        Ok(fields)
    }

    fn note(
        &mut self,
        name: &'a HeaderName,
        value: &'a HeaderValue,
        identity: &[HeaderName],
    ) -> Result<(), Malformation> {
        if value
            .as_bytes()
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(Malformation::HeaderValue);
        }
        match name.as_str() {
            "host" => once(&mut self.host, value, Malformation::Host),
            "content-length" => once(&mut self.content_length, value, Malformation::ContentLength),
            "transfer-encoding" => once(
                &mut self.transfer_encoding,
                value,
                Malformation::TransferEncoding,
            ),
            "authorization" => once(
                &mut self.authorization,
                value,
                Malformation::DuplicateAuthorization,
            ),
            "connection" => self.note_nominations(value, identity),
            "upgrade" => {
                self.has_upgrade = true;
                Ok(())
            }
            _ if is_dropped(name) => {
                self.dropped.push(name);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note_nominations(
        &mut self,
        value: &HeaderValue,
        identity: &[HeaderName],
    ) -> Result<(), Malformation> {
        let value = value.to_str().unwrap_or("");
        for nominated in value.split(',').map(str::trim) {
            if is_protected(nominated, identity) {
                return Err(Malformation::ConnectionNomination);
            }
            self.nominates_upgrade |= nominated.eq_ignore_ascii_case("upgrade");
        }
        Ok(())
    }

    pub(super) fn wants_upgrade(&self) -> bool {
        self.has_upgrade && self.nominates_upgrade
    }

    /// RFC 9112 section 6, read strictly: whatever two parties could count differently is refused.
    pub(super) fn body_length(&self, version: Version) -> Result<BodyLength, Malformation> {
        if !matches!(
            version,
            Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2
        ) {
            return Err(Malformation::Version);
        }
        match (self.content_length, self.transfer_encoding) {
            (Some(_), Some(_)) => Err(Malformation::Framing),
            (Some(length), None) => content_length(length)
                .map(BodyLength::Exactly)
                .ok_or(Malformation::ContentLength),
            (None, Some(coding)) => {
                let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
                let valid = chunked && version == Version::HTTP_11;
                if valid {
                    Ok(BodyLength::Chunked)
                } else {
                    Err(Malformation::TransferEncoding)
                }
            }
            (None, None) => Ok(BodyLength::Unsaid),
        }
    }
}

fn once<'a>(
    slot: &mut Option<&'a HeaderValue>,
    value: &'a HeaderValue,
    twice: Malformation,
) -> Result<(), Malformation> {
    if slot.replace(value).is_some() {
        Err(twice)
    } else {
        Ok(())
    }
}

fn is_protected(nominated: &str, identity: &[HeaderName]) -> bool {
    let prefix = nominated.get(..PROTECTED_PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(PROTECTED_PREFIX))
        || PROTECTED
            .iter()
            .any(|name| nominated.eq_ignore_ascii_case(name))
        || identity
            .iter()
            .any(|name| nominated.eq_ignore_ascii_case(name.as_str()))
}

/// Digits alone: `parse` would take a sign.
fn content_length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
