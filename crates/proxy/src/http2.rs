//! HTTP/2 connections: whose streams they are, and the bounds that Pingora leaves open.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use portcullis_config::server::ConnectionLimits;

use crate::{connection::Connection, lifecycle::Lifecycle};

/// What each field of a header list counts for beside its bytes, more than in any check that follows (RFC 9113 section
/// 6.5.2 says 32): a list that is too long by our own count is then read, and refused with a reason.
const FIELD_OVERHEAD: u64 = 64;

/// How HTTP/2 is spoken with a client.
#[derive(Clone)]
pub(crate) struct Terms {
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

/// The application of one connection. Pingora serves each stream on a task of its own, which has to be told anew whose
/// it is.
pub(crate) struct Streams {
    pub(crate) proxy: Arc<HttpProxy<Lifecycle>>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) terms: Terms,
}

#[async_trait]
impl HttpServerApp for Streams {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let served = self.proxy.process_new_http(session, shutdown);
        self.connection.scope(served).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(self.terms.options.clone())
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.terms.settings)
    }
}
