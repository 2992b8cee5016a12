//! The scopes of a token or of a rule: a set of words, compared exactly. `hotel:*` is a scope like any other.

use crate::text;

/// Keeps the line it was read from, cleaned of duplicates, because it becomes a header as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    /// Sorted.
    words: Box<[Box<str>]>,
    line: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is a word of visible ASCII without quote and backslash")]
pub struct InvalidScope;

impl ScopeSet {
    /// Reads words that are separated by spaces (RFC 6749 section 3.3). An empty line is an empty set.
    pub fn parse(line: &str) -> Result<Self, InvalidScope> {
        Self::from_words(line.split(' ').filter(|word| !word.is_empty()))
    }

    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidScope> {
        let mut sorted: Vec<Box<str>> = Vec::new();
        let mut line = String::new();
        for word in words {
            if !text::is_scope(word) {
                return Err(InvalidScope);
            }
            if let Err(place) = sorted.binary_search_by(|known| (**known).cmp(word)) {
                sorted.insert(place, word.into());
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        Ok(Self {
            words: sorted.into(),
            line: line.into(),
        })
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.words
            .binary_search_by(|known| (**known).cmp(scope))
            .is_ok()
    }

    /// True for an empty list: a rule that asks for nothing is met.
    pub fn contains_all<S: AsRef<str>>(&self, scopes: &[S]) -> bool {
        scopes.iter().all(|scope| self.contains(scope.as_ref()))
    }

    /// False for an empty list; whether an empty rule asks for nothing is the caller's to say.
    pub fn contains_any<S: AsRef<str>>(&self, scopes: &[S]) -> bool {
        scopes.iter().any(|scope| self.contains(scope.as_ref()))
    }

    /// In sorted order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(AsRef::as_ref)
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Separated by one space, in the order in which they were granted.
    pub fn line(&self) -> &str {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_matched_exactly_and_never_as_a_pattern() {
        let scopes = ScopeSet::parse("hotel:* event:read event:read").expect("well-formed scopes");
        assert!(scopes.contains("hotel:*") && scopes.contains_all(&["event:read", "hotel:*"]));
        assert!(
            !scopes.contains("hotel:read")
                && !scopes.contains("event")
                && !scopes.contains("event:read hotel:*")
        );
        assert_eq!(
            scopes.line(),
            "hotel:* event:read",
            "the duplicate is gone and the order kept"
        );
    }

    #[test]
    fn an_empty_rule_is_met_by_all_and_by_none_of_any() {
        let none: [&str; 0] = [];
        let scopes = ScopeSet::parse("").expect("an empty line is an empty set");
        assert!(scopes.is_empty() && scopes.contains_all(&none) && !scopes.contains_any(&none));
    }

    #[test]
    fn tabs_quotes_and_other_letters_are_no_scopes() {
        for line in ["a\tb", "a\nb", "a\"b", "a\\b", "caf\u{e9}", "a\u{0}"] {
            assert_eq!(ScopeSet::parse(line), Err(InvalidScope), "{line:?}");
        }
    }
}
