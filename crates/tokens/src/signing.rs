//! Keys that sign. Made with aws-lc, kept as PKCS#8 (wrapped by a [`crate::WrappingKey`]), published as a JWK.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::{
    digest, hmac,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use portcullis_config::{auth::Signing, issuers::Algorithm};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    algorithm,
    claims::AccessClaims,
    der,
    error::{KeyError, SignError},
    keys::{MIN_SECRET_BYTES, VerificationKey},
};

/// Proxies and servers cut headers off at 8 KiB; a token that nobody can send locks its holder out.
const MAX_ISSUED_BYTES: usize = 4 * 1024;
const MAX_ISSUED_SCOPES: usize = 64;

/// What we sign with ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    Es256,
    EdDsa,
    Rs256,
    Hs256,
}

impl SigningAlgorithm {
    /// The JOSE name, as it stands in headers, key sets and the database.
    pub const fn name(self) -> &'static str {
        algorithm::name_of(self.as_algorithm())
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Es256, Self::EdDsa, Self::Rs256, Self::Hs256]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    const fn as_algorithm(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::Es256,
            Self::EdDsa => Algorithm::EdDsa,
            Self::Rs256 => Algorithm::Rs256,
            Self::Hs256 => Algorithm::Hs256,
        }
    }
}

impl From<&Signing> for SigningAlgorithm {
    fn from(signing: &Signing) -> Self {
        match signing {
            Signing::Es256 => Self::Es256,
            Signing::EdDsa => Self::EdDsa,
            Signing::Rs256 => Self::Rs256,
            Signing::Hs256 { .. } => Self::Hs256,
        }
    }
}

/// Not printable and not copyable; its bytes are overwritten when it is dropped.
pub struct SigningKey {
    key_id: Arc<str>,
    algorithm: SigningAlgorithm,
    signer: EncodingKey,
    verifier: DecodingKey,
    /// PKCS#8, or the secret itself.
    private: Zeroizing<Vec<u8>>,
    public_jwk: Option<Value>,
}

impl SigningKey {
    /// A new key pair. HS256 has none: its secret comes from the configuration.
    pub fn generate(algorithm: SigningAlgorithm) -> Result<Self, KeyError> {
        let pkcs8 = generate_pkcs8(algorithm)?;
        Self::from_pkcs8(algorithm, &pkcs8)
    }

    pub fn from_pkcs8(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        algorithm::install_backend();
        let KeyParts {
            signer,
            verifier,
            public,
        } = read_pkcs8(algorithm, pkcs8).ok_or(KeyError::WrongKind(algorithm.name()))?;
        let key_id = public.thumbprint();
        Ok(Self {
            public_jwk: Some(public.jwk(&key_id, algorithm)),
            key_id: key_id.into(),
            algorithm,
            signer,
            verifier,
            private: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// HS256. Whoever verifies can sign as well, so there is nothing to publish.
    pub fn from_secret(secret: &SecretString) -> Result<Self, KeyError> {
        algorithm::install_backend();
        let secret = secret.expose_secret().as_bytes();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::SecretTooShort(MIN_SECRET_BYTES));
        }
        Ok(Self {
            key_id: secret_key_id(secret).into(),
            algorithm: SigningAlgorithm::Hs256,
            signer: EncodingKey::from_secret(secret),
            verifier: DecodingKey::from_secret(secret),
            private: Zeroizing::new(secret.to_vec()),
            public_jwk: None,
        })
    }

    /// For keeping, wrapped. Of an HS256 key it is the secret itself, which [`Self::from_secret`] takes back.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.private.clone()
    }

    /// The thumbprint of the public key (RFC 7638); of a secret, a keyed hash that tells nothing about it.
    pub fn kid(&self) -> &str {
        &self.key_id
    }

    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The entry of the key set that others verify with; nothing for a secret.
    pub fn public_jwk(&self) -> Option<Value> {
        self.public_jwk.clone()
    }

    pub fn verification_key(&self) -> VerificationKey {
        VerificationKey {
            key_id: self.key_id.clone(),
            algorithm: self.algorithm.as_algorithm(),
            key: self.verifier.clone(),
        }
    }

    /// An access token. What the verifier would refuse for its form is not issued.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String, SignError> {
        let scopes = claims.check().map_err(SignError::BadClaims)?;
        if scopes.len() > MAX_ISSUED_SCOPES {
            return Err(SignError::TooManyScopes(MAX_ISSUED_SCOPES));
        }
        let mut header = Header::new(algorithm::for_library(self.algorithm.as_algorithm()));
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.key_id.to_string());
        self.encode(&header, claims)
    }

    /// A token as another issuer might make it, for rehearsing what the gateway would do with one. It is good only where
    /// somebody has put this key in that issuer's place.
    pub fn sign_foreign(
        &self,
        token_type: Option<&str>,
        claims: &serde_json::Map<String, Value>,
    ) -> Result<String, SignError> {
        let mut header = Header::new(algorithm::for_library(self.algorithm.as_algorithm()));
        header.typ = token_type.map(str::to_owned);
        header.kid = Some(self.key_id.to_string());
        self.encode(&header, claims)
    }

    fn encode(&self, header: &Header, claims: &impl Serialize) -> Result<String, SignError> {
        let token = jsonwebtoken::encode(header, claims, &self.signer)
            .map_err(|_cause| SignError::Failed)?;
        if token.len() > MAX_ISSUED_BYTES {
            Err(SignError::TooLarge(MAX_ISSUED_BYTES))
        } else {
            Ok(token)
        }
    }
}

struct KeyParts {
    signer: EncodingKey,
    verifier: DecodingKey,
    public: PublicMembers,
}

/// The members of a JWK that are the key (RFC 7518 section 6, RFC 8037 section 2), base64url.
enum PublicMembers {
    P256 { x: String, y: String },
    Ed25519 { x: String },
    Rsa { n: String, e: String },
}

impl PublicMembers {
    fn members(&self) -> Value {
        match self {
            Self::P256 { x, y } => json!({"crv": "P-256", "kty": "EC", "x": x, "y": y}),
            Self::Ed25519 { x } => json!({"crv": "Ed25519", "kty": "OKP", "x": x}),
            Self::Rsa { n, e } => json!({"e": e, "kty": "RSA", "n": n}),
        }
    }

    /// RFC 7638 section 3: the hash of the required members in lexicographic order, without spaces. Written out
    /// because the order of a map would depend on a feature of `serde_json`; no value can need escaping.
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::P256 { x, y } => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn jwk(&self, key_id: &str, algorithm: SigningAlgorithm) -> Value {
        let mut jwk = self.members();
        if let Some(members) = jwk.as_object_mut() {
            let more = [("kid", key_id), ("use", "sig"), ("alg", algorithm.name())];
            members.extend(more.map(|(name, value)| (name.to_owned(), value.into())));
        }
        jwk
    }
}

fn generate_pkcs8(algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let document = match algorithm {
        SigningAlgorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1()),
        SigningAlgorithm::EdDsa => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()),
        SigningAlgorithm::Rs256 => return generate_rsa(),
        SigningAlgorithm::Hs256 => return Err(KeyError::NotGenerated(algorithm.name())),
    };
    let document = document.map_err(|_unspecified| KeyError::Generation)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

fn generate_rsa() -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let pair =
        RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_unspecified| KeyError::Generation)?;
    let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_unspecified| KeyError::Generation)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

fn read_pkcs8(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Option<KeyParts> {
    match algorithm {
        SigningAlgorithm::Es256 => read_p256(pkcs8),
        SigningAlgorithm::EdDsa => read_ed25519(pkcs8),
        SigningAlgorithm::Rs256 => read_rsa(pkcs8),
        SigningAlgorithm::Hs256 => None,
    }
}

fn read_p256(pkcs8: &[u8]) -> Option<KeyParts> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
    let point = pair.public_key().as_ref();
    // The uncompressed point of SEC 1: 4, then x and y.
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    Some(KeyParts {
        signer: EncodingKey::from_ec_der(pkcs8),
        verifier: DecodingKey::from_ec_der(point),
        public: PublicMembers::P256 {
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        },
    })
}

fn read_ed25519(pkcs8: &[u8]) -> Option<KeyParts> {
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
    let x = pair.public_key().as_ref();
    Some(KeyParts {
        signer: EncodingKey::from_ed_der(pkcs8),
        verifier: DecodingKey::from_ed_der(x),
        public: PublicMembers::Ed25519 {
            x: URL_SAFE_NO_PAD.encode(x),
        },
    })
}

fn read_rsa(pkcs8: &[u8]) -> Option<KeyParts> {
    let private = der::private_key_of_pkcs8(pkcs8)?;
    let pair = RsaKeyPair::from_der(private).ok()?;
    let public = pair.public_key();
    Some(KeyParts {
        signer: EncodingKey::from_rsa_der(private),
        verifier: DecodingKey::from_rsa_der(public.as_ref()),
        public: PublicMembers::Rsa {
            n: URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            e: URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        },
    })
}

/// The same secret gives the same id on every replica and after each restart.
fn secret_key_id(secret: &[u8]) -> String {
    const BYTES: usize = 16;
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        b"portcullis key id",
    );
    URL_SAFE_NO_PAD.encode(tag.as_ref().get(..BYTES).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
                 oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ\
                 Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kE\
                 gU8awapJzKnqDKgw";
        let public = PublicMembers::Rsa {
            n: n.to_owned(),
            e: "AQAB".to_owned(),
        };
        assert_eq!(
            public.thumbprint(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }
}
