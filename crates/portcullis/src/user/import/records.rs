//! The users of a file, one after the other, each with the line it begins in. A file may be larger than memory; one
//! record may not.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::Context;
pub(super) use portcullis_auth::ImportedUser;

use super::csv;

/// Far beyond any user. More in one record is another kind of file.
pub(super) const LONGEST_RECORD: usize = 64 * 1024;

/// The number of a line, and the user in it or what is wrong with it. The error is the file's: nothing more can be read.
pub(super) type Record = io::Result<(usize, Result<ImportedUser, String>)>;

pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn Iterator<Item = Record> + Send>> {
    let file = File::open(path).with_context(|| super::cannot_read(path))?;
    let reader = BufReader::new(file);
    let is_csv = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
    Ok(if is_csv {
        Box::new(csv::users(reader))
    } else {
        Box::new(json_lines(reader))
    })
}

/// Blank lines are nobody.
fn json_lines(reader: impl BufRead + Send) -> impl Iterator<Item = Record> + Send {
    Lines::of(reader).filter_map(|line| match line {
        Ok((_, text)) if text.trim().is_empty() => None,
        Ok((number, text)) => {
            let read = serde_json::from_str(&text);
            Some(Ok((number, read.map_err(|error| error.to_string()))))
        }
        Err(error) => Some(Err(error)),
    })
}

/// Lines with their numbers, from 1, without their ends.
pub(super) struct Lines<R> {
    reader: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn of(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let longest = u64::try_from(LONGEST_RECORD).unwrap_or(u64::MAX);
        let read = self
            .reader
            .by_ref()
            .take(longest)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        if bytes.pop_if(|last| *last == b'\n').is_some() {
            bytes.pop_if(|last| *last == b'\r');
        } else if read == LONGEST_RECORD {
            let number = self.number + 1;
            return Err(io::Error::other(format!("line {number} is too long")));
        }
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_invalid| {
            io::Error::other(format!("line {} is not in UTF-8", self.number + 1))
        })
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<(usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.read().transpose()?;
        self.number += 1;
        let number = self.number;
        // Editors of one system begin a file with a mark that is no part of it.
        Some(line.map(|text| match text.strip_prefix('\u{feff}') {
            Some(rest) if number == 1 => (number, rest.to_owned()),
            Some(_) | None => (number, text),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_user_or_a_mistake_with_its_number() {
        let text = "\u{feff}{\"username\":\"a\"}\r\n\n{\"username\":1}\n{\"name\":\"b\"}\n{\"email\":\"c@d.e\"}";
        let read: Vec<_> = json_lines(text.as_bytes())
            .map(|record| {
                let (line, read) = record.unwrap();
                (line, read.map(|user| user.username.or(user.email).unwrap()))
            })
            .collect();
        let [(1, Ok(a)), (3, Err(typed)), (4, Err(unknown)), (5, Ok(c))] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!((a.as_str(), c.as_str()), ("a", "c@d.e"));
        assert!(typed.contains("expected a string"), "{typed}");
        assert!(unknown.contains("unknown field `name`"), "{unknown}");
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let endless = io::repeat(b'x').take(1 << 30);
        let mut lines = Lines::of(BufReader::new(endless));
        let error = lines.next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line 1 is too long");
    }
}
