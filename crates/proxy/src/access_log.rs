//! One line of JSON a request, written by a thread of its own: a slow terminal must not slow a request.

use std::{
    io::{self, BufWriter, Write},
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use portcullis_config::server::{AccessLog as Settings, LogTarget};
use prometheus::IntCounter;
use serde::Serialize;

/// Lines that wait for the writer; further ones are dropped and counted.
const QUEUE: usize = 8192;

/// What is told of a request. Headers, query and body are not: that is where tokens and passwords travel.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) time: String,
    pub(crate) request_id: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    /// The problem code where the gateway answered for itself.
    pub(crate) code: Option<&'static str>,
    /// Finer than the code, and never told to the client.
    pub(crate) reason: Option<&'static str>,
    pub(crate) cause: Option<String>,
    pub(crate) route: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) attempts: u32,
    pub(crate) user: Option<&'a str>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: usize,
    pub(crate) seconds: f64,
    pub(crate) upstream_seconds: f64,
}

/// The door to the writer. `None` inside: no log is kept.
pub(crate) struct AccessLog {
    writer: Option<SyncSender<Vec<u8>>>,
    /// Written out of 2^32.
    sample: u64,
    dropped: IntCounter,
}

impl AccessLog {
    /// Starts the writer, which ends when the log is dropped.
    pub(crate) fn open(settings: &Settings, dropped: IntCounter) -> io::Result<Self> {
        let Settings::Json { to, sample } = settings else {
            return Ok(Self {
                writer: None,
                sample: 0,
                dropped,
            });
        };
        let (writer, lines) = sync_channel(QUEUE);
        let to = *to;
        std::thread::Builder::new()
            .name(String::from("access-log"))
            .spawn(move || match to {
                LogTarget::Stdout => write_lines(&lines, io::stdout()),
                LogTarget::Stderr => write_lines(&lines, io::stderr()),
            })?;
        Ok(Self {
            writer: Some(writer),
            sample: out_of_2_32(*sample),
            dropped,
        })
    }

    /// Whether this request's line is wanted. `draw` is any number spread over 64 bits; refusals are always wanted.
    pub(crate) fn wants(&self, is_refusal: bool, draw: u64) -> bool {
        self.writer.is_some() && (is_refusal || draw >> 32 < self.sample)
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        let Some(writer) = &self.writer else { return };
        // A line of plain fields always serializes; were one not to, a missing line must not fail a request.
        let Ok(mut text) = serde_json::to_vec(line) else {
            return self.dropped.inc();
        };
        text.push(b'\n');
        match writer.try_send(text) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.inc(),
        }
    }
}

fn out_of_2_32(share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1 before the scaling"
    )]
    let scaled = (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
    scaled
}

/// Flushes whenever nothing more waits, so that a line is seen at once and a burst is written together.
fn write_lines(lines: &Receiver<Vec<u8>>, to: impl Write) {
    let mut to = BufWriter::new(to);
    while let Ok(first) = lines.recv() {
        let rest = std::iter::from_fn(|| lines.try_recv().ok());
        let written = std::iter::once(first)
            .chain(rest)
            .try_for_each(|line| to.write_all(&line));
        if written.and_then(|()| to.flush()).is_err() {
            // A closed pipe or a full disk: the log is lost, the gateway is not.
            continue;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_whatever_the_sample() {
        let dropped = IntCounter::new("dropped", "d").expect("a valid name");
        let settings = Settings::Json {
            to: LogTarget::Stderr,
            sample: 0.5,
        };
        let log = AccessLog::open(&settings, dropped).expect("a thread");
        assert!(
            log.wants(true, u64::MAX),
            "a refusal is wanted at the end of the range"
        );
        assert!(!log.wants(false, u64::MAX), "half the answers are not");
        assert!(log.wants(false, 0), "the other half is");
    }

    #[test]
    fn a_whole_sample_wants_every_line() {
        assert_eq!(out_of_2_32(1.0), 1 << 32);
        assert_eq!(out_of_2_32(-3.0), 0);
    }
}
