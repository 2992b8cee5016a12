//! How checks get at the repository, and how they fail.

use portcullis_tidy::SourceFile;

/// Every file of the repository; a test that cannot read them has nothing to say.
pub(crate) fn files() -> Vec<SourceFile> {
    portcullis_tidy::files().expect("the repository can be read")
}

/// One file by its path.
pub(crate) fn file(path: &str) -> SourceFile {
    let found = files().into_iter().find(|file| file.path == path);
    found.unwrap_or_else(|| panic!("{path} is missing"))
}

/// Fails with all findings together, so that one run is enough to mend them.
pub(crate) fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}\n  {}", findings.join("\n  "));
}
