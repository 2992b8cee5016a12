//! How Pingora carries it out: the only room that names Pingora.
//!
//! A request is followed through four files: [`lifecycle`] (one line a phase), [`admission`] (the order of the checks),
//! the policy room, [`respond`] (the only writer of answers the gateway makes). What goes upstream and comes back is in
//! [`forward`], how an attempt begins and ends in [`attempt`] and [`verdict`], how a request ends in [`observe`].
//!
//! Invariant: no decision is made here that the policy room could make, and no clock is read but the one handed in.

mod access_log;
mod admission;
mod announcement;
mod answer;
mod attempt;
mod authentication;
mod breakers;
mod certificates;
mod connection;
mod exchange;
mod forward;
mod front_door;
mod gateway;
mod grpc;
mod health;
mod http2;
mod ids;
mod in_flight;
mod lasting;
mod lifecycle;
mod metrics;
mod observe;
mod occupancy;
mod rehearsal;
mod reload;
mod resolve;
mod respond;
mod retry;
mod roster;
mod serve;
mod snapshot;
mod spending;
mod stage;
mod status;
mod target;
mod tls;
mod transport;
mod tunnel;
mod upstream;
mod verdict;

pub use gateway::{Clock, SpanSink};
pub use rehearsal::{Account, Outcome, Rehearsal, RehearsedRequest, Step, StepAccount, Verdict};
pub use reload::{ReloadParts, Reloader};
pub use serve::{CloseWithin, Parts, Server, StartError};
pub use status::{BreakerStatus, EndpointStatus, Status, UpstreamStatus};
pub use tls::TlsError;
