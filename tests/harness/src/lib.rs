//! What the tests start and stop around themselves: real servers and the real gateway, on free ports, in temporary
//! directories.
//!
//! Everything started here ends with the test process, even when that is killed: see [`supervise`] and [`process`].
//! Nothing here knows the gateway's crates: it is met where its users meet it, at sockets and at the command line.

pub mod browser;
pub mod certificates;
pub mod client;
pub mod frames;
pub mod gateway;
pub mod http2;
pub mod identity_provider;
pub mod jose;
pub mod mail_server;
pub mod metrics;
pub mod oauth_peers;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod python;
pub mod redis;
pub mod relay;
pub mod secured_upstream;
pub mod supervise;
pub mod upstream;
pub mod wait;
pub mod websocket;
pub mod wire;
