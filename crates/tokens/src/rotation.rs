//! When our own signing keys change: a pure decision, for whoever keeps them.
//!
//! A key is published before it signs, for longer than anybody may keep an older copy of our key set, and stays published
//! until the last token that it signed has expired. So no verifier ever meets a good token whose key it cannot have.

use std::time::Duration;

use portcullis_config::units::Timestamp;

use crate::{issuer::LOCAL_CLOCK_SKEW, signing::SigningAlgorithm};

/// How long others may keep our key set (`Cache-Control: max-age`).
pub const KEY_SET_MAX_AGE: Duration = Duration::from_secs(300);

/// What replicas may be late by: their clocks, and the reading from which they learn of a change.
const LAG: Duration = Duration::from_secs(60);

/// From the publication of a key to its first signature.
pub const PUBLISHED_AHEAD: Duration = KEY_SET_MAX_AGE.saturating_add(LAG);

/// How long a key that was taken back is named as such. Whoever stole it can make tokens of any age, and a gateway that
/// cannot reach us serves a day with the keys it had; so this is not bounded by the life of a token.
pub const TAKEN_BACK_FOR: Duration = Duration::from_secs(30 * 86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and signs nothing yet. There is at most one.
    Next,
    /// Signs. There is exactly one, but for the moment before the first.
    Active,
    /// Signs no more, and is published for the tokens it has signed.
    Retiring,
    /// Taken back: verifies nothing, and is published nowhere.
    Retired,
}

impl KeyState {
    const ALL: [Self; 4] = [Self::Next, Self::Active, Self::Retiring, Self::Retired];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether others are told of the key, and its tokens accepted.
    pub const fn is_published(self) -> bool {
        match self {
            Self::Next | Self::Active | Self::Retiring => true,
            Self::Retired => false,
        }
    }
}

/// What is known of a key beside the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub kid: String,
    /// As in a token's header.
    pub algorithm: String,
    pub state: KeyState,
    /// From here on it was published.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When it ceased to sign, or was taken back.
    pub retired_at: Option<Timestamp>,
}

/// By what rules keys change.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long a key signs.
    pub every: Duration,
    pub algorithm: SigningAlgorithm,
    /// The longest that a token may live.
    pub token_lifetime: Duration,
    /// Since when the configuration is that of this process. A key of another algorithm is replaced only if it is older:
    /// of two replicas that are configured differently, the later one must not be answered by the earlier.
    pub since: Timestamp,
}

/// What is to be done with the keys now. One at a time: afterwards the keys are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'k> {
    /// Make a key that signs at once: there is none.
    Begin,
    /// Make the next one and publish it.
    Announce,
    /// The next one signs from now on.
    Activate(&'k KeyRecord),
    /// Nothing that it signed can be good any more.
    Forget(&'k KeyRecord),
}

impl Rotation {
    pub fn step<'k>(&self, keys: &'k [KeyRecord], now: Timestamp) -> Option<Step<'k>> {
        let in_state = |state| keys.iter().find(|key| key.state == state);
        match (in_state(KeyState::Active), in_state(KeyState::Next)) {
            (None, None) => Some(Step::Begin),
            (None, Some(next)) => Some(Step::Activate(next)),
            (Some(_), Some(next)) if signs_from(next) <= now => Some(Step::Activate(next)),
            (Some(active), None) if self.is_due(active, now) => Some(Step::Announce),
            (Some(_), _) => keys
                .iter()
                .find(|key| self.is_over(key, now))
                .map(Step::Forget),
        }
    }

    /// When the key that signs now will have a successor announced, if nobody asks for one before.
    fn is_due(&self, active: &KeyRecord, now: Timestamp) -> bool {
        let ahead = self.every.saturating_sub(PUBLISHED_AHEAD);
        let began = active.activated_at.unwrap_or(active.created_at);
        let is_other = active.algorithm != self.algorithm.name();
        began.plus(ahead) <= now || is_other && active.created_at < self.since
    }

    fn is_over(&self, key: &KeyRecord, now: Timestamp) -> bool {
        let ended = key.retired_at.unwrap_or(key.created_at);
        match key.state {
            KeyState::Next | KeyState::Active => false,
            KeyState::Retiring => ended.plus(self.outlives()) <= now,
            KeyState::Retired => ended.plus(TAKEN_BACK_FOR) <= now,
        }
    }

    /// How long after its last signature a key may still be needed.
    pub fn outlives(&self) -> Duration {
        self.token_lifetime
            .saturating_add(LOCAL_CLOCK_SKEW)
            .saturating_add(LAG)
    }
}

/// When a key that is `next` begins to sign.
pub fn signs_from(next: &KeyRecord) -> Timestamp {
    next.created_at.plus(PUBLISHED_AHEAD)
}

#[cfg(test)]
mod tests;
