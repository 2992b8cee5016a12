//! Rules for the source itself.

use portcullis_tidy::SourceFile;

use crate::findings::{assert_none, files};

const LONGEST_FILE: usize = 500;

/// Tests are looked up one by one rather than read through.
const LONGEST_TESTS: usize = 700;

/// Put together from halves, so that this file does not find itself.
const LEFT_FOR_LATER: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
];

/// Places that exist on the machine of whoever wrote a file, and on no other.
const ELSEWHERE: [&str; 3] = [
    concat!("../", "shared"),
    concat!("/wo", "rk/"),
    concat!("BRI", "EF.md"),
];

/// The rooms that decide from what they are handed.
const WITHOUT_IO: [&str; 4] = ["config", "tokens", "policy", "audit"];
const DOES_IO: [&str; 6] = ["tokio", "sqlx", "axum", "hyper", "pingora", "reqwest"];

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let findings: Vec<_> = rust_files()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    assert_none(
        "the first line of a file is `//! ` and says what the file is for",
        &findings,
    );
}

#[test]
fn no_file_of_a_room_is_longer_than_a_reader_can_hold() {
    let findings: Vec<_> = rust_files()
        .filter(|file| file.path.starts_with("crates/"))
        .map(|file| (file.text.lines().count(), longest(&file), file.path))
        .filter(|(lines, longest, _)| lines > longest)
        .map(|(lines, longest, path)| format!("{path}: {lines} lines of {longest}"))
        .collect();
    assert_none("a file that is too long wants to be two", &findings);
}

#[test]
fn nothing_is_left_for_later() {
    let findings: Vec<_> = files()
        .iter()
        .flat_map(|file| lines_with(file, &LEFT_FOR_LATER))
        .collect();
    assert_none(
        "what is missing is an issue, not a mark in a file",
        &findings,
    );
}

#[test]
fn nothing_points_outside_the_repository() {
    let findings: Vec<_> = files()
        .iter()
        .flat_map(|file| lines_with(file, &ELSEWHERE))
        .collect();
    assert_none("a clone has nothing beside it", &findings);
}

#[test]
fn rooms_that_only_decide_depend_on_nothing_that_waits() {
    let manifests = files().into_iter().filter(|file| {
        WITHOUT_IO
            .iter()
            .any(|room| file.path == format!("crates/{room}/Cargo.toml"))
    });
    let findings: Vec<_> = manifests
        .flat_map(|file| dependencies_on(&file, &DOES_IO))
        .collect();
    assert_none("config, tokens, policy and audit do no I/O", &findings);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let findings: Vec<_> = files()
        .into_iter()
        .filter(|file| file.file_name() == "Cargo.toml" && file.text.contains("[package]"))
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| file.path)
        .collect();
    assert_none("every package says `[lints] workspace = true`", &findings);
}

fn longest(file: &SourceFile) -> usize {
    let is_test = file.file_name() == "tests.rs" || file.path.contains("/tests/");
    if is_test { LONGEST_TESTS } else { LONGEST_FILE }
}

fn rust_files() -> impl Iterator<Item = SourceFile> {
    files().into_iter().filter(SourceFile::is_rust)
}

fn lines_with(file: &SourceFile, words: &[&str]) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(index, line)| format!("{}:{}: {}", file.path, index + 1, line.trim()))
        .collect()
}

fn dependencies_on(manifest: &SourceFile, crates: &[&str]) -> Vec<String> {
    let names = manifest
        .text
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| crates.contains(name))
        .map(|name| format!("{}: {name}", manifest.path))
        .collect()
}
