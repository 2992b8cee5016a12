//! The marked parse: YAML text into a tree whose every node knows its line and column.
//!
//! Less than YAML on purpose. Aliases, tags, several documents and keys that are no plain words are refused: a
//! configuration is read by people, and each of these makes a file mean something else than it seems to say. A node that
//! was refused stays in the tree as [`Kind::Flawed`], so that the rest is still read and nothing is reported twice.

use crate::names;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};

/// Deeper than any key of the file by far; it bounds the recursion below.
const MAX_DEPTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// `plain`: without quotes, so that it may also be a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
    /// Refused already; whoever reads it stays silent.
    Flawed,
}

pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// What is wrong with the text as YAML, before anybody asks what it means.
pub(crate) struct Flaw {
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// The one document of `text`, or nothing where it has none. Flaws that leave the rest readable are collected.
pub(crate) fn parse(text: &str) -> (Option<Node>, Vec<Flaw>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(flaw) = unprintable(text) {
        return (None, vec![flaw]);
    }
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        flaws: Vec::new(),
    };
    match builder.stream() {
        Ok(node) => (node, builder.flaws),
        Err(flaw) => {
            builder.flaws.push(flaw);
            (None, builder.flaws)
        }
    }
}

/// The parser takes NUL for the end of the text, so what follows one would silently not count.
fn unprintable(text: &str) -> Option<Flaw> {
    let mut place = Place { line: 1, column: 1 };
    for character in text.chars() {
        let allowed = matches!(character, '\t' | '\n' | '\r' | '\u{85}');
        if (character.is_control() && !allowed)
            || matches!(character, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
        {
            let code = u32::from(character);
            return Some(Flaw {
                place,
                text: format!("the character U+{code:04X} has no place in a YAML file: remove it"),
            });
        }
        place = match character {
            '\n' => Place {
                line: place.line + 1,
                column: 1,
            },
            _ => Place {
                line: place.line,
                column: place.column + 1,
            },
        };
    }
    None
}

struct Builder<'t> {
    events: Parser<'t, StrInput<'t>>,
    flaws: Vec<Flaw>,
}

impl<'t> Builder<'t> {
    fn stream(&mut self) -> Result<Option<Node>, Flaw> {
        let mut document = None;
        while let Some((event, place)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) if document.is_some() => {
                    return Err(Flaw {
                        place,
                        text: "a second document begins here: keep one in a file".to_owned(),
                    });
                }
                Event::DocumentStart(_) => {}
                event @ (Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd) => document = Some(self.node(event, place, 0)?),
            }
        }
        Ok(document)
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Place)>, Flaw> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, Place::from(span.start)))),
            Some(Err(error)) => Err(Flaw::from(error)),
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Flaw> {
        if depth > MAX_DEPTH {
            return Err(Flaw {
                place,
                text: format!("nested deeper than {MAX_DEPTH} levels: nothing here is"),
            });
        }
        let tagged = matches!(
            event,
            Event::Scalar(_, _, _, Some(_))
                | Event::SequenceStart(_, Some(_))
                | Event::MappingStart(_, Some(_))
        );
        let kind = match event {
            Event::Scalar(text, style, ..) => Kind::Scalar {
                text: text.into_owned(),
                plain: style == ScalarStyle::Plain,
            },
            Event::SequenceStart(..) => self.sequence(depth)?,
            Event::MappingStart(..) => self.mapping(depth)?,
            Event::Alias(_) => self.flawed(place, "aliases are not read here: write the value out"),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => self.flawed(place, "a value is missing here"),
        };
        let kind = if tagged {
            self.flawed(place, "tags (`!…`) are not read here: remove it")
        } else {
            kind
        };
        Ok(Node { place, kind })
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut nodes = Vec::new();
        while let Some((event, place)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            nodes.push(self.node(event, place, depth + 1)?);
        }
        Ok(Kind::Sequence(nodes))
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, Flaw> {
        let mut fields = Vec::new();
        while let Some((event, place)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, place, depth + 1)?;
            let Some((event, place)) = self.next()? else {
                break;
            };
            let mut value = self.node(event, place, depth + 1)?;
            if value.is_empty_text() {
                // The parser places what is not written somewhere after the key, often on the next line.
                value.place = key.place;
            }
            match key.kind {
                Kind::Scalar { text, .. } => fields.push((
                    Key {
                        text,
                        place: key.place,
                    },
                    value,
                )),
                Kind::Sequence(_) | Kind::Mapping(_) => {
                    self.flawed(key.place, "a key must be a plain word; put quotes around a value that begins with { or [");
                }
                Kind::Flawed => {}
            }
        }
        Ok(Kind::Mapping(fields))
    }

    fn flawed(&mut self, place: Place, text: &str) -> Kind {
        self.flaws.push(Flaw {
            place,
            text: text.to_owned(),
        });
        Kind::Flawed
    }
}

impl Node {
    fn is_empty_text(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if text.is_empty())
    }

    /// Nothing is written, or YAML's word for it.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Self {
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }
}

impl From<ScanError> for Flaw {
    fn from(error: ScanError) -> Self {
        Self {
            place: Place::from(*error.marker()),
            text: format!("this is not YAML: {}", names::one_line(error.info())),
        }
    }
}
