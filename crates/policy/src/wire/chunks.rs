//! The framing of a chunked body (RFC 9112 section 7.1), read strictly.
//!
//! ```text
//! Size ─;─▶ Extension ─CR─▶ SizeEnd ─LF─▶ Data ──▶ DataEnd ─CR LF─▶ Size
//!                              └─ size 0 ─▶ Line ◀─CR LF─ Trailer     Line ─CR LF─▶ Over
//! ```

/// A size with its extensions. Nobody uses extensions; what is longer is there to fill a buffer.
const LONGEST_LINE: usize = 1024;
/// All trailer lines together.
const LONGEST_TRAILER: usize = 16 * 1024;
/// Of a size in 64 bits.
const MOST_DIGITS: usize = 16;

/// Reads one body in whatever pieces it arrives. What follows the last chunk is not looked at.
#[derive(Debug, Default)]
pub struct ChunkWatch {
    part: Part,
    size: u64,
    digits: usize,
    /// Of the current line, or of the trailer.
    length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    /// Before the CR behind the data.
    DataEnd,
    /// Before the LF behind the data.
    DataOver,
    /// At the beginning of a line of the trailer.
    Line,
    Trailer,
    TrailerEnd,
    LastEnd,
    Over,
    Broken,
}

impl ChunkWatch {
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some((first, rest)) = piece.split_first() {
            match self.part {
                Part::Over | Part::Broken => return,
                Part::Data => piece = self.skip_data(piece),
                Part::Size
                | Part::Extension
                | Part::SizeEnd
                | Part::DataEnd
                | Part::DataOver
                | Part::Line
                | Part::Trailer
                | Part::TrailerEnd
                | Part::LastEnd => {
                    self.part = self.step(*first);
                    piece = rest;
                }
            }
        }
    }

    /// Whether no two readers would agree on where the body ends.
    pub fn is_broken(&self) -> bool {
        self.part == Part::Broken
    }

    fn skip_data<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let length = usize::try_from(self.size).map_or(piece.len(), |size| size.min(piece.len()));
        self.size = self.size.saturating_sub(length as u64);
        if self.size == 0 {
            self.part = Part::DataEnd;
        }
        piece.get(length..).unwrap_or_default()
    }

    fn step(&mut self, byte: u8) -> Part {
        self.length += 1;
        match (self.part, byte) {
            (Part::Size, b';') if self.digits > 0 => Part::Extension,
            (Part::Size | Part::Extension, b'\r') if self.digits > 0 => Part::SizeEnd,
            (Part::Size, _) => self.add_digit(byte),
            (Part::Extension, _) if is_text(byte) && self.length <= LONGEST_LINE => Part::Extension,
            (Part::SizeEnd, b'\n') => self.end_size(),
            (Part::DataEnd, b'\r') => Part::DataOver,
            (Part::DataOver, b'\n') => {
                (self.digits, self.length) = (0, 0);
                Part::Size
            }
            (Part::Line, b'\r') => Part::LastEnd,
            (Part::LastEnd, b'\n') => Part::Over,
            (Part::Trailer, b'\r') => Part::TrailerEnd,
            (Part::TrailerEnd, b'\n') => Part::Line,
            (Part::Line | Part::Trailer, _) if is_text(byte) && self.length <= LONGEST_TRAILER => {
                Part::Trailer
            }
            _ => Part::Broken,
        }
    }

    fn add_digit(&mut self, byte: u8) -> Part {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Part::Broken;
        };
        self.size = self.size << 4 | u64::from(digit);
        self.digits += 1;
        if self.digits > MOST_DIGITS {
            Part::Broken
        } else {
            Part::Size
        }
    }

    fn end_size(&mut self) -> Part {
        self.length = 0;
        if self.size == 0 {
            Part::Line
        } else {
            Part::Data
        }
    }
}

/// Neither a line end nor another control character.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watched(pieces: &[&[u8]]) -> Part {
        let mut watch = ChunkWatch::default();
        for piece in pieces {
            watch.feed(piece);
        }
        watch.part
    }

    fn check(body: &str, expected: Part) {
        assert_eq!(watched(&[body.as_bytes()]), expected, "{body:?}");
    }

    #[test]
    fn a_plain_body_ends_where_it_says() {
        check("5\r\nhello\r\n0\r\n\r\n", Part::Over);
        check("5;a=b\r\nhello\r\n0\r\n\r\n", Part::Over);
        check("00005\r\nhello\r\n000\r\nX: 1\r\nY: 2\r\n\r\n", Part::Over);
        check("A\r\n0123456789\r\n0\r\n\r\nGET /\n", Part::Over);
        check("5\r\nhello\r\n0\r\n", Part::Line);
        check("5\r\n\r\n\n\0\x01\r\n", Part::Size);
    }

    #[test]
    fn what_two_readers_would_count_differently_is_broken() {
        let broken = [
            "\r\nhello\r\n0\r\n\r\n",
            ";a\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            "5 \r\n",
            " 5\r\n",
            "5\nhello",
            "5\rhello",
            "5;a\nhello",
            "5;a\0\r\n",
            "10000000000000005\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n\n",
            "five\r\n",
        ];
        for body in broken {
            check(body, Part::Broken);
        }
    }

    #[test]
    fn lines_that_fill_a_buffer_are_broken() {
        check(
            &format!("5;{}\r\nhello\r\n", "a".repeat(LONGEST_LINE)),
            Part::Broken,
        );
        let lines = "X: 1\r\n".repeat(LONGEST_TRAILER / 6 + 1);
        check(&format!("0\r\n{lines}X: 1\r\n\r\n"), Part::Broken);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(body in "([0-3;a]{1,2}(\r\n|\n))([a-b]{0,3}(\r\n|\n)?){0,4}", cut in 0usize..40) {
            let bytes = body.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(watched(&[first, second]), watched(&[bytes]));
        }

        #[test]
        fn what_was_framed_well_is_never_broken(chunks in prop::collection::vec("[ -~\r\n]{1,40}", 0..5)) {
            let framed: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
            prop_assert_eq!(watched(&[framed.as_bytes(), b"0\r\n\r\n"]), Part::Over);
        }
    }
}
