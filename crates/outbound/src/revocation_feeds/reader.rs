//! Asks for the log, as a client that renews its token before it ends.

use std::{sync::Arc, time::Duration};

use portcullis_config::issuers::RevocationFeed;
use tokio::time::Instant;

use super::page::{NotUnderstood, Page, Token};
use crate::fetch::{FetchError, Fetcher};

/// How long the other side may hold back an answer that has nothing new. Well below the time after which what is known
/// here counts as stale.
const WAIT_SECONDS: u64 = 5;
/// And how long it may take in all.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(9);

/// A full page has some 150 KiB.
const LARGEST_PAGE: usize = 1 << 20;
const LARGEST_TOKEN: usize = 32 * 1024;

/// A token is renewed when a fifth of its time is left, so that it never ends on the way.
const RENEWED_AFTER: f64 = 0.8;

const GRANT: &str = "grant_type=client_credentials&resource=portcullis&scope=revocations%3Aread";

/// Why the log was not read. The texts are for the log and hold nothing of what was answered.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("no token from the token endpoint: {0}")]
    Token(FetchError),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Answer(#[from] NotUnderstood),
    #[error("it holds more than {0} revocations that still matter")]
    TooMany(usize),
}

pub(super) struct Reader {
    fetcher: Arc<Fetcher>,
    feed: RevocationFeed,
    token_url: String,
    /// With the time from which it is not used any more.
    token: Option<(String, Instant)>,
}

impl Reader {
    pub(super) fn new(fetcher: Arc<Fetcher>, feed: RevocationFeed) -> Self {
        Self {
            fetcher,
            token_url: feed.token_url(),
            feed,
            token: None,
        }
    }

    /// What follows `after`. Where nothing does, and it `may_wait`, the answer comes with the next revocation or after
    /// some seconds.
    pub(super) async fn page(&mut self, after: u64, may_wait: bool) -> Result<Page, FeedError> {
        let token = self.token().await?;
        let wait = if may_wait { WAIT_SECONDS } else { 0 };
        let url = format!("{}?after={after}&wait={wait}", self.feed.url);
        let fetched = self.fetcher.fetch_as(&token, &url, LARGEST_PAGE).await;
        if let Err(FetchError::Status(401)) = fetched {
            // Another key signs, or the client was disabled and enabled again.
            self.token = None;
        }
        Ok(Page::read(&fetched?.body)?)
    }

    async fn token(&mut self) -> Result<String, FeedError> {
        if let Some((token, until)) = &self.token
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let client = (self.feed.client_id.as_str(), &self.feed.client_secret);
        let asked_at = Instant::now();
        let answer = self
            .fetcher
            .submit_as(client, &self.token_url, GRANT, LARGEST_TOKEN)
            .await
            .map_err(FeedError::Token)?;
        let token = Token::read(&answer.body)?;
        let until = asked_at + token.lasts.min(LONGEST).mul_f64(RENEWED_AFTER);
        self.token = Some((token.text.clone(), until));
        Ok(token.text)
    }
}

/// No clock is asked to add more than this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
