//! `GET /v1/revocations?after=N&wait=S`: the revocation log, for gateways without this database. Who has read up to N
//! waits here until there is more, so that a revocation arrives within a second and silence costs nearly nothing.

use std::{sync::Arc, time::Duration};

use axum::{http::StatusCode, response::Response};
use portcullis_config::units::Timestamp;
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::Revocation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin_scope::RevocationsRead,
    administrator::Administrator,
    answer::{self, Refusal},
    openapi::tags,
    request::{InQuery, Queried},
    service::AuthService,
};

/// Below what proxies and clients between us and the follower take for silence.
const LONGEST_WAIT: u64 = 20;
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(follow))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Place {
    /// The last number read; none yet where absent.
    #[serde(default)]
    after: u64,
    /// Seconds to wait for news. More than 20 are taken for 20.
    #[serde(default)]
    wait: u64,
}

impl Queried for Place {
    const TAKES: &'static str = "The query takes after, a number, and wait, seconds.";
}

#[derive(Serialize, ToSchema)]
#[schema(as = Revocations)]
struct Page {
    revocations: Vec<Entry>,
    /// What to send as `after` the next time.
    next: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Revocation)]
struct Entry {
    seq: u64,
    /// `session`, `user` or `key`.
    kind: &'static str,
    id: String,
    /// Of a user or a client: tokens with a lower `ver` are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Milliseconds since 1970. From then on no token can exist that is meant.
    until: u64,
}

/// Follow revocations
///
/// For gateways that verify our tokens without this database. Who has read all waits for the next, for `wait` seconds.
#[utoipa::path(
    get,
    path = "/v1/revocations",
    operation_id = "follow_revocations",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["revocations:read"]), ("client" = ["revocations:read"])),
    params(Place),
    responses((status = 200, description = "What came after that.", body = Page, example = json!({
        "revocations": [{
            "seq": 8, "kind": "session", "id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59", "until": 1800000300000_u64,
        }],
        "next": 8,
    }))),
)]
async fn follow(
    administrator: Administrator<RevocationsRead>,
    InQuery(place): InQuery<Place>,
) -> Result<Response, Refusal> {
    let wait = Duration::from_secs(place.wait.min(LONGEST_WAIT));
    let page = administrator.service.page_after(place.after, wait).await?;
    Ok(answer::json(StatusCode::OK, page))
}

impl AuthService {
    async fn page_after(&self, after: u64, wait: Duration) -> Result<Page, Refusal> {
        let head = self.store.revocation_head().await?;
        // The log is behind its reader: the database was restored, and what has its numbers now is unknown there.
        let after = if after > head { 0 } else { after };
        let page = self.read_after(after, head).await?;
        if !page.revocations.is_empty() || wait.is_zero() {
            return Ok(page);
        }
        let _place = self.log_watch.enter().ok_or(Rejection::Overloaded {
            retry_after: OVERLOADED_RETRY,
        })?;
        let head = self.log_watch.beyond(&self.store, page.next, wait).await?;
        self.read_after(page.next, head).await
    }

    /// `head` was read before, so that all numbers up to it can be seen by now.
    async fn read_after(&self, after: u64, head: u64) -> Result<Page, Refusal> {
        let rows = self.store.revocations_after(after, self.now()).await?;
        // With rows there may be more; without, everything up to the head is moot.
        let next = rows.last().map_or(head.max(after), |(seq, ..)| *seq);
        Ok(Page {
            revocations: rows.into_iter().map(entry).collect(),
            next,
        })
    }
}

fn entry((seq, revocation, until): (u64, Revocation, Timestamp)) -> Entry {
    let (kind, id, version) = match revocation {
        Revocation::Session(sid) => ("session", sid, None),
        Revocation::UserBefore { user_id, version } => ("user", user_id, Some(version)),
        Revocation::Key(kid) => ("key", kid, None),
    };
    Entry {
        seq,
        kind,
        id,
        version,
        until: until.as_millis(),
    }
}
