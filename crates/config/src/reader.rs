//! Reading values out of the tree without stopping at the first mistake.
//!
//! Every reading function reports what is wrong and goes on; the caller puts a placeholder where a value should have
//! been. That is safe because a configuration with a single mistake is never handed out.
//!
//! Invariant: no key is ignored. [`Section`] knows which keys were asked for and reports all others when it is left.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    mistakes::Mistake,
    names,
    references::{self, Secrets},
    tree::{Key, Kind, Node, Place},
    units::{self, ByteSize},
};

/// What one loading knows: where secrets come from, and what has been found wrong so far.
pub(crate) struct Loading<'a> {
    pub(crate) file: Arc<str>,
    pub(crate) secrets: Secrets<'a>,
    pub(crate) mistakes: RefCell<Vec<Mistake>>,
}

/// A node with the path that leads to it.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    node: &'a Node,
    path: String,
    loading: &'a Loading<'a>,
}

/// A mapping with fixed keys.
pub(crate) struct Section<'a> {
    place: Place,
    path: String,
    fields: &'a [(Key, Node)],
    known: RefCell<Vec<&'static str>>,
    /// Stands in for a section that was wrong as a whole; what it lacks is not reported again.
    silent: bool,
    loading: &'a Loading<'a>,
}

/// A single value with its references replaced.
struct Scalar {
    text: Zeroizing<String>,
    /// Without quotes, or made of references: it may be a number or a truth value.
    typed: bool,
    referenced: bool,
}

impl Loading<'_> {
    pub(crate) fn mistake(&self, place: Place, path: &str, text: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            file: Arc::clone(&self.file),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            text: text.into(),
        });
    }
}

impl<'a> Value<'a> {
    pub(crate) fn root(node: &'a Node, loading: &'a Loading<'a>) -> Self {
        Self {
            node,
            path: String::new(),
            loading,
        }
    }

    pub(crate) fn mistake(&self, text: impl Into<String>) {
        self.loading.mistake(self.node.place, &self.path, text);
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.node.kind, Kind::Mapping(_))
    }

    pub(crate) fn is_single(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar { .. })
    }

    /// Reads a mapping with fixed keys and reports the keys that `read` did not ask for.
    pub(crate) fn section<T>(&self, read: impl FnOnce(&Section<'a>) -> T) -> Option<T> {
        let fields = self.fields("a section with keys")?;
        let section = Section::new(self, fields);
        let value = read(&section);
        section.report_unknown();
        Some(value)
    }

    /// Reads a mapping whose keys are the operator's own names.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Value<'a>)> {
        let fields = self.fields("a mapping of names").unwrap_or_default();
        fields
            .iter()
            .map(|(key, node)| (key.text.as_str(), self.child(key, node)))
            .collect()
    }

    /// As [`Self::entries`], each name checked for what metrics, headers and audit rows can carry.
    pub(crate) fn named_entries(&self) -> Vec<(&'a str, Value<'a>)> {
        let entries = self.entries();
        for (name, value) in &entries {
            if let Err(remedy) = names::check(name) {
                value.mistake(format!("this name {remedy}"));
            }
        }
        entries
    }

    pub(crate) fn list(&self) -> Vec<Value<'a>> {
        match &self.node.kind {
            Kind::Sequence(nodes) => nodes
                .iter()
                .enumerate()
                .map(|(index, node)| self.element(index, node))
                .collect(),
            Kind::Flawed => Vec::new(),
            Kind::Scalar { .. } | Kind::Mapping(_) => {
                self.mistake("must be a list: write [a, b], or one `- ` line for each");
                Vec::new()
            }
        }
    }

    /// Every element of a list that `read` makes something of; it reports the others itself.
    pub(crate) fn each<T>(&self, read: impl FnMut(Value<'a>) -> Option<T>) -> Vec<T> {
        self.list().into_iter().filter_map(read).collect()
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.parse(|text| Ok(text.to_owned()))
    }

    /// A name that must be one of those declared elsewhere is checked by the caller; here only its form.
    pub(crate) fn name(&self) -> Option<String> {
        self.parse(|text| names::check(text).map(|()| text.to_owned()))
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

    pub(crate) fn number<N: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<N> {
        let scalar = self.scalar()?;
        let number = scalar
            .resolve()
            .as_u64()
            .filter(|number| range.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let remedy = if *most >= units::MOST {
                format!("at least {least}")
            } else {
                format!("from {least} to {most}")
            };
            self.mistake(format!(
                "{} must be a whole number, {remedy}",
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
        let duration = self.parse(units::parse_duration)?;
        if range.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (
            units::show_duration(*range.start()),
            units::show_duration(*range.end()),
        );
        self.mistake(format!("must be from {least} to {most}"));
        None
    }

    pub(crate) fn size(&self, range: RangeInclusive<u64>) -> Option<ByteSize> {
        let size: ByteSize = self.parse(units::parse_size)?;
        if range.contains(&size.bytes()) {
            return Some(size);
        }
        let (least, most) = (
            units::show_size(*range.start()),
            units::show_size(*range.end()),
        );
        self.mistake(format!("must be from {least} to {most}"));
        None
    }

    /// Nothing, an empty list, mapping or text, or one of `words`: written without asking for any behaviour.
    fn is_inert(&self, words: &[&str]) -> bool {
        match &self.node.kind {
            Kind::Flawed => true,
            Kind::Sequence(nodes) => nodes.is_empty(),
            Kind::Mapping(fields) => fields
                .iter()
                .all(|(key, node)| self.child(key, node).is_inert(words)),
            Kind::Scalar { .. } if self.is_null() => true,
            Kind::Scalar { .. } => match self.scalar() {
                Some(scalar) => scalar.text.is_empty() || words.contains(&scalar.text.as_str()),
                None => true,
            },
        }
    }

    fn scalar(&self) -> Option<Scalar> {
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

    fn fields(&self, wanted: &str) -> Option<&'a [(Key, Node)]> {
        match &self.node.kind {
            Kind::Mapping(fields) => {
                self.report_duplicates(fields);
                Some(fields)
            }
            Kind::Scalar { .. } if self.is_null() => Some(&[]),
            Kind::Flawed => None,
            Kind::Scalar { .. } | Kind::Sequence(_) => {
                self.mistake(format!(
                    "must be {wanted}: write `key: value` lines below it"
                ));
                None
            }
        }
    }

    fn report_duplicates(&self, fields: &[(Key, Node)]) {
        let mut first_lines = HashMap::new();
        for (key, _) in fields {
            if let Some(line) = first_lines.insert(key.text.as_str(), key.place.line) {
                let text = format!("is written twice, first in line {line}: keep one");
                self.loading
                    .mistake(key.place, &join(&self.path, &key.text), text);
            }
        }
    }

    fn child(&self, key: &Key, node: &'a Node) -> Value<'a> {
        Value {
            node,
            path: join(&self.path, &key.text),
            loading: self.loading,
        }
    }

    fn element(&self, index: usize, node: &'a Node) -> Value<'a> {
        Value {
            node,
            path: format!("{}[{index}]", self.path),
            loading: self.loading,
        }
    }
}

impl<'a> Section<'a> {
    fn new(at: &Value<'a>, fields: &'a [(Key, Node)]) -> Self {
        Self {
            place: at.node.place,
            path: at.path.clone(),
            fields,
            known: RefCell::default(),
            silent: false,
            loading: at.loading,
        }
    }

    pub(crate) fn mistake(&self, text: impl Into<String>) {
        if !self.silent {
            self.loading.mistake(self.place, &self.path, text);
        }
    }

    /// The value of `key`, unless it is absent or null.
    pub(crate) fn find(&self, key: &'static str) -> Option<Value<'a>> {
        self.find_even_null(key).filter(|value| !value.is_null())
    }

    /// For the few keys where null says something of its own.
    pub(crate) fn find_even_null(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let (key, node) = self
            .fields
            .iter()
            .find(|(written, _)| written.text == key)?;
        Some(Value {
            node,
            path: join(&self.path, &key.text),
            loading: self.loading,
        })
    }

    /// The value of `key`; where it is absent, `remedy` says what to write.
    pub(crate) fn require(&self, key: &'static str, remedy: &str) -> Option<Value<'a>> {
        let value = self.find(key);
        if value.is_none() {
            self.mistake(format!("`{key}` is missing: {remedy}"));
        }
        value
    }

    /// What `read` makes of `key`; `default` where it is absent (or wrong, which `read` has reported).
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> T {
        self.find(key)
            .and_then(|value| read(&value))
            .unwrap_or(default)
    }

    /// A section that may be absent: `read` then sees an empty one, so that each default is written once.
    pub(crate) fn within<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> T) -> T {
        let value = self.find(key);
        let fields = value
            .as_ref()
            .and_then(|value| value.fields("a section with keys"));
        let section = Section {
            place: value.as_ref().map_or(self.place, |value| value.node.place),
            path: join(&self.path, key),
            fields: fields.unwrap_or_default(),
            known: RefCell::default(),
            silent: self.silent || (value.is_some() && fields.is_none()),
            loading: self.loading,
        };
        let read = read(&section);
        section.report_unknown();
        read
    }

    /// A key of the contract that has no behaviour yet. Refused rather than ignored, unless it asks for nothing.
    pub(crate) fn later(&self, key: &'static str) {
        self.later_unless(key, &[]);
    }

    /// As [`Self::later`], but `words` are what the gateway does anyway.
    pub(crate) fn later_unless(&self, key: &'static str, words: &[&str]) {
        let Some(value) = self.find(key) else { return };
        if value.is_inert(words) {
            return;
        }
        value.mistake(match words {
            [] => "is not supported yet: remove it".to_owned(),
            words => format!(
                "is not supported yet: remove it, or write {}",
                words.join(" or ")
            ),
        });
    }

    fn report_unknown(&self) {
        let known = self.known.borrow();
        let mut reported = HashSet::new();
        for (key, _) in self.fields {
            if known.contains(&key.text.as_str()) || !reported.insert(&key.text) {
                continue;
            }
            let remedy = match names::nearest(&key.text, known.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!(
                    "remove it, or use {}",
                    names::alternatives(known.iter().copied())
                ),
            };
            self.loading.mistake(
                key.place,
                &join(&self.path, &key.text),
                format!("this key is not known: {remedy}"),
            );
        }
    }
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
            "what the reference stands for".to_owned()
        } else {
            names::quote(&self.text)
        }
    }
}

fn join(path: &str, key: &str) -> String {
    let key = names::shorten(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
