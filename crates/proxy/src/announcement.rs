//! The PROXY protocol ahead of a connection, on listeners that expect it: read off the socket before TLS and HTTP.

use std::{io, time::Duration};

use pingora::protocols::Stream;
use portcullis_policy::proxy_protocol::{self, NoHeader, Origin, Reading};
use tokio::{io::AsyncReadExt, time::timeout};

/// Why nobody knows whose connection it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnnouncementError {
    #[error("it did not come in time")]
    TooSlow,
    #[error("the connection was closed ahead of it: {0}")]
    Closed(#[from] io::Error),
    #[error("the peer is none of `server.trusted_proxies`")]
    Untrusted,
    #[error("the connection does not begin with it")]
    Missing,
}

/// Whose connection `accepted` is. What comes after the header is left unread.
pub(crate) async fn read(
    accepted: &mut Stream,
    is_trusted: bool,
    within: Duration,
) -> Result<Origin, AnnouncementError> {
    let origin = async {
        let mut header = Vec::new();
        loop {
            let wanted = match proxy_protocol::read(&header) {
                Ok(Reading::Whole(origin)) => return Ok(origin),
                Ok(Reading::Needs(wanted)) => wanted,
                Err(NoHeader) => return Err(AnnouncementError::Missing),
            };
            let begun = header.len();
            header.resize(begun + wanted, 0);
            let unread = header.get_mut(begun..).unwrap_or_default();
            accepted.read_exact(unread).await?;
            // Not before something was said: a probe that only connects is nobody's attempt.
            if !is_trusted {
                return Err(AnnouncementError::Untrusted);
            }
        }
    };
    timeout(within, origin)
        .await
        .unwrap_or(Err(AnnouncementError::TooSlow))
}
