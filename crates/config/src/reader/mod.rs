//! Reading values out of the tree without stopping at the first mistake.
//!
//! Every reading function reports what is wrong and goes on; the caller puts a placeholder where a value should have
//! been. That is safe because a configuration with a single mistake is never handed out.
//!
//! Invariant: no key is ignored. [`Section`] knows which keys were asked for and reports all others when it is left.

mod leaf;
mod section;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

pub(crate) use section::Section;

use crate::{
    mistakes::Mistake,
    names,
    references::Secrets,
    tree::{Key, Kind, Node, Place},
};

/// Lists and mappings longer than this are refused: what is compared with each other stays cheap.
const MOST_ELEMENTS: usize = 10_000;

/// What one loading knows: where secrets come from, and what has been found wrong so far.
pub(crate) struct Loading<'a> {
    pub(crate) file: Arc<str>,
    pub(crate) secrets: Secrets<'a>,
    pub(crate) mistakes: RefCell<Vec<Mistake>>,
    /// Every key that was looked for, by its path; false where it is refused because it has no behaviour yet.
    #[cfg(test)]
    pub(crate) asked: RefCell<std::collections::BTreeMap<String, bool>>,
}

/// A node with the path that leads to it.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    node: &'a Node,
    path: String,
    loading: &'a Loading<'a>,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(file: &str, secrets: Secrets<'a>) -> Self {
        Self {
            file: Arc::from(file),
            secrets,
            mistakes: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

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

    /// One of [`Self::entries`], which reports what is wrong with the mapping as a whole.
    pub(crate) fn entry(&self, name: &str) -> Option<Value<'a>> {
        let Kind::Mapping(fields) = &self.node.kind else {
            return None;
        };
        let (key, node) = fields.iter().find(|(key, _)| key.text == name)?;
        Some(self.child(key, node))
    }

    /// As [`Self::entries`], each name checked for what metrics, headers and audit rows can carry.
    pub(crate) fn named_entries(&self) -> Vec<(&'a str, Value<'a>)> {
        let entries = self.entries();
        for (name, value) in &entries {
            if let Err(remedy) = names::check(name) {
                value.mistake(format!("{} {remedy}", names::quote(name)));
            }
        }
        entries
    }

    pub(crate) fn list(&self) -> Vec<Value<'a>> {
        match &self.node.kind {
            Kind::Sequence(nodes) if nodes.len() > MOST_ELEMENTS => {
                self.mistake(format!("is longer than {MOST_ELEMENTS} elements"));
                Vec::new()
            }
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

    fn fields(&self, wanted: &str) -> Option<&'a [(Key, Node)]> {
        match &self.node.kind {
            Kind::Mapping(fields) if fields.len() > MOST_ELEMENTS => {
                self.mistake(format!("has more than {MOST_ELEMENTS} keys"));
                None
            }
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

fn join(path: &str, key: &str) -> String {
    let key = names::shorten(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
