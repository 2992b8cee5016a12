//! The storm: clients that sign in, each again once it is answered, or when it was told to come back. Nobody
//! they name exists, which costs the gateway as much as if somebody did.

use std::{
    collections::BTreeMap,
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;

use crate::clock;

const BODY: &str =
    r#"{"username":"nobody","password":"correct horse battery staple","resource":"hotel"}"#;

/// What the gateway tells those whom it sends away.
const RETRY: Duration = Duration::from_secs(2);

/// How those who signed in were answered.
#[derive(Default)]
pub(crate) struct SignIns {
    /// By status: how many, and the slowest.
    answers: BTreeMap<u16, (usize, Duration)>,
    /// Told to come back, but not when.
    without_retry_after: usize,
}

impl SignIns {
    pub(crate) fn extend(&mut self, more: Self) {
        for (status, (count, slowest)) in more.answers {
            let known = self.answers.entry(status).or_default();
            *known = (known.0 + count, known.1.max(slowest));
        }
        self.without_retry_after += more.without_retry_after;
    }

    fn count(&mut self, answer: &Answer, took: Duration) {
        let known = self.answers.entry(answer.status).or_default();
        *known = (known.0 + 1, known.1.max(took));
        if answer.status == 503 && answer.retry_after.is_none() {
            self.without_retry_after += 1;
        }
    }
}

impl fmt::Display for SignIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (status, (count, slowest)) in &self.answers {
            write!(
                f,
                "{count} answered {status}, the slowest after {slowest:.2?}; "
            )?;
        }
        write!(f, "{} of 503 without Retry-After", self.without_retry_after)
    }
}

pub(crate) struct Storm(Vec<JoinHandle<anyhow::Result<SignIns>>>);

pub(crate) fn rise(to: SocketAddr, clients: u16, length: Duration) -> Storm {
    let client = move |number| {
        // Over the time that they are told to wait, so that they do not come back in one millisecond for ever.
        let late = RETRY * u32::from(number) / u32::from(clients);
        thread::spawn(move || {
            thread::sleep(late);
            sign_in_again_and_again(to, length.saturating_sub(late))
        })
    };
    Storm((0..clients).map(client).collect())
}

impl Storm {
    pub(crate) fn settle(self) -> anyhow::Result<SignIns> {
        let mut all = SignIns::default();
        for client in self.0 {
            all.extend(client.join().ok().context("a client panicked")??);
        }
        Ok(all)
    }
}

fn sign_in_again_and_again(to: SocketAddr, length: Duration) -> anyhow::Result<SignIns> {
    let mut sign_ins = SignIns::default();
    let started = clock();
    while clock().saturating_duration_since(started) < length {
        let asked = clock();
        let answer = sign_in(to)?;
        sign_ins.count(&answer, clock().saturating_duration_since(asked));
        thread::sleep(answer.retry_after.unwrap_or_default());
    }
    Ok(sign_ins)
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
}

fn sign_in(to: SocketAddr) -> anyhow::Result<Answer> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = BODY.len();
    write!(
        connection,
        "POST /v1/auth/login HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{BODY}"
    )?;
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
