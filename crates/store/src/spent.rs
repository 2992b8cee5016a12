//! What may be used once: remembered as a digest until it would be refused for its age anyway.

use portcullis_config::units::Timestamp;

use crate::{engine::values, error::StoreError, store::Store};

const SPEND: &str = "INSERT INTO spent (digest, until_ms) VALUES ($1, $2)";
const REMOVE_MOOT: &str = "DELETE FROM spent \
     WHERE digest IN (SELECT digest FROM spent WHERE until_ms <= $1 ORDER BY until_ms LIMIT $2)";

/// Rows removed in one transaction, so that sweeping never holds up a sign-in for long.
const SWEEP: u32 = 500;

impl Store {
    /// `Taken` if somebody was first. Of several who come at the same time one gets through.
    ///
    /// `digest` is a SHA-256 over what the thing is for and whose it is, so that no two things have one; from `until` on it must
    /// be refused without asking here.
    pub async fn spend(&self, digest: &[u8; 32], until: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        tx.execute(SPEND, values![digest, until]).await?;
        self.commit(tx, &[]).await
    }

    /// Removes some of what is moot and says how much: 0 means that nothing is left.
    pub async fn sweep_spent(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_MOOT, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}
