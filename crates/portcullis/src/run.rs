//! `portcullis run`, and what `demo` shares with it: everything is opened, then wired, then served, then ended.
//!
//! Order of the start: admin address (taken or not), database (there and migrated), keys, revocations, proxy listeners;
//! only then is the start written to the audit log and the first request taken. The end goes backwards.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use portcullis_config::Config;
use portcullis_store::Store;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    admin, clock,
    configuration::{self, Reading},
    house,
    in_force::{Configuration, InForce},
    logging,
    readiness::Readiness,
    serve,
    status::Origin,
    watch::{Fingerprint, Watch},
};

pub(crate) fn run(config: &Path) -> anyhow::Result<ExitCode> {
    logging::start();
    let reading = Reading::of(config);
    let loaded = configuration::usable(reading.config)?;
    let mut opened = Opened::open(loaded, reading.origin)?;
    opened.source = Some(Source {
        path: config.to_owned(),
        watch: Watch::new(Fingerprint::of(&reading.files)),
    });
    serve::serve(opened)
}

/// What a reload reads.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) watch: Watch,
}

/// What must be there before anything is wired: addresses and database.
pub(crate) struct Opened {
    pub(crate) runtime: Runtime,
    pub(crate) in_force: Arc<InForce>,
    /// Absent where the configuration is not that of a file alone, as in the demo: then it is not reloaded.
    pub(crate) source: Option<Source>,
    pub(crate) admin: TcpListener,
    pub(crate) readiness: Arc<Readiness>,
    /// Absent for a gateway that neither signs in nor audits.
    pub(crate) store: Option<Store>,
}

impl Opened {
    pub(crate) fn open(config: Config, origin: Origin) -> anyhow::Result<Self> {
        install_tls_provider()?;
        let runtime = house::runtime()?;
        let listeners = config
            .server
            .listeners
            .iter()
            .map(|listener| listener.address)
            .collect();
        let (admin, store) = runtime.block_on(async {
            let admin = admin::bind(config.server.admin).await?;
            let store = match config.needs_database() {
                true => Some(house::open_store(&config.storage).await?),
                false => None,
            };
            anyhow::Ok((admin, store))
        })?;
        let in_force = Configuration {
            config,
            origin,
            loaded_at: clock::wall(),
            needs_restart: Vec::new(),
        };
        Ok(Self {
            runtime,
            in_force: Arc::new(InForce::new(in_force)),
            source: None,
            admin,
            readiness: Arc::new(Readiness::of(listeners)),
            store,
        })
    }

    /// What is in force from the start.
    pub(crate) fn configuration(&self) -> Arc<Configuration> {
        self.in_force.configuration()
    }
}

/// Before anything speaks TLS: with two providers in the tree rustls would not choose by itself, and panic.
fn install_tls_provider() -> anyhow::Result<()> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed
        .ok()
        .context("another TLS provider was installed before ours")
}
