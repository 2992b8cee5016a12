//! A gateway that decides and never listens, for `explain` and `test`: the configuration's own checks, with limits that
//! nobody has spent from and breakers that are closed.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use portcullis_audit::{Desk, DeskLimits};
use portcullis_config::{Config, server::AccessLog};
use portcullis_policy::limits::{DEFAULT_KEYS, Limiter};
use portcullis_proxy::{Parts, Rehearsal, RehearsedRequest};
use portcullis_tokens::Verifier;
use prometheus::Registry;

use crate::clock;

/// Where a request comes from unless somebody says otherwise: an address that is nobody's (RFC 5737).
pub(crate) const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// `config` is changed in what would leave traces: a rehearsal writes no log.
pub(crate) fn rehearsal(config: &mut Config, verifier: Verifier) -> anyhow::Result<Rehearsal> {
    config.server.access_log = AccessLog::None;
    let rehearsal = Rehearsal::new(Parts {
        config,
        shared_limits: None,
        limiter: Arc::new(Limiter::new((0, 0), DEFAULT_KEYS)),
        verifier: Arc::new(verifier),
        desk: Arc::new(Desk::new(DeskLimits::default())),
        registry: &Registry::new(),
        auth_socket: None,
        clock: Arc::new(clock::moments()),
        spans: None,
        seed: [0, 0],
    });
    rehearsal.context("the configuration cannot be rehearsed")
}

/// A request as somebody describes it.
pub(crate) struct Described<'a> {
    pub(crate) method: &'a str,
    /// With its query, where it has one.
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    pub(crate) token: Option<&'a str>,
    /// Bytes that follow the header.
    pub(crate) body: Option<u64>,
}

impl Described<'_> {
    pub(crate) fn request(&self) -> anyhow::Result<RehearsedRequest> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method.as_bytes())
            .with_context(|| format!("{:?} is no method", self.method))?;
        *request.uri_mut() =
            Uri::try_from(self.path).with_context(|| format!("{:?} is no path", self.path))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, value(self.host)?);
        for (name, text) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .with_context(|| format!("{name:?} is no header name"))?;
            headers.append(name, value(text)?);
        }
        if let Some(token) = self.token {
            headers.append(header::AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        if let Some(length) = self.body {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(RehearsedRequest::from(request.into_parts().0))
    }
}

/// The text is not repeated in the complaint: it may be a token.
fn value(text: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(text).context("a header value has characters that no header can hold")
}
