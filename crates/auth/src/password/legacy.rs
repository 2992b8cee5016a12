//! bcrypt and scrypt, to verify what other systems made, exactly as they did. Nothing is ever hashed anew this way: the
//! first sign-in replaces the hash by argon2id.

use base64::{
    Engine as _,
    alphabet::BCRYPT,
    engine::{
        GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{NO_PAD, STANDARD_NO_PAD},
    },
};
use subtle::ConstantTimeEq;

use super::StoredHashError;

/// bcrypt looks no further into a password.
const BCRYPT_PASSWORD_BYTES: usize = 72;
/// About a second of one core at 14; each step doubles it.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// Some libraries set the bits that the last character of the salt has left over, and none looks at them.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    BITS_LEFT_OVER.with_decode_allow_trailing_bits(true),
);
const BITS_LEFT_OVER: GeneralPurposeConfig = NO_PAD;

const SCRYPT_MAX_LOG_N: u8 = 17;
const SCRYPT_MAX_R: u32 = 8;
const SCRYPT_MAX_P: u32 = 10;
const SCRYPT_SALT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
const SCRYPT_TAG_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

pub(super) struct BcryptHash {
    cost: u32,
    salt: [u8; 16],
    tag: [u8; 23],
}

impl BcryptHash {
    /// `$2a$`, `$2b$` and `$2y$`, which are one algorithm. `$2x$` is the name of a mistake in it.
    pub(super) fn parse(text: &str) -> Result<Self, StoredHashError> {
        let rest = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .ok_or(StoredHashError::Algorithm)?;
        let (cost, rest) = rest.split_once('$').ok_or(StoredHashError::Syntax)?;
        let cost = Some(cost)
            .filter(|cost| cost.len() == 2 && cost.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|cost| cost.parse().ok())
            .ok_or(StoredHashError::Syntax)?;
        let (salt, tag) = rest.split_at_checked(22).ok_or(StoredHashError::Syntax)?;
        let hash = Self {
            cost,
            salt: decoded(salt)?,
            tag: decoded(tag)?,
        };
        if BCRYPT_COSTS.contains(&cost) {
            Ok(hash)
        } else {
            Err(StoredHashError::Parameters)
        }
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let tag = bcrypt::bcrypt(self.cost, self.salt, &bcrypt_key(password));
        // The algorithm makes one byte more than its text form has room for.
        tag.iter()
            .take(self.tag.len())
            .copied()
            .collect::<Vec<u8>>()
            .ct_eq(&self.tag)
            .into()
    }
}

/// A C string: it ends at the first NUL, and the NUL belongs to it if there is room.
fn bcrypt_key(password: &[u8]) -> Vec<u8> {
    let text = password.iter().copied().take_while(|byte| *byte != 0);
    text.chain([0]).take(BCRYPT_PASSWORD_BYTES).collect()
}

fn decoded<const N: usize>(text: &str) -> Result<[u8; N], StoredHashError> {
    let bytes = BCRYPT_BASE64.decode(text);
    let bytes = bytes.map_err(|_malformed| StoredHashError::Syntax)?;
    bytes.try_into().map_err(|_length| StoredHashError::Syntax)
}

pub(super) struct ScryptHash {
    params: scrypt::Params,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl ScryptHash {
    /// `$scrypt$ln=15,r=8,p=1$SALT$TAG`, in which no parameter may be left out.
    pub(super) fn parse(text: &str, max_kib: u32) -> Result<Self, StoredHashError> {
        let mut fields = text.split('$');
        let (Some(""), Some("scrypt"), Some(params), Some(salt), Some(tag), None) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            return Err(StoredHashError::Syntax);
        };
        let decoded = |text| STANDARD_NO_PAD.decode(text);
        let (Ok(salt), Ok(tag)) = (decoded(salt), decoded(tag)) else {
            return Err(StoredHashError::Syntax);
        };
        let params = scrypt_params(params)?;
        let hash = Self { params, salt, tag };
        let within = SCRYPT_SALT_BYTES.contains(&hash.salt.len())
            && SCRYPT_TAG_BYTES.contains(&hash.tag.len())
            && hash.kib() <= u64::from(max_kib);
        if within {
            Ok(hash)
        } else {
            Err(StoredHashError::Parameters)
        }
    }

    fn kib(&self) -> u64 {
        let blocks = self.params.n() + u64::from(self.params.p());
        blocks * u64::from(self.params.r()) * 128 / 1024
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut tag = vec![0; self.tag.len()];
        scrypt::scrypt(password, &self.salt, &self.params, &mut tag).is_ok()
            && bool::from(tag.ct_eq(&self.tag))
    }
}

fn scrypt_params(text: &str) -> Result<scrypt::Params, StoredHashError> {
    let mut values = [("ln=", None::<u32>), ("r=", None), ("p=", None)];
    for written in text.split(',') {
        let known = values.iter_mut().find_map(|(name, value)| {
            let number = written.strip_prefix(*name)?;
            Some((number, value))
        });
        let (number, value) = known.ok_or(StoredHashError::Syntax)?;
        let is_number = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
        if value.is_some() || !is_number {
            return Err(StoredHashError::Syntax);
        }
        let number = number.parse();
        *value = Some(number.map_err(|_too_large| StoredHashError::Parameters)?);
    }
    let [(_, Some(log_n)), (_, Some(r)), (_, Some(p))] = values else {
        return Err(StoredHashError::Syntax);
    };
    let log_n = u8::try_from(log_n).map_err(|_too_large| StoredHashError::Parameters)?;
    if log_n > SCRYPT_MAX_LOG_N || r > SCRYPT_MAX_R || p > SCRYPT_MAX_P {
        return Err(StoredHashError::Parameters);
    }
    scrypt::Params::new(log_n, r, p).map_err(|_refused| StoredHashError::Parameters)
}
