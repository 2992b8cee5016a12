//! `/status`: what an operator may see of the running gateway without a database and without secrets.

use portcullis_harness::{
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::stage;

#[test]
fn status_tells_everything_but_secrets() {
    let upstream = Upstream::start().unwrap();
    let gateway = stage::start(|places| {
        let (server, address) = (stage::server(places, ""), upstream.address());
        let corp = stage::CORP;
        format!(
            "{server}{corp}
upstreams: {{ hotel: {{ endpoints: [{address}] }} }}
rate_limits: {{ scarce: {{ key: ip, limit: 3/1h }} }}
routes:
  - {{ name: scarce, match: {{ path: /scarce }}, upstream: hotel, auth: public, rate_limits: [scarce] }}
"
        )
    });
    gateway.client().get("/scarce").unwrap();
    // The client has its answer a moment before its request is over.
    let at_rest = || {
        let text = gateway.ask_admin("/status").ok()?.text();
        text.contains("\"in_flight\":0,\"issuers\"").then_some(text)
    };
    let text = wait::until("a gateway at rest", PATIENCE, at_rest).unwrap();
    assert!(!text.contains(stage::CORP_SECRET), "{text}");
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["configuration"]["last_reload"], Value::Null);
    assert_eq!(status["configuration"]["needs_restart"], json!([]));
    assert_eq!(status["configuration"]["file"], "gateway.yaml");
    assert_eq!(
        status["configuration"]["sha256"].as_str().unwrap().len(),
        64
    );
    assert_eq!(status["routes"][0]["name"], "scarce");
    let hotel = &status["upstreams"][0];
    assert_eq!(hotel["name"], "hotel");
    assert_eq!(hotel["breaker"]["state"], "closed");
    assert_eq!(
        hotel["endpoints"][0]["address"],
        upstream.address().to_string()
    );
    assert_eq!(hotel["endpoints"][0]["in_flight"], 0);
    assert_eq!(status["rate_limits"][0]["name"], "scarce");
    assert_eq!(status["rate_limits"][0]["keys"], 1);
    assert_eq!(status["issuers"][0]["name"], "corp");
}
