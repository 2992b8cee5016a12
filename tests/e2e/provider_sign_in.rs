//! Signing in with an identity provider that others wrote, through its own pages, as a browser would.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
    identity_provider::{IdentityProvider, Installed},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use portcullis_store::AuditRow;

use crate::stage::{self, audit_rows, sqlite};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/identity_provider");
const BEGIN: &str = "/v1/auth/providers/corp";

fn provider() -> IdentityProvider {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let installed = Installed::into(Path::new(PROGRAM), target).unwrap();
    IdentityProvider::start(&installed, &["ES256"]).unwrap()
}

/// A gateway whose people sign in there, before a hotel.
fn gateway(provider: &IdentityProvider, hotel: &Upstream, more: &str) -> Gateway {
    stage::start(|places| {
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  issuer: http://{listener}
  registration: open
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
  providers:
    - {{ name: corp, issuer: \"{issuer}\", client_id: gateway, client_secret: another secret of the tests, {more} }}
upstreams:
  hotel: {{ endpoints: [{hotel}] }}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
",
            server = stage::server(places, ""),
            listener = places.listener,
            issuer = provider.issuer(),
            hotel = hotel.address(),
        )
    })
}

/// What a browser remembers: cookies by host, which are ports here.
#[derive(Default)]
struct Browser {
    jars: BTreeMap<u16, BTreeMap<String, String>>,
}

impl Browser {
    fn send(&mut self, to: SocketAddr, request: Request) -> Response {
        let jar = self.jars.entry(to.port()).or_default();
        let cookies: Vec<String> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = match cookies.as_slice() {
            [] => request,
            cookies => request.with("Cookie", cookies.join("; ")),
        };
        let response = Client::of(to).send(&request).unwrap();
        for cookie in response.head.fields_named("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => jar.remove(name),
                value => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        response
    }

    fn get(&mut self, to: SocketAddr, target: &str) -> Response {
        self.send(to, Request::get(target))
    }

    /// To the provider and back, and what comes of it there. The gateway waits for a provider for seconds and no longer, and a
    /// loaded machine may hold it up: whoever was sent away for that begins anew. Where the browser was sent back to, and the
    /// answer.
    fn sign_in(
        &mut self,
        gateway: SocketAddr,
        provider: SocketAddr,
        name: &str,
    ) -> (String, Response) {
        let in_time = wait::until("a provider that answers in time", PATIENCE, || {
            let back = self.sign_in_there(gateway, provider, name);
            let answer = self.get(gateway, &back);
            (!is_too_slow(&answer)).then_some((back, answer))
        });
        in_time.unwrap()
    }

    /// What sends the browser to the provider.
    fn begin(&mut self, gateway: SocketAddr) -> Response {
        let in_time = wait::until("a provider that answers in time", PATIENCE, || {
            let begun = self.get(gateway, BEGIN);
            (!is_too_slow(&begun)).then_some(begun)
        });
        in_time.unwrap()
    }

    /// To the provider, and there from page to page until it sends the browser back. Returns where to.
    fn sign_in_there(&mut self, gateway: SocketAddr, provider: SocketAddr, name: &str) -> String {
        let begun = self.begin(gateway);
        assert_eq!(begun.status, 302, "{}", begun.text());
        self.go_on_there(begun, gateway, provider, name)
    }

    /// From where `response` sends the browser.
    fn go_on_there(
        &mut self,
        mut response: Response,
        gateway: SocketAddr,
        provider: SocketAddr,
        name: &str,
    ) -> String {
        for _ in 0..12 {
            response = match response.field("location") {
                Some(location) => {
                    let location = location.to_owned();
                    if let Some(back) = location.strip_prefix(&format!("http://{gateway}")) {
                        return back.to_owned();
                    }
                    let there = format!("http://{provider}");
                    self.get(provider, location.strip_prefix(&there).unwrap_or(&location))
                }
                None => self.submit(provider, &response.text(), name),
            };
        }
        panic!(
            "the provider never sends the browser back: {}",
            response.text()
        );
    }

    /// Its two pages differ in a hidden field.
    fn submit(&mut self, provider: SocketAddr, page: &str, name: &str) -> Response {
        let action = between(page, "action=\"", "\"");
        let prompt = between(page, "name=\"prompt\" value=\"", "\"");
        let form = format!("prompt={prompt}&login={name}&password=any");
        let target = action
            .strip_prefix(&format!("http://{provider}"))
            .unwrap_or(action);
        let request = Request::post(target)
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        self.send(provider, request)
    }
}

fn is_too_slow(answer: &Response) -> bool {
    [502, 503, 504].contains(&answer.status)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text
        .split_once(before)
        .and_then(|(_, rest)| rest.split_once(after));
    found.unwrap_or_else(|| panic!("no {before} in {text}")).0
}

#[test]
fn a_person_of_a_real_provider_signs_in_and_calls_the_hotel() {
    let (provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "scopes: [openid, email, profile]");
    let (here, there) = (gateway.address(), provider.address());
    let mut browser = Browser::default();
    let mut users = Vec::new();
    for _ in 0..2 {
        let (back, answer) = browser.sign_in(here, there, "jo");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let me = gateway
            .client()
            .send(&Request::get("/v1/auth/me").bearer(&token))
            .unwrap();
        let me = me.json();
        assert_eq!(
            (&me["email"], &me["display_name"]),
            (&"jo@example.com".into(), &"jo".into())
        );
        let called = gateway
            .client()
            .send(&Request::get("/hotel/rooms").bearer(&token))
            .unwrap();
        assert_eq!(called.status, 200, "{}", called.text());
        users.push(me["id"].clone());
        assert_eq!(
            browser.get(here, &back).code(),
            "malformed-request",
            "once only"
        );
    }
    assert_eq!(users[0], users[1], "one person, one user");
    let made = audit_rows(&sqlite(&gateway), "user_created", |rows| !rows.is_empty());
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].reason.as_deref(), Some("provider:corp"));
}

#[test]
fn an_answer_that_another_browser_fetched_signs_nobody_in() {
    let (provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "");
    let (here, there) = (gateway.address(), provider.address());
    let mut thief = Browser::default();
    let link = thief.sign_in_there(here, there, "thief");
    let mut victim = Browser::default();
    assert_eq!(
        victim.get(here, &link).code(),
        "malformed-request",
        "has begun nothing"
    );
    victim.sign_in_there(here, there, "jo");
    let answer = victim.get(here, &link);
    assert_eq!(answer.code(), "malformed-request", "has begun another");
    assert_eq!(answer.field("set-cookie"), None);
}

#[test]
fn who_declines_there_is_not_signed_in_here() {
    let (provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "");
    let (here, there) = (gateway.address(), provider.address());
    let mut browser = Browser::default();
    let begun = browser.begin(here);
    let there_url = format!("http://{there}");
    let path = |location: &str| {
        location
            .strip_prefix(&there_url)
            .unwrap_or(location)
            .to_owned()
    };
    let asked = browser.get(there, &path(begun.field("location").unwrap()));
    let page = path(asked.field("location").unwrap());
    let mut response = browser.get(there, &format!("{page}/abort"));
    let back = loop {
        let location = response.field("location").unwrap().to_owned();
        match location.strip_prefix(&format!("http://{here}")) {
            Some(back) => break back.to_owned(),
            None => response = browser.get(there, &path(&location)),
        }
    };
    assert!(back.contains("error=access_denied"), "{back}");
    let answer = browser.get(here, &back);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "invalid-credentials")
    );
    assert!(!answer.text().contains("access_denied"));
}

#[test]
fn a_provider_that_went_away_is_a_plain_refusal() {
    let (provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "");
    let (here, there) = (gateway.address(), provider.address());
    let mut browser = Browser::default();
    let back = browser.sign_in_there(here, there, "jo");
    drop(provider);
    let answer = browser.get(here, &back);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream-unreachable")
    );
}

/// The keys are known before, and new ones come while a browser is on its way.
#[test]
fn a_provider_that_changes_its_keys_while_somebody_signs_in_there_loses_nobody() {
    let (mut provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "");
    let (here, there) = (gateway.address(), provider.address());
    let mut browser = Browser::default();
    let (_, before) = browser.sign_in(here, there, "jo");
    assert_eq!(before.status, 200, "{}", before.text());
    let begun = browser.begin(here);
    provider.restart().unwrap();
    let back = browser.go_on_there(begun, here, there, "jo");
    let mut after = browser.get(here, &back);
    // A loaded machine may come to the keys later than a browser waits, and then the next sign-in finds them.
    wait::until("a sign-in by the new keys", PATIENCE, || {
        if after.status != 200 {
            (_, after) = browser.sign_in(here, there, "jo");
        }
        (after.status == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn whom_the_operator_links_gets_into_the_account_that_was_there() {
    let (provider, hotel) = (provider(), Upstream::start().unwrap());
    let gateway = gateway(&provider, &hotel, "create_users: false");
    let (here, there) = (gateway.address(), provider.address());
    stage::add_user(gateway.house(), "saad", "guest");
    let sign_in = || Browser::default().sign_in(here, there, "jo").1;
    assert_eq!(sign_in().code(), "invalid-credentials");
    let subject_of = |rows: &[AuditRow]| {
        let ids = rows.iter().filter_map(|row| Some(&row.target.as_ref()?.id));
        let mut subjects = ids.filter_map(|id| id.strip_prefix("corp:"));
        subjects.next().map(str::to_owned)
    };
    let refused = |rows: &[AuditRow]| subject_of(rows).is_some();
    let rows = audit_rows(&sqlite(&gateway), "login_failure", refused);
    let subject = &subject_of(&rows).unwrap();
    let command = |verb| {
        let words = [
            "user",
            verb,
            "saad",
            "--provider",
            "corp",
            "--subject",
            subject,
        ];
        gateway.house().command(&words).unwrap().status.success()
    };
    assert!(command("link"));
    let answer = sign_in();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let profile = Request::get("/v1/auth/me").bearer(&token);
    let me = gateway.client().send(&profile).unwrap().json();
    assert_eq!(me["username"], "saad");
    assert!(!command("link"), "somebody's already");
    assert!(command("unlink") && !command("unlink"));
    assert_eq!(sign_in().code(), "invalid-credentials");
}
