//! Traces, wired: what the proxy tells of each request goes to the collector, and what is lost is counted.

use anyhow::Context;
use portcullis_config::Config;
use portcullis_outbound::traces::{self, TraceTeller};
use portcullis_proxy::SpanSink;
use prometheus::{IntCounter, Registry};

use crate::stop::Stop;

pub(crate) struct Traces {
    teller: Option<TraceTeller>,
}

impl Traces {
    /// Without a collector there is no sink, and a request pays nothing. Must be called inside the runtime.
    pub(crate) fn start(
        config: &Config,
        registry: &Registry,
    ) -> anyhow::Result<(Self, Option<SpanSink>)> {
        let Some(collector) = &config.server.traces else {
            return Ok((Self { teller: None }, None));
        };
        let lost = IntCounter::new(
            "portcullis_trace_spans_lost_total",
            "Spans that were not told: the queue was full, or the collector did not take them.",
        )?;
        registry.register(Box::new(lost.clone()))?;
        let count = lost.clone();
        let (queue, teller) = traces::start(collector, env!("CARGO_PKG_VERSION"), move |spans| {
            count.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
        })
        .context("cannot trace")?;
        let sink: SpanSink = Box::new(move |span| {
            if !queue.offer(span) {
                lost.inc();
            }
        });
        let teller = Some(teller);
        Ok((Self { teller }, Some(sink)))
    }

    /// Tells what is left, within the time there is.
    pub(crate) async fn close(self, stop: &Stop) {
        if let Some(teller) = self.teller {
            teller.finish(stop.left()).await;
        }
    }
}
