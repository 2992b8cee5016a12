//! The root key: from the configuration, or from a file beside the SQLite database that the first start makes.
//!
//! Invariant: whoever starts at the same time ends with the same key. The file is written whole under a name of its
//! own and then linked to its place, which fails if somebody else was first; nobody ever reads half a key.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_config::storage::{Database, RootKeyBytes, Storage};
use zeroize::Zeroizing;

const FILE_NAME: &str = "portcullis.key";
/// 32 bytes in base64 are 44 characters; a line break may follow.
const LARGEST_FILE: u64 = 64;
/// Everything that is not the owner's.
const FOREIGN_BITS: u32 = 0o077;

/// The configured key, or the one beside the database.
pub(crate) fn root_key(storage: &Storage) -> anyhow::Result<RootKeyBytes> {
    if let Some(key) = &storage.key {
        return Ok(key.clone());
    }
    match &storage.database {
        Database::Sqlite(database) => beside(database),
        Database::Postgres(_) => {
            bail!("storage.key: required with PostgreSQL, because no replica owns a folder")
        }
    }
}

fn beside(database: &Path) -> anyhow::Result<RootKeyBytes> {
    let path = database.with_file_name(FILE_NAME);
    if !path
        .try_exists()
        .with_context(|| format!("cannot look for {}", path.display()))?
    {
        make(&path).with_context(|| format!("cannot make the root key {}", path.display()))?;
    }
    read(&path).with_context(|| format!("cannot use the root key {}", path.display()))
}

fn make(path: &Path) -> anyhow::Result<()> {
    let mut key = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(key.as_mut_slice()).context("the system has no randomness")?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Made with 0600 and a random name; whatever happens, it does not stay.
    let mut draft = tempfile::Builder::new()
        .prefix(".portcullis.key.")
        .tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    match fs::hard_link(draft.path(), path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => {
            linked?;
            // A key that is lost with the power takes everything wrapped by it along.
            Ok(File::open(folder)?.sync_all()?)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<RootKeyBytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("it is not a regular file");
    }
    if metadata.mode() & FOREIGN_BITS != 0 {
        bail!(
            "others may read it: take that away with `chmod 600 {}`",
            path.display()
        );
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST_FILE).read_to_string(&mut text)?;
    let bytes = Zeroizing::new(
        STANDARD
            .decode(text.trim_end())
            .context("it is not base64")?,
    );
    let key: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .context("it does not hold 32 bytes")?;
    Ok(RootKeyBytes::new(key))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::*;

    fn sqlite_in(folder: &Path) -> Storage {
        Storage {
            redis: None,
            database: Database::Sqlite(folder.join("portcullis.db")),
            key: None,
        }
    }

    #[test]
    fn the_key_made_at_first_is_the_key_read_later() {
        let folder = tempfile::tempdir().unwrap();
        let made = root_key(&sqlite_in(folder.path())).unwrap();
        let read = root_key(&sqlite_in(folder.path())).unwrap();
        assert_eq!(made.expose(), read.expose());
        assert_ne!(made.expose(), &[0; 32]);
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [FILE_NAME], "no temporary file stays");
    }

    #[test]
    fn the_file_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        root_key(&sqlite_in(folder.path())).unwrap();
        let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        root_key(&sqlite_in(folder.path())).unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = root_key(&sqlite_in(folder.path()))
            .err()
            .expect("group may read it");
        assert!(format!("{refused:#}").contains("chmod 600"), "{refused:#}");
    }

    #[test]
    fn two_that_make_it_at_once_end_with_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        make(&path).unwrap();
        let before = read(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(
            read(&path).unwrap().expose(),
            before.expose(),
            "who comes second keeps the first one's key"
        );
    }

    #[test]
    fn a_configured_key_needs_no_file() {
        let storage = Storage {
            redis: None,
            database: Database::Postgres("postgres://localhost".into()),
            key: Some(RootKeyBytes::new([7; 32])),
        };
        assert_eq!(root_key(&storage).unwrap().expose(), &[7; 32]);
        let without = Storage {
            key: None,
            ..storage
        };
        assert!(root_key(&without).is_err(), "a replica cannot make its own");
    }

    #[test]
    fn threads_that_start_together_read_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<[u8; 32]> = thread::scope(|scope| {
            let starts: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| *root_key(&sqlite_in(folder.path())).unwrap().expose()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
