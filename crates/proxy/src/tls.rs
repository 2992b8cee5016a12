//! TLS on a listener: what a client is shown, what it must show, and how both are renewed while connections are open.
//!
//! The handshake is made here and not in Pingora's listener, which would make it before the connection is counted and
//! gives it a minute. It is Pingora's own acceptor that makes it, so that the stream says of itself what Pingora asks:
//! the protocol that was agreed on, and that it is encrypted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora::{
    listeners::tls::Acceptor,
    protocols::{Peek, Stream, l4::stream::Stream as Socket},
};
use portcullis_config::certificates::{Authorities, Tls};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::time::timeout;

/// In the order of preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a connection never became one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("it took too long")]
    TooSlow,
    #[error("the client closed before it had said anything")]
    Silent,
    #[error("{0}")]
    Failed(Box<pingora::Error>),
    #[error("the accepted stream is no socket")]
    NoSocket,
}

/// Ends TLS on the connections of one listener.
pub(crate) struct Terminator(ArcSwap<Terms>);

/// What a handshake goes by. Replaced as a whole, with the sessions that could be resumed: what a former certificate or
/// authority vouched for is not taken up again.
pub(crate) struct Terms {
    tls: Tls,
    acceptor: Acceptor,
}

impl Terms {
    pub(crate) fn of(tls: &Tls) -> Result<Self, TlsError> {
        Ok(Self {
            tls: tls.clone(),
            acceptor: acceptor(tls)?,
        })
    }
}

impl Terminator {
    pub(crate) fn new(tls: &Tls) -> Result<Self, TlsError> {
        Terms::of(tls).map(|terms| Self(ArcSwap::from_pointee(terms)))
    }

    pub(crate) fn renew(&self, terms: Terms) {
        self.0.store(Arc::new(terms));
    }

    pub(crate) fn tls(&self) -> Tls {
        self.0.load().tls.clone()
    }

    /// Whether a handshake would not differ.
    pub(crate) fn shows(&self, tls: &Tls) -> bool {
        self.0.load().tls.is_same_as(tls)
    }

    pub(crate) async fn shake_hands(
        &self,
        accepted: Stream,
        within: Duration,
    ) -> Result<Stream, HandshakeError> {
        let socket = accepted.into_any().downcast::<Socket>();
        let mut socket = *socket.map_err(|_other| HandshakeError::NoSocket)?;
        let terms = self.0.load_full();
        let shaken = async {
            // Port scanners and readiness probes connect and leave, which is no failure of anybody's.
            let begun = socket.try_peek(&mut [0]).await;
            begun.map_err(|_closed| HandshakeError::Silent)?;
            let secured = terms.acceptor.tls_handshake(socket).await;
            secured.map_err(HandshakeError::Failed)
        };
        let secured = timeout(within, shaken).await;
        Ok(Box::new(
            secured.map_err(|_elapsed| HandshakeError::TooSlow)??,
        ))
    }
}

/// A certificate that the configuration has checked can still be refused by the library that is to use it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot use the certificates: {0}")]
    Certificates(#[from] rustls::Error),
    #[error("cannot verify clients: {0}")]
    Clients(#[from] rustls::server::VerifierBuilderError),
}

fn acceptor(tls: &Tls) -> Result<Acceptor, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let clients = tls
        .client_ca
        .as_ref()
        .map(|authorities| verifier(authorities, &provider))
        .transpose()?;
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::of(tls)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

/// A client without a certificate, or with one that nobody here vouches for, does not get past the handshake.
fn verifier(
    authorities: &Authorities,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::clone(authorities.roots());
    Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?)
}

/// The certificates of a listener, found by the name a client asks for (SNI, RFC 6066 section 3).
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// For `*.a.test` under `a.test`: the wildcard is one label, the first (RFC 6125 section 6.4.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    otherwise: Option<Arc<CertifiedKey>>,
}

impl ByName {
    /// Where two are for one name, the first counts.
    fn of(tls: &Tls) -> Self {
        let mut found = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            otherwise: tls
                .certificates
                .first()
                .map(|pair| Arc::clone(pair.certified())),
        };
        for pair in &tls.certificates {
            for name in pair.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut found.wildcard, parent),
                    None => (&mut found.exact, name.as_str()),
                };
                names
                    .entry(name.to_owned())
                    .or_insert_with(|| Arc::clone(pair.certified()));
            }
        }
        found
    }

    fn for_name(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let parent = || name.split_once('.').map(|(_, parent)| parent);
        self.exact
            .get(name)
            .or_else(|| self.wildcard.get(parent()?))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has checked the name and brought it into lower case.
        let named = hello.server_name().and_then(|name| self.for_name(name));
        named.or(self.otherwise.as_ref()).cloned()
    }
}
