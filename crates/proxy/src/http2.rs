//! HTTP/2 connections: whose streams they are, and the bounds that Pingora leaves open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{
        Stream,
        http::{
            ServerSession,
            v2::server::{H2Options, default_h2_options},
        },
    },
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use portcullis_config::server::ConnectionLimits;
use tokio::{sync::Notify, time::sleep};

use crate::{connection::Connection, lifecycle::Lifecycle};

/// What each field of a header list counts for beside its bytes, more than in any check that follows (RFC 9113 section
/// 6.5.2 says 32): a list that is too long by our own count is then read, and refused with a reason.
const FIELD_OVERHEAD: u64 = 64;

/// A client may reset streams as it likes, but not live on it: beyond so many that were abandoned before their answer
/// began, and once they are most of all, it is opening streams in order to reset them (CVE-2023-44487).
const MOST_ABANDONED: u32 = 200;

/// How HTTP/2 is spoken with a client.
#[derive(Clone)]
pub(crate) struct Terms {
    idle: Duration,
    options: H2Options,
    settings: HttpServerOptions,
}

impl Terms {
    pub(crate) fn of(limits: &ConnectionLimits) -> Self {
        let fields = u64::try_from(limits.headers).unwrap_or(u64::MAX);
        let list = limits.header_bytes.bytes();
        let list = list.saturating_add(fields.saturating_mul(FIELD_OVERHEAD));
        // Begun from Pingora's own, which bound what the library's defaults do not.
        let mut options = default_h2_options();
        options.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
        Self {
            idle: limits.idle_timeout,
            options,
            settings: closing_after(limits.idle_timeout),
        }
    }
}

/// Once a connection has carried no stream for so long. Pings do not keep it.
fn closing_after(idle: Duration) -> HttpServerOptions {
    let mut settings = HttpServerOptions::default();
    settings.h2_idle_timeout = Some(idle);
    settings
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    proxy: Arc<HttpProxy<Lifecycle>>,
    connection: Arc<Connection>,
    terms: Terms,
    stream: Stream,
    shutdown: &ShutdownWatch,
) {
    let streams = Arc::new(Streams {
        proxy,
        connection,
        terms,
        ledger: Ledger::default(),
    });
    tokio::select! {
        _ = streams.process_new(stream, shutdown) => {}
        () = streams.ledger.overdrawn() => {
            tracing::debug!("closed: the client resets what it opens");
        }
    }
}

/// The application of one connection. Pingora serves each stream on a task of its own, which has to be told anew whose
/// it is.
struct Streams {
    proxy: Arc<HttpProxy<Lifecycle>>,
    connection: Arc<Connection>,
    terms: Terms,
    ledger: Ledger,
}

#[async_trait]
impl HttpServerApp for Streams {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let stream = Arc::new(self.connection.stream());
        let served = self.proxy.process_new_http(session, shutdown);
        let owed_too_long = async {
            stream.owes_body().await;
            sleep(self.terms.idle).await;
        };
        stream
            .scope(async {
                tokio::select! {
                    _ = served => {}
                    // What was to be counted has been: the exchange closed its books with its answer.
                    () = owed_too_long => {}
                }
            })
            .await;
        self.ledger.note(stream.was_abandoned());
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.terms.options.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.terms.settings)
    }
}

/// How the streams of a connection ended.
#[derive(Default)]
struct Ledger {
    abandoned: AtomicU32,
    others: AtomicU32,
    overdrawn: Notify,
}

impl Ledger {
    fn note(&self, abandoned: bool) {
        if !abandoned {
            self.others.fetch_add(1, Relaxed);
            return;
        }
        let abandoned = self.abandoned.fetch_add(1, Relaxed).saturating_add(1);
        if is_overdrawn(abandoned, self.others.load(Relaxed)) {
            self.overdrawn.notify_one();
        }
    }

    async fn overdrawn(&self) {
        self.overdrawn.notified().await;
    }
}

fn is_overdrawn(abandoned: u32, others: u32) -> bool {
    abandoned > MOST_ABANDONED && abandoned > others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_mostly_takes_its_answers_may_reset_streams() {
        assert!(!is_overdrawn(MOST_ABANDONED, 0), "a page that is left");
        assert!(is_overdrawn(MOST_ABANDONED + 1, 0));
        assert!(!is_overdrawn(10_000, 10_000));
        assert!(is_overdrawn(10_001, 10_000));
    }
}
