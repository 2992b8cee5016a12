//! Certificates that change under a running gateway, and those that cannot take the place of a good one.

use std::{fs, os::unix::fs::symlink, path::Path};

use portcullis_harness::{
    certificates::{Authority, Certified},
    client::Socket,
    wait::{self, PATIENCE},
};
use rustix::process::Signal;

use crate::tls_stage::{TlsStage, files, pair, shown};

const GET: &str = "GET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const EXPIRY: &str = "portcullis_tls_certificate_expiry_timestamp_seconds";

/// A stage whose listener shows a certificate of its own files, which a test may replace.
fn stage() -> (TlsStage, Certified) {
    let mut issued = None;
    let stage = TlsStage::with("header_timeout: 10s", |authority| {
        let first = authority.server(&["a.test"]).unwrap();
        let tls = pair(&first);
        issued = Some(first);
        tls
    });
    (stage, issued.expect("it was issued"))
}

fn wait_until_shown(stage: &TlsStage, wanted: &Certified) {
    let is_shown = || {
        // No handshake may fail on the way from the one to the other.
        let socket = stage.http1("a.test").unwrap();
        (shown(&socket).0 == wanted.der()).then_some(())
    };
    wait::until("the renewed certificate", PATIENCE, is_shown)
        .unwrap_or_else(|error| panic!("{error}: {}", stage.gateway.stderr()));
}

fn answers(socket: &mut Socket) -> bool {
    socket.send(GET);
    socket.response().is_ok_and(|answer| answer.status == 200)
}

fn reloads(stage: &TlsStage, outcome: &str) -> f64 {
    let metrics = stage.gateway.metrics().unwrap();
    metrics.sum("portcullis_config_reloads_total", &[("outcome", outcome)])
}

fn wait_for_reload(stage: &TlsStage, outcome: &str, before: f64) {
    let counted = || (reloads(stage, outcome) > before).then_some(());
    wait::until(&format!("a reload that is {outcome}"), PATIENCE, counted)
        .unwrap_or_else(|error| panic!("{error}: {}", stage.gateway.stderr()));
}

fn wait_for_log(stage: &TlsStage, words: &str) {
    let told = || stage.gateway.stderr().contains(words).then_some(());
    wait::until(words, PATIENCE, told)
        .unwrap_or_else(|error| panic!("{error}: {}", stage.gateway.stderr()));
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_without_a_failed_handshake() {
    let (stage, first) = stage();
    let mut open = stage.http1("a.test").unwrap();
    assert!(answers(&mut open));
    let renewed = stage.authority.server(&["a.test"]).unwrap();
    renewed.replace(&first.certificate, &first.key).unwrap();
    wait_until_shown(&stage, &renewed);
    assert!(answers(&mut open), "what was open goes on");
    let metrics = stage.gateway.metrics().unwrap();
    assert_eq!(
        metrics.sum("portcullis_tls_handshake_failures_total", &[]),
        0.0
    );
}

#[test]
fn a_certificate_is_renewed_by_the_swap_of_a_link_above_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let lay = |version: &str, certified: &Certified| {
        fs::create_dir(at(version)).unwrap();
        fs::copy(&certified.certificate, at(version).join("tls.crt")).unwrap();
        fs::copy(&certified.key, at(version).join("tls.key")).unwrap();
    };
    let stage = TlsStage::with("header_timeout: 10s", |authority| {
        lay("..1", &authority.server(&["a.test"]).unwrap());
        symlink("..1", at("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), at(name)).unwrap();
        }
        files(&at("tls.crt"), &at("tls.key"))
    });
    let renewed = stage.authority.server(&["a.test"]).unwrap();
    lay("..2", &renewed);
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    wait_until_shown(&stage, &renewed);
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_one_before() {
    let (stage, first) = stage();
    let other = stage.authority.server(&["a.test"]).unwrap();
    let before = reloads(&stage, "rejected");
    fs::copy(&other.key, &first.key).unwrap();
    wait_for_reload(&stage, "rejected", before);
    let mut socket = stage.http1("a.test").unwrap();
    assert_eq!(shown(&socket).0, first.der());
    assert!(answers(&mut socket));
    wait_for_log(&stage, "is not the key of this certificate");
    // The other half of the renewal arrives.
    fs::copy(&other.certificate, &first.certificate).unwrap();
    wait_until_shown(&stage, &other);
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_a_line_in_the_log() {
    let (stage, first) = stage();
    let certificate = first.certificate.display().to_string();
    let expiry = || {
        let metrics = stage.gateway.metrics().unwrap();
        metrics.sum(EXPIRY, &[("certificate", &certificate)])
    };
    let before = expiry();
    assert!(before > 1.8e9, "years from now: {before}");
    assert!(!stage.gateway.stderr().contains("has expired"));
    let over = stage.authority.expired_server(&["a.test"]).unwrap();
    over.replace(&first.certificate, &first.key).unwrap();
    let expired = || (expiry() == 1_009_843_200.0).then_some(());
    wait::until("the metric of the expired one", PATIENCE, expired).unwrap();
    wait_for_log(&stage, "has expired");
}

#[test]
fn an_authority_that_is_replaced_lets_in_none_of_its_clients() {
    let (clients, others) = (
        Authority::new("one").unwrap(),
        Authority::new("two").unwrap(),
    );
    let folder = tempfile::tempdir().unwrap();
    let client_ca = folder.path().join("clients.crt");
    fs::copy(clients.certificate(), &client_ca).unwrap();
    let stage = TlsStage::with("header_timeout: 10s", |authority| {
        let server = authority.server(&["a.test"]).unwrap();
        format!("{}, client_ca: {}", pair(&server), client_ca.display())
    });
    let (known, other) = (
        clients.client("till").unwrap(),
        others.client("till").unwrap(),
    );
    // One configuration for all connections, so that a session would be resumed if it could.
    let config = stage.authority.tls_client(&[], Some(&known)).unwrap();
    let enters = || {
        let socket = Socket::secure(stage.gateway.address(), "a.test", config.clone());
        socket.is_ok_and(|mut socket| answers(&mut socket))
    };
    assert!(enters() && enters());
    let before = reloads(&stage, "applied");
    fs::copy(others.certificate(), &client_ca).unwrap();
    stage.gateway.signal(Signal::HUP).unwrap();
    wait_for_reload(&stage, "applied", before);
    assert!(!enters(), "a session is not resumed either");
    let mut socket = stage.connect("a.test", &[], Some(&other)).unwrap();
    assert!(answers(&mut socket));
}
