//! A browser that does what a person would: Chromium without a window, led by its own driver over its protocol (W3C
//! `WebDriver`).
//!
//! It remembers what it was told on its console and whom it asked, so that a test can say that a page asks nobody else.
//! Names other than this machine's do not resolve in it.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, Request},
    ports::free_port,
    supervise::{Service, Supervised, log_of},
    wait,
};

/// It knows where its browser is.
const DRIVER: &str = "chromedriver";

/// A browser starts many processes; on a loaded machine that takes its time.
const COMING_UP: Duration = Duration::from_secs(120);
/// For one command to be carried out; to start it is one as well.
const OBEYING: Duration = Duration::from_secs(120);
/// For something to appear in a page, which is drawn by more processes than a busy machine has cores.
const APPEARING: Duration = Duration::from_secs(120);

/// The name that the protocol gives to references to elements (section 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Control and A, and then all keys released (section 17.4.2).
const ALL_OF_IT: &str = "\u{e009}a\u{e000}";

/// Stopped when dropped.
pub struct Browser {
    client: Client,
    session: String,
    _driver: Supervised,
    _directory: TempDir,
}

impl Browser {
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-browser-").tempdir()?;
        let port = free_port()?;
        let option = format!("--port={port}");
        let service = Service {
            program: Path::new(DRIVER),
            arguments: vec![OsStr::new(&option)],
            stop_signal: "TERM",
            directory: directory.path(),
            identity: None,
        };
        let driver = Supervised::start(&service)?;
        let driver_at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut client = Client::of(driver_at).waiting(OBEYING);
        let mut attempts = 0;
        let session = wait::until("a browser", COMING_UP, || {
            // One that did not come up in time may be there all the same, and keeps its profile to itself.
            attempts += 1;
            let profile = directory.path().join(format!("profile-{attempts}"));
            let answer = client.send(&Request::post("/session").json(&wanted(&profile)));
            text_at(&answer.ok()?.json(), "/value/sessionId")
        })
        .with_context(|| {
            format!(
                "{} (install it: apt-get install chromium chromium-driver)",
                log_of(directory.path())
            )
        })?;
        Ok(Self {
            client,
            session,
            _driver: driver,
            _directory: directory,
        })
    }

    /// Returns when the page is loaded.
    pub fn open(&mut self, url: &str) -> anyhow::Result<()> {
        self.command("url", &json!({ "url": url })).map(drop)
    }

    /// Waits for the element that a CSS selector finds, and clicks on it.
    pub fn click(&mut self, selector: &str) -> anyhow::Result<()> {
        self.at(selector, |browser, element| {
            browser.command(&format!("element/{element}/click"), &json!({}))
        })
        .map(drop)
    }

    /// Writes over what is in a field.
    pub fn write(&mut self, selector: &str, text: &str) -> anyhow::Result<()> {
        let keys = json!({ "text": format!("{ALL_OF_IT}{text}") });
        self.at(selector, |browser, element| {
            browser.command(&format!("element/{element}/value"), &keys)
        })
        .map(drop)
    }

    /// The text of an element as it is shown, as soon as there is one.
    pub fn text(&mut self, selector: &str) -> anyhow::Result<String> {
        let script = "const e = document.querySelector(arguments[0]); return e && e.innerText;";
        wait::until(&format!("a text at {selector}"), APPEARING, || {
            let text = self.run(script, &json!([selector])).ok()?;
            text.as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        })
    }

    /// Waits until the text of an element, as it is shown, has these words in it.
    pub fn wait_for_text(&mut self, selector: &str, words: &str) -> anyhow::Result<String> {
        let mut last = String::new();
        let found = wait::until(&format!("{words} at {selector}"), APPEARING, || {
            last = self.text(selector).ok()?;
            last.contains(words).then(|| last.clone())
        });
        found.with_context(|| last)
    }

    /// What a function body returns; a promise is waited for.
    pub fn run(&mut self, script: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.command(
            "execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
    }

    /// What the page shows now.
    pub fn save_picture(&mut self, path: &Path) -> anyhow::Result<()> {
        let target = format!("/session/{}/screenshot", self.session);
        let answer = self.client.get(&target)?.json();
        let picture = text_at(&answer, "/value").context("no picture")?;
        fs::write(path, STANDARD.decode(picture)?).context("keeping a picture")
    }

    /// Complaints on the console since the last call: errors of scripts, violations of a policy, what did not load.
    pub fn complaints(&mut self) -> anyhow::Result<Vec<String>> {
        let entries = self.log("browser")?;
        let is_severe = |entry: &Value| text_at(entry, "/level").as_deref() == Some("SEVERE");
        let severe = entries.into_iter().filter(is_severe);
        Ok(severe
            .filter_map(|entry| text_at(&entry, "/message"))
            .collect())
    }

    /// The addresses that pages asked for since the last call, without those of the browser's own first page.
    pub fn asked(&mut self) -> anyhow::Result<Vec<String>> {
        let entries = self.log("performance")?;
        let messages = entries.iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(&text_at(entry, "/message")?).ok()?;
            let is_request = text_at(&event, "/message/method")? == "Network.requestWillBeSent";
            is_request.then(|| text_at(&event, "/message/params/request/url"))?
        });
        let messages = messages.filter(|url| !url.starts_with("chrome:"));
        Ok(messages.collect())
    }

    fn log(&mut self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let entries = self.command("se/log", &json!({ "type": kind }))?;
        Ok(entries.as_array().cloned().unwrap_or_default())
    }

    /// An element may be there before it can be used, and may be drawn anew in between: both mean once more.
    fn at(
        &mut self,
        selector: &str,
        act: impl Fn(&mut Self, &str) -> anyhow::Result<Value>,
    ) -> anyhow::Result<Value> {
        let query = json!({ "using": "css selector", "value": selector });
        let mut last = None;
        let done = wait::until(&format!("{selector} to act on"), APPEARING, || {
            let attempt = self.command("element", &query).and_then(|found| {
                let element = found.get(ELEMENT).and_then(Value::as_str);
                act(self, element.context("no element")?)
            });
            attempt.map_err(|error| last = Some(error)).ok()
        });
        done.with_context(|| format!("{last:?}"))
    }

    fn command(&mut self, name: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::post(format!("/session/{}/{name}", self.session)).json(body);
        let answer = self.client.send(&request)?;
        let said = answer.json();
        ensure!(answer.status == 200, "{name}: {said}");
        Ok(said.get("value").cloned().unwrap_or_default())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browsers when it is stopped as well; this way they end in order.
        let end = Request::new("DELETE", format!("/session/{}", self.session));
        drop(self.client.send(&end));
    }
}

fn text_at(value: &Value, place: &str) -> Option<String> {
    value.pointer(place)?.as_str().map(str::to_owned)
}

fn wanted(profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless",
        // Tests may run as root, where the sandbox does not.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--window-size=1280,1600",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    } } })
}
