//! Clears away what no longer matters: revocations of tokens that have expired, sessions past their end, what was
//! used once and could not be used again by now, and what people began and never finished.

use std::{sync::Arc, time::Duration};

use portcullis_config::units::Timestamp;
use portcullis_store::{Sessions, Store, StoreError};
use portcullis_tokens::Revocations;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;

const EVERY: Duration = Duration::from_secs(60);
/// The store removes some hundred rows at a time; after so many batches other writers get a minute.
const BATCHES: usize = 50;

/// Runs until the runtime ends.
pub(crate) async fn keep_house(store: Store, sessions: Sessions, revocations: Arc<Revocations>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        revocations.sweep(clock::wall());
        if let Err(error) = clear(&store, &sessions).await {
            tracing::warn!(%error, "what is moot could not be cleared");
        }
    }
}

async fn clear(store: &Store, sessions: &Sessions) -> Result<(), StoreError> {
    for _ in 0..BATCHES {
        let now = clock::wall();
        if removed(store, sessions, now).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn removed(store: &Store, sessions: &Sessions, now: Timestamp) -> Result<u64, StoreError> {
    Ok(store.sweep_revocations(now).await?
        + sessions.sweep(now).await?
        + store.sweep_spent(now).await?
        + store.sweep_challenges(now).await?
        + store.sweep_email_codes(now).await?
        + store.sweep_abandoned_totp(now).await?)
}
