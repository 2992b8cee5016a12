//! The scripts, what goes into them and what comes out.

use std::time::Duration;

use portcullis_policy::limits::{
    Mark, SharedKey,
    shared::{SharedDraw, Weighing, duration},
};
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind, cmd};

const TAKE: &str = concat!(include_str!("bucket.lua"), include_str!("take.lua"));

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitsError {
    #[error("it did not answer in time")]
    TooSlow,
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("its answer makes no sense")]
    Garbled,
}

impl From<tokio::time::error::Elapsed> for LimitsError {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::TooSlow
    }
}

/// A shared bucket, and what is taken from it.
pub(super) struct Bucket<'d> {
    pub(super) draw: &'d SharedDraw,
    /// What the replica gives up of its share, in ticks.
    pub(super) brought: u64,
}

/// What every call says of the memory it believes to be written to.
pub(super) struct Belief<'a> {
    /// The server process; empty where only the server knows.
    pub(super) run: &'a str,
    /// The one that this gateway heard of last; empty: none yet.
    pub(super) seen: &'a str,
    /// Whether requests are let through while the store is away.
    pub(super) guarded: bool,
}

/// What every answer says of the memory.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) mark: Mark,
    pub(super) lost_ago: Duration,
}

/// Everything the scripts are called by.
pub(super) struct Scripts {
    take: Script,
}

/// A script with what it is given: first by its hash, and with its text where the server does not know that.
pub(super) struct Call {
    by_hash: Cmd,
    by_text: Cmd,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            take: Script::new(TAKE),
        }
    }

    /// With no bucket at all it only looks at the memory, and writes what it finds even if nothing is new.
    pub(super) fn take(
        &self,
        names: &Names,
        partition: u16,
        belief: &Belief<'_>,
        buckets: &[Bucket<'_>],
    ) -> Call {
        let mut keys = vec![names.mark(partition)];
        keys.extend(
            buckets
                .iter()
                .map(|bucket| names.bucket(partition, bucket.draw)),
        );
        let mut arguments = belief.arguments();
        for bucket in buckets {
            let draw = bucket.draw;
            let numbers = [draw.cost, draw.tolerance, draw.ceiling, bucket.brought];
            arguments.extend(numbers.map(|number| number.to_string()));
        }
        Call::new(&self.take, TAKE, &keys, &arguments)
    }
}

impl Belief<'_> {
    fn arguments(&self) -> Vec<String> {
        let guarded = if self.guarded { "1" } else { "0" };
        vec![
            self.run.to_owned(),
            self.seen.to_owned(),
            guarded.to_owned(),
        ]
    }
}

impl Call {
    fn new(script: &Script, text: &str, keys: &[String], arguments: &[String]) -> Self {
        let with = |mut command: Cmd, which: &str| {
            command.arg(which).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        Self {
            by_hash: with(cmd("EVALSHA"), script.get_hash()),
            by_text: with(cmd("EVAL"), text),
        }
    }

    pub(super) async fn on<C: redis::aio::ConnectionLike>(
        &self,
        connection: &mut C,
    ) -> Result<Reply, LimitsError> {
        match self.by_hash.query_async(connection).await {
            Err(error) if is_unknown(&error) => Ok(self.by_text.query_async(connection).await?),
            reply => Ok(reply?),
        }
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// The run, the mark of a loss, how long ago that was, and the numbers of the script itself.
pub(super) type Reply = (String, String, String, Vec<i64>);

pub(super) fn told(reply: Reply) -> Result<(Told, Vec<u64>), LimitsError> {
    let (run, lost, ago, numbers) = reply;
    let ago = match ago.as_str() {
        "" => 0,
        ticks => ticks
            .parse()
            .map_err(|_not_a_number: std::num::ParseIntError| LimitsError::Garbled)?,
    };
    let numbers = numbers
        .into_iter()
        .map(u64::try_from)
        .collect::<Result<_, _>>();
    let told = Told {
        mark: Mark { run, lost },
        lost_ago: duration(ago),
    };
    Ok((
        told,
        numbers.map_err(|_below_zero: std::num::TryFromIntError| LimitsError::Garbled)?,
    ))
}

/// Three numbers a bucket.
pub(super) fn weighings(numbers: &[u64], buckets: usize) -> Result<Vec<Weighing>, LimitsError> {
    let weighings: Vec<Weighing> = numbers
        .as_chunks::<3>()
        .0
        .iter()
        .map(|[left, reset, wait]| Weighing {
            left: *left,
            reset: *reset,
            wait: *wait,
        })
        .collect();
    if weighings.len() == buckets {
        Ok(weighings)
    } else {
        Err(LimitsError::Garbled)
    }
}

/// How keys are called. On a Cluster those of one partition lie on one node, together with its mark.
pub(super) struct Names {
    partitions: u16,
}

impl Names {
    pub(super) fn new(partitions: u16) -> Self {
        Self { partitions }
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions
    }

    pub(super) fn partition(&self, key: &SharedKey) -> u16 {
        let [first, second, ..] = key;
        u16::from_be_bytes([*first, *second]) % self.partitions
    }

    fn mark(&self, partition: u16) -> String {
        format!("{}memory", self.prefix(partition))
    }

    fn bucket(&self, partition: u16, draw: &SharedDraw) -> String {
        let key = u128::from_be_bytes(draw.key);
        format!("{}limit:{}:{key:032x}", self.prefix(partition), draw.limit)
    }

    fn prefix(&self, partition: u16) -> String {
        match self.partitions {
            1 => "portcullis:".to_owned(),
            _ => format!("portcullis:{{{partition}}}:"),
        }
    }
}
