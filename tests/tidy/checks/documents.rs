//! Rules for what people read: commands that exist, links that lead somewhere, examples that load.

use std::{collections::BTreeSet, path::Path};

use portcullis_tidy::{SourceFile, root};

use crate::{
    deployments::mistakes_of,
    findings::{assert_none, file, files},
};

#[test]
fn every_make_command_in_the_documents_exists() {
    let targets = make_targets();
    let findings: Vec<_> = documents()
        .iter()
        .flat_map(|document| {
            make_commands(document)
                .into_iter()
                .map(|target| (document.path.clone(), target))
        })
        .filter(|(_, target)| !targets.contains(target))
        .map(|(path, target)| format!("{path}: make {target}"))
        .collect();
    assert_none(
        "the Makefile has every command that a document names",
        &findings,
    );
}

#[test]
fn ci_runs_nothing_that_the_readme_does_not_name() {
    let readme = make_commands(&file("README.md"));
    let script = file(".ci/run").text;
    let commands = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("make "));
    let targets: Vec<_> = commands.flat_map(targets_of).collect();
    assert!(!targets.is_empty(), ".ci/run calls make");
    let findings: Vec<_> = targets
        .into_iter()
        .filter(|target| !readme.contains(target))
        .collect();
    assert_none("what CI runs, a reader of the README can run", &findings);
}

#[test]
fn every_relative_link_leads_somewhere() {
    let findings: Vec<_> = documents().iter().flat_map(broken_links).collect();
    assert_none("a relative link names a file of the repository", &findings);
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let findings: Vec<_> = documents()
        .iter()
        .filter(|document| {
            document.path != "CHANGELOG.md" && !document.path.starts_with("docs/decisions/")
        })
        .flat_map(|document| {
            named_paths(&document.text)
                .into_iter()
                .map(|path| (document.path.clone(), path))
        })
        .filter(|(_, path)| !root().join(path).exists())
        .map(|(document, path)| format!("{document}: {path}"))
        .collect();
    assert_none("a code map is true or it is worse than none", &findings);
}

#[test]
fn every_decision_is_in_their_list() {
    let list = file("docs/decisions/README.md").text;
    let records = files()
        .into_iter()
        .filter(|file| file.path.starts_with("docs/decisions/0"));
    let findings: Vec<_> = records
        .filter(|file| !list.contains(&format!("]({})", file.file_name())))
        .map(|file| file.path)
        .collect();
    assert_none("docs/decisions/README.md lists every record", &findings);
}

#[test]
fn the_code_map_has_every_module() {
    let map = file("docs/ARCHITECTURE.md").text;
    let findings: Vec<_> = files()
        .into_iter()
        .filter(is_module_of_a_room)
        .filter(|file| !map.contains(&format!("| `{}` |", file.path)))
        .map(|file| file.path)
        .collect();
    assert_none("docs/ARCHITECTURE.md has a line for each module", &findings);
}

#[test]
fn the_readme_explains_every_code_of_a_refusal() {
    let readme = file("README.md").text;
    let rejection = file("crates/policy/src/rejection.rs").text;
    let codes = rejection
        .split_once("pub fn code")
        .and_then(|(_, rest)| rest.split_once("pub fn title"));
    let (codes, _) = codes.expect("code() comes before title()");
    let codes: Vec<_> = codes.split('"').skip(1).step_by(2).collect();
    assert!(
        codes.len() > 20,
        "the codes are read from the source: {codes:?}"
    );
    let findings: Vec<_> = codes
        .into_iter()
        .filter(|code| !readme.contains(&format!("| `{code}` |")))
        .map(str::to_owned)
        .collect();
    assert_none("README.md has every code in its table", &findings);
}

#[test]
fn every_metric_that_operators_are_told_to_watch_is_registered() {
    let operating = file("docs/operating.md").text;
    let table = operating
        .split("## ")
        .find(|section| section.starts_with("Metrics"));
    let rows = table
        .expect("docs/operating.md has a section on metrics")
        .lines();
    // The first column names what to watch; the others also name keys of the configuration.
    let watched = rows.filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    let names: BTreeSet<_> = watched
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|span| span.split('{').next())
        .filter(|name| name.contains('_') && !name.contains('.'))
        .collect();
    assert!(names.len() > 5, "the table is read: {names:?}");
    let sources: Vec<_> = files().into_iter().filter(SourceFile::is_rust).collect();
    let registered = |name: &str| {
        sources
            .iter()
            .any(|file| file.text.contains(&format!("{name}\"")))
    };
    let findings: Vec<_> = names
        .into_iter()
        .filter(|name| !registered(name))
        .map(str::to_owned)
        .collect();
    assert_none(
        "a metric in docs/operating.md is one that exists",
        &findings,
    );
}

#[test]
fn every_whole_configuration_in_the_documents_loads() {
    let mut examples = 0;
    let mut findings = Vec::new();
    for document in documents() {
        for example in fenced(&document.text, "yaml")
            .into_iter()
            .filter(|text| text.contains("version: 1\n"))
        {
            examples += 1;
            findings.extend(mistakes_of(&document.path, &example));
        }
    }
    assert!(examples > 0, "the README shows a configuration");
    assert_none("an example that is shown is one that starts", &findings);
}

fn documents() -> Vec<SourceFile> {
    files()
        .into_iter()
        .filter(|file| file.has_extension("md"))
        .collect()
}

/// A file right under `src/`; what lies deeper belongs to one of these, and its parent's line speaks for it.
fn is_module_of_a_room(file: &SourceFile) -> bool {
    let parts: Vec<_> = file.path.split('/').collect();
    matches!(parts.as_slice(), ["crates", _, "src", name] if name.ends_with(".rs") && *name != "tests.rs")
}

fn make_targets() -> BTreeSet<String> {
    let makefile = file("Makefile").text;
    let heads = makefile
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    heads
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The targets of each `make …` that stands in code: in a span of its own, or at the start of a line in a block.
fn make_commands(document: &SourceFile) -> BTreeSet<String> {
    let spans = document.text.split('`').skip(1).step_by(2);
    let lines = document.text.lines().map(str::trim);
    let commands = spans
        .chain(lines)
        .filter_map(|code| code.strip_prefix("make "));
    commands.flat_map(targets_of).collect()
}

/// Words up to the first that is an assignment, a redirection or a comment.
fn targets_of(command: &str) -> Vec<String> {
    let is_target = |word: &&str| {
        word.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '-')
    };
    command
        .split_whitespace()
        .take_while(is_target)
        .map(str::to_owned)
        .collect()
}

fn broken_links(document: &SourceFile) -> Vec<String> {
    let folder = root().join(&document.path);
    let folder = folder.parent().unwrap_or(Path::new(""));
    let links = document
        .text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    links
        .filter(|link| {
            !link.contains("://") && !link.starts_with(['#', '<']) && !link.contains(' ')
        })
        .filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists())
        .map(|link| format!("{}: {link}", document.path))
        .collect()
}

/// Paths in code spans that lie in one of our folders and are written out to the extension.
fn named_paths(text: &str) -> Vec<String> {
    const OURS: [&str; 7] = [
        "crates/",
        "tests/",
        "benches/",
        "deploy/",
        "docs/",
        "migrations/",
        "scripts/",
    ];
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|span| OURS.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| {
            span.chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
        })
        .map(str::to_owned)
        .collect()
}

/// The contents of fenced blocks of one language.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    blocks
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}
