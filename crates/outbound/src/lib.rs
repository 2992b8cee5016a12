//! What the gateway fetches and sends by itself: issuers' keys, revocation feeds, traces, mail.

pub mod discovery;
pub mod fetch;
pub mod issuer_keys;
pub mod mail;
pub mod providers;
pub mod revocation_feeds;
pub mod traces;
