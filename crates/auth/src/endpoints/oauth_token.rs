//! `POST /oauth/token`: an access token for a client that knows its secret (RFC 6749 section 4.4, RFC 8707), or for a refresh
//! token. No other grant exists, and that of passwords never will.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use portcullis_audit::{Action, Outcome};
use portcullis_store::{Client, StoreError};
use portcullis_tokens::{AccessClaims, ScopeSet};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer,
    clients::client_party,
    entitlement::{Entitlement, NotEntitled, entitle_client},
    form::Form,
    issue::{self, Issued},
    oauth::{Fault, OAuthRefusal},
    openapi::{
        refusals::{
            OAuthInvalidClient, OAuthInvalidGrant, OAuthInvalidRequest, OAuthInvalidScope,
            OAuthInvalidTarget, OAuthUnsupportedGrantType,
        },
        tags,
    },
    random,
    request::Call,
    service::AuthService,
};

const NO_GRANT: &str = "Name the grant_type.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(token))
}

/// The parameters, each at most once; others are ignored. Read one by one, because a repeated one is refused in
/// OAuth's words.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read by name")]
struct TokenRequest {
    /// `client_credentials` or `refresh_token`
    grant_type: String,
    /// Where it is not in the Authorization header.
    client_id: Option<String>,
    client_secret: Option<String>,
    /// With `client_assertion`: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// Instead of a secret: a JWT that the client has signed for this request (RFC 7523).
    client_assertion: Option<String>,
    /// For the grant of this name.
    refresh_token: Option<String>,
    /// May be left out where one resource has all scopes of the client, and with a refresh token.
    resource: Option<String>,
    /// Separated by spaces; all that the client has there where absent.
    scope: Option<String>,
}

/// Get a token for a program
///
/// RFC 6749 sections 4.4 and 6. The client authenticates in the Authorization header or in the body, not in both; with the
/// refresh token of somebody who signed in here there is no client to authenticate.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "token",
    tag = tags::OAUTH,
    security(("client_secret" = []), ()),
    request_body(
        content = TokenRequest,
        content_type = "application/x-www-form-urlencoded",
        example = json!({"grant_type": "client_credentials", "resource": "hotel"}),
    ),
    responses(
        (status = 200, description = "The token.", body = Issued, example = json!(issue::example())),
        OAuthInvalidRequest,
        OAuthInvalidClient,
        OAuthInvalidGrant,
        OAuthUnsupportedGrantType,
        OAuthInvalidScope,
        OAuthInvalidTarget,
    ),
)]
async fn token(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, OAuthRefusal> {
    let headers = request.headers().clone();
    let form = Form::read(request).await.map_err(Fault::from)?;
    match form.value("grant_type") {
        Some("client_credentials") => {}
        Some("refresh_token") => return service.refresh_grant(&headers, &form, &call).await,
        Some(_) => return Err(Fault::GrantType.into()),
        None => return Err(Fault::Request(NO_GRANT).into()),
    }
    let client = service.authenticate_client(&headers, &form, &call).await?;
    let entitlement = service.entitle(&client, &form)?;
    let issued = service.issue_to(&client, entitlement, &call).await?;
    Ok(answer::json(StatusCode::OK, issued))
}

impl AuthService {
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
                NotEntitled::UnknownResource
                | NotEntitled::NoScope
                | NotEntitled::ForeignTenant => Fault::Target.into(),
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
