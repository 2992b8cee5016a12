//! `storage:`. The types are in [`crate::storage`].

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::redis::redis;
use crate::{
    reader::{Section, Value},
    storage::{Database, RootKeyBytes, Storage},
};

const DEFAULT_DATABASE: &str = "data/portcullis.db";
const KEY_REMEDY: &str =
    "must be 32 bytes in base64: make one with `head -c 32 /dev/urandom | base64`";

pub(super) fn storage(section: &Section<'_>) -> Storage {
    let redis = section.find("redis").and_then(|value| redis(&value));
    let database = section.or(
        "database",
        Database::Sqlite(PathBuf::from(DEFAULT_DATABASE)),
        |value| value.parse(database),
    );
    let written = section.find("key");
    if written.is_none() && matches!(database, Database::Postgres(_)) {
        section.mistake(
            "`key` is missing: PostgreSQL has no folder to keep a key file in; \
             name the root key, such as \"${file:/run/secrets/portcullis.key}\"",
        );
    }
    Storage {
        database,
        redis,
        key: written.and_then(|value| root_key(&value)),
    }
}

fn database(text: &str) -> Result<Database, String> {
    const REMEDY: &str =
        "is not a database: write sqlite://path/to/file.db or postgres://user:password@host/name";
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return match text.parse::<http::Uri>() {
            Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => {
                Ok(Database::Postgres(SecretString::from(text)))
            }
            Ok(_) | Err(_) => Err(
                "is not a PostgreSQL URL: write postgres://user:password@host:5432/name".to_owned(),
            ),
        };
    }
    let path = text.strip_prefix("sqlite://").ok_or(REMEDY)?;
    if path.is_empty() || path.contains(['?', ':']) || path.ends_with('/') {
        return Err(
            "names no file: write sqlite:// and a path, such as sqlite://data/portcullis.db"
                .to_owned(),
        );
    }
    Ok(Database::Sqlite(PathBuf::from(path)))
}

fn root_key(value: &Value<'_>) -> Option<RootKeyBytes> {
    let secret = value.secret()?;
    let bytes = STANDARD
        .decode(secret.expose_secret().trim())
        .map(Zeroizing::new)
        .ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    if key.is_none() {
        value.mistake(KEY_REMEDY);
    }
    key.map(RootKeyBytes::new)
}
