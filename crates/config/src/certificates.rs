//! Certificates and keys: the PEM files a handshake needs, read and checked so that nothing is wrong with them later.
//!
//! Files are read through the closure that also reads secrets. A certificate is renewed by reading the configuration
//! again: whoever compares the two asks [`Tls::is_same_as`].

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::units::Timestamp;

/// What a listener shows, and what it asks for.
#[derive(Clone, Debug)]
pub struct Tls {
    /// At least one. The first is shown to a client that names no host, or one that none of them is for.
    pub certificates: Vec<KeyPair>,
    /// Where present, a client must show a certificate that one of these vouches for.
    pub client_ca: Option<Authorities>,
}

/// A certificate, those that lead from it to an authority, and its key.
#[derive(Clone)]
pub struct KeyPair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    certified: Arc<CertifiedKey>,
    private: Arc<SecretSlice<u8>>,
    names: Vec<String>,
    expires: Timestamp,
}

/// Whose word is taken for a certificate.
#[derive(Clone)]
pub struct Authorities {
    pub path: PathBuf,
    certificates: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
}

/// Which of the two files of a pair a complaint is about. The text is the rest of a sentence that begins with the path.
#[derive(Debug)]
pub(crate) enum Fault {
    Certificate(String),
    Key(String),
}

impl Tls {
    /// Whether a handshake with the one is as one with the other.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let chains = |tls: &Self| -> Vec<_> {
            let pairs = tls.certificates.iter();
            pairs.map(|pair| pair.certified.cert.clone()).collect()
        };
        let roots = |tls: &Self| {
            tls.client_ca
                .as_ref()
                .map(|known| known.roots.roots.clone())
        };
        chains(self) == chains(other) && roots(self) == roots(other)
    }
}

impl KeyPair {
    pub(crate) fn of(
        (certificate, chain): (PathBuf, SecretString),
        (key, private): (PathBuf, SecretString),
    ) -> Result<Self, Fault> {
        let chain = certificates(chain.expose_secret()).map_err(Fault::Certificate)?;
        let (names, expires) = names_and_end(&chain).map_err(Fault::Certificate)?;
        let (private, signing) = private_key(private.expose_secret()).map_err(Fault::Key)?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_mismatch| {
            Fault::Key(
                "is not the key of this certificate: name two files that were made together"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            certificate,
            key,
            certified: Arc::new(certified),
            private: Arc::new(private),
            names,
            expires,
        })
    }

    /// For the handshake.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The certificate and those that lead from it to an authority, as DER. At least one.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// As DER, in one of the three forms that keys have (PKCS#8, PKCS#1, SEC1).
    pub fn private_key(&self) -> &SecretSlice<u8> {
        &self.private
    }

    /// The DNS names it is for, in lower case; the first label of a name may be `*`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From here on clients refuse it.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl Authorities {
    pub(crate) fn of(path: PathBuf, text: &SecretString) -> Result<Self, String> {
        let certificates = certificates(text.expose_secret())?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|_unreadable| UNREADABLE.to_owned())?;
        }
        Ok(Self {
            path,
            certificates: certificates.into(),
            roots: Arc::new(roots),
        })
    }

    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// As DER. At least one.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certificate, key, ..
        } = self;
        write!(f, "KeyPair({} {})", certificate.display(), key.display())
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.path.display())
    }
}

const UNREADABLE: &str = "holds a certificate that cannot be read";

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|_unreadable| UNREADABLE.to_owned())?;
    if found.is_empty() {
        return Err(
            "holds no certificate: name a PEM file with `-----BEGIN CERTIFICATE-----`".to_owned(),
        );
    }
    // Pingora reads what it is given with this parser, and panics where that cannot.
    let readable =
        |certificate: &CertificateDer<'_>| X509Certificate::from_der(certificate).is_ok();
    if !found.iter().all(readable) {
        return Err(UNREADABLE.to_owned());
    }
    Ok(found)
}

fn private_key(text: &str) -> Result<(SecretSlice<u8>, Arc<dyn SigningKey>), String> {
    if text.contains("ENCRYPTED") {
        return Err(
            "is encrypted: name the key without a passphrase, readable by the gateway alone"
                .to_owned(),
        );
    }
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_none| {
        "holds no private key: name a PEM file with `-----BEGIN PRIVATE KEY-----`".to_owned()
    })?;
    let signing = ring::sign::any_supported_type(&key).map_err(|_unsupported| {
        "is of no kind that can be used: make an ECDSA key (P-256 or P-384), or an RSA key of 2048 bits or more".to_owned()
    })?;
    Ok((SecretSlice::from(key.secret_der().to_vec()), signing))
}

fn names_and_end(chain: &[CertificateDer<'_>]) -> Result<(Vec<String>, Timestamp), String> {
    let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_unreadable| UNREADABLE.to_owned())?;
    let names = leaf
        .subject_alternative_name()
        .map_err(|_unreadable| UNREADABLE.to_owned())?;
    let names = names
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            Some(name.to_ascii_lowercase())
        } else {
            None
        }
    });
    let expires = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
    Ok((names.collect(), Timestamp::from_secs(expires)))
}
