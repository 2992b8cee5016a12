//! What only the bytes on the wire show: parsers repair a head before anybody can ask how it was written.
//!
//! A lone line feed is taken for a line end, a fragment is cut off, a raw space is escaped; and where two parsers on
//! the way repair differently, two different requests come of one. [`HeadWatch`] reads along and says so;
//! [`ChunkWatch`] does the same for chunked bodies.

mod chunks;

use memchr::memchr;

use crate::rejection::Malformation;

pub use chunks::ChunkWatch;

/// Reads the head of one request in whatever pieces it arrives. What follows the head is not looked at.
#[derive(Debug, Default)]
pub struct HeadWatch {
    part: Part,
    /// The last byte of the line so far, and how long the line is: it may have begun in an earlier piece.
    last: Option<u8>,
    length: usize,
    spaces: u8,
    fault: Option<Malformation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Empty lines may come before it (RFC 9112 section 2.2).
    #[default]
    RequestLine,
    Fields,
    Over,
}

impl HeadWatch {
    /// Returns what follows the head. Only the first fault is kept: it is where readers would begin to differ.
    pub fn feed<'p>(&mut self, mut piece: &'p [u8]) -> &'p [u8] {
        while self.part != Part::Over && !piece.is_empty() {
            let end = memchr(b'\n', piece);
            let line = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            if self.part == Part::RequestLine {
                self.read_request_line(line);
            }
            self.last = line.last().copied().or(self.last);
            self.length = self.length.saturating_add(line.len());
            if end.is_some() {
                self.end_line();
            }
            piece = piece.get(line.len() + 1..).unwrap_or_default();
        }
        piece
    }

    pub fn fault(&self) -> Option<Malformation> {
        self.fault
    }

    fn end_line(&mut self) {
        let (last, length) = (self.last.take(), std::mem::take(&mut self.length));
        let ends_well = last == Some(b'\r');
        if !ends_well {
            self.note(Malformation::LineEnd);
        }
        let is_empty = length == usize::from(ends_well);
        self.part = match (self.part, is_empty) {
            (Part::RequestLine, true) => Part::RequestLine,
            (Part::RequestLine | Part::Fields, false) => Part::Fields,
            (Part::Fields | Part::Over, true) | (Part::Over, false) => Part::Over,
        };
    }

    fn read_request_line(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                b' ' => self.spaces = self.spaces.saturating_add(1),
                b'#' => self.note(Malformation::Fragment),
                b'\r' => {}
                other if !other.is_ascii_graphic() => self.note(Malformation::TargetEncoding),
                _ => {}
            }
        }
        // One space before the target and one behind it; a third stands in the target.
        if self.spaces > 2 {
            self.note(Malformation::TargetEncoding);
        }
    }

    fn note(&mut self, fault: Malformation) {
        self.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault_of(pieces: &[&[u8]]) -> Option<Malformation> {
        let mut watch = HeadWatch::default();
        for piece in pieces {
            watch.feed(piece);
        }
        watch.fault()
    }

    fn check(head: &str, expected: Option<Malformation>) {
        assert_eq!(fault_of(&[head.as_bytes()]), expected, "{head:?}");
    }

    #[test]
    fn a_clean_head_has_no_fault() {
        check(
            "GET /x?y=1 HTTP/1.1\r\nhost: a.test\r\nx: a # b\r\n\r\n",
            None,
        );
        check("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", None);
    }

    #[test]
    fn a_lone_line_feed_is_a_fault_wherever_it_stands() {
        check(
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            Some(Malformation::LineEnd),
        );
        check(
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            Some(Malformation::LineEnd),
        );
        check(
            "GET / HTTP/1.1\r\nhost: a\r\n\n",
            Some(Malformation::LineEnd),
        );
        check(
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            Some(Malformation::LineEnd),
        );
    }

    #[test]
    fn what_a_parser_would_repair_in_the_target_is_a_fault() {
        check("GET /x#y HTTP/1.1\r\n\r\n", Some(Malformation::Fragment));
        check(
            "GET /x y HTTP/1.1\r\n\r\n",
            Some(Malformation::TargetEncoding),
        );
        check(
            "GET /\u{e9} HTTP/1.1\r\n\r\n",
            Some(Malformation::TargetEncoding),
        );
        check(
            "GET /\0 HTTP/1.1\r\n\r\n",
            Some(Malformation::TargetEncoding),
        );
    }

    #[test]
    fn a_body_may_hold_anything() {
        check(
            "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\na\nb # c\n\n",
            None,
        );
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(head in "[ -~]{0,20}(\r\n|\n)([a-z: ]{0,8}(\r\n|\n)){0,4}", cut in 0usize..60) {
            let bytes = head.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(fault_of(&[first, second]), fault_of(&[bytes]));
        }
    }
}
