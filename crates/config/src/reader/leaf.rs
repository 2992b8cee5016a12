//! Single values: texts, secrets, numbers, words and quantities.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Value;
use crate::{
    names,
    references::{self, Reference},
    tree::Kind,
    units::{self, ByteSize},
};

/// A single value with its references replaced.
pub(super) struct Scalar {
    pub(super) text: Zeroizing<String>,
    /// Without quotes, or made of references: it may be a number or a truth value.
    typed: bool,
    referenced: bool,
}

impl Value<'_> {
    pub(crate) fn text(&self) -> Option<String> {
        self.parse(|text| Ok(text.to_owned()))
    }

    /// A new name. One that must have been declared is read by [`Self::known`].
    pub(crate) fn name(&self) -> Option<String> {
        self.parse(|text| names::check(text).map(|()| text.to_owned()))
    }

    /// A name that must be among `known`; `remedy` says where it would be declared.
    pub(crate) fn known(&self, what: &str, known: &[&str], remedy: &str) -> Option<String> {
        let scalar = self.scalar()?;
        if known.contains(&scalar.text.as_str()) {
            return Some(scalar.text.to_string());
        }
        self.mistake(names::unknown(
            what,
            &scalar.shown(),
            &scalar.text,
            known,
            remedy,
        ));
        None
    }

    pub(crate) fn secret(&self) -> Option<SecretString> {
        self.scalar()
            .map(|scalar| SecretString::from(scalar.text.as_str()))
    }

    /// `read` answers with the rest of a sentence whose subject is the value: "is not a duration: …".
    pub(crate) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let scalar = self.scalar()?;
        match read(&scalar.text) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.mistake(format!("{} {complaint}", scalar.shown()));
                None
            }
        }
    }

    /// The file at the path that is written here, read as secrets are.
    pub(crate) fn file(&self) -> Option<(PathBuf, SecretString)> {
        self.parse(|path| {
            if path.is_empty() {
                return Err("names no file".to_owned());
            }
            let path = PathBuf::from(path);
            match (self.loading.secrets)(&Reference::File(path.clone())) {
                Ok(text) => Ok((path, text)),
                Err(reason) => Err(format!("cannot be read: {reason}")),
            }
        })
    }

    /// The path of a file that is searched where it lies and never read whole.
    pub(crate) fn searchable_file(&self) -> Option<PathBuf> {
        self.parse(|path| {
            let path = PathBuf::from(path);
            (self.loading.secrets)(&Reference::HashList(path.clone())).map(|_nothing| path)
        })
    }

    pub(crate) fn number<N: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<N> {
        let scalar = self.scalar()?;
        let number = scalar
            .resolve()
            .as_u64()
            .filter(|number| range.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let range = if *most >= u64::from(u32::MAX) {
                format!("at least {least}")
            } else {
                format!("from {least} to {most}")
            };
            self.mistake(format!(
                "{} must be a whole number, {range}",
                scalar.shown()
            ));
        }
        number
    }

    pub(crate) fn fraction(&self) -> Option<f64> {
        let scalar = self.scalar()?;
        let number = scalar.resolve().as_f64();
        if number.is_none() {
            self.mistake(format!("{} must be a number such as 0.5", scalar.shown()));
        }
        number
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let scalar = self.scalar()?;
        let value = scalar.resolve().as_bool();
        if value.is_none() {
            self.mistake(format!("{} must be true or false", scalar.shown()));
        }
        value
    }

    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parse(|text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(format!(
                "is not known here: write {}",
                names::alternatives(words.iter().map(|(word, _)| *word))
            )),
        })
    }

    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parse(|text| match units::parse_duration(text)? {
            duration if range.contains(&duration) => Ok(duration),
            _ => {
                let (least, most) = (*range.start(), *range.end());
                Err(out_of_range(
                    &units::show_duration(least),
                    &units::show_duration(most),
                ))
            }
        })
    }

    pub(crate) fn size(&self, range: RangeInclusive<u64>) -> Option<ByteSize> {
        self.parse(|text| match units::parse_size(text)? {
            size if range.contains(&size.bytes()) => Ok(size),
            _ => Err(out_of_range(
                &units::show_size(*range.start()),
                &units::show_size(*range.end()),
            )),
        })
    }

    pub(super) fn scalar(&self) -> Option<Scalar> {
        let (text, plain) = match &self.node.kind {
            Kind::Scalar { text, plain } => (text, *plain),
            Kind::Flawed => return None,
            Kind::Sequence(_) | Kind::Mapping(_) => {
                self.mistake("must be a single value, not a list or a section");
                return None;
            }
        };
        if self.is_null() {
            self.mistake("a value is missing here");
            return None;
        }
        match references::resolve(text, self.loading.secrets) {
            Ok(resolved) => Some(Scalar {
                text: resolved.text,
                typed: plain || resolved.referenced,
                referenced: resolved.referenced,
            }),
            Err(complaint) => {
                self.mistake(complaint);
                None
            }
        }
    }
}

fn out_of_range(least: &str, most: &str) -> String {
    format!("is out of range: write {least} to {most}")
}

impl Scalar {
    /// By YAML's own rules for what stands without quotes.
    fn resolve(&self) -> serde_yaml::Value {
        // Long before this length nothing is a number any more, and what a reference brought in is never parsed as a tree.
        const LONGEST: usize = 40;
        if !self.typed || self.text.len() > LONGEST {
            return serde_yaml::Value::Null;
        }
        serde_yaml::from_str(&self.text).unwrap_or(serde_yaml::Value::Null)
    }

    /// The value as a mistake may show it: shortened, without control characters, and never what a reference brought in.
    fn shown(&self) -> String {
        if self.referenced {
            "(the value of the reference)".to_owned()
        } else if self.text.is_empty() {
            "an empty text".to_owned()
        } else {
            names::quote(&self.text)
        }
    }
}
