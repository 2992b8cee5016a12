//! `GET /v1/admin/audit`: the audit log, a page at a time, for tokens of the resource `portcullis`. Whoever reads it is in
//! it, before the page leaves.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::{Action, Outcome, parse_rfc3339};
use portcullis_config::units::Timestamp;
use portcullis_store::{AuditCursor, AuditParty, AuditRow, AuditSearch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin_scope::AuditRead,
    administrator::Administrator,
    answer::{self, Refusal},
    openapi::tags,
    page::Limit,
    request::{InQuery, Queried, malformed_field},
    service::AuthService,
};

/// The longest id or name that is looked for. Longer ones are not kept.
const MAX_PARTY_BYTES: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(read))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The `next` of the page before, with everything else as it was then.
    after: Option<String>,
    /// The first instant, RFC 3339 in UTC.
    #[param(example = "2027-01-15T08:00:00Z")]
    from: Option<String>,
    /// The instant before which all lie.
    to: Option<String>,
    /// The word for what happened.
    #[param(example = "login_failure")]
    event: Option<String>,
    /// `success`, `failure` or `refused`.
    outcome: Option<String>,
    /// The id or the name of who did it.
    actor: Option<String>,
    /// The id or the name of whom it was done to.
    target: Option<String>,
    /// How many at the most; 50 where absent.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Limit,
}

#[derive(Serialize, ToSchema)]
struct AuditPage {
    /// Oldest first within a chain, one chain after the other. There may be fewer than asked for, or none, before the
    /// end.
    events: Vec<AuditEvent>,
    /// What to send as `after` for the next page; null at the end of the log.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AuditEvent {
    /// Each gateway and each command line has one of its own.
    chain: String,
    /// Without gaps within a chain.
    seq: u64,
    /// RFC 3339, in UTC.
    at: String,
    event: String,
    outcome: String,
    reason: Option<String>,
    actor: Someone,
    target: Option<Someone>,
    source_address: Option<String>,
    request_id: Option<String>,
    route: Option<String>,
    resource: Option<String>,
    /// How many like it were counted together.
    count: u64,
    /// When the last of these happened.
    until: Option<String>,
    /// SHA-256 in hexadecimal, over this row and the hash of the one before it in its chain.
    hash: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditParty)]
struct Someone {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    name: Option<String>,
}

/// Read the audit log
///
/// Reading is an event itself.
#[utoipa::path(
    get,
    path = "/v1/admin/audit",
    operation_id = "read_audit",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["audit:read"])),
    params(Wanted),
    responses((status = 200, description = "A page of the log.", body = AuditPage, example = json!({
        "events": [{
            "chain": "gateway", "seq": 7, "at": "2027-01-15T08:00:00.000Z",
            "event": "login_failure", "outcome": "refused", "reason": "wrong-password",
            "actor": {"type": "anonymous", "id": "anonymous", "name": null},
            "target": {"type": "user", "id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59", "name": "saad"},
            "source_address": "192.0.2.7", "request_id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a60",
            "route": null, "resource": null, "count": 1, "until": null,
            "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        }],
        "next": null,
    }))),
)]
async fn read(
    administrator: Administrator<AuditRead>,
    InQuery(wanted): InQuery<Wanted>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let owner = wanted.owner();
    let after = wanted.after.as_deref();
    let after = after.map(|sealed| service.opened(sealed, &owner));
    let search = wanted.search(after.transpose()?)?;
    // Committed first: what was read and by whom is known even if the answer is lost on the way.
    let event = administrator.event(Action::AuditRead);
    service.store.append_events(&[event]).await?;
    let page = service.store.search_audit(&search).await?;
    let next = page.next.map(|cursor| service.sealed(&cursor, &owner));
    let page = AuditPage {
        events: page.rows.into_iter().map(AuditEvent::from).collect(),
        next: next.transpose()?,
    };
    Ok(answer::json(StatusCode::OK, page))
}

impl Queried for Wanted {
    const TAKES: &'static str = "The query takes from and to, instants such as 2027-01-15T08:00:00Z, event, outcome, actor, target, limit, from 1 to 100, and after, the next of the page before with the same query.";
}

impl Wanted {
    fn search(&self, after: Option<AuditCursor>) -> Result<AuditSearch, Refusal> {
        let bad = || malformed_field(Wanted::TAKES);
        let is_event = |word: &String| Action::parse(word).is_some();
        let is_outcome = |word: &String| Outcome::parse(word).is_some();
        let is_party = |text: &String| (1..=MAX_PARTY_BYTES).contains(&text.len());
        let is_known = self.event.as_ref().is_none_or(is_event)
            && self.outcome.as_ref().is_none_or(is_outcome)
            && self.actor.as_ref().is_none_or(is_party)
            && self.target.as_ref().is_none_or(is_party);
        if !is_known {
            return Err(bad());
        }
        Ok(AuditSearch {
            after,
            from: instant(self.from.as_deref())?,
            to: instant(self.to.as_deref())?,
            action: self.event.clone(),
            outcome: self.outcome.clone(),
            actor: self.actor.clone(),
            target: self.target.clone(),
            limit: self.limit.get(),
        })
    }

    /// Whose pages a cursor is of. No part holds a line break that the next could begin with.
    fn owner(&self) -> String {
        let parts = [
            &self.from,
            &self.to,
            &self.event,
            &self.outcome,
            &self.actor,
            &self.target,
        ];
        let parts = parts.map(|part| part.as_ref().map(|part| part.escape_debug().to_string()));
        format!("{parts:?}")
    }
}

fn instant(text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match parse_rfc3339(text) {
        Some(at) => Ok(Some(at)),
        None => Err(malformed_field(Wanted::TAKES)),
    }
}

impl AuthService {
    /// Nobody but us can make a cursor, nor take it to another query.
    fn sealed(&self, cursor: &AuditCursor, owner: &str) -> Result<String, Refusal> {
        let text = format!("{}\n{}", cursor.seq, cursor.chain);
        let sealed = self.cursor_key.wrap_for(owner, text.as_bytes());
        let sealed = sealed.map_err(|error| Refusal::internal(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn opened(&self, text: &str, owner: &str) -> Result<AuditCursor, Refusal> {
        let bad = || malformed_field(Wanted::TAKES);
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_not_ours| bad())?;
        let opened = self
            .cursor_key
            .unwrap_for(owner, &sealed)
            .map_err(|_not_ours| bad())?;
        let text = std::str::from_utf8(&opened).map_err(|_never| bad())?;
        let (seq, chain) = text.split_once('\n').ok_or_else(bad)?;
        Ok(AuditCursor {
            chain: chain.to_owned(),
            seq: seq.parse().map_err(|_never| bad())?,
        })
    }
}

impl From<AuditRow> for AuditEvent {
    fn from(row: AuditRow) -> Self {
        Self {
            hash: hexadecimal(&row.hash),
            chain: row.chain,
            seq: row.seq,
            at: portcullis_audit::rfc3339(row.at),
            event: row.action,
            outcome: row.outcome,
            reason: row.reason,
            actor: row.actor.into(),
            target: row.target.map(Someone::from),
            source_address: row.source_address,
            request_id: row.request_id,
            route: row.route,
            resource: row.resource,
            count: row.count,
            until: row.until.map(portcullis_audit::rfc3339),
        }
    }
}

impl From<AuditParty> for Someone {
    fn from(party: AuditParty) -> Self {
        Self {
            kind: party.kind,
            id: party.id,
            name: party.name,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
