//! `POST /oauth/token`: an access token for a client that knows its secret (RFC 6749 section 4.4, RFC 8707). No other
//! grant exists, and that of passwords never will.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_store::{Client, StoreError};
use portcullis_tokens::{AccessClaims, ScopeSet};
use zeroize::Zeroizing;

use crate::{
    answer,
    clients::{client_party, is_secret_of},
    entitlement::{Entitlement, NotEntitled, entitle_client},
    form::{Form, NoForm},
    issue::Issued,
    oauth::{Fault, OAuthRefusal},
    random,
    request::Call,
    service::AuthService,
};

const NO_FORM: &str =
    "Send the parameters as application/x-www-form-urlencoded, in UTF-8, in the body.";
const REPEATED: &str = "Each parameter may stand once.";
const NO_GRANT: &str = "Name the grant_type.";
const TWO_WAYS: &str = "Authenticate in the Authorization header or in the body, not in both.";

pub(crate) async fn token(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, OAuthRefusal> {
    let headers = request.headers().clone();
    let form = Form::read(request).await.map_err(|no| match no {
        NoForm::Malformed => Fault::Request(NO_FORM),
        NoForm::Repeated => Fault::Request(REPEATED),
    })?;
    match form.value("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(Fault::GrantType.into()),
        None => return Err(Fault::Request(NO_GRANT).into()),
    }
    let credentials = Credentials::of(&headers, &form)?;
    let client = service.check_client(&credentials, &call).await?;
    let entitlement = service.entitle(&client, &form)?;
    let issued = service.issue_to(&client, entitlement, &call).await?;
    Ok(answer::json(StatusCode::OK, issued))
}

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
    async fn check_client(
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

    fn entitle(&self, client: &Client, form: &Form) -> Result<Entitlement, OAuthRefusal> {
        let granted = ScopeSet::parse(&client.scopes).map_err(|_invalid| Fault::Scope)?;
        let requested = form.value("scope").map(ScopeSet::parse).transpose();
        let requested = requested.map_err(|_invalid| Fault::Scope)?;
        if requested.as_ref().is_some_and(ScopeSet::is_empty) {
            return Err(Fault::Scope.into());
        }
        let resource = form.value("resource");
        entitle_client(&self.config, &granted, resource, requested.as_ref()).map_err(
            |no| match no {
                NotEntitled::UnknownResource | NotEntitled::NoScope => Fault::Target.into(),
                NotEntitled::ScopeNotGranted => Fault::Scope.into(),
            },
        )
    }

    /// The row that tells of it is committed first, and only while the client is still what it was.
    async fn issue_to(
        &self,
        client: &Client,
        entitlement: Entitlement,
        call: &Call,
    ) -> Result<Issued, OAuthRefusal> {
        let claims = self.client_claims(client, &entitlement)?;
        let access_token = self.sign(&claims)?;
        let party = client_party(&client.id, &client.name);
        let event = self
            .event(call, Action::TokenIssued, Outcome::Success, party)
            .for_resource(&entitlement.resource);
        match self.store.use_client(client, &event).await {
            Ok(()) => Ok(Issued::new(access_token, entitlement)),
            Err(StoreError::Conflict) => Err(Fault::Client.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// As of a user's token, with the client in both places. There is no session beside the token itself.
    fn client_claims(
        &self,
        client: &Client,
        entitlement: &Entitlement,
    ) -> Result<AccessClaims, OAuthRefusal> {
        let (now, token_id) = (self.now().as_secs(), random::token_id()?);
        Ok(AccessClaims {
            iss: self.config.issuer.clone(),
            sub: client.id.clone(),
            aud: entitlement.resource.clone(),
            resource: entitlement.resource.clone(),
            iat: now,
            exp: now.saturating_add(entitlement.lifetime.as_secs()),
            sid: token_id.clone(),
            jti: token_id,
            client_id: client.id.clone(),
            scope: entitlement.scopes.line().to_owned(),
            roles: Vec::new(),
            ver: client.version,
            tenant: None,
        })
    }
}
