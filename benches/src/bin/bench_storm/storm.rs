//! Many clients, each on a new connection, and again once it is answered, or when it was told to come back. In the storm
//! they sign in; nobody they name exists, which costs the gateway as much as if somebody did.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::clock;

const BODY: &str =
    r#"{"username":"nobody","password":"correct horse battery staple","resource":"hotel"}"#;

/// What the gateway tells those whom it sends away.
const RETRY: Duration = Duration::from_secs(2);

/// What they ask for.
#[derive(Clone, Copy)]
pub(crate) enum Visit {
    SignIn,
    /// What any upstream answers, and then they wait as if they had been sent away.
    Plain,
}

impl Visit {
    fn request(self) -> String {
        let close = "host: gateway.test\r\nconnection: close\r\n";
        match self {
            Self::SignIn => format!(
                "POST /v1/auth/login HTTP/1.1\r\n{close}content-type: application/json\r\n\
                 content-length: {}\r\n\r\n{BODY}",
                BODY.len()
            ),
            Self::Plain => format!("GET /open/x HTTP/1.1\r\n{close}\r\n"),
        }
    }
}

/// How they were answered.
#[derive(Default)]
pub(crate) struct Answers {
    /// By status: how many, and the slowest.
    by_status: BTreeMap<u16, (usize, Duration)>,
    /// Told to come back, but not when.
    without_retry_after: usize,
}

impl Answers {
    pub(crate) fn extend(&mut self, more: Self) {
        for (status, (count, slowest)) in more.by_status {
            let known = self.by_status.entry(status).or_default();
            *known = (known.0 + count, known.1.max(slowest));
        }
        self.without_retry_after += more.without_retry_after;
    }

    fn count(&mut self, answer: &Answer, took: Duration) {
        let known = self.by_status.entry(answer.status).or_default();
        *known = (known.0 + 1, known.1.max(took));
        if answer.status == 503 && answer.retry_after.is_none() {
            self.without_retry_after += 1;
        }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (status, (count, slowest)) in &self.by_status {
            write!(
                f,
                "{count} answered {status}, the slowest after {slowest:.2?}; "
            )?;
        }
        write!(f, "{} of 503 without Retry-After", self.without_retry_after)
    }
}

pub(crate) struct Storm(Vec<JoinHandle<anyhow::Result<Answers>>>);

pub(crate) fn rise(
    to: SocketAddr,
    visit: Visit,
    clients: u16,
    at_once: bool,
    length: Duration,
) -> Storm {
    let begin = clock();
    let client = move |number| {
        let spread = if at_once { 0 } else { u32::from(number) };
        let late = RETRY * spread / u32::from(clients);
        thread::spawn(move || {
            thread::sleep((begin + late).saturating_duration_since(clock()));
            come_again_and_again(to, visit, begin + length)
        })
    };
    Storm((0..clients).map(client).collect())
}

impl Storm {
    pub(crate) fn settle(self) -> anyhow::Result<Answers> {
        let mut all = Answers::default();
        for client in self.0 {
            all.extend(client.join().ok().context("a client panicked")??);
        }
        Ok(all)
    }
}

fn come_again_and_again(to: SocketAddr, visit: Visit, end: Instant) -> anyhow::Result<Answers> {
    let mut answers = Answers::default();
    while clock() < end {
        let asked = clock();
        let answer = ask(to, visit)?;
        answers.count(&answer, clock().saturating_duration_since(asked));
        let pause = match visit {
            Visit::SignIn => answer.retry_after.unwrap_or_default(),
            Visit::Plain => RETRY,
        };
        thread::sleep(pause.min(end.saturating_duration_since(clock())));
    }
    Ok(answers)
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
}

fn ask(to: SocketAddr, visit: Visit) -> anyhow::Result<Answer> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.write_all(visit.request().as_bytes())?;
    let mut answer = Vec::new();
    connection.take(64 * 1024).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let status = answer.split(' ').nth(1);
    let retry_after = answer
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    Ok(Answer {
        status: status
            .and_then(|status| status.parse().ok())
            .context("not an answer")?,
        retry_after: retry_after
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
    })
}
