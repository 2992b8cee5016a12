//! The headers that tell browsers to be careful, after the OWASP Secure Headers Project.

use http::{HeaderName, HeaderValue, header};

/// What `security: owasp` sets on every answer where the upstream has not set it. `Strict-Transport-Security` goes out
/// on plain listeners too, because TLS often ends before us; browsers ignore it where it came over plain HTTP.
pub fn owasp() -> Vec<(HeaderName, HeaderValue)> {
    let headers = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::STRICT_TRANSPORT_SECURITY,
            "max-age=31536000; includeSubDomains",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        // The filter this once switched on is gone from browsers; 0 keeps it from doing harm in old ones.
        (header::X_XSS_PROTECTION, "0"),
    ];
    headers
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .into()
}

/// For answers that the gateway makes itself, with [`owasp`] only: they load nothing and belong in no frame.
pub fn content_policy_of_own_answers() -> (HeaderName, HeaderValue) {
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    (header::CONTENT_SECURITY_POLICY, policy)
}
