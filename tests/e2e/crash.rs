//! What was acknowledged before `kill -9` is there after the next start.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use portcullis_audit::chain::verify;
use portcullis_harness::{
    client::Request,
    jose::Compact,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use portcullis_store::AuditRow;
use rustix::process::Signal;

use crate::stage::{self, PASSWORD, add_user, all_rows, sqlite};

#[test]
fn every_token_that_left_has_its_row_and_still_opens_the_door() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ hotel: {{ endpoints: [{}] }} }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
            upstream.address()
        )
    });
    add_user(&house, "alice", "guest");
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    let (tokens, stop) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (tokens, stop, mut client) =
                (Arc::clone(&tokens), Arc::clone(&stop), gateway.client());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(token) = client.log_in("alice", PASSWORD, "hotel") else {
                        return;
                    };
                    tokens.lock().unwrap().push(token);
                }
            })
        })
        .collect();
    let enough = || (tokens.lock().unwrap().len() >= 12).then_some(());
    wait::until("some sign-ins", PATIENCE, enough).unwrap();
    gateway.signal(Signal::KILL).unwrap();
    gateway.wait_for_end(PATIENCE).unwrap();
    stop.store(true, Ordering::Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());

    let mut gateway = gateway.keep().launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    let rows = all_rows(&sqlite(&gateway));
    // The command line keeps a chain of its own.
    let ours = rows.iter().filter(|row| row.chain == "gateway");
    verify(ours.map(AuditRow::record)).unwrap();
    let issued = rows.iter().filter(|row| row.action == "token_issued");
    let sessions: BTreeSet<&str> = issued
        .filter_map(|row| Some(row.target.as_ref()?.id.as_str()))
        .collect();
    let mut client = gateway.client();
    for token in tokens.lock().unwrap().iter() {
        let claims = Compact::parse(token).unwrap().claims().unwrap();
        let session = claims["sid"].as_str().unwrap();
        assert!(
            sessions.contains(session),
            "the session {session} was lost, of {}",
            sessions.len()
        );
        let answer = client
            .send(&Request::get("/hotel/x").bearer(token))
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
