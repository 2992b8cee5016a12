//! The scripts, what goes into them and what comes out.

use std::time::Duration;

use portcullis_policy::limits::{
    Mark, SharedKey,
    shared::{SharedDraw, Weighing, duration, ticks},
};

use crate::connection::{Call, ScriptText, Unanswered};

const TAKE: &str = concat!(include_str!("bucket.lua"), include_str!("take.lua"));

/// A shared bucket, and what is wanted of it. All amounts are ticks.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'d> {
    pub(super) draw: &'d SharedDraw,
    pub(super) cost: Cost,
    /// What the replica gives up of its share.
    pub(super) brought: u64,
    pub(super) lease: LeaseAsk,
}

#[derive(Clone, Copy)]
pub(super) enum Cost {
    Spend(u64),
    /// It was taken for a request that another limit refused.
    GiveBack(u64),
}

/// What the lease of this gateway is, and should be.
#[derive(Clone, Copy, Default)]
pub(super) struct LeaseAsk {
    pub(super) serial: u64,
    pub(super) spent: u64,
    pub(super) wanted: Wanted,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    More(u64),
    /// What was not spent is given back.
    End,
}

/// What is told of one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketTold {
    /// The server's instant, by which answers are put in order.
    pub(super) version: u64,
    pub(super) weighing: Weighing,
    /// All that the lease was given.
    pub(super) taken: u64,
}

/// What every call says of the memory it believes to be written to.
pub(super) struct Belief<'a> {
    /// The server process; empty where only the server knows.
    pub(super) run: &'a str,
    /// The one that this gateway heard of last; empty: none yet.
    pub(super) seen: &'a str,
    /// Whether requests are let through while the store is away.
    pub(super) guarded: bool,
    /// Who asks: another name for each process.
    pub(super) holder: &'a str,
}

/// What every answer says of the memory.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) mark: Mark,
    pub(super) lost_ago: Duration,
}

/// Everything the scripts are called by.
pub(super) struct Scripts {
    take: ScriptText,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self::of(TAKE.to_owned())
    }

    fn of(text: String) -> Self {
        Self {
            take: ScriptText::new(text),
        }
    }

    /// By a clock that a test sets: the list `clock`, of seconds and microseconds.
    #[cfg(test)]
    pub(super) fn by_a_clock_of_the_test() -> Self {
        Self::of(TAKE.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, 1)"))
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
            arguments.extend(bucket.arguments());
        }
        self.take.with(&keys, &arguments)
    }
}

impl Bucket<'_> {
    pub(super) fn of(draw: &SharedDraw, cost: u64) -> Bucket<'_> {
        Bucket {
            draw,
            cost: Cost::Spend(cost),
            brought: 0,
            lease: LeaseAsk::default(),
        }
    }

    /// The same the other way round.
    pub(super) fn back(&self) -> Self {
        let cost = match self.cost {
            Cost::Spend(cost) | Cost::GiveBack(cost) => Cost::GiveBack(cost),
        };
        Self {
            cost,
            brought: 0,
            ..*self
        }
    }

    fn arguments(&self) -> [String; 9] {
        let (draw, lease) = (self.draw, self.lease);
        [
            self.cost.to_string(),
            draw.tolerance.to_string(),
            draw.ceiling.to_string(),
            self.brought.to_string(),
            lease.serial.to_string(),
            lease.spent.to_string(),
            lease.wanted.to_string(),
            draw.cost.to_string(),
            ticks(validity(draw)).to_string(),
        ]
    }
}

/// For how long the store keeps room for a lease, in nanoseconds: never longer than a bucket takes to fill.
pub(super) fn validity(draw: &SharedDraw) -> u64 {
    const LONGEST: Duration = Duration::from_secs(2);
    let validity = duration(draw.tolerance).min(LONGEST);
    u64::try_from(validity.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Display for Cost {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spend(cost) => write!(to, "{cost}"),
            Self::GiveBack(cost) => write!(to, "-{cost}"),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => to.write_str("0"),
            Self::More(ticks) => write!(to, "{ticks}"),
            Self::End => to.write_str("-1"),
        }
    }
}

impl Belief<'_> {
    fn arguments(&self) -> Vec<String> {
        let guarded = if self.guarded { "1" } else { "0" };
        vec![
            self.run.to_owned(),
            self.seen.to_owned(),
            guarded.to_owned(),
            self.holder.to_owned(),
        ]
    }
}

/// The run, the mark of a loss, how long ago that was, and the numbers of the script itself.
pub(super) type Reply = (String, String, String, Vec<i64>);

pub(super) fn told(reply: Reply) -> Result<(Told, Vec<u64>), Unanswered> {
    let (run, lost, ago, numbers) = reply;
    let ago = match ago.as_str() {
        "" => 0,
        ticks => ticks.parse()?,
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
        numbers.map_err(|_below_zero: std::num::TryFromIntError| Unanswered::Garbled)?,
    ))
}

/// The instant, and four numbers a bucket.
pub(super) fn buckets_told(numbers: &[u64], buckets: usize) -> Result<Vec<BucketTold>, Unanswered> {
    let (version, numbers) = numbers.split_first().ok_or(Unanswered::Garbled)?;
    let told = numbers.as_chunks::<4>().0.iter();
    let told: Vec<BucketTold> = told
        .map(|[left, reset, wait, taken]| BucketTold {
            version: *version,
            weighing: Weighing {
                left: *left,
                reset: *reset,
                wait: *wait,
            },
            taken: *taken,
        })
        .collect();
    if told.len() == buckets {
        Ok(told)
    } else {
        Err(Unanswered::Garbled)
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
