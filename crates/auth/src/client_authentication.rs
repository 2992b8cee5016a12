//! Which program asks: what it proves itself with at OAuth's endpoints. That is a secret, in one of the ways of RFC 6749
//! section 2.3, or something it signed for this one request (`private_key_jwt`, RFC 7523 section 2.2).
//!
//! An unknown client, a wrong secret, a bad signature and a disabled client get one answer; which it was stands in the
//! audit log.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_store::{Client, ClientProof, StoreError};
use portcullis_tokens::{ClientAssertion, ClientAssertions, ClientKeys};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    clients::{client_party, is_secret_of},
    form::Form,
    oauth::{Fault, OAuthRefusal},
    request::Call,
    service::AuthService,
};

/// As the metadata names them.
pub(crate) const METHODS: [&str; 3] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

const TWO_WAYS: &str = "Authenticate in the Authorization header or in the body, not in both.";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const BAD_ASSERTION_TYPE: &str = "A client_assertion stands beside the client_assertion_type of RFC 7523, and each of them alone is nothing.";

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

/// What was signed, where that is the way chosen. Then there is no other.
fn assertion_in<'a>(headers: &HeaderMap, form: &'a Form) -> Result<Option<&'a str>, Fault> {
    let (kind, assertion) = (
        form.value("client_assertion_type"),
        form.value("client_assertion"),
    );
    match (kind, assertion) {
        (None, None) => Ok(None),
        (Some(ASSERTION_TYPE), Some(assertion)) => {
            let has_secret = form.value("client_secret").is_some();
            if has_secret || headers.contains_key(header::AUTHORIZATION) {
                return Err(Fault::Request(TWO_WAYS));
            }
            Ok(Some(assertion))
        }
        (Some(_), _) | (None, Some(_)) => Err(Fault::Request(BAD_ASSERTION_TYPE)),
    }
}

/// What an assertion is known by once it was used. The ids of one client's are nothing to another.
fn digest(client_id: &str, assertion: &ClientAssertion) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"client assertion\0")
        .chain_update(client_id)
        .chain_update([0])
        .chain_update(&assertion.token_id)
        .finalize()
        .into()
}

/// The addresses by which an assertion may mean us.
pub(crate) fn audiences(issuer: &str) -> Vec<String> {
    let base = issuer.trim_end_matches('/');
    vec![issuer.to_owned(), format!("{base}/oauth/token")]
}

/// Whether a client is who it says, and if not, why; for the log alone.
enum Authenticated {
    Yes(Client),
    No(Client, &'static str),
    Unknown,
}

impl AuthService {
    /// The client that this request proves to come from, as the database has it now.
    pub(crate) async fn authenticate_client(
        &self,
        headers: &HeaderMap,
        form: &Form,
        call: &Call,
    ) -> Result<Client, OAuthRefusal> {
        let authenticated = match assertion_in(headers, form)? {
            Some(assertion) => self.check_assertion(assertion, form, call).await?,
            None => {
                let credentials = Credentials::of(headers, form)?;
                self.check_secret(&credentials).await?
            }
        };
        let (reason, party) = match authenticated {
            Authenticated::Yes(client) if !client.disabled => return Ok(client),
            Authenticated::Yes(client) => ("disabled", client_party(&client.id, &client.name)),
            Authenticated::No(client, reason) => (reason, client_party(&client.id, &client.name)),
            Authenticated::Unknown => ("unknown-client", Party::anonymous()),
        };
        self.note_refused_client(reason, party, call);
        Err(Fault::Client.into())
    }

    async fn check_secret(&self, credentials: &Credentials) -> Result<Authenticated, StoreError> {
        let found = self.store.client_with_proof(&credentials.id).await?;
        let kept = match &found {
            Some((_, ClientProof::Secret(hash))) => Some(hash),
            Some((_, ClientProof::Keys(_))) | None => None,
        };
        let is_right = is_secret_of(kept, &credentials.secret);
        Ok(match found {
            Some((client, _)) if is_right => Authenticated::Yes(client),
            Some((client, _)) => Authenticated::No(client, "wrong-secret"),
            None => Authenticated::Unknown,
        })
    }

    async fn check_assertion(
        &self,
        assertion: &str,
        form: &Form,
        call: &Call,
    ) -> Result<Authenticated, OAuthRefusal> {
        let Some(id) = ClientAssertions::claimed_client(assertion) else {
            self.note_refused_client("malformed", Party::anonymous(), call);
            return Err(Fault::Client.into());
        };
        let Some((client, proof)) = self.store.client_with_proof(&id).await? else {
            return Ok(Authenticated::Unknown);
        };
        // RFC 7521 section 4.2: who names itself twice has to name the same.
        let says_another = form.value("client_id").is_some_and(|other| other != id);
        let verdict = self.verify_assertion(assertion, &client, &proof);
        let held = match verdict {
            Ok(_) if says_another => return Ok(Authenticated::No(client, "another-client")),
            Ok(held) => held,
            Err(reason) => return Ok(Authenticated::No(client, reason)),
        };
        // Last, so that nothing is kept of what was not signed by the client.
        match self
            .store
            .spend(&digest(&id, &held), held.refused_from)
            .await
        {
            Ok(()) => Ok(Authenticated::Yes(client)),
            Err(StoreError::Taken) => Ok(Authenticated::No(client, "replayed")),
            Err(error) => Err(error.into()),
        }
    }

    fn verify_assertion(
        &self,
        assertion: &str,
        client: &Client,
        proof: &ClientProof,
    ) -> Result<ClientAssertion, &'static str> {
        let ClientProof::Keys(keys) = proof else {
            return Err("no-key");
        };
        // Read when they were given; what has happened to them since, they verify nothing.
        let keys = ClientKeys::parse(keys).map_err(|_damaged| "no-key")?;
        self.assertions
            .read(assertion, (&client.id, &keys), self.now())
            .map_err(|error| error.outcome())
    }

    /// Whoever asks has proven nothing, so the client stands as the target.
    fn note_refused_client(&self, reason: &'static str, client: Party, call: &Call) {
        let (action, outcome) = (Action::LoginFailure, Outcome::Refused);
        let event = self
            .event(call, action, outcome, Party::anonymous())
            .on(client)
            .because(reason);
        self.desk.denial(event, self.now());
    }
}
