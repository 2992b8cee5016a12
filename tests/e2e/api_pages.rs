//! The pages that show the API, in a browser: somebody registers, signs in, authorizes and calls what is protected, and
//! the pages ask no other host for anything. What they looked like is kept in cargo's folder for tests.

use std::{fs, path::Path};

use portcullis_harness::{
    browser::Browser,
    client::Request,
    gateway::Gateway,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::{
    demo::demo,
    stage::{self, PASSWORD},
};

/// Sign-in open to everybody, one protected service, the pages, and an issuer that is not where the page comes from.
fn start(hotel: &Upstream) -> Gateway {
    stage::start(|places| {
        let (server, hotel) = (stage::server(places, ""), hotel.address());
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  issuer: https://gateway.example
  registration: open
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams:
  hotel: {{ endpoints: [{hotel}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: openapi, match: {{ path: /openapi.json }}, upstream: builtin:auth, auth: public }}
  - {{ name: docs, match: {{ path: /docs/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: api-docs, match: {{ path: /api/docs/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: redoc, match: {{ path: /redoc/** }}, upstream: builtin:auth, auth: public }}
"
        )
    })
}

struct Visit {
    browser: Browser,
    base: String,
}

impl Visit {
    fn to(gateway: &Gateway, page: &str) -> Self {
        let base = format!("http://{}", gateway.house().places().listener);
        let mut browser = Browser::start().unwrap();
        browser.open(&format!("{base}{page}")).unwrap();
        Self { browser, base }
    }

    /// Opens an operation, writes the body if it takes one, executes, and returns the status and the body shown.
    fn try_out(&mut self, operation: &str, body: Option<Value>) -> (String, Value) {
        let block = format!("#operations-{operation}");
        self.browser
            .click(&format!("{block} .opblock-summary-control"))
            .unwrap();
        self.browser
            .click(&format!("{block} .try-out__btn"))
            .unwrap();
        if let Some(body) = body {
            let field = format!("{block} textarea.body-param__text");
            self.browser.write(&field, &body.to_string()).unwrap();
        }
        self.browser.click(&format!("{block} .execute")).unwrap();
        let shown = format!("{block} .live-responses-table");
        let status = self
            .browser
            .text(&format!("{shown} tbody td.response-col_status"))
            .unwrap();
        let body = self
            .browser
            .text(&format!("{shown} .highlight-code code"))
            .unwrap();
        (
            status.trim().to_owned(),
            serde_json::from_str(&body).unwrap_or(Value::String(body)),
        )
    }

    fn keep_picture(&mut self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
        fs::create_dir_all(&folder).unwrap();
        self.browser.save_picture(&folder.join(name)).unwrap();
    }

    fn expect_no_complaint_and_no_other_host(&mut self) {
        let complaints = self.browser.complaints().unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let asked = self.browser.asked().unwrap();
        assert!(
            asked.iter().any(|url| url.ends_with("/openapi.json")),
            "{asked:#?}"
        );
        let inside = |url: &String| {
            url.starts_with(&self.base) || url.starts_with("data:") || url.starts_with("blob:")
        };
        let others: Vec<_> = asked.iter().filter(|url| !inside(url)).collect();
        assert!(others.is_empty(), "{others:#?}");
    }
}

#[test]
fn somebody_registers_signs_in_authorizes_and_is_let_through() {
    let hotel = Upstream::start().unwrap();
    let gateway = start(&hotel);
    let mut visit = Visit::to(&gateway, "/docs");
    let person = json!({ "username": "ada", "password": PASSWORD });
    let (status, registered) = visit.try_out("Sign-in-register", Some(person.clone()));
    assert_eq!(status, "201", "{registered}");
    let (status, issued) = visit.try_out("Sign-in-login", Some(person));
    assert_eq!(status, "200", "{issued}");
    let token = issued["access_token"].as_str().unwrap();

    let (status, refused) = visit.try_out("Profile-show_profile", None);
    assert_eq!(
        (status.as_str(), &refused["code"]),
        ("401", &json!("authentication-required"))
    );
    // That one was meant to fail, and the console says so.
    let complaints = wait::until("a complaint", PATIENCE, || {
        let complaints = visit.browser.complaints().unwrap();
        (!complaints.is_empty()).then_some(complaints)
    });
    assert_eq!(complaints.unwrap().len(), 1);

    visit.browser.click(".auth-wrapper .authorize").unwrap();
    visit.browser.write("#auth-bearer-value", token).unwrap();
    visit.keep_picture("authorize.png");
    visit
        .browser
        .click("form:has(#auth-bearer-value) .authorize")
        .unwrap();
    visit.browser.click(".modal-ux .btn-done").unwrap();
    visit
        .browser
        .click("#operations-Profile-show_profile .btn-clear")
        .unwrap();
    visit
        .browser
        .click("#operations-Profile-show_profile .execute")
        .unwrap();
    let shown = "#operations-Profile-show_profile .live-responses-table";
    assert_eq!(
        visit
            .browser
            .text(&format!("{shown} tbody td.response-col_status"))
            .unwrap()
            .trim(),
        "200"
    );
    let profile = visit
        .browser
        .text(&format!("{shown} .highlight-code code"))
        .unwrap();
    assert!(profile.contains("\"ada\""), "{profile}");
    visit
        .browser
        .run(
            "document.querySelector(arguments[0]).scrollIntoView()",
            &json!(["#operations-Profile-show_profile"]),
        )
        .unwrap();
    visit.keep_picture("docs.png");

    // What stands behind the gateway is not in the document; the page's own origin may ask for it all the same.
    let script = "return fetch('/hotel/rooms', {headers: {Authorization: 'Bearer ' + arguments[0]}}).then(a => a.status)";
    assert_eq!(visit.browser.run(script, &json!([token])).unwrap(), 200);
    visit.expect_no_complaint_and_no_other_host();
}

#[test]
fn the_older_address_of_the_page_shows_the_same() {
    let hotel = Upstream::start().unwrap();
    let gateway = start(&hotel);
    let mut visit = Visit::to(&gateway, "/api/docs");
    let title = ".information-container .title";
    visit.browser.wait_for_text(title, "Portcullis").unwrap();
    let servers = visit
        .browser
        .wait_for_text(".servers select", "https://gateway.example");
    let servers = servers.unwrap();
    let first = servers.lines().next().unwrap_or_default();
    assert!(first.starts_with(&visit.base), "{servers}");
    visit.expect_no_complaint_and_no_other_host();
}

#[test]
fn redoc_shows_the_document() {
    let hotel = Upstream::start().unwrap();
    let gateway = start(&hotel);
    let mut visit = Visit::to(&gateway, "/redoc");
    for (place, words) in [
        (".api-content h1", "Portcullis"),
        (".api-content", "/v1/auth/login"),
    ] {
        visit.browser.wait_for_text(place, words).unwrap();
    }
    // The search runs in a worker of the page's own making.
    visit.browser.write("input[type=text]", "breaker").unwrap();
    let results = "[data-role='search:results']";
    visit.browser.wait_for_text(results, "breaker").unwrap();
    visit.keep_picture("redoc.png");
    visit.expect_no_complaint_and_no_other_host();
}

#[test]
fn the_shipped_file_leads_to_the_pages_and_their_headers_stand() {
    let mut client = demo().client_at(90);
    for page in ["/docs", "/api/docs", "/redoc"] {
        let moved = client.get(page).unwrap();
        let place = format!("{}/", page.rsplit('/').next().unwrap());
        assert_eq!(
            (moved.status, moved.field("location")),
            (307, Some(&*place)),
            "{page}"
        );
        let html = client.get(&format!("{page}/")).unwrap();
        assert_eq!(html.status, 200, "{page}");
        assert_eq!(html.field("x-frame-options"), Some("DENY"));
        assert_eq!(html.field("x-content-type-options"), Some("nosniff"));
        let policy = html.field("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';"), "{policy}");
        let tag = html.field("etag").unwrap().to_owned();
        let again = Request::get(format!("{page}/")).with("If-None-Match", tag);
        assert_eq!(client.send(&again).unwrap().status, 304);
    }
    assert_eq!(
        client.get("/openapi.json").unwrap().json()["openapi"],
        "3.1.0"
    );
    let banner = wait::until("the banner", PATIENCE, || {
        let text = demo().stdout();
        text.contains("/docs").then_some(text)
    });
    let address = demo().house().places().listener;
    assert!(banner.unwrap().contains(&format!("http://{address}/docs")));
}
