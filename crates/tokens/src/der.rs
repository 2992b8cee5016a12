//! The little DER that PKCS#8 needs: `jsonwebtoken` signs with the inner `RSAPrivateKey` (RFC 8017), while aws-lc
//! writes a `PrivateKeyInfo` (RFC 5208) around it.

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// The `privateKey` inside a `PrivateKeyInfo`. Whether it is a good key is for its parser to say.
pub(crate) fn private_key_of_pkcs8(pkcs8: &[u8]) -> Option<&[u8]> {
    let (fields, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(fields, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    element(rest, OCTET_STRING).map(|(key, _attributes)| key)
}

/// The content of the element of this kind that `bytes` begin with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        long_length(usize::from(*first & 0x7f), rest)?
    };
    (*found == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

/// A length of `octets` bytes; two are enough for 64 KiB.
fn long_length(octets: usize, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_at_checked(octets)?;
    if octets == 0 || octets > 2 {
        return None;
    }
    Some((
        length
            .iter()
            .fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_key_is_found_and_cut_or_foreign_bytes_are_refused() {
        let mut inner = vec![0x04, 0x81, 0x80];
        inner.extend([7; 0x80]);
        let mut pkcs8 = vec![0x30, 0x82, 0x00, 0x88, 0x02, 0x01, 0x00, 0x30, 0x00];
        pkcs8.extend(&inner);
        assert_eq!(private_key_of_pkcs8(&pkcs8), Some([7; 0x80].as_slice()));
        for length in 0..pkcs8.len() {
            assert_eq!(
                private_key_of_pkcs8(&pkcs8[..length]),
                None,
                "cut at {length}"
            );
        }
        assert_eq!(
            private_key_of_pkcs8(&[0x30, 0x80, 0x02, 0x01, 0x00]),
            None,
            "the indefinite form is not DER"
        );
    }
}
