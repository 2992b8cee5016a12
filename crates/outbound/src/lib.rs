//! What the gateway fetches and sends by itself: issuers' keys, revocation feeds, traces.

pub mod traces;
