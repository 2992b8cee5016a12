//! What the gateway decides.
//!
//! Each module is one question of admission, answered from plain values: is this request clean ([`hygiene`]), whose is
//! it ([`client_address`]), where does it go ([`routing`], [`forwarding`]), may this principal ([`access`]), may it so
//! often ([`limits`]), is the upstream fit to answer ([`breaker`]), which endpoints of it are ([`fitness`]), which one is
//! asked ([`balance`]), may it be asked once more ([`retry_budget`]). Every no is a [`rejection::Rejection`].
//!
//! Invariant: nothing here does I/O, reads a clock or makes randomness; all three are arguments.

pub mod clock;
pub mod cors;
pub mod problem;
pub mod redirect;
pub mod rejection;

pub mod access;
pub mod balance;
pub mod breaker;
pub mod client_address;
pub mod fitness;
pub mod forwarding;
pub mod hygiene;
pub mod limits;
pub mod proxy_protocol;
pub mod rate_headers;
pub mod retry_budget;
pub mod routing;
pub mod security_headers;
pub mod traces;
pub mod websocket;
pub mod wire;
