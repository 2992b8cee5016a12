//! What can go wrong, one enum for each decision of a caller. None of the texts holds anything of the token or the key.

/// Why a token was refused. The client is told only that it is invalid; which it was goes to metrics and audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not a well-formed signed token")]
    Malformed,
    #[error("the token is too large")]
    TooLarge,
    #[error("the issuer of the token is not configured")]
    UnknownIssuer,
    #[error("the token names no key of its issuer")]
    UnknownKey,
    #[error("the algorithm of the token is not that of the key")]
    WrongAlgorithm,
    #[error("the signature does not fit the token")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is of another type than an access token")]
    WrongType,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the claim {0} is missing or wrong")]
    BadClaims(&'static str),
    #[error("the token asks for extensions that are not understood")]
    Critical,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token is valid for longer than its issuer may grant")]
    LifetimeTooLong,
    #[error("the keys of the issuer are not known")]
    KeysUnavailable,
}

impl TokenError {
    /// The `outcome` label of `token_verifications_total`; a closed set, whatever the token holds.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongType => "wrong_type",
            Self::WrongAudience => "wrong_audience",
            Self::BadClaims(_) => "bad_claims",
            Self::Critical => "critical",
            Self::Revoked => "revoked",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

/// Why a key or a set of issuers cannot be used. For the operator: it ends a start or a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a shared secret must have at least {0} bytes")]
    SecretTooShort(usize),
    #[error("the text holds no PEM block PUBLIC KEY or RSA PUBLIC KEY, or more than one")]
    NotPem,
    #[error("the key is damaged, too small, or of another kind than {0} needs")]
    WrongKind(&'static str),
    #[error("a shared secret may not stand beside public keys, nor serve their algorithms")]
    Mixed,
    #[error("two keys have the same key id")]
    DuplicateKeyId,
    #[error("the issuer has no algorithm")]
    NoAlgorithm,
    #[error("two issuers have the same name or the same issuer string")]
    DuplicateIssuer,
    #[error("the name of an issuer must not be empty, contain a colon, or be `local`")]
    IssuerName,
    #[error("there is no such issuer")]
    UnknownIssuer,
    #[error("the algorithm {0} cannot be generated: it signs with a secret from the configuration")]
    NotGenerated(&'static str),
    #[error("the key could not be generated")]
    Generation,
}

/// Why no token was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("the claim {0} would make the token invalid")]
    BadClaims(&'static str),
    #[error("a token may carry at most {0} scopes")]
    TooManyScopes(usize),
    #[error("the token would exceed {0} bytes")]
    TooLarge(usize),
    #[error("the signature could not be made")]
    Failed,
}

/// Garbage, another's, or of another root key: whoever presents it is told nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no refresh token of ours")]
pub struct RefreshTokenError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    #[error("the key could not be wrapped")]
    Wrap,
    /// Another root key, another purpose, or damaged bytes: the three cannot be told apart.
    #[error("the wrapped key was not made with this root key, or is damaged")]
    Unwrap,
}
