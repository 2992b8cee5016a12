//! `auth.refresh_token:` how long people stay signed in, and how the token that keeps them so travels.

use std::time::Duration;

use crate::decode::canonical_origin;

/// A session ends `idle` after it was last refreshed and `absolute` after the sign-in, whichever comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshTokens {
    /// Not shorter than an access token lives, and not longer than `absolute`.
    pub idle: Duration,
    pub absolute: Duration,
    /// How long the token before the current one is still answered with its successor.
    pub grace: Duration,
    pub transport: Transport,
    /// Pages of which other origins may sign in, refresh and sign out where cookies are set, each in the spelling of browsers.
    pub origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Body,
    Cookie,
    Both,
}

impl Transport {
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Body | Self::Both)
    }

    pub const fn has_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::Both)
    }
}

/// The origin of pages under this URL, in the spelling of browsers (RFC 6454 section 6.1).
pub fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    canonical_origin(&format!("{scheme}://{authority}"))
}
