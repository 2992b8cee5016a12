//! The audit log: chained rows that are written in the transaction of the change they tell of.
//!
//! The head of the chain is one locked row, taken last in every transaction, so that numbers have no gaps (a sequence would leave
//! them on rollback) and writers of one chain queue up in the order of the chain.

use portcullis_audit::{Event, Head, Party, Record, chain::append};
use portcullis_config::units::Timestamp;

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    store::Store,
};

/// The most rows one page may have.
const PAGE: u32 = 1000;

const BEGIN_CHAIN: &str = "INSERT INTO audit_chains (chain, seq, head_hash) VALUES ($1, $2, $3) ON CONFLICT (chain) DO NOTHING";
/// An update that changes nothing locks the row on both databases; `FOR UPDATE` exists on one only.
const LOCK_HEAD: &str =
    "UPDATE audit_chains SET seq = seq WHERE chain = $1 RETURNING seq, head_hash";
const MOVE_HEAD: &str = "UPDATE audit_chains SET seq = $2, head_hash = $3 WHERE chain = $1";
const APPEND: &str = "INSERT INTO audit_events (chain, seq, at_ms, action, outcome, reason, \
     actor_type, actor_id, actor_name, target_type, target_id, target_name, \
     source_address, request_id, route, resource, count, until_ms, bytes, prev_hash, hash) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)";

const ALL: &str =
    "SELECT * FROM audit_events WHERE (chain, seq) > ($1, $2) ORDER BY chain, seq LIMIT $3";
const OF_ACTION: &str = "SELECT * FROM audit_events WHERE action = $4 AND (chain, seq) > ($1, $2) ORDER BY chain, seq LIMIT $3";
const OF_CHAIN: &str =
    "SELECT * FROM audit_events WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const OF_CHAIN_AND_ACTION: &str = "SELECT * FROM audit_events WHERE action = $4 AND chain = $1 AND seq > $2 ORDER BY seq LIMIT $3";

/// Which rows to read, oldest first within a chain.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// `None`: all chains, one after the other.
    pub chain: Option<String>,
    /// The [`AuditRow::cursor`] of the last row of the page before.
    pub after: Option<AuditCursor>,
    pub action: Option<String>,
    /// At most 1000; 0 asks for as many as one page may have.
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCursor {
    pub chain: String,
    pub seq: u64,
}

/// A kept row. Words are text and not enums: a log outlives the versions that wrote it.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub chain: String,
    pub seq: u64,
    pub at: Timestamp,
    pub action: String,
    pub outcome: String,
    pub reason: Option<String>,
    pub actor: AuditParty,
    pub target: Option<AuditParty>,
    pub source_address: Option<String>,
    pub request_id: Option<String>,
    pub route: Option<String>,
    pub resource: Option<String>,
    pub count: u64,
    pub until: Option<Timestamp>,
    pub bytes: String,
    pub prev_hash: [u8; 32],
    pub hash: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditParty {
    pub kind: String,
    pub id: String,
    pub name: Option<String>,
}

impl AuditRow {
    pub fn cursor(&self) -> AuditCursor {
        AuditCursor {
            chain: self.chain.clone(),
            seq: self.seq,
        }
    }

    /// The row as the chain's verification takes it.
    pub fn record(&self) -> Record {
        Record {
            seq: self.seq,
            prev_hash: self.prev_hash,
            hash: self.hash,
            bytes: self.bytes.clone(),
        }
    }
}

impl Store {
    /// Keeps events that tell of no change in the database, all of them or none. They form one commit, so hand in many at a time.
    pub async fn append_events(&self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let tx = self.engine.begin().await?;
        self.commit(tx, events).await
    }

    pub async fn audit_rows(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let (sql, chain, seq) = selection(filter);
        let limit = if filter.limit == 0 {
            PAGE
        } else {
            filter.limit.min(PAGE)
        };
        let rows = match &filter.action {
            Some(action) => {
                self.engine
                    .rows(sql, values![chain, seq, limit, action.as_str()])
                    .await?
            }
            None => self.engine.rows(sql, values![chain, seq, limit]).await?,
        };
        rows.iter().map(audit_row).collect()
    }

    /// Ends a change: its audit rows are appended and everything is committed together. If a row cannot be kept, nothing is.
    pub(crate) async fn commit(
        &self,
        mut tx: Transaction,
        events: &[Event],
    ) -> Result<(), StoreError> {
        if !events.is_empty() {
            self.append(&mut tx, events).await?;
        }
        tx.commit().await?;
        if let Some(observer) = &self.observer {
            observer(events);
        }
        Ok(())
    }

    async fn append(&self, tx: &mut Transaction, events: &[Event]) -> Result<(), StoreError> {
        let mut head = self.lock_head(tx).await?;
        for event in events {
            let record = append(&head, event);
            keep(tx, &self.chain, event, &record).await?;
            head = record.head();
        }
        tx.execute(MOVE_HEAD, values![&*self.chain, head.seq, &head.hash])
            .await?;
        Ok(())
    }

    async fn lock_head(&self, tx: &mut Transaction) -> Result<Head, StoreError> {
        let chain = &*self.chain;
        if let Some(row) = tx.row(LOCK_HEAD, values![chain]).await? {
            return head(&row);
        }
        tx.execute(
            BEGIN_CHAIN,
            values![chain, Head::GENESIS.seq, &Head::GENESIS.hash],
        )
        .await?;
        let row = tx
            .row(LOCK_HEAD, values![chain])
            .await?
            .ok_or(StoreError::Conflict)?;
        head(&row)
    }
}

fn selection(filter: &AuditFilter) -> (&'static str, &str, u64) {
    let after = filter.after.as_ref();
    match (&filter.chain, &filter.action) {
        (Some(chain), action) => {
            // A cursor of another chain says nothing about this one.
            let seq = after
                .filter(|after| after.chain == *chain)
                .map_or(0, |after| after.seq);
            (
                if action.is_some() {
                    OF_CHAIN_AND_ACTION
                } else {
                    OF_CHAIN
                },
                chain,
                seq,
            )
        }
        (None, action) => {
            // Every chain has a name, so that the empty one comes before all.
            let (chain, seq) = after.map_or(("", 0), |after| (&after.chain, after.seq));
            (if action.is_some() { OF_ACTION } else { ALL }, chain, seq)
        }
    }
}

fn head(row: &Row) -> Result<Head, StoreError> {
    Ok(Head {
        seq: row.number("seq")?,
        hash: row.digest("head_hash")?,
    })
}

async fn keep(
    tx: &mut Transaction,
    chain: &str,
    event: &Event,
    record: &Record,
) -> Result<(), StoreError> {
    let columns = Columns::of(event);
    let address = event.source_address.map(|address| address.to_string());
    let values = values![
        chain,
        record.seq,
        event.at,
        event.action.as_str(),
        event.outcome.as_str(),
        columns.reason.as_deref(),
        event.actor.kind.as_str(),
        columns.actor.0.as_str(),
        columns.actor.1.as_deref(),
        event.target.as_ref().map(|target| target.kind.as_str()),
        columns.target.as_ref().map(|target| target.0.as_str()),
        columns
            .target
            .as_ref()
            .and_then(|target| target.1.as_deref()),
        address.as_deref(),
        columns.request_id.as_deref(),
        columns.route.as_deref(),
        columns.resource.as_deref(),
        event.count,
        event.until,
        record.bytes.as_str(),
        &record.prev_hash,
        &record.hash,
    ];
    tx.execute(APPEND, values).await?;
    Ok(())
}

/// A stranger's words as columns. Text with a NUL cannot be stored, and an event must not be lost for one; `bytes` has it escaped.
struct Columns {
    reason: Option<String>,
    actor: (String, Option<String>),
    target: Option<(String, Option<String>)>,
    request_id: Option<String>,
    route: Option<String>,
    resource: Option<String>,
}

impl Columns {
    fn of(event: &Event) -> Self {
        let party = |party: &Party| {
            (
                without_nul(&party.id),
                party.name.as_deref().map(without_nul),
            )
        };
        Self {
            reason: event.reason.as_deref().map(without_nul),
            actor: party(&event.actor),
            target: event.target.as_ref().map(party),
            request_id: event.request_id.as_deref().map(without_nul),
            route: event.route.as_deref().map(without_nul),
            resource: event.resource.as_deref().map(without_nul),
        }
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(crate) fn audit_row(row: &Row) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        chain: row.read("chain")?,
        seq: row.number("seq")?,
        at: row.instant("at_ms")?,
        action: row.read("action")?,
        outcome: row.read("outcome")?,
        reason: row.read("reason")?,
        actor: AuditParty {
            kind: row.read("actor_type")?,
            id: row.read("actor_id")?,
            name: row.read("actor_name")?,
        },
        target: target(row)?,
        source_address: row.read("source_address")?,
        request_id: row.read("request_id")?,
        route: row.read("route")?,
        resource: row.read("resource")?,
        count: row.number("count")?,
        until: row.maybe_instant("until_ms")?,
        bytes: row.read("bytes")?,
        prev_hash: row.digest("prev_hash")?,
        hash: row.digest("hash")?,
    })
}

fn target(row: &Row) -> Result<Option<AuditParty>, StoreError> {
    let Some(kind) = row.read("target_type")? else {
        return Ok(None);
    };
    let id: Option<String> = row.read("target_id")?;
    Ok(Some(AuditParty {
        kind,
        id: id.unwrap_or_default(),
        name: row.read("target_name")?,
    }))
}
