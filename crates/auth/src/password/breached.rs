//! The list of passwords that were stolen elsewhere, as Have I Been Pwned hands it out: one SHA-1 in hexadecimal a line,
//! a colon, how often it was seen, ordered by hash.
//!
//! The list is some forty gigabytes and stays on the disk. A look-up bisects the file and reads some thirty short
//! pieces of it, so the order is what everything rests on: it is probed when the file is opened.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use sha1::{Digest, Sha1};

const DIGEST: usize = 20;
/// Room for the end of one line and the whole of the next.
const WINDOW: usize = 160;
/// Where the order is probed. A list in any other order passes that with no chance worth naming.
const PROBES: u64 = 256;

/// An opened list. The file must not be changed in place; another one takes effect at the next start.
pub struct BreachedList {
    file: File,
    length: u64,
}

/// Why a file is no such list. The text is the rest of a sentence that begins with the path.
#[derive(Debug, thiserror::Error)]
pub enum BreachedListError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is empty")]
    Empty,
    #[error("is not a list of SHA-1 hashes, one a line in hexadecimal")]
    NotHashes,
    #[error("is not ordered by hash: take the download that is")]
    Unordered,
}

struct Line {
    digest: [u8; DIGEST],
    start: u64,
    /// Where the next one begins, or the end of the file.
    end: u64,
}

impl BreachedList {
    pub fn open(path: &Path) -> Result<Self, BreachedListError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let list = Self { file, length };
        list.probe()?;
        Ok(list)
    }

    /// Whether the list has this password.
    pub(super) fn holds(&self, password: &str) -> io::Result<bool> {
        let wanted: [u8; DIGEST] = Sha1::digest(password.as_bytes()).into();
        self.find(&wanted).map_err(|error| match error {
            BreachedListError::Io(error) => error,
            changed @ (BreachedListError::Empty
            | BreachedListError::NotHashes
            | BreachedListError::Unordered) => io::Error::new(io::ErrorKind::InvalidData, changed),
        })
    }

    fn find(&self, wanted: &[u8; DIGEST]) -> Result<bool, BreachedListError> {
        // The line that is looked for begins at or after `low` and before `high`.
        let (mut low, mut high) = (0, self.length);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)?.filter(|line| line.start < high) {
                Some(line) if line.digest == *wanted => return Ok(true),
                Some(line) if line.digest < *wanted => low = line.end,
                Some(_) | None => high = middle,
            }
        }
        Ok(false)
    }

    fn probe(&self) -> Result<(), BreachedListError> {
        let mut last: Option<Line> = None;
        for probe in 0..PROBES {
            let offset = u128::from(self.length) * u128::from(probe) / u128::from(PROBES);
            let Some(line) = self.line_from(u64::try_from(offset).unwrap_or(u64::MAX))? else {
                break;
            };
            if let Some(last) = last.filter(|last| last.start != line.start)
                && last.digest >= line.digest
            {
                return Err(BreachedListError::Unordered);
            }
            last = Some(line);
        }
        last.map(drop).ok_or(BreachedListError::Empty)
    }

    /// The first line that begins at or after `offset`.
    fn line_from(&self, offset: u64) -> Result<Option<Line>, BreachedListError> {
        let from = offset.saturating_sub(1);
        let mut window = [0; WINDOW];
        let read = self.fill(&mut window, from)?;
        let mut rest = window.get(..read).unwrap_or_default();
        let is_all = from + read as u64 >= self.length;
        if offset > 0 {
            match line_break(rest) {
                Some(at) => rest = rest.get(at + 1..).unwrap_or_default(),
                None if is_all => return Ok(None),
                None => return Err(BreachedListError::NotHashes),
            }
        }
        if rest.is_empty() && is_all {
            return Ok(None);
        }
        let start = from + (read - rest.len()) as u64;
        let (line, taken) = match line_break(rest) {
            Some(at) => (rest.get(..at).unwrap_or_default(), at + 1),
            None if is_all => (rest, rest.len()),
            None => return Err(BreachedListError::NotHashes),
        };
        Ok(Some(Line {
            digest: digest_of(line).ok_or(BreachedListError::NotHashes)?,
            start,
            end: start + taken as u64,
        }))
    }

    fn fill(&self, window: &mut [u8], from: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, from + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    #[cfg(test)]
    pub(super) fn digest(password: &str) -> String {
        let digest = Sha1::digest(password.as_bytes());
        digest.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

fn line_break(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// The digest before the colon, or alone on its line.
fn digest_of(line: &[u8]) -> Option<[u8; DIGEST]> {
    let (digits, rest) = line.split_at_checked(2 * DIGEST)?;
    if !matches!(rest.first(), None | Some(b':' | b'\r')) {
        return None;
    }
    let mut digest = [0; DIGEST];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = str::from_utf8(pair).ok()?;
        let is_hexadecimal = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| is_hexadecimal)?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn written(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.txt");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn ordered(passwords: &[String], ending: &str) -> String {
        let mut lines: Vec<String> = passwords
            .iter()
            .enumerate()
            .map(|(count, password)| {
                let count = count * 7919 % 100_003;
                format!("{}:{count}{ending}", BreachedList::digest(password))
            })
            .collect();
        lines.sort();
        lines.concat()
    }

    fn passwords(count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("stolen {number}"))
            .collect()
    }

    #[test]
    fn every_password_of_the_list_is_found_and_no_other() {
        for (count, ending) in [(1, "\n"), (2, "\r\n"), (3, "\n"), (5000, "\r\n")] {
            let stolen = passwords(count);
            let (_folder, path) = written(ordered(&stolen, ending));
            let list = BreachedList::open(&path).unwrap();
            for password in &stolen {
                assert!(list.holds(password).unwrap(), "{password} of {count}");
            }
            for number in 0..500 {
                assert!(!list.holds(&format!("kept {number}")).unwrap());
            }
        }
    }

    #[test]
    fn the_last_line_needs_no_line_break_and_no_count() {
        let (_folder, path) = written(BreachedList::digest("secret").to_lowercase());
        let list = BreachedList::open(&path).unwrap();
        assert!(list.holds("secret").unwrap());
        assert!(!list.holds("secrets").unwrap());
    }

    #[test]
    fn what_is_no_list_is_told_when_it_is_opened() {
        let told = |text: String| {
            let (_folder, path) = written(text);
            BreachedList::open(&path).err().unwrap().to_string()
        };
        let reversed = || {
            let text = ordered(&passwords(1000), "\n");
            let mut lines: Vec<&str> = text.lines().collect();
            lines.reverse();
            lines.join("\n")
        };
        let by_count = || {
            let digests = passwords(1000);
            let lines = digests
                .iter()
                .map(|password| BreachedList::digest(password));
            lines.map(|line| line + ":1\n").collect::<String>()
        };
        assert!(told(String::new()).contains("empty"));
        assert!(told("password\n123456\n".to_owned()).contains("not a list"));
        assert!(told("A".repeat(10_000)).contains("not a list"));
        assert!(told(format!("{}x:1\n", BreachedList::digest("a"))).contains("not a list"));
        assert!(told(reversed()).contains("not ordered"));
        assert!(told(by_count()).contains("not ordered"));
        let absent = BreachedList::open(Path::new("/nowhere/breached.txt"));
        assert!(matches!(absent, Err(BreachedListError::Io(_))));
    }

    #[test]
    fn a_list_that_is_cut_off_under_us_is_an_error_and_no_answer() {
        let (_folder, path) = written(ordered(&passwords(1000), "\n"));
        let list = BreachedList::open(&path).unwrap();
        fs::write(&path, "not a list any more, and shorter").unwrap();
        assert!(list.holds("stolen 1").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_list_of_any_size_is_searched_to_its_ends(count in 1_usize..60) {
            let stolen = passwords(count);
            let (_folder, path) = written(ordered(&stolen, "\r\n"));
            let list = BreachedList::open(&path).unwrap();
            for password in &stolen {
                prop_assert!(list.holds(password).unwrap());
            }
        }
    }
}
