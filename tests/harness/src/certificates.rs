//! A certificate authority of the test's own, and what it vouches for: as files for a gateway's configuration, and as
//! TLS settings for the test's own servers and clients.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVersions,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

/// Its files are gone when it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
    issued: AtomicUsize,
}

/// A certificate, its key, and where both lie as PEM.
#[derive(Debug)]
pub struct Certified {
    pub certificate: PathBuf,
    pub key: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    private: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut wanted = named(name, &[])?;
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(wanted, KeyPair::generate()?)?;
        let directory = tempfile::Builder::new().prefix("pc-ca-").tempdir()?;
        fs::write(directory.path().join("ca.crt"), issuer.pem())?;
        Ok(Self {
            issuer,
            directory,
            issued: AtomicUsize::new(0),
        })
    }

    /// Its own certificate, for whoever is to trust it.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// For a server that is reached under any of these names or addresses.
    pub fn server(&self, names: &[&str]) -> anyhow::Result<Certified> {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    /// As [`Self::server`], but its time was over long ago.
    pub fn expired_server(&self, names: &[&str]) -> anyhow::Result<Certified> {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, expire)
    }

    /// For a client that is to be recognised by this common name.
    pub fn client(&self, name: &str) -> anyhow::Result<Certified> {
        self.issue(&[name], ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    pub fn expired_client(&self, name: &str) -> anyhow::Result<Certified> {
        self.issue(&[name], ExtendedKeyUsagePurpose::ClientAuth, expire)
    }

    /// What a peer needs that trusts this authority and no other.
    pub fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    /// A client that trusts this authority, offers these protocols in this order and shows `identity` where it is asked.
    pub fn tls_client(
        &self,
        protocols: &[&str],
        identity: Option<&Certified>,
    ) -> anyhow::Result<ClientConfig> {
        let builder = versions(ClientConfig::builder_with_provider(provider()))?
            .with_root_certificates(self.roots()?);
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain.clone(), identity.private_key())?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = wire_names(protocols);
        Ok(config)
    }

    fn issue(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> anyhow::Result<Certified> {
        let mut wanted = named(names.first().context("a certificate has a name")?, names)?;
        wanted.extended_key_usages = vec![usage];
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        adjust(&mut wanted);
        let key = KeyPair::generate()?;
        let certificate = wanted.signed_by(&key, &self.issuer)?;
        let nth = self.issued.fetch_add(1, Ordering::Relaxed);
        let certified = Certified {
            certificate: self.path(&format!("{nth}.crt")),
            key: self.path(&format!("{nth}.key")),
            chain: vec![certificate.der().clone()],
            private: key.serialize_der(),
        };
        fs::write(&certified.certificate, certificate.pem())?;
        fs::write(&certified.key, key.serialize_pem())?;
        Ok(certified)
    }
}

impl Certified {
    /// A server that speaks these protocols and, where `clients` is given, asks for a certificate of that authority.
    pub fn tls_server(
        &self,
        protocols: &[&str],
        clients: Option<&Authority>,
    ) -> anyhow::Result<ServerConfig> {
        let builder = versions(ServerConfig::builder_with_provider(provider()))?;
        let builder = match clients {
            Some(clients) => {
                let roots = Arc::new(clients.roots()?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.private_key())?;
        config.alpn_protocols = wire_names(protocols);
        Ok(config)
    }

    /// As a peer sees it.
    pub fn der(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// Takes the place of the files at `certificate` and `key`, as a renewal does: written aside, then renamed.
    pub fn replace(&self, certificate: &Path, key: &Path) -> anyhow::Result<()> {
        for (from, to) in [(&self.certificate, certificate), (&self.key, key)] {
            let aside = to.with_extension("new");
            fs::copy(from, &aside)?;
            fs::rename(&aside, to)?;
        }
        Ok(())
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.private.clone()).into()
    }
}

fn named(common: &str, names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut wanted = CertificateParams::new(names)?;
    wanted.distinguished_name.push(DnType::CommonName, common);
    wanted.use_authority_key_identifier_extension = true;
    Ok(wanted)
}

fn expire(wanted: &mut CertificateParams) {
    wanted.not_before = date_time_ymd(2001, 1, 1);
    wanted.not_after = date_time_ymd(2002, 1, 1);
}

/// Named in every configuration, so that no test depends on which provider the process has taken first.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn versions<S: tokio_rustls::rustls::ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
) -> anyhow::Result<ConfigBuilder<S, tokio_rustls::rustls::WantsVerifier>> {
    Ok(builder.with_safe_default_protocol_versions()?)
}

fn wire_names(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, runtime::Builder};
    use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::ServerName};

    use super::*;

    /// What the client and the server each say about a handshake for `a.test`.
    fn shake(client: ClientConfig, server: ServerConfig) -> (Result<(), String>, Option<Vec<u8>>) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, far) = duplex(64 * 1024);
            let name = ServerName::try_from("a.test").unwrap();
            let connecting = TlsConnector::from(Arc::new(client)).connect(name, near);
            let accepting = TlsAcceptor::from(Arc::new(server)).accept(far);
            let (connected, accepted) = tokio::join!(connecting, accepting);
            let shown = accepted.ok().and_then(|stream| {
                let shown = stream.get_ref().1.peer_certificates()?.first()?.to_vec();
                Some(shown)
            });
            (
                connected.map(drop).map_err(|error| error.to_string()),
                shown,
            )
        })
    }

    #[test]
    fn each_side_is_known_by_its_certificate() {
        let authority = Authority::new("test").unwrap();
        let server = authority.server(&["a.test"]).unwrap();
        let client = authority.client("gateway").unwrap();
        let (connected, shown) = shake(
            authority.tls_client(&[], Some(&client)).unwrap(),
            server.tls_server(&[], Some(&authority)).unwrap(),
        );
        assert_eq!(connected, Ok(()));
        assert_eq!(shown.as_deref(), Some(client.der()));
    }

    #[test]
    fn what_should_not_be_trusted_is_not() {
        let (authority, other) = (
            Authority::new("test").unwrap(),
            Authority::new("other").unwrap(),
        );
        let refused = |server: Certified, because: &str| {
            let (connected, _) = shake(
                authority.tls_client(&[], None).unwrap(),
                server.tls_server(&[], None).unwrap(),
            );
            let error = connected.unwrap_err();
            assert!(error.contains(because), "{error}");
        };
        refused(authority.expired_server(&["a.test"]).unwrap(), "expired");
        refused(authority.server(&["b.test"]).unwrap(), "not valid for name");
        refused(other.server(&["a.test"]).unwrap(), "UnknownIssuer");
    }
}
