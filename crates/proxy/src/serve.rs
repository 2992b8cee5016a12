//! Binds the listeners, runs Pingora on a runtime of our own, and stops when nothing is in flight.
//!
//! Pingora's `Server` is not used: it sleeps its whole grace period on a signal, whatever is left to do, and a failed
//! bind leaves the process alive without a listener. Its services are started directly instead, on sockets bound here.

use std::{net::SocketAddr, os::fd::IntoRawFd, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use pingora::{
    proxy::{HttpProxy, http_proxy},
    server::{Fds, ListenFds, configuration::ServerConf},
    services::{Service as _, listening::Service},
};
use portcullis_audit::Desk;
use portcullis_config::{
    Config,
    server::{Listener, Threads},
};
use portcullis_policy::{
    breaker::BreakerSwitch,
    limits::{Limiter, shared::SharedLimits},
};
use portcullis_tokens::Verifier;
use prometheus::Registry;
use tokio::{
    net::TcpSocket,
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    breakers::Switch,
    certificates::Certificates,
    front_door::{FrontDoor, Reception},
    gateway::{Clock, Gateway, SpanSink},
    lifecycle::Lifecycle,
    occupancy::Occupancy,
    reload::Reloader,
    status::Status,
    tls::{Terminator, TlsError},
    transport::{count_system_roots, relies_on_system},
};

/// As many as may wait to be accepted; a burst beyond it is refused by the kernel.
const BACKLOG: u32 = 4096;

/// Idle connections kept to the upstreams, for each thread.
const POOL_PER_THREAD: usize = 512;

/// Pingora's loop over attempts; how many there really are is each upstream's own `retries.attempts`.
const ATTEMPTS_AT_MOST: usize = 5;

/// Connections that hold no exchange are waited for this long once nothing else is in flight: one whose request is on
/// its way may still be served, one that merely idles must not keep the process.
const LINGER: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} (server.listeners): {cause}")]
    Bind {
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error("{address}: {cause}")]
    Tls {
        address: SocketAddr,
        cause: TlsError,
    },
    #[error("cannot start the proxy's threads: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cannot start the access log: {0}")]
    AccessLog(#[source] std::io::Error),
    #[error("cannot read the certificates that this system trusts: {0}")]
    SystemRoots(Box<pingora::Error>),
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How long the exchanges in flight may still take once the listeners are closed.
pub type CloseWithin = Duration;

/// What the gateway is made of; the binary has made each part.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub limiter: Arc<Limiter>,
    /// Absent where each replica counts for itself.
    pub shared_limits: Option<Arc<dyn SharedLimits>>,
    pub verifier: Arc<Verifier>,
    pub desk: Arc<Desk>,
    pub registry: &'a Registry,
    /// Where `builtin:auth` listens; absent where the configuration has no `auth`.
    pub auth_socket: Option<&'a Path>,
    pub clock: Clock,
    /// Absent: no traces.
    pub spans: Option<SpanSink>,
    /// For request ids, jitter and the choice among endpoints. Need not be secret.
    pub seed: [u64; 2],
}

/// The listening gateway, before it takes its first connection.
pub struct Server {
    runtime: Runtime,
    proxy: Arc<HttpProxy<Lifecycle>>,
    gateway: Arc<Gateway>,
    occupancy: Arc<Occupancy>,
    reception: Arc<Reception>,
    certificates: Arc<Certificates>,
    listeners: Vec<Listening>,
}

/// A bound listener, before anything is accepted on it.
struct Listening {
    address: SocketAddr,
    sockets: ListenFds,
    is_announced: bool,
    terminator: Option<Arc<Terminator>>,
}

impl Listening {
    fn secured(&self) -> Option<(SocketAddr, Arc<Terminator>)> {
        let terminator = self.terminator.as_ref()?;
        Some((self.address, Arc::clone(terminator)))
    }
}

impl Server {
    /// Binds every listener, so that a taken address ends the start and not the first request.
    pub fn bind(parts: Parts<'_>) -> Result<Self, StartError> {
        let settings = &parts.config.server;
        let (addresses, limits, threads) = (
            &settings.listeners,
            &settings.limits,
            threads(settings.threads),
        );
        let runtime = runtime(threads).map_err(StartError::Runtime)?;
        let listeners = addresses
            .iter()
            .map(|listener| listen(&runtime, listener))
            .collect::<Result<Vec<_>, _>>()?;
        let occupancy = Arc::new(Occupancy::new(
            limits.connections,
            limits.connections_per_ip,
        ));
        check_system_roots(parts.config)?;
        let gateway = Arc::new(Gateway::assemble(parts)?);
        let secured = listeners.iter().filter_map(Listening::secured);
        let certificates = Arc::new(Certificates::new(secured.collect()));
        certificates.tell(&gateway);
        let reception = Arc::new(Reception::of(&gateway.snapshot.load()));
        let conf = ServerConf {
            threads,
            max_retries: ATTEMPTS_AT_MOST,
            upstream_keepalive_pool_size: POOL_PER_THREAD,
            ..ServerConf::default()
        };
        let proxy = Arc::new(http_proxy(&Arc::new(conf), Lifecycle(Arc::clone(&gateway))));
        Ok(Self {
            runtime,
            proxy,
            gateway,
            occupancy,
            reception,
            certificates,
            listeners,
        })
    }

    /// For the admin listener, which outlives the listeners here.
    pub fn status(&self) -> Status {
        Status::new(Arc::clone(&self.gateway))
    }

    /// For whoever may force breakers, while the server runs.
    pub fn breakers(&self) -> Arc<dyn BreakerSwitch> {
        Arc::new(Switch(Arc::clone(&self.gateway)))
    }

    /// For whoever brings a new configuration, while the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            gateway: Arc::clone(&self.gateway),
            occupancy: Arc::clone(&self.occupancy),
            reception: Arc::clone(&self.reception),
            certificates: Arc::clone(&self.certificates),
            runtime: self.runtime.handle().clone(),
        }
    }

    /// Serves until `close` says to stop, then finishes what is in flight, within the time it allows.
    ///
    /// Blocks the calling thread. The listeners close at once when told; whoever wants a delay waits before telling.
    pub fn run(self, close: oneshot::Receiver<CloseWithin>) {
        let (closing, closed) = watch::channel(false);
        self.runtime.block_on(async {
            self.gateway.tend(self.runtime.handle());
            let services: Vec<_> = self
                .listeners
                .iter()
                .map(|listening| {
                    let mut service = self.service(listening);
                    let (sockets, closed) = (Arc::clone(&listening.sockets), closed.clone());
                    tokio::spawn(
                        async move { service.start_service(Some(sockets), closed, 1).await },
                    )
                })
                .collect();
            let within = close.await.unwrap_or_default();
            let deadline = Instant::now() + within;
            closing.send_replace(true);
            for service in services {
                // A listener that is late to close is not waited for beyond the deadline.
                if timeout_at(deadline, service).await.is_err() {
                    break;
                }
            }
            self.finish(deadline).await;
        });
        self.runtime.shutdown_background();
    }

    fn service(&self, listening: &Listening) -> Service<FrontDoor> {
        let address = listening.address;
        let metrics = &self.gateway.metrics;
        let door = FrontDoor {
            proxy: Arc::clone(&self.proxy),
            occupancy: Arc::clone(&self.occupancy),
            reception: Arc::clone(&self.reception),
            open_connections: metrics.open_connections(address),
            malformed_requests: metrics.malformed_requests.clone(),
            turned_away: metrics.turned_away(),
            strangers: metrics.strangers(),
            is_announced: listening.is_announced,
            failed_handshakes: metrics.failed_handshakes(address),
            terminator: listening.terminator.clone(),
        };
        let mut service = Service::new(format!("listener {address}"), door);
        service.add_tcp(&address.to_string());
        service
    }

    /// Returns as soon as nothing is in flight, at the latest at the deadline.
    async fn finish(&self, deadline: Instant) {
        const LOOK: Duration = Duration::from_millis(10);
        let mut quiet_since = None;
        while Instant::now() < deadline && self.occupancy.open() > 0 {
            if self.gateway.in_flight() > 0 {
                quiet_since = None;
            } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

/// Before Pingora does, and in words.
fn check_system_roots(config: &Config) -> Result<(), StartError> {
    let trusted = count_system_roots().map_err(StartError::SystemRoots)?;
    let relying = config
        .upstreams
        .iter()
        .find(|upstream| relies_on_system(upstream));
    if let (0, Some(upstream)) = (trusted, relying) {
        tracing::warn!(upstream = %upstream.name, "this system trusts no certificate authority, so no endpoint will be believed: install ca-certificates, or name a `ca`");
    }
    Ok(())
}

/// With one thread there is nobody to share work with, and a scheduler without locks serves as many requests for less.
fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads)
        .thread_name("proxy")
        .enable_all()
        .build()
}

fn threads(wanted: Threads) -> usize {
    match wanted {
        // Honours the CPU quota of a container.
        Threads::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Threads::Exactly(threads) => threads.get(),
    }
}

fn listen(runtime: &Runtime, listener: &Listener) -> Result<Listening, StartError> {
    let address = listener.address;
    let terminator = listener.tls.as_ref().map(Terminator::new).transpose();
    let terminator = terminator.map_err(|cause| StartError::Tls { address, cause })?;
    Ok(Listening {
        address,
        sockets: bind(runtime, address)?,
        is_announced: listener.proxy_protocol,
        terminator: terminator.map(Arc::new),
    })
}

/// A listening socket under the name by which Pingora asks for it.
fn bind(runtime: &Runtime, address: SocketAddr) -> Result<ListenFds, StartError> {
    let listen = || {
        // A tokio socket registers with the runtime it is made on.
        let _entered = runtime.enter();
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    let listening = listen().map_err(|cause| StartError::Bind { address, cause })?;
    let mut sockets = Fds::new();
    sockets.add(address.to_string(), listening.into_raw_fd());
    Ok(Arc::new(Mutex::new(sockets)))
}

#[cfg(test)]
mod tests;
