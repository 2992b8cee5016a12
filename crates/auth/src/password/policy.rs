//! What is asked of a new password: that it is long, and that nobody would guess it. There are no rules of composition
//! (NIST SP 800-63B section 3.1.1.2): they make passwords alike, not strong.
//!
//! The work is bounded whatever is typed, and runs on the hashing threads, as it takes time and may read a file.

use std::io;

use portcullis_config::auth::PasswordRules;
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use super::{BreachedList, BreachedListError, Password, common};

/// What is strong in its first characters is strong; zxcvbn's time grows faster than the text.
const SCORED_CHARACTERS: usize = 64;
/// Parts of the user's names that a guess would begin with.
const MAX_INPUTS: usize = 16;
const MAX_INPUT_BYTES: usize = 64;
const LEAST_INPUT_BYTES: usize = 3;

/// Why a password is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    #[error("the password is shorter than the minimum")]
    Short,
    #[error("the password is the name it protects")]
    IsTheName,
    #[error("the password repeats one character")]
    Repeats,
    #[error("the password is made of words that many people choose")]
    Common,
    #[error("the password is easy to guess")]
    Guessable,
    #[error("the password is in the list of breached passwords")]
    Breached,
}

pub(super) struct Policy {
    min_length: usize,
    min_score: u8,
    breached: Option<BreachedList>,
}

impl Policy {
    /// Opens the list of breached passwords, where there is one.
    pub(super) fn open(rules: &PasswordRules) -> Result<Self, BreachedListError> {
        let breached = rules.breached.as_deref().map(BreachedList::open);
        Ok(Self {
            min_length: rules.min_length,
            min_score: rules.min_score,
            breached: breached.transpose()?,
        })
    }

    /// `names` are the user's, in their mapped form. A list that cannot be read lets nothing pass.
    pub(super) fn judge(
        &self,
        password: &Password,
        names: &[String],
    ) -> io::Result<Result<(), Weakness>> {
        if let Err(weakness) = self.judge_alone(password, names) {
            return Ok(Err(weakness));
        }
        let is_breached = match &self.breached {
            Some(list) => list.holds(password.normalised())?,
            None => false,
        };
        Ok(if is_breached {
            Err(Weakness::Breached)
        } else {
            Ok(())
        })
    }

    fn judge_alone(&self, password: &Password, names: &[String]) -> Result<(), Weakness> {
        let text = password.normalised();
        if text.chars().count() < self.min_length {
            return Err(Weakness::Short);
        }
        let lower_case = Zeroizing::new(text.to_lowercase());
        if names.iter().any(|name| is_name(&lower_case, name)) {
            return Err(Weakness::IsTheName);
        }
        let mut characters = lower_case.chars();
        let first = characters.next();
        if characters.all(|c| Some(c) == first) {
            return Err(Weakness::Repeats);
        }
        if common::is_common(text) {
            return Err(Weakness::Common);
        }
        if score(text, names) < self.min_score {
            return Err(Weakness::Guessable);
        }
        Ok(())
    }
}

fn is_name(password: &str, name: &str) -> bool {
    password == name || name.split('@').next() == Some(password)
}

fn score(text: &str, names: &[String]) -> u8 {
    let head: Zeroizing<String> = Zeroizing::new(text.chars().take(SCORED_CHARACTERS).collect());
    zxcvbn(&head, &inputs(names)).score().into()
}

/// The names and what they are put together from: `saad` and `example` of `saad@example.com`.
fn inputs(names: &[String]) -> Vec<&str> {
    let is_separator = |c: char| matches!(c, '@' | '.' | '_' | '-' | '+');
    let parts = names.iter().flat_map(|name| name.split(is_separator));
    let whole = names.iter().map(String::as_str);
    let fitting = |input: &&str| (LEAST_INPUT_BYTES..=MAX_INPUT_BYTES).contains(&input.len());
    whole
        .chain(parts)
        .chain(["portcullis"])
        .filter(fitting)
        .take(MAX_INPUTS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use portcullis_config::{auth::HashCost, units::ByteSize};
    use proptest::prelude::*;

    use super::*;

    fn rules(min_score: u8, breached: Option<PathBuf>) -> PasswordRules {
        PasswordRules {
            min_length: 10,
            min_score,
            breached,
            hash: HashCost {
                memory: ByteSize(64 * 1024),
                iterations: 1,
                parallelism: 1,
            },
            hashing_memory: ByteSize(64 * 1024),
        }
    }

    fn judged(policy: &Policy, text: &str) -> Result<(), Weakness> {
        let names = ["wilhelmina", "longer.name@example.com"].map(str::to_owned);
        let password = Password::parse(text).unwrap();
        policy.judge(&password, &names).unwrap()
    }

    #[test]
    fn weak_passwords_are_named_as_such() {
        let policy = Policy::open(&rules(3, None)).unwrap();
        for (text, expected) in [
            ("ninechars", Err(Weakness::Short)),
            ("ééééééééé", Err(Weakness::Short)),
            ("Wilhelmina", Err(Weakness::IsTheName)),
            ("longer.name", Err(Weakness::IsTheName)),
            ("longer.name@example.com", Err(Weakness::IsTheName)),
            ("aaaaaaaaaaaaaaa", Err(Weakness::Repeats)),
            ("P@ssw0rd2026!", Err(Weakness::Common)),
            ("wilhelmina7", Err(Weakness::Guessable)),
            ("wilhelmina1999", Err(Weakness::Guessable)),
            ("mnopqrstuvwx", Err(Weakness::Guessable)),
            ("a horse of no particular colour", Ok(())),
            ("ممتاز يوم جميل في المدينة", Ok(())),
        ] {
            assert_eq!(judged(&policy, text), expected, "{text}");
        }
    }

    #[test]
    fn the_score_that_is_asked_for_is_the_operators_to_say() {
        let lenient = Policy::open(&rules(0, None)).unwrap();
        assert_eq!(judged(&lenient, "wilhelmina7"), Ok(()));
        assert_eq!(judged(&lenient, "passwordpassword"), Err(Weakness::Common));
    }

    #[test]
    fn a_breached_password_is_refused_however_strong_it_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breached.txt");
        let digest = BreachedList::digest("a horse of no particular colour");
        std::fs::write(&path, format!("{digest}:3\r\n")).unwrap();
        let policy = Policy::open(&rules(3, Some(path))).unwrap();
        assert_eq!(
            judged(&policy, "a horse of no particular colour"),
            Err(Weakness::Breached)
        );
        assert_eq!(judged(&policy, "a cow of no particular colour"), Ok(()));
    }

    #[test]
    fn a_long_name_does_not_become_a_long_input() {
        let names = ["a-b-".repeat(60), "x".repeat(65), "saad".to_owned()];
        assert_eq!(inputs(&names), ["saad", "saad", "portcullis"]);
        let many: Vec<String> = (0..100).map(|n| format!("name{n}")).collect();
        assert_eq!(inputs(&many).len(), MAX_INPUTS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_typed_is_judged(text in "\\PC{1,80}", name in "\\PC{1,20}") {
            let policy = Policy::open(&rules(3, None)).unwrap();
            let password = Password::parse(&text).unwrap();
            prop_assert!(policy.judge(&password, &[name]).is_ok());
        }
    }
}
