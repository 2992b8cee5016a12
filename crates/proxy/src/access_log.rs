//! One line of JSON a request, written by a thread of its own: a slow terminal must not slow a request.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::IpAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
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
    /// Codes of what shadowed checks would have refused it for.
    pub(crate) would_reject: &'a [&'static str],
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
        let mut output = Output::open(to)?;
        std::thread::Builder::new()
            .name(String::from("access-log"))
            .spawn(move || write_lines(&lines, &mut output))?;
        Ok(Self {
            writer: Some(writer),
            sample: out_of_2_32(*sample),
            dropped,
        })
    }

    /// Whether this request's line is wanted. `draw` is any number spread over 64 bits; a line that tells of a refusal
    /// or of one that was let off is always wanted.
    pub(crate) fn wants(&self, is_telling: bool, draw: u64) -> bool {
        self.writer.is_some() && (is_telling || draw >> 32 < self.sample)
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

/// A burst is written together, and seen as soon as nothing more waits. A closed pipe or a full disk: the log is lost,
/// the gateway is not.
fn write_lines(lines: &Receiver<Vec<u8>>, output: &mut Output) {
    while let Ok(first) = lines.recv() {
        let waiting = lines.try_iter().take(QUEUE);
        output.write(std::iter::once(first).chain(waiting)).ok();
    }
}

enum Output {
    Stdout,
    Stderr,
    File(LogFile),
}

impl Output {
    fn open(target: &LogTarget) -> io::Result<Self> {
        Ok(match target {
            LogTarget::Stdout => Self::Stdout,
            LogTarget::Stderr => Self::Stderr,
            LogTarget::File(path) => Self::File(LogFile::open(path)?),
        })
    }

    fn write(&mut self, burst: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        match self {
            Self::Stdout => write_all(io::stdout(), burst),
            Self::Stderr => write_all(io::stderr(), burst),
            Self::File(log) => write_all(log.current()?, burst),
        }
    }
}

fn write_all(to: impl Write, mut burst: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    burst.try_for_each(|line| to.write_all(&line))?;
    to.flush()
}

/// A log that may be moved away under our hands: whoever rotates it need not tell us.
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        // Addresses and user ids are nobody's business but the operator's and the group's.
        let file = options.append(true).create(true).mode(0o640).open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// The file that the path names now, made where there is none.
    fn current(&mut self) -> io::Result<&File> {
        let ours = self.file.metadata()?;
        let is_ours =
            |named: std::fs::Metadata| (named.dev(), named.ino()) == (ours.dev(), ours.ino());
        if !std::fs::metadata(&self.path).is_ok_and(is_ours) {
            *self = Self::open(&self.path)?;
        }
        Ok(&self.file)
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
    fn a_log_that_was_moved_away_goes_on_under_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let mut output = Output::open(&LogTarget::File(path.clone())).expect("a file");
        let mut write = |line: &str| output.write([line.as_bytes().to_vec()].into_iter());
        write("one\n").expect("written");
        std::fs::rename(&path, folder.path().join("access.log.1")).expect("moved");
        write("two\n").expect("written");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
        assert_eq!(
            (&*read("access.log.1"), &*read("access.log")),
            ("one\n", "two\n")
        );
    }

    #[test]
    fn a_whole_sample_wants_every_line() {
        assert_eq!(out_of_2_32(1.0), 1 << 32);
        assert_eq!(out_of_2_32(-3.0), 0);
    }
}
