//! Wires what was opened, runs the proxy on the calling thread, and ends everything in the opposite order.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use portcullis_config::Config;
use portcullis_policy::limits::{DEFAULT_KEYS, Limiter};
use portcullis_proxy::{Parts, Server};
use prometheus::Registry;
use tokio::sync::oneshot;

use crate::{
    admin::{self, Admin},
    books::Books,
    clock,
    identity::{AuthDoor, Identity},
    process_metrics::ProcessMetrics,
    run::Opened,
    status,
    stop::{self, Signals},
    traces::Traces,
};

/// Returns when the gateway has been told to stop and has.
pub(crate) fn serve(opened: Opened) -> anyhow::Result<ExitCode> {
    let inside = opened.runtime.enter();
    let signals = Signals::listen().context("cannot listen for signals")?;
    let wired = Wired::wire(&opened)?;
    let admin = wired.admin(&opened)?;

    admin::serve(opened.admin, admin);
    let (close, closing) = oneshot::channel();
    let limits = opened.config.server.shutdown.clone();
    let stopping = tokio::spawn(stop::on_signal(signals, opened.readiness, limits, close));
    tracing::info!(listeners = %listeners(&opened.config), admin = %opened.config.server.admin, "the gateway is running");
    drop(inside);
    wired.proxy.run(closing);

    opened.runtime.block_on(async {
        let stop = stopping.await.context("the stop was not seen to its end")?;
        wired.traces.close(&stop).await;
        wired.books.close(stop).await;
        tracing::info!(signal = stop.signal, "the gateway has stopped");
        anyhow::Ok(())
    })?;
    // What still runs there waits for nothing that anybody needs.
    opened.runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Everything that serves, before the first request.
struct Wired {
    registry: Registry,
    books: Books,
    identity: Identity,
    proxy: Server,
    traces: Traces,
    /// Held until the end: with it goes the folder of the socket.
    _auth: Option<AuthDoor>,
}

impl Wired {
    fn wire(opened: &Opened) -> anyhow::Result<Self> {
        let (runtime, config, registry) = (&opened.runtime, &opened.config, Registry::new());
        let books = Books::open(opened.store.clone(), &registry)?;
        let identity = runtime.block_on(Identity::establish(config, books.store(), &registry))?;
        let verifier = identity.verifier(config)?;
        let auth = identity.start_auth_service(&verifier, &books.desk, &registry)?;
        let (traces, spans) = Traces::start(config, &registry)?;
        let [one, two, three, four] = random()?;
        let proxy = Server::bind(Parts {
            config,
            limiter: Arc::new(Limiter::new((one, two), DEFAULT_KEYS)),
            verifier,
            desk: Arc::clone(&books.desk),
            registry: &registry,
            auth_socket: auth.as_ref().map(AuthDoor::path),
            clock: Arc::new(clock::moments()),
            spans,
            seed: [three, four],
        })?;
        runtime.block_on(books.begin(&opened.origin))?;
        Ok(Self {
            registry,
            books,
            identity,
            proxy,
            traces,
            _auth: auth,
        })
    }

    fn admin(&self, opened: &Opened) -> anyhow::Result<Admin> {
        let started_at = clock::wall();
        let process = ProcessMetrics::register(&self.registry, started_at)?;
        let (proxy, feed_age) = (self.proxy.status(), self.identity.feed_age());
        let description = status::describe(&opened.config, &opened.origin, started_at);
        let shown = proxy.clone();
        Ok(Admin {
            registry: self.registry.clone(),
            readiness: Arc::clone(&opened.readiness),
            refresh: Box::new(move || {
                process.refresh();
                proxy.refresh_gauges();
                feed_age.iter().for_each(|age| age.refresh());
            }),
            status: Box::new(move || {
                status::with_upstreams(description.clone(), &shown.upstreams())
            }),
        })
    }
}

fn listeners(config: &Config) -> String {
    let addresses = config.server.listeners.iter();
    let addresses: Vec<String> = addresses
        .map(|listener| listener.address.to_string())
        .collect();
    addresses.join(" ")
}

/// The operating system's randomness, for seeds that an attacker must not foresee.
fn random() -> anyhow::Result<[u64; 4]> {
    let mut seeds = [0u64; 4];
    for seed in &mut seeds {
        let mut bytes = [0u8; 8];
        aws_lc_rs::rand::fill(&mut bytes).context("the system has no randomness")?;
        *seed = u64::from_ne_bytes(bytes);
    }
    Ok(seeds)
}
