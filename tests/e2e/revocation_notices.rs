//! What ends at one gateway is brought to the others by a notice of PostgreSQL, before they would have looked; and again after
//! the connection that listens was broken.
//!
//! Which of two things came first is nothing to rely on: a look may happen to be due in the very moment. So sessions end until a
//! notice was first.

use std::time::Duration;

use portcullis_harness::{
    gateway::Gateway,
    wait::{self, PATIENCE},
};

use crate::{
    session_replicas::{Replicas, log_out, pair},
    stage::add_user,
};

/// Sessions that end one after the other, for how long it takes to be told.
const ROUNDS: usize = 12;

fn with_users() -> Replicas {
    let replicas = Replicas::start();
    for name in ["alice", "bob"] {
        add_user(replicas.gateways[0].house(), name, "guest");
    }
    replicas
}

fn brought_by_notices(gateway: &Gateway) -> f64 {
    let metrics = gateway.metrics().unwrap();
    metrics.sum("portcullis_revocations_read_total", &[("by", "notice")])
}

/// Signs in and out again at the first gateway. How long it took until the others refuse.
fn end_a_session(replicas: &Replicas) -> Duration {
    let [mut here, ..] = replicas.clients();
    let (access, _) = pair(&mut here, "alice");
    assert_eq!(log_out(&mut here, &access), 204);
    replicas.refused_at(&[1, 2], &access)
}

/// Ends sessions until a notice brings one to this gateway.
fn until_a_notice_is_first(replicas: &Replicas, at: usize) {
    let gateway = &replicas.gateways[at];
    let before = brought_by_notices(gateway);
    let told = wait::until("a notice", 2 * PATIENCE, || {
        end_a_session(replicas);
        (brought_by_notices(gateway) > before).then_some(())
    });
    told.unwrap();
}

#[test]
fn a_notice_brings_what_ends_at_another_replica() {
    let replicas = with_users();
    until_a_notice_is_first(&replicas, 1);
    until_a_notice_is_first(&replicas, 2);
    let mut took: Vec<Duration> = (0..ROUNDS).map(|_| end_a_session(&replicas)).collect();
    took.sort_unstable();
    let (median, worst) = (took[ROUNDS / 2], took[ROUNDS - 1]);
    println!(
        "refused at both others after {median:?} (median of {ROUNDS}), {worst:?} at the worst"
    );
}

#[test]
fn notices_come_again_after_the_connection_was_broken() {
    let replicas = with_users();
    until_a_notice_is_first(&replicas, 2);
    replicas.relay.cut();
    let (access, _) = pair(&mut replicas.gateways[0].client(), "bob");
    assert_eq!(log_out(&mut replicas.gateways[0].client(), &access), 204);
    assert_eq!(replicas.gateways[2].readiness(), Some(200));
    replicas.relay.restore();
    replicas.refused_at(&[2], &access);
    until_a_notice_is_first(&replicas, 2);
}
