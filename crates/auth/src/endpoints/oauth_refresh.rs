//! `POST /oauth/token` with a refresh token (RFC 6749 section 6), for programs that know OAuth and not us.
//!
//! A session is bound to the client that it was opened through. Those of people who sign in here belong to a public client, which
//! has no secret and may leave its name out. Whoever comes as another client proves to be that one first, and then learns
//! nothing; no session ends by that.

use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use portcullis_tokens::ScopeSet;

use super::oauth_revoke::proves_nothing;
use crate::{
    answer::{self, Refusal},
    entitlement::NotEntitled,
    form::Form,
    issue::FIRST_PARTY_CLIENT,
    oauth::{Fault, OAuthRefusal},
    refresh::{Asked, NotRefreshed},
    request::Call,
    service::AuthService,
};

const NO_TOKEN: &str = "Send the refresh_token.";

impl AuthService {
    pub(super) async fn refresh_grant(
        &self,
        headers: &HeaderMap,
        form: &Form,
        call: &Call,
    ) -> Result<Response, OAuthRefusal> {
        // An answer in a cookie is not one that the standard knows.
        if !self.config.refresh_tokens.transport.has_body() {
            return Err(Fault::GrantType.into());
        }
        let client = self.refreshing_client(headers, form, call).await?;
        let token = form
            .value("refresh_token")
            .ok_or(Fault::Request(NO_TOKEN))?;
        let scopes = form.value("scope").map(ScopeSet::parse).transpose();
        let asked = Asked {
            resource: form.value("resource"),
            scopes: scopes.map_err(|_invalid| Fault::Scope)?,
        };
        if asked.scopes.as_ref().is_some_and(ScopeSet::is_empty) {
            return Err(Fault::Scope.into());
        }
        match self.refresh(token, &client, &asked, call).await {
            Ok(mut issued) => {
                drop(issued.take_cookie());
                Ok(answer::json(StatusCode::OK, issued))
            }
            Err(no) => Err(self.refused_grant(no)),
        }
    }

    async fn refreshing_client(
        &self,
        headers: &HeaderMap,
        form: &Form,
        call: &Call,
    ) -> Result<String, OAuthRefusal> {
        if proves_nothing(headers, form) {
            return Ok(FIRST_PARTY_CLIENT.to_owned());
        }
        let client = self.authenticate_client(headers, form, call).await?;
        Ok(client.id)
    }

    fn refused_grant(&self, no: NotRefreshed) -> OAuthRefusal {
        match no {
            NotRefreshed::Invalid | NotRefreshed::Reused => Fault::Grant.into(),
            NotRefreshed::NotEntitled(NotEntitled::ScopeNotGranted) => Fault::Scope.into(),
            NotRefreshed::NotEntitled(
                NotEntitled::UnknownResource | NotEntitled::NoScope | NotEntitled::ForeignTenant,
            ) => Fault::Target.into(),
            NotRefreshed::TooManyRepeats => Refusal::from(self.too_many_repeats()).into(),
            NotRefreshed::Failed(refusal) => refusal.into(),
        }
    }
}
