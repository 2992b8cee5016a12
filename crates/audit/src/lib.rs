//! What happened: the vocabulary of audit events, the desk where the request path hands them in, and the hash chain
//! that makes a kept log tamper-evident.
//!
//! Read in this order: [`event`] (what can be said), [`desk`] (how it is said without ever waiting), [`chain`] (how it
//! is kept). Nothing here does I/O or reads a clock; `store` writes the rows.

pub mod chain;
pub mod desk;
pub mod event;
mod time;

pub use chain::{Broken, Head, Record};
pub use desk::{Desk, DeskLimits};
pub use event::{Action, Event, Outcome, Party, PartyKind};
pub use time::{parse_rfc3339, rfc3339};
