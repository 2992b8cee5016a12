//! Which program asks: what it proves itself with at OAuth's endpoints, in one of the ways of RFC 6749 section 2.3.
//!
//! An unknown client, a wrong secret and a disabled client get one answer; which it was stands in the audit log.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_store::Client;
use zeroize::Zeroizing;

use crate::{
    clients::{client_party, is_secret_of},
    form::Form,
    oauth::{Fault, OAuthRefusal},
    request::Call,
    service::AuthService,
};

/// As the metadata names them.
pub(crate) const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

const TWO_WAYS: &str = "Authenticate in the Authorization header or in the body, not in both.";

/// An id and a secret as they came.
struct Credentials {
    id: String,
    secret: Zeroizing<String>,
}

impl Credentials {
    /// RFC 6749 section 2.3: one way, never both.
    fn of(headers: &HeaderMap, form: &Form) -> Result<Self, Fault> {
        let in_body = (form.value("client_id"), form.value("client_secret"));
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return match in_body {
                (Some(id), Some(secret)) => Ok(Self {
                    id: id.to_owned(),
                    secret: Zeroizing::new(secret.to_owned()),
                }),
                (None, _) | (_, None) => Err(Fault::Client),
            };
        };
        let credentials = Self::basic(value.to_str().ok()).ok_or(Fault::Client)?;
        let says_another = in_body.0.is_some_and(|id| id != credentials.id);
        if values.next().is_some() || in_body.1.is_some() || says_another {
            return Err(Fault::Request(TWO_WAYS));
        }
        Ok(credentials)
    }

    fn basic(value: Option<&str>) -> Option<Self> {
        let (scheme, encoded) = value?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
        let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self {
            id: unescaped(id)?,
            secret: Zeroizing::new(unescaped(secret)?),
        })
    }
}

/// Both halves are escaped as in a form before they are put together.
fn unescaped(half: &str) -> Option<String> {
    if half.contains(['&', '=']) {
        return None;
    }
    let mut pairs = form_urlencoded::parse(half.as_bytes());
    pairs.next().map(|(text, _)| text.into_owned())
}

impl AuthService {
    /// The client that this request proves to come from, as the database has it now.
    pub(crate) async fn authenticate_client(
        &self,
        headers: &HeaderMap,
        form: &Form,
        call: &Call,
    ) -> Result<Client, OAuthRefusal> {
        let credentials = Credentials::of(headers, form)?;
        self.check_secret(&credentials, call).await
    }

    async fn check_secret(
        &self,
        credentials: &Credentials,
        call: &Call,
    ) -> Result<Client, OAuthRefusal> {
        let found = self.store.client_with_secret(&credentials.id).await?;
        let kept = found.as_ref().map(|(_, hash)| hash);
        let is_right = is_secret_of(kept, &credentials.secret);
        let reason = match found {
            Some((client, _)) if is_right && !client.disabled => return Ok(client),
            Some((client, _)) => {
                let reason = if is_right { "disabled" } else { "wrong-secret" };
                (reason, client_party(&client.id, &client.name))
            }
            None => ("unknown-client", Party::anonymous()),
        };
        self.note_refused_client(reason, call);
        Err(Fault::Client.into())
    }

    /// Whoever asks has proven nothing, so the client stands as the target.
    fn note_refused_client(&self, (reason, client): (&'static str, Party), call: &Call) {
        let (action, outcome) = (Action::LoginFailure, Outcome::Refused);
        let event = self
            .event(call, action, outcome, Party::anonymous())
            .on(client)
            .because(reason);
        self.desk.denial(event, self.now());
    }
}
