//! Clients: programs that get tokens with an id, and a secret or a key of their own. What ends a client's tokens is logged as it is for a
//! user: ids of both are `UUIDv7`s, so that one log can name either.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    revocations,
    store::Store,
};

/// The most clients one page may have.
const PAGE: u32 = 1000;

const BY_ID: &str = "SELECT * FROM clients WHERE id = $1";
const BY_NAME: &str = "SELECT * FROM clients WHERE name = $1";
const AFTER: &str = "SELECT * FROM clients WHERE id > $1 ORDER BY id LIMIT $2";
const CREATE: &str = "INSERT INTO clients (id, name, secret_hash, public_keys, scopes, disabled, version, created_ms, updated_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)";
const SET_PROOF: &str = "UPDATE clients SET secret_hash = $2, public_keys = $3, version = version + 1, updated_ms = $4 \
     WHERE id = $1 RETURNING version";
const SET_DISABLED: &str = "UPDATE clients SET disabled = $2, version = version + 1, updated_ms = $3 \
     WHERE id = $1 AND disabled <> $2 RETURNING version";
const CHANGE: &str = "UPDATE clients SET scopes = COALESCE($2, scopes), \
     disabled = CASE WHEN $3 = 0 THEN disabled ELSE $4 END, version = version + 1, updated_ms = $5 \
     WHERE id = $1 RETURNING version";
const DELETE: &str = "DELETE FROM clients WHERE id = $1";
/// Touches the row, so that on PostgreSQL too a change of it and a new token cannot pass each other.
const USE: &str = "UPDATE clients SET last_used_ms = CASE WHEN last_used_ms > $4 THEN last_used_ms ELSE $3 END \
     WHERE id = $1 AND version = $2 AND disabled = $5";

/// The time of last use is exact to a minute.
const USE_MILLIS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub name: String,
    /// Separated by spaces, as in a token.
    pub scopes: String,
    pub disabled: bool,
    /// It signs for itself, and has no secret.
    pub has_keys: bool,
    /// As a user's: goes up whenever tokens issued before must not be good any more.
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it last got a token, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// What a client proves itself by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientProof {
    /// The SHA-256 of a secret.
    Secret([u8; 32]),
    /// Public keys, as they were given.
    Keys(String),
}

impl ClientProof {
    fn columns(&self) -> (Option<&[u8]>, Option<&str>) {
        match self {
            Self::Secret(hash) => (Some(hash), None),
            Self::Keys(keys) => (None, Some(keys)),
        }
    }
}

/// What is to become of a client. `None` leaves as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientChange<'a> {
    /// Separated by spaces.
    pub scopes: Option<&'a str>,
    pub disabled: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct NewClient {
    /// A `UUIDv7` as text.
    pub id: String,
    pub name: String,
    pub proof: ClientProof,
    /// Separated by spaces.
    pub scopes: String,
    pub created_at: Timestamp,
}

impl Store {
    /// `Taken` if id or name belong to another.
    pub async fn create_client(
        &self,
        client: &NewClient,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let mut tx = self.engine.begin().await?;
        let (secret_hash, public_keys) = client.proof.columns();
        let values = values![
            client.id.as_str(),
            client.name.as_str(),
            secret_hash,
            public_keys,
            client.scopes.as_str(),
            false,
            client.created_at,
        ];
        tx.execute(CREATE, values).await?;
        self.finish_client(tx, &client.id, event).await
    }

    pub async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let rows = self.engine.rows(BY_ID, values![id]).await?;
        rows.first().map(client).transpose()
    }

    /// With what it proves itself by.
    pub async fn client_with_proof(
        &self,
        id: &str,
    ) -> Result<Option<(Client, ClientProof)>, StoreError> {
        let rows = self.engine.rows(BY_ID, values![id]).await?;
        let with_proof = |row: &Row| Ok((client(row)?, proof(row)?));
        rows.first().map(with_proof).transpose()
    }

    pub async fn client_by_name(&self, name: &str) -> Result<Option<Client>, StoreError> {
        let rows = self.engine.rows(BY_NAME, values![name]).await?;
        rows.first().map(client).transpose()
    }

    /// A page of at most `limit` (and 1000) clients in the order of their ids, after the one named.
    pub async fn clients(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Client>, StoreError> {
        let values = values![after.unwrap_or(""), limit.min(PAGE)];
        let rows = self.engine.rows(AFTER, values).await?;
        rows.iter().map(client).collect()
    }

    /// As [`Store::set_disabled`] for a user, tokens and repetition included.
    pub async fn set_client_disabled(
        &self,
        id: &str,
        disabled: bool,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let mut tx = self.engine.begin().await?;
        if let Some(row) = tx
            .row(SET_DISABLED, values![id, disabled, event.at])
            .await?
        {
            let revocation = Revocation::UserBefore {
                user_id: id.to_owned(),
                version: row.number("version")?,
            };
            revocations::log(&mut tx, &revocation, revocation_until, event).await?;
        }
        self.finish_client(tx, id, event).await
    }

    /// What it proved itself by before is nothing any more, and as [`Self::set_client_disabled`] its tokens are outdated: whoever
    /// changes a secret may not know who else has it.
    pub async fn set_client_proof(
        &self,
        id: &str,
        proof: &ClientProof,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let mut tx = self.engine.begin().await?;
        let (secret_hash, public_keys) = proof.columns();
        let values = values![id, secret_hash, public_keys, event.at];
        let row = tx.row(SET_PROOF, values).await?;
        let revocation = Revocation::UserBefore {
            user_id: id.to_owned(),
            version: row.ok_or(StoreError::NotFound)?.number("version")?,
        };
        revocations::log(&mut tx, &revocation, revocation_until, event).await?;
        self.finish_client(tx, id, event).await
    }

    /// Tokens issued before are refused until `revocation_until`.
    pub async fn change_client(
        &self,
        id: &str,
        wanted: &ClientChange<'_>,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![
            id,
            wanted.scopes,
            u32::from(wanted.disabled.is_some()),
            wanted.disabled.unwrap_or_default(),
            event.at,
        ];
        let row = tx.row(CHANGE, values).await?.ok_or(StoreError::NotFound)?;
        outdate(&mut tx, id, &row, revocation_until, event).await?;
        self.finish_client(tx, id, event).await
    }

    /// Answers with the client as it was, but for the version, which went up once more.
    pub async fn delete_client(
        &self,
        id: &str,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let mut tx = self.engine.begin().await?;
        let nothing = ClientChange::default();
        let values = values![id, nothing.scopes, 0_u32, false, event.at];
        let row = tx.row(CHANGE, values).await?.ok_or(StoreError::NotFound)?;
        outdate(&mut tx, id, &row, revocation_until, event).await?;
        let row = tx.row(BY_ID, values![id]).await?;
        let gone = client(&row.ok_or(StoreError::NotFound)?)?;
        tx.execute(DELETE, values![id]).await?;
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(gone)
    }

    /// Keeps that a token of this client is about to leave. `Conflict` if the client was disabled or changed since it was read:
    /// then none may.
    pub async fn use_client(&self, used: &Client, event: &Event) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let a_minute_ago = event.at.as_millis().saturating_sub(USE_MILLIS);
        let values = values![
            used.id.as_str(),
            used.version,
            event.at,
            a_minute_ago,
            false
        ];
        if tx.execute(USE, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, std::slice::from_ref(event)).await
    }

    async fn finish_client(
        &self,
        mut tx: Transaction,
        id: &str,
        event: &Event,
    ) -> Result<Client, StoreError> {
        let row = tx.row(BY_ID, values![id]).await?;
        let changed = client(&row.ok_or(StoreError::NotFound)?)?;
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(changed)
    }
}

/// `row` has the version that is good from now on.
async fn outdate(
    tx: &mut Transaction,
    id: &str,
    row: &Row,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    let revocation = Revocation::UserBefore {
        user_id: id.to_owned(),
        version: row.number("version")?,
    };
    revocations::log(tx, &revocation, until, event).await
}

fn client(row: &Row) -> Result<Client, StoreError> {
    Ok(Client {
        id: row.read("id")?,
        name: row.read("name")?,
        scopes: row.read("scopes")?,
        disabled: row.read("disabled")?,
        has_keys: row.read::<Option<String>>("public_keys")?.is_some(),
        version: row.number("version")?,
        created_at: row.instant("created_ms")?,
        updated_at: row.instant("updated_ms")?,
        last_used_at: row.maybe_instant("last_used_ms")?,
    })
}

fn proof(row: &Row) -> Result<ClientProof, StoreError> {
    match row.read("public_keys")? {
        Some(keys) => Ok(ClientProof::Keys(keys)),
        None => Ok(ClientProof::Secret(row.digest("secret_hash")?)),
    }
}
