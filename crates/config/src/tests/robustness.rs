//! Whatever the text, the answer is a configuration or a mistake.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::nothing_set;
use crate::{load, load::parse_bytes, parse};

fn answers(text: &str) {
    if let Err(mistakes) = parse(text, "g.yaml", &nothing_set) {
        assert!(
            mistakes.iter().next().is_some(),
            "a refusal without a reason"
        );
        assert!(
            mistakes
                .iter()
                .all(|mistake| mistake.line > 0 && mistake.column > 0),
            "{mistakes}"
        );
    }
}

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway.yaml");
    fs::read_to_string(path).expect("the repository has it")
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "([a-z]{0,3}[:\\-,\\[\\]{}&*!|>'\"%@`#?~]{0,2}[ \\t\\n]{0,3}){0,40}") {
        answers(&text);
        answers(&format!("version: 1\n{text}"));
    }

    /// Close to a valid file is where the reading goes deepest.
    #[test]
    fn no_damage_to_a_valid_file_makes_it_panic(from in 0usize..9000, length in 0usize..40, instead in "[ -~\\n]{0,12}") {
        let mut text: Vec<char> = shipped().chars().collect();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.splice(from..to, instead.chars());
        answers(&text.into_iter().collect::<String>());
    }
}

#[test]
fn hostile_depth_length_and_repetition_are_answered() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "&a ".repeat(10_000),
        "a: &a [*a, *a]\n".repeat(10_000),
        format!("routes: [{}]", "{},".repeat(20_000)),
        format!("server: {{ {} }}", "x: 1, ".repeat(9000)),
        "x".repeat(2 << 20),
    ] {
        answers(&text);
    }
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let mistakes = parse_bytes(b"version: 1\nse\xffver: {}", "g.yaml", &nothing_set)
        .err()
        .expect("no UTF-8");
    assert_eq!(
        mistakes.to_string(),
        "g.yaml:2:3: this is not UTF-8 text: save the file as UTF-8"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = load(Path::new("no/such/gateway.yaml"), &nothing_set)
        .err()
        .expect("there is none")
        .to_string();
    assert!(
        missing.starts_with("no/such/gateway.yaml: cannot be read: "),
        "{missing}"
    );
    assert!(missing.contains("`--config FILE`"), "{missing}");
    assert!(
        load(Path::new("/"), &nothing_set).is_err(),
        "a folder is no file"
    );
}
