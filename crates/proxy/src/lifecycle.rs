//! The life of a request, top to bottom. Each phase is one call; the work is in the module it names.
//!
//! The order of the phases is Pingora's. A phase may run more than once (`upstream_peer` and what follows it, on each
//! attempt); what must happen once happens in `logging`, which runs exactly once for every request that arrived.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::{
    Error,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::HttpPeer,
};

use crate::{
    admission::{self, Arrival},
    attempt,
    exchange::Exchange,
    forward,
    gateway::Gateway,
    observe, respond, verdict,
};

/// Pingora's view of the gateway.
pub(crate) struct Lifecycle(pub(crate) Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Lifecycle {
    type CTX = Exchange;

    /// The request gets its name here, so that even one that dies before routing can be found in the log.
    fn new_ctx(&self) -> Exchange {
        Exchange::open(&self.0)
    }

    /// The header is complete: its deadline ends, and those of the exchange begin.
    async fn early_request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        exchange.arrive(session);
        Ok(())
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora::Result<bool> {
        let arrival = Arrival::new(session.req_header(), exchange.client, exchange.began)
            .written(exchange.fault);
        match admission::admit(
            &self.0,
            &exchange.snapshot,
            &arrival,
            &mut exchange.progress,
        )
        .await
        {
            Ok(admitted) => {
                exchange.admitted = Some(admitted);
                Ok(false)
            }
            Err(stop) => respond::stop(&self.0, session, exchange, stop).await,
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora::Result<Box<HttpPeer>> {
        attempt::begin(&self.0, session, exchange)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        attempt::not_connected(&self.0, exchange, error)
    }

    /// Runs after Pingora has removed what the client's `Connection` header nominates: what is set here arrives.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        attempt::connected(exchange, request.version)?;
        forward::prepare_request(&self.0, session, request, exchange)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        chunk: &mut Option<Bytes>,
        _end: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        forward::count_body(&self.0, exchange, chunk.as_ref())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        verdict::head_arrived(&self.0, exchange, session, head)
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        verdict::trailers_arrived(&self.0, exchange, session, trailers);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        forward::prepare_response(&self.0, session, exchange, head);
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<Option<Duration>> {
        verdict::body_arrived(&self.0, exchange, session, end).map(|()| None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        attempt::broke_off(&self.0, exchange, session, error, reused)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        respond::fail(&self.0, session, exchange, error).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        observe::close(&self.0, session, exchange, error);
    }

    /// None: what they could do is done in the phases above, in plain sight.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// The access line tells of every failure, once, with its code and cause.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pingora holds the exchange across awaits on any thread.
    #[test]
    fn an_exchange_can_travel_between_threads() {
        fn travels<T: Send + Sync>() {}
        travels::<Exchange>();
        travels::<Arc<Gateway>>();
    }
}
