//! How the gateway is told to end: readiness goes down at the signal, `drain_delay` passes, then the listeners close. A
//! second signal ends the process at once.

use std::{
    io, process,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use crate::{clock, in_force::InForce, readiness::Readiness};

/// 128 + SIGINT, as shells report an interrupted command.
const EXIT_BY_SECOND_SIGNAL: i32 = 130;
/// Kept back from what exchanges in flight may take, for the last audit rows.
const LAST_ROWS: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, which mean the same here. Made early, so that a signal during the start is not lost.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Must be called inside the runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// SIGHUP, which ends a process that does not listen for it. As early as the others.
    pub(crate) fn hangups() -> io::Result<Signal> {
        signal(SignalKind::hangup())
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Whoever asks twice does not want to wait.
    async fn exit_on_next(mut self) {
        let signal = self.next().await;
        tracing::warn!(signal, "second signal: leaving at once");
        process::exit(EXIT_BY_SECOND_SIGNAL);
    }
}

/// Why and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) signal: &'static str,
    /// The end of the process, at the latest.
    pub(crate) deadline: Instant,
}

impl Stop {
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(clock::monotonic())
    }
}

/// Waits for the first signal and tells the proxy, after the drain delay, how long it has left.
pub(crate) async fn on_signal(
    mut signals: Signals,
    readiness: Arc<Readiness>,
    in_force: Arc<InForce>,
    close: oneshot::Sender<Duration>,
) -> Stop {
    let signal = signals.next().await;
    let limits = in_force.configuration().config.server.shutdown.clone();
    let deadline = clock::monotonic() + limits.timeout;
    readiness.drain();
    tracing::info!(signal, drain_delay = ?limits.drain_delay, timeout = ?limits.timeout, "stopping");
    tokio::spawn(signals.exit_on_next());
    sleep(limits.drain_delay.min(limits.timeout)).await;
    let left = deadline.saturating_duration_since(clock::monotonic());
    if close
        .send(left.saturating_sub(LAST_ROWS.min(limits.timeout / 4)))
        .is_err()
    {
        tracing::error!("the proxy had ended by itself");
    }
    Stop { signal, deadline }
}
