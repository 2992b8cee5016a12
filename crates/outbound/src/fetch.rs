//! Fetching a small document from somebody who may be slow, gone, or not himself. Everything has a bound: the time, the
//! bytes, and where the answer may come from. Redirects are not followed and no proxy is taken from the environment, so
//! that what the configuration names is what is asked.

use std::time::Duration;

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, header, redirect::Policy, tls::Version,
};
use secrecy::{ExposeSecret, SecretString};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// From the look-up of the name to the last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks over https with the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them), or over plain http.
pub struct Fetcher {
    client: Client,
    answer_within: Duration,
}

/// A document that was fetched.
pub struct Fetched {
    pub body: Vec<u8>,
    /// How long it may be kept, where the answer says so.
    pub max_age: Option<Duration>,
}

/// Why nothing was fetched. The texts are for the log and hold nothing of what was answered.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot speak TLS: {0}")]
    Setup(String),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
    #[error("broke off its answer")]
    BrokenOff,
}

impl Fetcher {
    /// The process must have installed a TLS provider.
    pub fn new() -> Result<Self, FetchError> {
        // Minutes lie between two questions; nobody keeps a connection open for that long.
        Self::build(ANSWER_WITHIN, 0)
    }

    /// For questions that follow each other and whose answer may be held back, for less than `answer_within`.
    pub fn patient(answer_within: Duration) -> Result<Self, FetchError> {
        Self::build(answer_within, 1)
    }

    fn build(answer_within: Duration, idle_connections: usize) -> Result<Self, FetchError> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_WITHIN)
            .timeout(answer_within)
            .tls_version_min(Version::TLS_1_2)
            .pool_max_idle_per_host(idle_connections)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::Setup(innermost(&error)))?;
        Ok(Self {
            client,
            answer_within,
        })
    }

    /// The body of a 200 with at most `limit` bytes.
    pub async fn fetch(&self, url: &str, limit: usize) -> Result<Fetched, FetchError> {
        self.answered(self.client.get(url), limit).await
    }

    /// As [`Self::fetch`], with an access token.
    pub async fn fetch_as(
        &self,
        token: &str,
        url: &str,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let asked = self.client.get(url).bearer_auth(token);
        self.answered(asked, limit).await
    }

    /// As [`Self::fetch`], for what answers to a form of a client that names itself.
    pub async fn submit_as(
        &self,
        (id, secret): (&str, &SecretString),
        url: &str,
        form: &'static str,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        let asked = self
            .client
            .post(url)
            .basic_auth(id, Some(secret.expose_secret()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        self.answered(asked, limit).await
    }

    /// Sends a request that somebody else has put together, and gives back whatever was answered, with at most `limit`
    /// bytes.
    pub(crate) async fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
        limit: usize,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        let unfit = |_invalid| FetchError::Unreachable("the request has no address".to_owned());
        let request = reqwest::Request::try_from(request).map_err(unfit)?;
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| self.unanswered(&error))?;
        let mut answered = http::Response::new(Vec::new());
        *answered.status_mut() = response.status();
        *answered.headers_mut() = response.headers().clone();
        *answered.body_mut() = self.body(response, limit).await?;
        Ok(answered)
    }

    async fn answered(&self, asked: RequestBuilder, limit: usize) -> Result<Fetched, FetchError> {
        let asked = asked.header(header::ACCEPT, "application/json");
        let response = asked.send().await;
        let response = response.map_err(|error| self.unanswered(&error))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let max_age = max_age(&response);
        let body = self.body(response, limit).await?;
        Ok(Fetched { body, max_age })
    }

    /// Counted as it comes: a declared length is the other side's word.
    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.broken(&error))? else {
                return Ok(body);
            };
            if body.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn unanswered(&self, error: &reqwest::Error) -> FetchError {
        if error.is_timeout() {
            FetchError::TooSlow(if error.is_connect() {
                CONNECT_WITHIN
            } else {
                self.answer_within
            })
        } else {
            FetchError::Unreachable(innermost(error))
        }
    }

    fn broken(&self, error: &reqwest::Error) -> FetchError {
        if error.is_timeout() {
            FetchError::TooSlow(self.answer_within)
        } else {
            FetchError::BrokenOff
        }
    }
}

/// RFC 9111 section 5.2.2: what may not be stored is as if it were old already. `Age` is left out, because the times it
/// would shorten are bounded from below anyway.
fn max_age(response: &Response) -> Option<Duration> {
    let fields = response.headers().get_all(header::CACHE_CONTROL).iter();
    let directives = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    let mut max_age = None;
    for directive in directives {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            max_age = seconds.trim_matches('"').parse().ok();
        }
    }
    max_age.map(Duration::from_secs)
}

/// The cause of causes: "connection refused" says more than "error sending request", and without the address, which
/// stands in the log line already.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
