//! What the tests start and stop around themselves: real servers on free ports, in temporary directories.
//!
//! Everything started here ends with the test process, even when that is killed: see [`supervise`].

pub mod ports;
pub mod postgres;
pub mod redis;
pub mod supervise;
pub mod wait;
