//! The five requests that show what a gateway is for, ready to paste into a shell that has `curl`.

use std::net::SocketAddr;

/// Where the demo runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) hospital: SocketAddr,
}

pub(super) fn banner(places: &Places) -> String {
    let Places {
        gateway,
        admin,
        hospital,
    } = places;
    format!(
        r#"
Portcullis listens on http://{gateway} (metrics and health: http://{admin}).
Users: saad / 1234 (guest: hotel and event), admin / admin (everything). Ctrl-C ends it.
The endpoints to read and to try out: http://{gateway}/docs (or http://{gateway}/redoc)

# 401: nobody passes without a token
curl -i http://{gateway}/hotel-db

# 200: sign in, then pass; the backend shows the identity headers it received
TOKEN=$(curl -s http://{gateway}/auth/login -H 'content-type: application/json' \
  -d '{{"username":"saad","password":"1234","resource":"hotel"}}' | sed -E 's/.*"access_token":"([^"]+)".*/\1/')
curl -i -H "Authorization: Bearer $TOKEN" http://{gateway}/hotel-db

# 403: a token for the hotel does not open the event service
curl -i -H "Authorization: Bearer $TOKEN" http://{gateway}/event-db

# 429: more than 60 requests in a burst, by one curl over one connection so that it is one
curl -s -o /dev/null -H "Authorization: Bearer $TOKEN" "http://{gateway}/hotel-db?[1-61]"
curl -i -H "Authorization: Bearer $TOKEN" http://{gateway}/hotel-db

# 503: the hospital backend is told to fail, and after five failures it is left in peace
ADMIN=$(curl -s http://{gateway}/auth/login -H 'content-type: application/json' \
  -d '{{"username":"admin","password":"admin","resource":"hospital"}}' | sed -E 's/.*"access_token":"([^"]+)".*/\1/')
curl -s -X POST 'http://{hospital}/fail?for=30s'
for i in $(seq 5); do curl -s -o /dev/null -H "Authorization: Bearer $ADMIN" http://{gateway}/hospital-db; done
curl -i -H "Authorization: Bearer $ADMIN" http://{gateway}/hospital-db
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_go_where_the_demo_runs() {
        let places = Places {
            gateway: "127.0.0.1:18080".parse().unwrap(),
            admin: "127.0.0.1:19090".parse().unwrap(),
            hospital: "127.0.0.1:19003".parse().unwrap(),
        };
        let text = banner(&places);
        let commands = text.lines().filter(|line| !line.starts_with('#'));
        for line in commands.filter(|line| line.contains("curl")) {
            assert!(line.contains("http://127.0.0.1:1"), "{line}");
        }
        assert!(text.contains("http://127.0.0.1:19003/fail?for=30s"));
        assert!(
            !text.contains("{{"),
            "braces are doubled only in the source"
        );
    }
}
