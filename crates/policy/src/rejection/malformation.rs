//! What exactly is wrong with a request that cannot be taken as it is.
//!
//! The client's author is told precisely, because most malformed requests are mistakes and not attacks, and nothing
//! secret is given away by naming a rule of HTTP.

/// One broken rule. The names of headers and fields in it come from us, never from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    /// Not origin-form, nor absolute-form that agrees with `Host`.
    Target,
    /// A byte in the target that must be percent-encoded, or an escape that is none.
    TargetEncoding,
    /// `.` or `..`, plain or encoded.
    DotSegment,
    /// `//`, which some servers merge and others do not.
    EmptySegment,
    /// A backslash, or an escaped slash, backslash or control character.
    HiddenSeparator,
    /// `;` in the path, which some servers cut off and others do not.
    PathParameter,
    Fragment,
    Query,
    Host,
    HostDisagrees,
    Version,
    /// A line that does not end in carriage return and line feed.
    LineEnd,
    /// A chunk whose size or end can be read in more than one way.
    Chunk,
    ContentLength,
    TransferEncoding,
    /// Both, or more than one, of the fields that say how long the body is.
    Framing,
    HeaderValue,
    /// `Connection` names a field that other parties rely on.
    ConnectionNomination,
    DuplicateAuthorization,
    /// The body is not the JSON (or the form) that this endpoint takes.
    Body,
    /// A field of the body is missing, or not of its kind. Carries a sentence of ours.
    Field(&'static str),
}

impl Malformation {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::Target => "The request target must be a path that begins with a slash.",
            Self::TargetEncoding => {
                "The request target contains characters that must be percent-encoded, or a broken escape."
            }
            Self::DotSegment => "The path must not contain the segments . and .. in any spelling.",
            Self::EmptySegment => {
                "The path must not contain empty segments, that is, two slashes in a row."
            }
            Self::HiddenSeparator => {
                "The path must not contain backslashes, nor slashes or control characters in escapes."
            }
            Self::PathParameter => "The path must not contain semicolons.",
            Self::Fragment => "The request target must not contain a fragment.",
            Self::Query => "The query contains characters that must be percent-encoded.",
            Self::Host => "The request needs exactly one valid Host header.",
            Self::HostDisagrees => "The request target and the Host header name different hosts.",
            Self::Version => "This version of HTTP is not spoken here.",
            Self::LineEnd => {
                "Every line of the request header must end in carriage return and line feed."
            }
            Self::Chunk => "The chunks of the body are not framed as HTTP/1.1 frames them.",
            Self::ContentLength => "Content-Length must be one plain decimal number.",
            Self::TransferEncoding => {
                "The only transfer coding taken is a single chunked, in HTTP/1.1."
            }
            Self::Framing => "The length of the body is given in more than one way.",
            Self::HeaderValue => "A header value contains a control character.",
            Self::ConnectionNomination => {
                "The Connection header must not name a field that others rely on."
            }
            Self::DuplicateAuthorization => "The request has more than one Authorization header.",
            Self::Body => {
                "A member of the body is missing, unknown or of another kind; the description of the API lists them."
            }
            Self::Field(sentence) => sentence,
        }
    }

    /// Whether the next request on this connection might begin elsewhere than it seems (request smuggling).
    pub(super) fn breaks_framing(self) -> bool {
        match self {
            Self::Version
            | Self::LineEnd
            | Self::Chunk
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Framing
            | Self::HeaderValue => true,
            Self::Target
            | Self::TargetEncoding
            | Self::DotSegment
            | Self::EmptySegment
            | Self::HiddenSeparator
            | Self::PathParameter
            | Self::Fragment
            | Self::Query
            | Self::Host
            | Self::HostDisagrees
            | Self::ConnectionNomination
            | Self::DuplicateAuthorization
            | Self::Body
            | Self::Field(_) => false,
        }
    }
}
