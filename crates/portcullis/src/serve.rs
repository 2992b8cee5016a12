//! Wires what was opened, runs the proxy on the calling thread, and ends everything in the opposite order.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use portcullis_policy::{
    clock::Moment,
    limits::{DEFAULT_KEYS, Limiter},
};
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
};

/// Returns when the gateway has been told to stop and has.
pub(crate) fn serve(opened: Opened) -> anyhow::Result<ExitCode> {
    let Opened {
        runtime,
        config,
        origin,
        admin,
        readiness,
        store,
    } = opened;
    let (inside, started_at) = (runtime.enter(), clock::wall());
    let signals = Signals::listen().context("cannot listen for signals")?;
    let registry = Registry::new();
    let identity = runtime.block_on(Identity::establish(&config, store.as_ref(), &registry))?;
    let books = Books::open(store, &registry)?;
    let auth = identity.start_auth_service(&books.desk, &registry)?;
    let random = random()?;
    let proxy = Server::bind(Parts {
        config: &config,
        limiter: Arc::new(Limiter::new((random[0], random[1]), DEFAULT_KEYS)),
        verifier: Arc::clone(&identity.verifier),
        desk: Arc::clone(&books.desk),
        registry: &registry,
        auth_socket: auth.as_ref().map(AuthDoor::path),
        clock: Arc::new(moments()),
        seed: [random[2], random[3]],
    })?;
    runtime.block_on(books.begin(&origin))?;

    let process = ProcessMetrics::register(&registry, started_at)?;
    let (view, feed_age) = (proxy.status(), identity.feed_age());
    let description = status::describe(&config, &origin, started_at);
    let shown = view.clone();
    let refresh = move || {
        process.refresh();
        view.refresh_gauges();
        feed_age.iter().for_each(|age| age.refresh());
    };
    let status = move || status::with_upstreams(description.clone(), &shown.upstreams());
    let shutdown = config.server.shutdown.clone();
    tracing::info!(admin = %config.server.admin, "the gateway is running");
    admin::serve(
        admin,
        Admin {
            registry,
            readiness: Arc::clone(&readiness),
            refresh: Box::new(refresh),
            status: Box::new(status),
        },
    );
    let (close, closing) = oneshot::channel();
    let stopping = runtime.spawn(stop::on_signal(signals, readiness, shutdown, close));
    drop(inside);
    proxy.run(closing);
    runtime.block_on(async {
        books.close(stopping.await?).await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_background();
    drop(auth);
    Ok(ExitCode::SUCCESS)
}

fn moments() -> impl Fn() -> Moment {
    let started = clock::monotonic();
    move || Moment {
        since_start: clock::monotonic().saturating_duration_since(started),
        wall: clock::wall(),
    }
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
