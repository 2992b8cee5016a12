//! Whether traffic should be sent here: only once each listener accepts, and not once a stop has been asked for.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::healthcheck::reachable;

const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// The answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Starting,
    Draining,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Draining => "draining",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Readiness {
    listeners: Vec<SocketAddr>,
    /// Every listener has accepted once. Later probes would only cost connections: a listener closes by draining.
    accepting: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    pub(crate) fn of(listeners: Vec<SocketAddr>) -> Self {
        Self {
            listeners,
            accepting: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// From here on not ready, for good.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) async fn state(&self) -> State {
        if self.is_draining() {
            return State::Draining;
        }
        if self.accepting.load(Ordering::Acquire) {
            return State::Ready;
        }
        for listener in &self.listeners {
            if !accepts(*listener).await {
                return State::Starting;
            }
        }
        self.accepting.store(true, Ordering::Release);
        State::Ready
    }
}

async fn accepts(listener: SocketAddr) -> bool {
    matches!(
        timeout(PROBE_PATIENCE, TcpStream::connect(reachable(listener))).await,
        Ok(Ok(_))
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_gateway_is_ready_only_once_every_listener_accepts() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open_at, closed_at) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        assert_eq!(
            Readiness::of(vec![open_at, closed_at]).state().await,
            State::Starting
        );
        assert_eq!(Readiness::of(vec![open_at]).state().await, State::Ready);
    }

    #[tokio::test]
    async fn a_draining_gateway_is_never_ready_again() {
        let readiness = Readiness::of(Vec::new());
        assert_eq!(readiness.state().await, State::Ready);
        readiness.drain();
        assert_eq!(readiness.state().await, State::Draining);
    }
}
