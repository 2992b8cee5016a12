//! Claims beyond those a principal always has, kept because somebody counts by them.

use std::sync::Arc;

use serde_json::Value;

use crate::claims::Claims;

/// The values of the claims asked for, as JSON writes them: `1` and `"1"` are two values.
#[derive(Debug, Default)]
pub struct RememberedClaims(Box<[(Arc<str>, Box<str>)]>);

impl RememberedClaims {
    /// Lists, objects and null count as absent: they have no one spelling.
    pub(crate) fn read(names: &[Arc<str>], claims: Claims<'_>) -> Self {
        let read = |name: &Arc<str>| match claims.find(name)? {
            value @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                Some((Arc::clone(name), value.to_string().into()))
            }
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        names.iter().filter_map(read).collect()
    }

    /// `None` where the token does not have it.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| &**value)
    }

    /// Roughly, on the heap.
    pub(crate) fn weight(&self) -> usize {
        let each = size_of::<(Arc<str>, Box<str>)>();
        self.0.iter().map(|(_, value)| each + value.len()).sum()
    }
}

impl FromIterator<(Arc<str>, Box<str>)> for RememberedClaims {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Box<str>)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
