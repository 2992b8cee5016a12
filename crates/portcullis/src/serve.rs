//! Wires what was opened, runs the proxy on the calling thread, and ends everything in the opposite order.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use portcullis_config::Config;
use portcullis_policy::limits::{DEFAULT_KEYS, Limiter};
use portcullis_proxy::{Clock, Parts, Server};
use prometheus::Registry;
use tokio::sync::oneshot;

use crate::{
    admin::{self, Admin},
    books::Books,
    breaker_handle::BreakerHandle,
    clock,
    identity::{AuthDoor, Identity},
    in_force::InForce,
    process_metrics::ProcessMetrics,
    reload::{Reload, ReloadMetrics},
    run::{Opened, Source},
    shared_limits::SharedLimits,
    status,
    stop::{self, Signals},
    traces::Traces,
};

/// Returns when the gateway has been told to stop and has.
pub(crate) fn serve(opened: Opened) -> anyhow::Result<ExitCode> {
    let inside = opened.runtime.enter();
    let signals = Signals::listen().context("cannot listen for signals")?;
    let hangups = opened.source.as_ref().map(|_| Signals::hangups());
    let hangups = hangups.transpose().context("cannot listen for SIGHUP")?;
    let wired = Wired::wire(&opened)?;
    let admin = wired.admin(&opened)?;

    admin::serve(opened.admin, admin);
    if let Some((source, hangups)) = opened.source.zip(hangups) {
        let reload = wired.reload(source, &opened.in_force)?;
        tokio::spawn(reload.follow(hangups, Arc::clone(&opened.readiness)));
    }
    let (close, closing) = oneshot::channel();
    let config = &opened.in_force.configuration().config;
    tracing::info!(listeners = %listeners(config), admin = %config.server.admin, "the gateway is running");
    let stopping = stop::on_signal(signals, opened.readiness, opened.in_force, close);
    let auth_service = wired.auth.as_ref().map(AuthDoor::service);
    let stopping = tokio::spawn(async move {
        let stop = stopping.await;
        auth_service.iter().for_each(|service| service.end_waits());
        stop
    });
    drop(inside);
    wired.proxy.run(closing);

    opened.runtime.block_on(async {
        let stop = stopping.await.context("the stop was not seen to its end")?;
        wired.shared_limits.close(&stop).await;
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
    identity: Arc<Identity>,
    proxy: Server,
    traces: Traces,
    shared_limits: SharedLimits,
    /// Held until the end: with it goes the folder of the socket.
    auth: Option<AuthDoor>,
}

impl Wired {
    fn wire(opened: &Opened) -> anyhow::Result<Self> {
        let (runtime, registry) = (&opened.runtime, Registry::new());
        let configuration = opened.configuration();
        let config = &configuration.config;
        let books = Books::open(opened.store.clone(), &registry)?;
        let identity = Identity::establish(config, books.store(), &registry);
        let identity = runtime.block_on(identity)?;
        let verifier = identity.verifier(config)?;
        runtime.block_on(identity.catch_up());
        let breakers = Arc::new(BreakerHandle::default());
        let auth = identity.start_auth_service(&verifier, &books.desk, &registry, &breakers)?;
        let (traces, spans) = Traces::start(config, &registry)?;
        let clock: Clock = Arc::new(clock::moments());
        let [one, two, three, four, name] = random()?;
        let shared_limits = SharedLimits::open(config, &clock, &registry, name);
        let shared_limits = runtime.block_on(shared_limits)?;
        let proxy = Server::bind(Parts {
            config,
            limiter: Arc::new(Limiter::new((one, two), DEFAULT_KEYS)),
            shared_limits: shared_limits.for_proxy(),
            verifier,
            desk: Arc::clone(&books.desk),
            registry: &registry,
            auth_socket: auth.as_ref().map(AuthDoor::path),
            clock,
            spans,
            seed: [three, four],
        })?;
        breakers.lead_to(proxy.breakers());
        runtime.block_on(books.begin(&configuration.origin))?;
        Ok(Self {
            registry,
            books,
            identity: Arc::new(identity),
            proxy,
            traces,
            shared_limits,
            auth,
        })
    }

    fn admin(&self, opened: &Opened) -> anyhow::Result<Admin> {
        let started_at = clock::wall();
        let process = ProcessMetrics::register(&self.registry, started_at)?;
        let (proxy, feed_age) = (self.proxy.status(), self.identity.feed_age(&self.registry)?);
        let (in_force, shown) = (Arc::clone(&opened.in_force), proxy.clone());
        let key_ages = self.identity.key_ages(&self.registry)?;
        let shared_limits = self.shared_limits.clone();
        let keeper = self.identity.keeper();
        Ok(Admin {
            registry: self.registry.clone(),
            readiness: Arc::clone(&opened.readiness),
            refresh: Box::new(move || {
                process.refresh();
                shared_limits.refresh();
                proxy.refresh_gauges();
                feed_age.refresh();
                key_ages.refresh();
            }),
            status: Box::new(move || {
                status::document(started_at, &in_force, &shown, &keeper.standings())
            }),
        })
    }

    fn reload(&self, source: Source, in_force: &Arc<InForce>) -> anyhow::Result<Reload> {
        Ok(Reload {
            path: source.path,
            watch: source.watch,
            in_force: Arc::clone(in_force),
            identity: Arc::clone(&self.identity),
            proxy: self.proxy.reloader(),
            desk: Arc::clone(&self.books.desk),
            metrics: ReloadMetrics::register(&self.registry)?,
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
fn random() -> anyhow::Result<[u64; 5]> {
    let mut seeds = [0u64; 5];
    for seed in &mut seeds {
        let mut bytes = [0u8; 8];
        aws_lc_rs::rand::fill(&mut bytes).context("the system has no randomness")?;
        *seed = u64::from_ne_bytes(bytes);
    }
    Ok(seeds)
}
