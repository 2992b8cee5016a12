//! Tokens made by hand, well or badly: any header, any payload, any signature.

use std::fmt::Display;

use anyhow::anyhow;
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

/// `SubjectPublicKeyInfo` of a P-256 key up to the point itself (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The order of P-256 (SEC 2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(part: &str) -> anyhow::Result<Vec<u8>> {
    Ok(URL_SAFE_NO_PAD.decode(part)?)
}

/// A token in its three parts, each as base64url. Displays in the compact form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compact {
    pub header: String,
    pub payload: String,
    pub signature: String,
}

impl Compact {
    pub fn parse(token: &str) -> anyhow::Result<Self> {
        let mut parts = token.split('.').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(payload), Some(signature), None) => Ok(Self {
                header,
                payload,
                signature,
            }),
            _ => Err(anyhow!("a compact token has three parts")),
        }
    }

    /// What is signed.
    pub fn message(&self) -> String {
        format!("{}.{}", self.header, self.payload)
    }

    pub fn header_json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&decode(&self.header)?)?)
    }

    pub fn claims(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&decode(&self.payload)?)?)
    }

    #[must_use]
    pub fn with_signature(&self, signature: impl AsRef<[u8]>) -> Self {
        Self {
            signature: encode(signature),
            ..self.clone()
        }
    }
}

impl Display for Compact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.header, self.payload, self.signature)
    }
}

/// Whoever can sign a token.
pub trait Signer {
    fn signature(&self, message: &[u8]) -> anyhow::Result<Vec<u8>>;

    /// Exactly these bytes as header and payload, whether they are JSON or not.
    fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> anyhow::Result<Compact> {
        let unsigned = Compact {
            header: encode(header),
            payload: encode(payload),
            signature: String::new(),
        };
        Ok(unsigned.with_signature(self.signature(unsigned.message().as_bytes())?))
    }

    fn sign(&self, header: &Value, claims: &Value) -> anyhow::Result<Compact> {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }
}

/// HMAC with SHA-256 under any bytes.
pub struct Hs256(pub Vec<u8>);

impl Signer for Hs256 {
    fn signature(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        Ok(hmac::sign(&key, message).as_ref().to_vec())
    }
}

/// A fresh P-256 key.
pub struct Es256(EcdsaKeyPair);

impl Es256 {
    pub fn generate() -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        key.map(Self)
            .map_err(|error| anyhow!("making a key: {error}"))
    }

    /// PKCS#8 in base64, for a program that signs with it.
    pub fn private_base64(&self) -> anyhow::Result<String> {
        let document = self.0.to_pkcs8v1();
        let document = document.map_err(|error| anyhow!("exporting a key: {error}"))?;
        Ok(STANDARD.encode(document.as_ref()))
    }

    /// `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        [&P256_SPKI, self.0.public_key().as_ref()].concat()
    }

    pub fn public_pem(&self) -> String {
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(self.public_der())
        )
    }

    /// The public key as a JWK.
    pub fn public_jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        serde_json::json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
    }
}

impl Signer for Es256 {
    fn signature(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        Ok(signature
            .map_err(|error| anyhow!("signing: {error}"))?
            .as_ref()
            .to_vec())
    }
}

/// The other signature of the same message: with (r, s) also (r, n - s) is valid.
pub fn mirrored(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let mut borrow = 0;
    let mut mirror: Vec<u8> = Vec::with_capacity(32);
    for (order, digit) in P256_ORDER.iter().rev().zip(s.iter().rev()) {
        let difference = 256 + i32::from(*order) - i32::from(*digit) - borrow;
        borrow = i32::from(difference < 256);
        mirror.push(u8::try_from(difference % 256).unwrap_or_default());
    }
    mirror.reverse();
    [r, &mirror].concat()
}

/// The same signature as ASN.1 (RFC 3279), which JOSE does not take.
pub fn as_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |digits: &[u8]| {
        let significant = digits
            .iter()
            .position(|digit| *digit != 0)
            .unwrap_or(digits.len());
        let digits = digits.get(significant..).unwrap_or_default();
        let pad = digits.first().is_none_or(|first| *first >= 0x80);
        let body = [if pad { &[0_u8][..] } else { &[] }, digits].concat();
        [
            &[0x02, u8::try_from(body.len()).unwrap_or_default()],
            body.as_slice(),
        ]
        .concat()
    };
    let body = [integer(r), integer(s)].concat();
    [
        &[0x30, u8::try_from(body.len()).unwrap_or_default()],
        body.as_slice(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn the_mirrored_and_the_der_signature_are_valid_ones() {
        let key = Es256::generate().unwrap();
        let signature = key.signature(b"message").unwrap();
        let mirror = mirrored(&signature);
        assert_ne!(mirror, signature);
        let point = key.0.public_key().as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(b"message", &mirror)
            .unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(b"message", &as_der(&signature))
            .unwrap();
    }
}
