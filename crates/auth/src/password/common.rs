//! The block list that ships with the binary: words that passwords are made of when somebody has to think of one.
//!
//! A list of whole passwords would be long and still miss the year at the end. Here a password is common if it is at
//! most three listed words with little between and around them, whatever signs stand for letters.

use std::{collections::HashSet, sync::LazyLock};

use zeroize::Zeroizing;

/// Longer than this, a password is not three words and a year.
const MAX_CHARACTERS: usize = 64;
const MAX_WORDS: usize = 3;
/// A year, a digit and a sign.
const MAX_FILLERS: usize = 4;

struct List {
    words: HashSet<&'static str>,
    longest: usize,
}

static LIST: LazyLock<List> = LazyLock::new(|| {
    let words: HashSet<_> = include_str!("common.txt").split_whitespace().collect();
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    List { words, longest }
});

pub(super) fn is_common(password: &str) -> bool {
    let lower_case = Zeroizing::new(password.to_lowercase());
    if lower_case.chars().count() > MAX_CHARACTERS {
        return false;
    }
    [as_written as fn(char) -> char, one_is_i, one_is_l]
        .iter()
        .any(|reading| {
            let read = lower_case.chars().map(reading);
            let kept: Zeroizing<String> =
                Zeroizing::new(read.filter(|c| c.is_alphanumeric()).collect());
            is_made_of_words(&kept)
        })
}

fn as_written(c: char) -> char {
    c
}

fn one_is_i(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        letter => letter,
    }
}

/// An exclamation mark is one here.
fn one_is_l(c: char) -> char {
    match c {
        '1' => 'l',
        '!' => c,
        other => one_is_i(other),
    }
}

/// For each place in the text, how few fillers lead there with so many words. Words are ASCII, so a place between bytes
/// of one character is never reached by one.
fn is_made_of_words(text: &str) -> bool {
    let mut fewest = vec![[None::<usize>; MAX_WORDS + 1]; text.len() + 1];
    if let Some(start) = fewest.first_mut() {
        *start = [Some(0), None, None, None];
    }
    for at in 0..text.len() {
        let Some(&here) = fewest.get(at) else { break };
        for (words, fillers) in here.iter().enumerate() {
            let Some(fillers) = *fillers else { continue };
            improve(&mut fewest, at + 1, words, fillers + 1);
            for end in at + 1..=text.len().min(at + LIST.longest) {
                if text
                    .get(at..end)
                    .is_some_and(|word| LIST.words.contains(word))
                {
                    improve(&mut fewest, end, words + 1, fillers);
                }
            }
        }
    }
    fewest
        .last()
        .is_some_and(|end| end.iter().skip(1).any(Option::is_some))
}

fn improve(
    fewest: &mut [[Option<usize>; MAX_WORDS + 1]],
    place: usize,
    words: usize,
    fillers: usize,
) {
    if fillers > MAX_FILLERS {
        return;
    }
    if let Some(best) = fewest.get_mut(place).and_then(|place| place.get_mut(words)) {
        *best = Some(best.map_or(fillers, |best| best.min(fillers)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_choose_is_common_in_every_guise() {
        for text in [
            "password",
            "Password123!",
            "P@ssw0rd2026",
            "p4$$w0rdp4$$w0rd",
            "SummerWelcome2026",
            "letmein-letmein",
            "qwertyuiop12",
            "1q2w3e4r5t6y",
            "Adm1nistrator!",
            "we1come-we1come",
            "iloveyou.forever",
            "correct horse battery staple",
        ] {
            assert!(is_common(text), "{text}");
        }
    }

    #[test]
    fn what_few_choose_is_not() {
        for text in [
            "a horse of no particular colour",
            "eleven quiet bicycles",
            "password8372946151",
            "dragon-kettle-umbrage-novel",
            "ممتاز يوم جميل",
            "é",
            "",
        ] {
            assert!(!is_common(text), "{text}");
        }
        assert!(!is_common(&"password".repeat(9)), "too long for this list");
    }

    #[test]
    fn the_list_is_lower_case_ascii_without_signs() {
        assert!(LIST.words.len() > 300, "{}", LIST.words.len());
        for word in &LIST.words {
            let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            assert!(word.len() >= 3 && word.bytes().all(is_plain), "{word}");
        }
    }
}
