//! Traces to a collector: OTLP over HTTP, in batches, from a bounded queue.
//!
//! A collector that is slow or away costs spans, never requests: the queue is offered to and not waited for. What is lost
//! is counted, and each change between told and lost is logged once.

use std::{
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use portcullis_config::server::TraceCollector;
use portcullis_policy::traces::{RequestSpan, UpstreamCall};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{interval, timeout},
};

/// Requests that wait to be told of; further ones are lost.
const QUEUE: usize = 4096;
/// Requests told of at once.
const BATCH: usize = 512;
/// The longest a request waits for a batch to fill.
const EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take over one batch.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("cannot make a client for the trace collector: {0}")]
    Client(#[from] reqwest::Error),
    #[error("cannot tell the trace collector: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Where requests that have ended are handed in.
#[derive(Clone)]
pub struct TraceQueue(mpsc::Sender<RequestSpan>);

impl TraceQueue {
    /// Whether there was room.
    pub fn offer(&self, span: RequestSpan) -> bool {
        self.0.try_send(span).is_ok()
    }
}

/// The task that tells the collector.
pub struct TraceTeller {
    stop: oneshot::Sender<()>,
    telling: JoinHandle<()>,
}

impl TraceTeller {
    /// Tells what is queued, within the time there is.
    pub async fn finish(self, within: Duration) {
        // Whether it is still there or has ended, it is waited for.
        self.stop.send(()).ok();
        timeout(within, self.telling).await.ok();
    }
}

/// Begins to tell `collector`. `lost` learns how many spans the collector did not take. Must be called in a runtime.
pub fn start(
    collector: &TraceCollector,
    version: &'static str,
    lost: impl Fn(usize) + Send + 'static,
) -> Result<(TraceQueue, TraceTeller), TraceError> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel();
    let telling = Telling {
        exporter: exporter(collector, version)?,
        scope: InstrumentationScope::builder("portcullis")
            .with_version(version)
            .build(),
        waiting,
        is_told: true,
        lost,
    };
    let telling = tokio::spawn(telling.run(stopped));
    Ok((TraceQueue(queue), TraceTeller { stop, telling }))
}

fn exporter(
    collector: &TraceCollector,
    version: &'static str,
) -> Result<opentelemetry_otlp::SpanExporter, TraceError> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}/v1/traces", collector.url))
        .with_timeout(PATIENCE)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("portcullis")
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

struct Telling<Lost> {
    exporter: opentelemetry_otlp::SpanExporter,
    scope: InstrumentationScope,
    waiting: mpsc::Receiver<RequestSpan>,
    is_told: bool,
    lost: Lost,
}

impl<Lost: Fn(usize) + Send> Telling<Lost> {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(2 * BATCH);
        let mut due = interval(EVERY);
        loop {
            tokio::select! {
                Some(ended) = self.waiting.recv() => {
                    batch.extend(spans(ended, &self.scope));
                    if batch.len() < BATCH {
                        continue;
                    }
                }
                _ = due.tick() => {}
                _ = &mut stopped => break,
            }
            self.tell(mem::take(&mut batch)).await;
        }
        self.waiting.close();
        while let Some(ended) = self.waiting.recv().await {
            batch.extend(spans(ended, &self.scope));
        }
        self.tell(batch).await;
    }

    async fn tell(&mut self, batch: Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) if self.is_told => {}
            Ok(()) => tracing::info!("the trace collector is back"),
            Err(cause) => {
                (self.lost)(count);
                if self.is_told {
                    tracing::warn!(%cause, "the trace collector does not take spans: they are lost until it does");
                }
                self.is_told = false;
                return;
            }
        }
        self.is_told = true;
    }
}

/// The gateway's span, and below it the upstream's share.
fn spans(ended: RequestSpan, scope: &InstrumentationScope) -> impl Iterator<Item = SpanData> {
    let call = ended
        .call
        .as_ref()
        .map(|call| call_span(&ended, call, scope));
    [Some(request_span(&ended, scope)), call]
        .into_iter()
        .flatten()
}

fn request_span(ended: &RequestSpan, scope: &InstrumentationScope) -> SpanData {
    let status = i64::from(ended.status);
    let mut attributes = vec![
        KeyValue::new("http.request.method", ended.method.clone()),
        KeyValue::new("url.path", ended.path.clone()),
        KeyValue::new("http.response.status_code", status),
        KeyValue::new("portcullis.request_id", ended.request_id.clone()),
    ];
    attributes.extend(
        ended
            .route
            .clone()
            .map(|route| KeyValue::new("portcullis.route", route)),
    );
    attributes.extend(ended.code.map(|code| KeyValue::new("error.type", code)));
    let name = match &ended.route {
        Some(route) => format!("{} {route}", ended.method),
        None => ended.method.clone(),
    };
    let parent = ended.context.parent;
    SpanData {
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        name: name.into(),
        attributes,
        ..span(ended, ended.span, (Duration::ZERO, ended.took), scope)
    }
}

fn call_span(ended: &RequestSpan, call: &UpstreamCall, scope: &InstrumentationScope) -> SpanData {
    let mut attributes = vec![
        KeyValue::new("http.request.method", ended.method.clone()),
        KeyValue::new("portcullis.upstream", call.upstream.clone()),
    ];
    let resent = i64::from(call.attempts.saturating_sub(1));
    attributes.extend((resent > 0).then(|| KeyValue::new("http.request.resend_count", resent)));
    SpanData {
        parent_span_id: SpanId::from(ended.span),
        span_kind: SpanKind::Client,
        name: format!("{} {}", ended.method, call.upstream).into(),
        attributes,
        ..span(ended, call.span, (call.after, call.took), scope)
    }
}

/// What both kinds have in common: the trace, when it was, and whether it went wrong on our side.
fn span(
    ended: &RequestSpan,
    id: u64,
    (after, took): (Duration, Duration),
    scope: &InstrumentationScope,
) -> SpanData {
    let began = wall(ended) + after;
    let context = SpanContext::new(
        TraceId::from(ended.context.trace),
        SpanId::from(id),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time: began,
        end_time: began + took,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if ended.status >= 500 {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: scope.clone(),
    }
}

fn wall(ended: &RequestSpan) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ended.began.as_millis())
}

#[cfg(test)]
mod tests;
