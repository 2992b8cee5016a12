//! Whether the configuration's files have changed: asked every second, by what is in them.
//!
//! Contents and not times, and paths and not open files, because the files of a `ConfigMap` change by a link above them
//! being swapped. A change counts once two looks in a row agree on it, so that a file that is being written is left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

/// Between two looks.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Of each file. As much as the loader reads of any of them.
const READ_AT_MOST: u64 = 1 << 20;

/// What is in each file; `None` where it cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Fingerprint {
    pub(crate) fn of(files: &BTreeSet<PathBuf>) -> Self {
        let look = |path: &PathBuf| (path.clone(), digest(path));
        Self(files.iter().map(look).collect())
    }
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let file = File::open(path).ok()?;
    file.take(READ_AT_MOST).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}

/// Remembers what was last taken, whether it turned out usable or not: a broken file is complained about once.
pub(crate) struct Watch {
    taken: Fingerprint,
    /// Seen once, and not yet again.
    candidate: Option<Fingerprint>,
}

impl Watch {
    pub(crate) fn new(taken: Fingerprint) -> Self {
        Self {
            taken,
            candidate: None,
        }
    }

    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        self.taken.0.keys().cloned().collect()
    }

    /// Whether what is seen now should be taken.
    pub(crate) fn is_settled_change(&mut self, seen: &Fingerprint) -> bool {
        if *seen == self.taken {
            self.candidate = None;
            return false;
        }
        let is_settled = self.candidate.as_ref() == Some(seen);
        self.candidate = Some(seen.clone());
        is_settled
    }

    /// `seen` was looked at before the files were read, so that what changed in between shows at the next look. `files`
    /// is what the reading found to depend on; those it did not know before are looked at now.
    pub(crate) fn took(&mut self, mut seen: Fingerprint, files: &BTreeSet<PathBuf>) {
        seen.0.retain(|path, _| files.contains(path));
        for path in files {
            let look = || digest(path);
            seen.0.entry(path.clone()).or_insert_with(look);
        }
        *self = Self::new(seen);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn seen(text: &str) -> Fingerprint {
        let digest: [u8; 32] = Sha256::digest(text).into();
        Fingerprint(BTreeMap::from([("gateway.yaml".into(), Some(digest))]))
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let mut watch = Watch::new(seen("one"));
        for text in ["one", "t", "tw", "two"] {
            assert!(!watch.is_settled_change(&seen(text)), "{text}");
        }
        assert!(watch.is_settled_change(&seen("two")));
    }

    #[test]
    fn a_change_that_is_taken_back_was_none() {
        let mut watch = Watch::new(seen("one"));
        for text in ["two", "one", "two", "one", "one"] {
            assert!(!watch.is_settled_change(&seen(text)), "{text}");
        }
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let mut watch = Watch::new(seen("one"));
        watch.is_settled_change(&seen("two"));
        watch.took(seen("two"), &BTreeSet::from(["gateway.yaml".into()]));
        assert!(!watch.is_settled_change(&seen("two")));
        assert!(!watch.is_settled_change(&seen("two")));
    }

    #[test]
    fn a_file_that_is_newly_referred_to_is_followed_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "one").unwrap();
        let mut watch = Watch::new(seen("one"));
        let files = BTreeSet::from(["gateway.yaml".into(), secret.clone()]);
        watch.took(seen("two"), &files);
        assert_eq!(watch.files(), files);
        fs::write(&secret, "two").unwrap();
        let mut now = seen("two");
        now.0.insert(secret.clone(), digest(&secret));
        watch.is_settled_change(&now);
        assert!(watch.is_settled_change(&now));
    }

    #[test]
    fn a_swapped_symlink_above_the_file_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("gateway.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/gateway.yaml", at("gateway.yaml")).unwrap();
        let files = BTreeSet::from([at("gateway.yaml")]);
        let before = Fingerprint::of(&files);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_ne!(Fingerprint::of(&files), before);
    }

    #[test]
    fn a_file_that_is_gone_differs_from_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        let files = BTreeSet::from([path.clone()]);
        let gone = Fingerprint::of(&files);
        fs::write(&path, "").unwrap();
        assert_ne!(Fingerprint::of(&files), gone);
    }
}
