//! The hash chain: each record commits to the one before it, so that a changed, missing, doubled or moved row shows.
//!
//! `hash = SHA-256(0x00 ‖ prev_hash ‖ bytes)`, where `bytes` is the exact JSON text that is kept; a database that
//! reorders keys would break it, so the column is text. The 0x00 sets records apart from the inner nodes of a Merkle
//! tree (RFC 6962 section 2.1). A chain alone cannot show that its tail was cut off: that takes a head kept elsewhere.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::event::Event;

const RECORD_PREFIX: [u8; 1] = [0x00];

/// Where a chain stands: the number and hash of its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0 before the first record, which is number 1.
    pub seq: u64,
    pub hash: [u8; 32],
}

impl Head {
    pub const GENESIS: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

/// One row of the log, as it must be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub seq: u64,
    pub prev_hash: [u8; 32],
    pub hash: [u8; 32],
    /// The exact JSON text that was hashed.
    pub bytes: String,
}

impl Record {
    /// Where the chain stands after this record.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

/// How a kept chain differs from the one that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("record {expected} is missing: the next one kept is {found}")]
    Missing { expected: u64, found: u64 },
    #[error("record {found} stands where {expected} should: doubled or out of order")]
    Misplaced { expected: u64, found: u64 },
    #[error("record {seq} does not follow from the one before it")]
    Unlinked { seq: u64 },
    #[error("record {seq} was changed after it was written")]
    Altered { seq: u64 },
}

/// The record that follows `prev`. It is part of the chain once it is kept, in the order of `seq`.
pub fn append(prev: &Head, event: &Event) -> Record {
    let seq = prev.seq.saturating_add(1);
    let bytes = serde_json::to_string(&Numbered { seq, event })
        .expect("an event has only strings and numbers");
    Record {
        seq,
        prev_hash: prev.hash,
        hash: digest(&prev.hash, &bytes),
        bytes,
    }
}

/// Follows a whole chain from its first record and says where it stands, or where it breaks first.
pub fn verify(records: impl IntoIterator<Item = Record>) -> Result<Head, Broken> {
    verify_from(Head::GENESIS, records)
}

/// As [`verify`], from a head that is known already.
pub fn verify_from(head: Head, records: impl IntoIterator<Item = Record>) -> Result<Head, Broken> {
    records
        .into_iter()
        .try_fold(head, |head, record| follow(&head, &record))
}

fn follow(head: &Head, record: &Record) -> Result<Head, Broken> {
    let (expected, found) = (head.seq.saturating_add(1), record.seq);
    if found > expected {
        return Err(Broken::Missing { expected, found });
    }
    if found < expected {
        return Err(Broken::Misplaced { expected, found });
    }
    if record.prev_hash != head.hash {
        return Err(Broken::Unlinked { seq: found });
    }
    if digest(&record.prev_hash, &record.bytes) != record.hash {
        return Err(Broken::Altered { seq: found });
    }
    Ok(record.head())
}

fn digest(prev: &[u8; 32], bytes: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(RECORD_PREFIX);
    hasher.update(prev);
    hasher.update(bytes.as_bytes());
    hasher.finalize().into()
}

/// The number is hashed with the event: a renumbered row is a changed row.
#[derive(Serialize)]
struct Numbered<'a> {
    seq: u64,
    #[serde(flatten)]
    event: &'a Event,
}

#[cfg(test)]
mod tests {
    use portcullis_config::units::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Action, Outcome, Party};

    fn event(n: u64) -> Event {
        Event::new(
            Timestamp::from_millis(n),
            Action::LoginSuccess,
            Outcome::Success,
            Party::user(format!("user-{n}")),
        )
    }

    fn chain(len: u64) -> Vec<Record> {
        let mut head = Head::GENESIS;
        let mut records = Vec::new();
        for n in 0..len {
            let record = append(&head, &event(n));
            head = record.head();
            records.push(record);
        }
        records
    }

    /// Turns one bit of an ASCII text so that it stays ASCII.
    fn flip(bytes: &str, at: usize, bit: u32) -> String {
        let mut altered = bytes.as_bytes().to_vec();
        let at = at % altered.len();
        altered[at] ^= 1u8 << (bit % 7);
        String::from_utf8(altered).unwrap()
    }

    #[test]
    fn the_hash_is_that_of_prefix_previous_and_bytes() {
        let record = append(&Head::GENESIS, &event(1));
        let mut whole = vec![0u8; 33];
        whole.extend_from_slice(record.bytes.as_bytes());
        assert_eq!(record.hash, <[u8; 32]>::from(Sha256::digest(&whole)));
        assert!(
            record
                .bytes
                .starts_with(r#"{"seq":1,"at":"1970-01-01T00:00:00.001Z""#),
            "{}",
            record.bytes
        );
    }

    #[test]
    fn an_empty_chain_stands_at_its_beginning() {
        assert_eq!(verify([]), Ok(Head::GENESIS));
    }

    #[test]
    fn a_row_with_a_consistently_forged_hash_unlinks_the_next() {
        let mut records = chain(3);
        records[1] = append(&records[0].head(), &event(99));
        assert_eq!(verify(records), Err(Broken::Unlinked { seq: 3 }));
    }

    #[test]
    fn a_known_head_shows_that_the_tail_was_cut() {
        let mut records = chain(3);
        let exported = records[2].head();
        records.pop();
        assert_ne!(verify(records), Ok(exported));
    }

    proptest! {
        #[test]
        fn what_was_written_verifies(len in 0u64..40, split in 0usize..40) {
            let records = chain(len);
            let split = split.min(records.len());
            let middle = verify(records[..split].to_vec()).unwrap();
            prop_assert_eq!(verify(records.clone()), verify_from(middle, records[split..].to_vec()));
            prop_assert_eq!(verify(records).unwrap().seq, len);
        }

        #[test]
        fn a_flipped_bit_breaks_the_chain(len in 1u64..20, row in any::<usize>(), at in any::<usize>(), bit in 0u32..7) {
            let mut records = chain(len);
            let row = row % records.len();
            records[row].bytes = flip(&records[row].bytes, at, bit);
            prop_assert_eq!(verify(records), Err(Broken::Altered { seq: row as u64 + 1 }));
        }

        #[test]
        fn a_missing_row_breaks_the_chain(len in 2u64..20, row in any::<usize>()) {
            let mut records = chain(len);
            let row = row % (records.len() - 1);
            records.remove(row);
            let expected = row as u64 + 1;
            prop_assert_eq!(verify(records), Err(Broken::Missing { expected, found: expected + 1 }));
        }

        #[test]
        fn two_swapped_rows_break_the_chain(len in 2u64..20, a in any::<usize>(), b in any::<usize>()) {
            let mut records = chain(len);
            let (a, b) = (a % records.len(), b % records.len());
            prop_assume!(a != b);
            records.swap(a, b);
            prop_assert!(verify(records).is_err());
        }

        #[test]
        fn swapped_rows_that_were_renumbered_break_the_chain(len in 2u64..20, row in any::<usize>()) {
            let mut records = chain(len);
            let row = row % (records.len() - 1);
            records.swap(row, row + 1);
            let (first, second) = (records[row].seq, records[row + 1].seq);
            (records[row].seq, records[row + 1].seq) = (second, first);
            prop_assert!(verify(records).is_err());
        }

        #[test]
        fn a_doubled_row_breaks_the_chain(len in 1u64..20, row in any::<usize>()) {
            let mut records = chain(len);
            let row = row % records.len();
            records.insert(row, records[row].clone());
            prop_assert!(verify(records).is_err());
        }
    }
}
