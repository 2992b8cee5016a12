//! A mapping with fixed keys: what is required, what has a default, what is not supported yet, and what nobody asked for.

use std::{cell::RefCell, collections::HashSet};

use super::{Loading, Value, join};
use crate::{
    names,
    tree::{Key, Node, Place},
};

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

impl<'a> Section<'a> {
    pub(super) fn new(at: &Value<'a>, fields: &'a [(Key, Node)]) -> Self {
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
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        #[cfg(test)]
        self.note_asked(key, true);
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
        let value = self.find(key);
        #[cfg(test)]
        self.note_asked(key, false);
        let Some(value) = value else { return };
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

    #[cfg(test)]
    fn note_asked(&self, key: &str, is_supported: bool) {
        let mut asked = self.loading.asked.borrow_mut();
        asked.insert(join(&self.path, key), is_supported);
    }

    /// A key that says nothing where `condition` does not hold, unless it says one of `words`, which is the case anyway.
    pub(crate) fn idle_unless(&self, key: &'static str, words: &[&str], condition: &str) {
        let Some(value) = self.find(key) else { return };
        if !value.is_inert(words) {
            value.mistake(format!("means nothing unless {condition}"));
        }
    }

    pub(super) fn report_unknown(&self) {
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
