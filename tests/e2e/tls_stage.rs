//! A gateway whose only listener speaks TLS, before one recording upstream, and clients that trust its authority.

use std::path::Path;

use portcullis_harness::{
    certificates::{Authority, Certified},
    client::Socket,
    frames::Frames,
    gateway::{Gateway, Places},
    http2::Http2,
    upstream::Upstream,
};

use crate::stage;

pub(crate) struct TlsStage {
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
    pub(crate) authority: Authority,
}

/// What a listener's `tls` says of one certificate.
pub(crate) fn pair(certified: &Certified) -> String {
    files(&certified.certificate, &certified.key)
}

pub(crate) fn files(certificate: &Path, key: &Path) -> String {
    format!(
        "certificate: {}, key: {}",
        certificate.display(),
        key.display()
    )
}

/// `tls` is what stands in the braces of the listener's; `limits` likewise.
pub(crate) fn configuration(places: &Places, tls: &str, limits: &str) -> String {
    let server = stage::server(places, &format!("limits: {{ {limits} }}"));
    let plain = format!("{{ address: {} }}", places.listener);
    let secured = format!("{{ address: {}, tls: {{ {tls} }} }}", places.listener);
    server.replace(&plain, &secured)
}

impl TlsStage {
    /// For `a.test`. No connection ends because nothing comes.
    pub(crate) fn build() -> Self {
        Self::with_limits("header_timeout: 1h, idle_timeout: 1h")
    }

    pub(crate) fn with_limits(limits: &str) -> Self {
        Self::with(limits, |authority| {
            pair(&authority.server(&["a.test"]).unwrap())
        })
    }

    pub(crate) fn with(limits: &str, tls: impl FnOnce(&Authority) -> String) -> Self {
        let (upstream, authority) = (Upstream::start().unwrap(), Authority::new("test").unwrap());
        let tls = tls(&authority);
        let gateway = stage::start(|places| {
            let server = configuration(places, &tls, limits);
            format!(
                "{server}{}
upstreams:
  hotel:
    endpoints: [{}]
    circuit_breaker: {{ consecutive_failures: 3 }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - {{ name: small, match: {{ path: /small/** }}, upstream: hotel, auth: public, body: 1KiB }}
  - {{ name: brief, match: {{ path: /brief/** }}, upstream: hotel, auth: public, timeout: 2s }}
  - name: admin
    match: {{ path: /admin/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
  - name: pages
    match: {{ path: /pages/** }}
    upstream: hotel
    auth: {{ resource: hotel }}
    cors: {{ origins: [\"https://app.example.com\"] }}
  - name: moved
    match: {{ path: /moved/**, hosts: [a.test] }}
    redirect: {{ to: \"https://{{host}}/new/{{rest}}\" }}
    auth: public
",
                stage::CORP,
                upstream.address()
            )
        });
        Self {
            gateway,
            upstream,
            authority,
        }
    }

    /// A client of HTTP/1.1 that asks for `name`.
    pub(crate) fn http1(&self, name: &str) -> anyhow::Result<Socket> {
        self.connect(name, &["http/1.1"], None)
    }

    pub(crate) fn connect(
        &self,
        name: &str,
        protocols: &[&str],
        identity: Option<&Certified>,
    ) -> anyhow::Result<Socket> {
        let config = self.authority.tls_client(protocols, identity)?;
        Socket::secure(self.gateway.address(), name, config)
    }

    pub(crate) fn http2(&self) -> Http2 {
        let config = self.authority.tls_client(&["h2"], None).unwrap();
        Http2::connect(self.gateway.address(), "a.test", config).unwrap()
    }

    pub(crate) fn frames(&self) -> Frames {
        let config = self.authority.tls_client(&["h2"], None).unwrap();
        Frames::connect(self.gateway.address(), "a.test", config).unwrap()
    }
}

/// The certificate that was shown, and the protocol that was agreed on.
pub(crate) fn shown(socket: &Socket) -> (Vec<u8>, Vec<u8>) {
    let tls = socket.tls().expect("the socket speaks TLS");
    let leaf = tls.peer_certificates().and_then(<[_]>::first);
    (
        leaf.map(|leaf| leaf.to_vec()).unwrap_or_default(),
        tls.alpn_protocol().unwrap_or_default().to_vec(),
    )
}
