//! Whose account at an identity provider is whose here. An account there is its issuer and its subject, which the provider never
//! gives to anybody else; an address or a name is neither.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{
    engine::{Transaction, values},
    error::StoreError,
    store::Store,
    users::{self, User},
};

const BY_IDENTITY: &str = users::users_from!(
    "SELECT * FROM users WHERE id = (SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2)"
);
const OF_USER: &str =
    "SELECT issuer, subject FROM identities WHERE user_id = $1 ORDER BY issuer, subject";
const LINK: &str =
    "INSERT INTO identities (issuer, subject, user_id, created_ms) VALUES ($1, $2, $3, $4)";

const UNLINK: &str = "DELETE FROM identities WHERE issuer = $1 AND subject = $2 AND user_id = $3";

/// Somebody's account elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As it stands in the provider's ID tokens.
    pub issuer: String,
    pub subject: String,
}

impl Store {
    pub async fn user_by_identity(&self, identity: &Identity) -> Result<Option<User>, StoreError> {
        let values = values![identity.issuer.as_str(), identity.subject.as_str()];
        let rows = self.engine.rows(BY_IDENTITY, values).await?;
        Ok(users::users(&rows)?.pop())
    }

    pub async fn identities_of(&self, user_id: &str) -> Result<Vec<Identity>, StoreError> {
        let rows = self.engine.rows(OF_USER, values![user_id]).await?;
        let identity = |row: &crate::engine::Row| {
            Ok(Identity {
                issuer: row.read("issuer")?,
                subject: row.read("subject")?,
            })
        };
        rows.iter().map(identity).collect()
    }

    /// Lets a user in by one more account elsewhere. `Taken` if it is somebody's already, this user's included.
    pub async fn link_identity(
        &self,
        user_id: &str,
        identity: &Identity,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        link(&mut tx, user_id, identity, event.at).await?;
        self.commit(tx, std::slice::from_ref(event)).await
    }

    /// `NotFound` if the user is not let in by this account.
    pub async fn unlink_identity(
        &self,
        user_id: &str,
        identity: &Identity,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let (issuer, subject) = (identity.issuer.as_str(), identity.subject.as_str());
        if tx
            .execute(UNLINK, values![issuer, subject, user_id])
            .await?
            == 0
        {
            return Err(StoreError::NotFound);
        }
        self.commit(tx, std::slice::from_ref(event)).await
    }
}

pub(crate) async fn link(
    tx: &mut Transaction,
    user_id: &str,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (issuer, subject) = (identity.issuer.as_str(), identity.subject.as_str());
    tx.execute(LINK, values![issuer, subject, user_id, now])
        .await?;
    Ok(())
}
