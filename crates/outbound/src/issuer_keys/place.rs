//! Whose keys are kept, where they are had, and reading them from there.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use portcullis_config::issuers::{Algorithm, Issuer, KeySource};
use portcullis_tokens::{MAX_KEY_SET_BYTES, renewal::Pace};
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{RenewalError, Shared};
use crate::{discovery::discover, fetch::Fetched};

/// Whose keys, and from where. A configuration that says the same goes on with what was had before.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) source: Source,
    pub(super) algorithms: Vec<Algorithm>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Source {
    Url(String),
    Discovery,
    File(PathBuf),
}

impl Place {
    pub(super) fn of(issuer: &Issuer) -> Option<Self> {
        let source = match &issuer.keys {
            KeySource::JwksUrl(url) => Source::Url(url.clone()),
            KeySource::Discovery => Source::Discovery,
            KeySource::JwksFile(path) => Source::File(path.clone()),
            KeySource::PublicKeyFile(_) | KeySource::Secret(_) => return None,
        };
        Some(Self {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            source,
            algorithms: issuer.algorithms.clone(),
        })
    }

    pub(super) fn pace(&self) -> Pace {
        match self.source {
            Source::Url(_) | Source::Discovery => Pace::REMOTE,
            Source::File(_) => Pace::FILE,
        }
    }

    pub(super) async fn ask(&self, shared: &Shared) -> Result<Fetched, RenewalError> {
        match &self.source {
            Source::Url(url) => Ok(shared.fetcher()?.fetch(url, MAX_KEY_SET_BYTES).await?),
            Source::Discovery => {
                let fetcher = shared.fetcher()?;
                let url = discover(fetcher, &self.issuer).await?;
                Ok(fetcher.fetch(&url, MAX_KEY_SET_BYTES).await?)
            }
            Source::File(path) => read(path).await,
        }
    }
}

/// One byte more than a key set may have shows that it is too large.
const FILE_LIMIT: u64 = MAX_KEY_SET_BYTES as u64 + 1;

async fn read(path: &Path) -> Result<Fetched, RenewalError> {
    let mut body = Vec::new();
    let file = File::open(path).await?;
    file.take(FILE_LIMIT).read_to_end(&mut body).await?;
    Ok(of_file(body))
}

/// At the start, when there is nobody who could be kept waiting.
pub(super) fn read_now(path: &Path) -> Result<Fetched, RenewalError> {
    let mut body = Vec::new();
    let file = std::fs::File::open(path)?;
    io::Read::take(file, FILE_LIMIT).read_to_end(&mut body)?;
    Ok(of_file(body))
}

fn of_file(body: Vec<u8>) -> Fetched {
    Fetched {
        body,
        max_age: None,
    }
}
