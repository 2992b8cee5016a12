//! Every field of every operation that the document describes, with what an attacker would put there: a new endpoint is in
//! these tables from its first day.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use serde_json::{Map, Value, json};

use super::{
    Answer, House,
    described::{Operation, document, followed, operations},
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// What a database, a directory, a template, a browser, a shell, a log or a mail server would run.
const CHARMS: [&str; 8] = [
    "' OR '1'='1",
    "saad'; DROP TABLE users; --",
    "*)(uid=*",
    "{{7*7}}${7*7}",
    "<script>alert(1)</script>",
    "x\r\nSet-Cookie: a=b",
    "../../etc/passwd%00",
    "$(touch /tmp/x)\0",
];

/// Who may do everything asks: so that what is sent gets as far as it can.
struct Desk {
    house: House,
    token: String,
}

impl Desk {
    async fn open() -> Self {
        let house = House::open().await.with_demo_users().await;
        let token = house.token("admin", "admin", "portcullis").await;
        Self { house, token }
    }

    async fn send(&self, method: &str, path: &str, media_type: &str, body: String) -> Answer {
        // What is guessed too often would be refused unread.
        self.house.advance(std::time::Duration::from_millis(1));
        let request = Request::builder()
            .method(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap())
            .uri(path)
            .header(header::CONTENT_TYPE, media_type)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header("x-portcullis-client-address", "192.0.2.7")
            .header("x-request-id", "r-1");
        self.house
            .send(request.body(Body::from(body)).unwrap())
            .await
    }
}

impl Operation<'_> {
    fn method(&self) -> &str {
        self.place.split(' ').next().unwrap()
    }

    fn content(&self, media_type: &str) -> Option<&Value> {
        let body = self.is.get("requestBody")?;
        followed(self.document, body)["content"].get(media_type)
    }

    /// A good JSON body, as the document shows it.
    fn example(&self) -> Option<Map<String, Value>> {
        let content = self.content(JSON)?;
        let first = || content["examples"].as_object()?.values().next();
        let example = content.get("example").or_else(|| first()?.get("value"));
        let example = example.unwrap_or_else(|| panic!("{} has no example", self.place));
        example.as_object().cloned()
    }

    fn form_fields(&self) -> Vec<String> {
        let Some(content) = self.content(FORM) else {
            return Vec::new();
        };
        let schema = followed(self.document, &content["schema"]);
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    /// Of the path and of the query, by where they stand.
    fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.is.get("parameters").and_then(Value::as_array);
        let all = all.into_iter().flatten();
        all.filter(|parameter| parameter["in"] == place)
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// With this in the place of every parameter.
    fn path_with(&self, value: &str) -> String {
        let names = self.parameters("path");
        let fill = |path: String, name: &String| path.replace(&format!("{{{name}}}"), value);
        names.iter().fold(self.path.to_owned(), fill)
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// An id that nobody has, and that is one.
const NOBODY: &str = "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59";

#[tokio::test]
async fn no_operation_takes_a_field_that_is_not_its_own() {
    let desk = Desk::open().await;
    let document = document();
    let mut tried = 0;
    for operation in operations(&document) {
        let Some(good) = operation.example() else {
            continue;
        };
        for field in [
            "exp",
            "expires_in",
            "lifetime",
            "ver",
            "is_admin",
            "__proto__",
        ] {
            let mut body = good.clone();
            body.insert(field.to_owned(), json!(3_153_600_000_u64));
            let (method, path) = (operation.method(), operation.path_with(NOBODY));
            let body = Value::Object(body).to_string();
            let answer = desk.send(method, &path, JSON, body).await;
            let place = &operation.place;
            assert!(
                [400, 404].contains(&answer.status.as_u16()),
                "{place} {field}: {} {}",
                answer.status,
                answer.text
            );
            tried += 1;
        }
    }
    assert!(tried > 60, "the document has no bodies any more");
}

#[tokio::test]
async fn nothing_that_is_sent_runs_or_comes_back() {
    let desk = Desk::open().await;
    let document = document();
    for operation in operations(&document) {
        for charm in CHARMS {
            for (path, media_type, body) in requests(&operation, charm) {
                let answer = desk
                    .send(operation.method(), &path, media_type, body.clone())
                    .await;
                check(&operation, charm, &format!("{path} {body}"), &answer);
            }
        }
    }
    desk.house.token("saad", "1234", "hotel").await;
}

/// The charm in each field, each in a request of its own.
fn requests(operation: &Operation<'_>, charm: &str) -> Vec<(String, &'static str, String)> {
    let plain = operation.path_with(NOBODY);
    let in_body = operation.example().into_iter().flat_map(|good| {
        let names: Vec<String> = good.keys().cloned().chain([charm.to_owned()]).collect();
        names.into_iter().map(move |name| {
            let mut body = good.clone();
            body.insert(name, json!(charm));
            Value::Object(body).to_string()
        })
    });
    let in_form = operation.form_fields().into_iter().map(|name| {
        // A grant that goes on to read the rest.
        let grant = if name == "grant_type" {
            ""
        } else {
            "grant_type=client_credentials&"
        };
        format!("{grant}{name}={}", encoded(charm))
    });
    let in_query = operation
        .parameters("query")
        .into_iter()
        .chain([encoded(charm)]);
    let in_query = in_query.map(|name| format!("{plain}?{name}={}", encoded(charm)));
    let mut all: Vec<_> = in_body.map(|body| (plain.clone(), JSON, body)).collect();
    all.extend(in_form.map(|body| (plain.clone(), FORM, body)));
    all.extend(in_query.map(|path| (path, JSON, String::new())));
    if !operation.parameters("path").is_empty() {
        all.push((operation.path_with(&encoded(charm)), JSON, String::new()));
    }
    all
}

fn check(operation: &Operation<'_>, charm: &str, sent: &str, answer: &Answer) {
    let place = &operation.place;
    assert!(
        !answer.status.is_server_error(),
        "{place} {sent}: {} {}",
        answer.status,
        answer.text
    );
    // A name that may be chosen freely is shown to whoever has chosen it, as JSON.
    let is_shown = answer.status.is_success() && answer.headers[header::CONTENT_TYPE] == JSON;
    let in_headers = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        name == header::SET_COOKIE || value.to_str().unwrap().contains(charm)
    };
    assert!(!answer.headers.iter().any(in_headers), "{place} {sent}");
    assert!(
        is_shown || !answer.text.contains(charm),
        "{place} {sent}: {}",
        answer.text
    );
}

#[tokio::test]
async fn a_form_that_names_a_lifetime_gets_the_usual_one() {
    let house = House::open().await;
    let program = super::clients::Program::add(&house, "p", &["hotel:read"]).await;
    for field in ["expires_in", "exp", "lifetime", "requested_lifetime"] {
        let more = format!("&{field}=3153600000");
        let token = program.token_with(&house, &more).await;
        let principal = house.claims_of(&token);
        let lives = principal.expires_at().saturating_since(house.service.now());
        assert_eq!(lives.as_secs(), 300, "{field}");
    }
}

#[tokio::test]
async fn what_is_published_is_read_and_nothing_else() {
    let desk = Desk::open().await;
    let large = "x".repeat(64 * 1024);
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/openapi.json",
        "/docs/",
        "/redoc/",
    ] {
        let plain = desk.send("GET", path, JSON, String::new()).await;
        assert_eq!(plain.status, StatusCode::OK, "{path}");
        for method in [
            "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
        ] {
            for (body, statuses) in [
                ("", &[405][..]),
                (r#"{"keys":[]}"#, &[405]),
                (&large, &[405, 413]),
            ] {
                let answer = desk.send(method, path, JSON, body.to_owned()).await;
                let status = answer.status.as_u16();
                assert!(statuses.contains(&status), "{method} {path}: {status}");
            }
        }
        let with_body = desk
            .send("GET", path, JSON, r#"{"keys":[]}"#.to_owned())
            .await;
        assert_eq!(
            (with_body.status, with_body.text),
            (StatusCode::OK, plain.text),
            "{path}: a body changes nothing"
        );
    }
}
