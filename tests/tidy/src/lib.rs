//! The repository as its own tests see it: the files somebody wrote, and nothing that a tool made.
//!
//! The checks are in `checks/`. They read the work tree rather than git, so that a file is looked at before it is committed.

pub mod configuration_page;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Made by tools, or kept out of the repository by `.gitignore`.
const NOT_OURS: [&str; 4] = [".git", "target", "data", "node_modules"];

/// One text file, with its path as the repository names it.
pub struct SourceFile {
    pub path: String,
    pub text: String,
}

impl SourceFile {
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The top of the repository.
pub fn root() -> PathBuf {
    // Two levels up from tests/tidy, where cargo runs us.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Every text file of the repository, sorted by path. What is not UTF-8 is no text and is left out.
pub fn files() -> io::Result<Vec<SourceFile>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.extend(source_file(&root, &entry.path())?),
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn source_file(root: &Path, path: &Path) -> io::Result<Option<SourceFile>> {
    let Ok(text) = String::from_utf8(fs::read(path)?) else {
        return Ok(None);
    };
    let path = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    Ok(Some(SourceFile { path, text }))
}
