//! The operating system's randomness, for what must not be guessed: salts, token ids, session ids.

use portcullis_config::units::Timestamp;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A `UUIDv7`: ordered by time, 74 bits of randomness (RFC 9562 section 5.7). For ids of rows, not for secrets.
pub(crate) fn row_id(now: Timestamp) -> Result<String, NoRandomness> {
    Ok(
        uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &bytes()?)
            .into_uuid()
            .to_string(),
    )
}

/// 128 random bits as 32 hexadecimal digits.
pub(crate) fn token_id() -> Result<String, NoRandomness> {
    Ok(Uuid::from_bytes(bytes()?).simple().to_string())
}
