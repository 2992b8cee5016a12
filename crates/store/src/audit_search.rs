//! Looking through the audit log a page at a time.
//!
//! Each page looks at a bounded piece of the log, whatever it finds there: a search for what happened twice in a year must
//! not read a year in one statement. So a page may be short, or empty, and say where to go on all the same.

use portcullis_config::units::Timestamp;

use crate::{
    audit::{AuditCursor, AuditRow, audit_row},
    engine::values,
    error::StoreError,
    store::Store,
};

/// Rows that one page looks at.
const LOOKED_AT: u32 = 10_000;
/// The most rows one page may have.
const PAGE: u32 = 1000;

/// The last row of the piece; none if the log ends before.
const END: &str = "SELECT chain, seq FROM audit_events WHERE (chain, seq) > ($1, $2) ORDER BY chain, seq LIMIT 1 OFFSET $3";
/// Whoever asks for nothing in particular gives NULL.
const MATCHING: &str = "SELECT * FROM audit_events \
     WHERE (chain, seq) > ($1, $2) AND ($4 = 0 OR (chain, seq) <= ($3, $4)) AND at_ms >= $5 AND at_ms < $6 \
     AND (CAST($7 AS TEXT) IS NULL OR action = $7) AND (CAST($8 AS TEXT) IS NULL OR outcome = $8) \
     AND (CAST($9 AS TEXT) IS NULL OR actor_id = $9 OR actor_name = $9) \
     AND (CAST($10 AS TEXT) IS NULL OR target_id = $10 OR target_name = $10) \
     ORDER BY chain, seq LIMIT $11";

/// What is looked for. Everything must hold; what is absent holds always.
#[derive(Clone, Debug, Default)]
pub struct AuditSearch {
    /// Where the page before ended.
    pub after: Option<AuditCursor>,
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
    pub action: Option<String>,
    pub outcome: Option<String>,
    /// By id or by name.
    pub actor: Option<String>,
    /// By id or by name.
    pub target: Option<String>,
    /// At most 1000.
    pub limit: u32,
}

/// Oldest first within a chain, one chain after the other.
#[derive(Clone, Debug)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    /// Where to go on; `None` at the end of the log.
    pub next: Option<AuditCursor>,
}

impl Store {
    pub async fn search_audit(&self, search: &AuditSearch) -> Result<AuditPage, StoreError> {
        // Every chain has a name, so that the empty one comes before all.
        let after = search.after.as_ref();
        let (chain, seq) = after.map_or(("", 0), |after| (after.chain.as_str(), after.seq));
        let end = self.end_of_piece(chain, seq).await?;
        let (end_chain, end_seq) = end
            .as_ref()
            .map_or(("", 0), |end| (end.chain.as_str(), end.seq));
        let limit = search.limit.min(PAGE);
        let values = values![
            chain,
            seq,
            end_chain,
            end_seq,
            search.from.unwrap_or(Timestamp::from_millis(0)),
            search.to.unwrap_or(Timestamp::from_millis(u64::MAX)),
            search.action.as_deref(),
            search.outcome.as_deref(),
            search.actor.as_deref(),
            search.target.as_deref(),
            limit + 1,
        ];
        let found = self.engine.rows(MATCHING, values).await?;
        let mut rows: Vec<AuditRow> = found.iter().map(audit_row).collect::<Result<_, _>>()?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > wanted;
        rows.truncate(wanted);
        let next = match rows.last() {
            Some(last) if has_more => Some(last.cursor()),
            Some(_) | None => end,
        };
        Ok(AuditPage { rows, next })
    }

    async fn end_of_piece(&self, chain: &str, seq: u64) -> Result<Option<AuditCursor>, StoreError> {
        let rows = self
            .engine
            .rows(END, values![chain, seq, LOOKED_AT - 1])
            .await?;
        let cursor = |row: &crate::engine::Row| {
            Ok(AuditCursor {
                chain: row.read("chain")?,
                seq: row.number("seq")?,
            })
        };
        rows.first().map(cursor).transpose()
    }
}
