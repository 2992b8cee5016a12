//! How an upstream's endpoints are reached: timeouts, protocol and TLS, the same for all of them.

use std::{sync::Arc, time::Duration};

use http::Version;
use pingora::{
    Error, ErrorType,
    protocols::{ALPN, tls::CaType},
    tls::{RootCertStore, load_platform_certs_incl_env_into_store},
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use portcullis_config::{
    certificates::{Authorities, KeyPair},
    upstreams::{Protocol, Upstream, UpstreamTimeouts, UpstreamTls},
};
use portcullis_policy::balance::digest;
use secrecy::ExposeSecret;

use crate::target::Address;

/// As many requests share a connection of HTTP/2. Pingora's own default is one.
const STREAMS: usize = 100;

/// An HTTP/2 connection that does not answer a ping is given up. Idle connections of HTTP/1.1 have no such sign of life.
const PING_EVERY: Duration = Duration::from_secs(10);

/// What may be under way on one stream before it is handed on, and on the connection that streams share: a client that
/// reads slowly must not hold up those beside it, nor fill the memory.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;

pub(crate) struct Transport {
    timeouts: UpstreamTimeouts,
    protocol: Protocol,
    tls: Option<Tls>,
    /// Connections are kept apart by it: those of each upstream, and those made with other certificates than now, which
    /// Pingora would take for the same.
    group: u64,
}

/// As Pingora wants it.
struct Tls {
    server_name: String,
    ca: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl Transport {
    pub(crate) fn of(upstream: &Upstream) -> Self {
        Self {
            timeouts: upstream.timeouts,
            protocol: upstream.protocol,
            tls: upstream.tls.as_ref().map(Tls::of),
            group: group(upstream),
        }
    }

    /// To a service of our own, over a Unix socket.
    pub(crate) fn local(timeouts: UpstreamTimeouts) -> Self {
        Self {
            timeouts,
            protocol: Protocol::Http1,
            tls: None,
            group: 0,
        }
    }

    /// Whether a connection made in one way is as good as one made in the other.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.group == other.group && self.timeouts == other.timeouts
    }

    /// What the endpoints prove to be.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.server_name.as_str())
    }

    /// The peer that attempts are made with. `None` where the path of a Unix socket is longer than the system can name.
    pub(crate) fn peer(&self, address: &Address) -> Option<HttpPeer> {
        let (is_tls, name) = (self.tls.is_some(), self.server_name().unwrap_or_default());
        let mut peer = match address {
            // With an address and not a name: Pingora would resolve a name in place, and block on it.
            Address::Inet(inet) => HttpPeer::new(*inet, is_tls, name.to_owned()),
            Address::Unix(path) => HttpPeer::new_uds(path, is_tls, name.to_owned()).ok()?,
        };
        peer.group_key = self.group;
        let options = &mut peer.options;
        if let Some(tls) = &self.tls {
            options.ca.clone_from(&tls.ca);
            peer.client_cert_key.clone_from(&tls.identity);
        }
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.request);
        options.write_timeout = Some(self.timeouts.request);
        options.idle_timeout = Some(self.timeouts.idle);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        match self.protocol {
            Protocol::Http1 => {}
            Protocol::H2 | Protocol::H2c => {
                // Nothing older is offered. Without TLS this is HTTP/2 from the first byte.
                options.alpn = ALPN::H2;
                options.max_h2_streams = STREAMS;
                options.h2_ping_interval = Some(PING_EVERY);
                options.h2_stream_window_size = Some(STREAM_WINDOW);
                options.h2_connection_window_size = Some(CONNECTION_WINDOW);
            }
        }
        Some(peer)
    }

    /// Whether the connection speaks what it should.
    ///
    /// # Errors
    /// Where an endpoint knows nothing of ALPN: Pingora then falls back to HTTP/1.1 without a word.
    pub(crate) fn check(&self, spoken: Version) -> pingora::Result<()> {
        match self.protocol {
            Protocol::H2 | Protocol::H2c if spoken != Version::HTTP_2 => Err(Error::explain(
                ErrorType::InvalidH2,
                "the endpoint does not speak HTTP/2",
            )
            .into_up()),
            Protocol::Http1 | Protocol::H2 | Protocol::H2c => Ok(()),
        }
    }
}

impl Tls {
    /// The parser that panics at what it cannot read has read all of it before, when the configuration was loaded.
    fn of(tls: &UpstreamTls) -> Self {
        let authorities = tls.ca.as_ref().map(|ca| {
            let certificates = ca.certificates().iter();
            certificates
                .map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509))
                .collect::<Arc<CaType>>()
        });
        let identity = tls.identity.as_ref().map(|pair| {
            let chain = pair.chain().iter().map(|certificate| certificate.to_vec());
            let key = pair.private_key().expose_secret().to_vec();
            Arc::new(CertKey::new(chain.collect(), key))
        });
        Self {
            server_name: tls.server_name.clone(),
            ca: authorities,
            identity,
        }
    }
}

/// How many authorities the system trusts. Pingora reads them as well: it panics where one cannot be read, and believes
/// nobody where there is none.
///
/// # Errors
/// Where a certificate of the system, or what `SSL_CERT_FILE` names in its place, cannot be read.
pub(crate) fn count_system_roots() -> pingora::Result<usize> {
    let mut roots = RootCertStore::empty();
    load_platform_certs_incl_env_into_store(&mut roots)?;
    Ok(roots.len())
}

/// Whether its endpoints are believed for what the system trusts.
pub(crate) fn relies_on_system(upstream: &Upstream) -> bool {
    let tls = upstream.tls.as_ref();
    tls.is_some_and(|tls| tls.ca.is_none())
}

fn group(upstream: &Upstream) -> u64 {
    let mut told = Vec::new();
    let mut tell = |part: &[u8]| {
        told.extend_from_slice(&part.len().to_be_bytes());
        told.extend_from_slice(part);
    };
    tell(upstream.name.as_bytes());
    tell(format!("{:?}", upstream.protocol).as_bytes());
    if let Some(tls) = &upstream.tls {
        tell(tls.server_name.as_bytes());
        let authorities = tls.ca.iter().flat_map(Authorities::certificates);
        authorities.for_each(|certificate| tell(certificate));
        tell(b"and as");
        let identity = tls.identity.iter().flat_map(KeyPair::chain);
        identity.for_each(|certificate| tell(certificate));
    }
    digest(&told)
}

#[cfg(test)]
mod tests {
    use portcullis_harness::certificates::Authority;
    use secrecy::SecretString;

    use super::*;

    fn transport(name: &str, rest: &str) -> Transport {
        let text = format!(
            "version: 1\nupstreams: {{ {name}: {{ endpoints: [127.0.0.1:9], {rest} }} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, upstream: {name}, auth: public }}]"
        );
        let read = |reference: &portcullis_config::Reference| match reference {
            portcullis_config::Reference::File(path) => std::fs::read_to_string(path)
                .map(SecretString::from)
                .map_err(|error| error.to_string()),
            portcullis_config::Reference::Env(_) | portcullis_config::Reference::HashList(_) => {
                Err("none".to_owned())
            }
        };
        let config = portcullis_config::parse(&text, "g.yaml", &read).unwrap();
        Transport::of(&config.upstreams[0])
    }

    fn peer(transport: &Transport) -> HttpPeer {
        transport
            .peer(&Address::Inet("127.0.0.1:9".parse().unwrap()))
            .unwrap()
    }

    #[test]
    fn connections_are_shared_only_by_what_would_make_the_same() {
        let (one, other) = (
            Authority::new("one").unwrap(),
            Authority::new("other").unwrap(),
        );
        let client = one.client("gateway").unwrap();
        let ca = |authority: &Authority| {
            let ca = authority.certificate();
            format!("server_name: a.test, ca: {}", ca.display())
        };
        let shown = format!(
            "{}, certificate: {}, key: {}",
            ca(&one),
            client.certificate.display(),
            client.key.display()
        );
        let tls = |tls: &str| format!("tls: {{ {tls} }}");
        let settings = [
            ("hotel", String::new()),
            ("event", String::new()),
            ("hotel", "protocol: h2c".to_owned()),
            ("hotel", tls("server_name: a.test")),
            ("hotel", tls("server_name: b.test")),
            ("hotel", tls(&ca(&one))),
            ("hotel", tls(&ca(&other))),
            ("event", tls(&ca(&other))),
            ("hotel", tls(&shown)),
            ("hotel", format!("{}, protocol: h2", tls(&shown))),
        ];
        let mut groups: Vec<u64> = settings
            .iter()
            .map(|(name, rest)| peer(&transport(name, rest)).group_key)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), settings.len());
        assert_eq!(
            transport("hotel", &tls(&shown)).group,
            transport("hotel", &tls(&shown)).group
        );
    }

    #[test]
    fn tls_is_never_without_a_name_and_always_verified() {
        let peer = peer(&transport("hotel", "tls: { server_name: A.test }"));
        assert!(peer.is_tls() && peer.sni == "a.test");
        assert!(peer.options.verify_cert && peer.options.verify_hostname);
    }

    #[test]
    fn http2_offers_nothing_older() {
        for http2 in [
            "protocol: h2c",
            "protocol: h2, tls: { server_name: a.test }",
        ] {
            let transport = transport("hotel", http2);
            assert_eq!(peer(&transport).options.alpn, ALPN::H2, "{http2}");
            assert!(transport.check(Version::HTTP_11).is_err(), "{http2}");
            assert!(transport.check(Version::HTTP_2).is_ok(), "{http2}");
        }
        assert_eq!(peer(&transport("hotel", "")).options.alpn, ALPN::H1);
    }
}
