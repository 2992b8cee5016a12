//! Clients that speak HTTP/2 and mean no good: each is ended or held within bounds, and the next client is served.

use std::time::Duration;

use portcullis_harness::{
    frames::{Frame, Frames, PING},
    wait::{self, PATIENCE},
};

use crate::tls_stage::TlsStage;

#[test]
fn a_connection_without_a_preface_has_the_time_of_a_header() {
    let stage = TlsStage::with_limits("header_timeout: 1s, idle_timeout: 30s");
    let config = stage.authority.tls_client(&["h2"], None).unwrap();
    let mut silent = Frames::silent(stage.gateway.address(), "a.test", config).unwrap();
    silent.send_bytes(b"PRI * HT");
    let (closed, took) = wait::timed(|| silent.closes_within(PATIENCE));
    assert!(closed && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_connection_without_streams_is_closed_when_idle_whatever_it_pings() {
    let stage = TlsStage::with_limits("idle_timeout: 1s");
    let mut idle = stage.frames();
    let ping = Frame::new(PING, 0, 0, [0; 8]);
    let ended = wait::until("the end of an idle connection", PATIENCE, || {
        (!idle.send(&ping)).then_some(())
    });
    ended.unwrap();
}
