//! `POST /v1/auth/refresh`: a refresh token, in the body or as the cookie, for the next pair.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use portcullis_policy::rejection::Rejection;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use crate::{
    answer::Refusal,
    cookie::Cookies,
    issue::{self, FIRST_PARTY_CLIENT, Issued},
    openapi::{
        refusals::{CrossSite, InvalidCredentials, ResourceNotAllowed},
        tags,
    },
    refresh::{Asked, NotRefreshed},
    request::{self, Call, malformed_field, scopes},
    service::AuthService,
};

const NO_TOKEN: &str = "Send the refresh_token.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(refresh))
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// The cookie's where absent.
    #[serde(default, deserialize_with = "request::secret")]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Zeroizing<String>>,
    /// Another one that the user may have a token for now; that of the sign-in where absent.
    #[serde(default)]
    resource: Option<String>,
    /// Separated by spaces; all that the session has there where absent.
    #[serde(default)]
    scope: Option<String>,
}

/// Go on with a session
///
/// Each refresh token is good once; for a few seconds it is answered with the same successor again, so that an answer that
/// was lost can be asked for once more. A token that comes back later ends its session. What the tokens hold follows the
/// user's roles of this moment.
#[utoipa::path(
    post,
    path = "/v1/auth/refresh",
    operation_id = "refresh",
    tag = tags::SIGN_IN,
    security((), ("refresh_cookie" = [])),
    request_body(content = Refresh, example = json!({ "refresh_token": issue::EXAMPLE_REFRESH_TOKEN })),
    responses(
        (status = 200, description = "The next pair.", body = Issued, example = json!(issue::example())),
        InvalidCredentials,
        ResourceNotAllowed,
        CrossSite,
    ),
)]
async fn refresh(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Response {
    match next_pair(&service, &call, request).await {
        Ok(issued) => issued.into_response(StatusCode::OK),
        Err(no) => service.refused_refresh(no),
    }
}

async fn next_pair(
    service: &AuthService,
    call: &Call,
    request: Request<Body>,
) -> Result<Issued, NotRefreshed> {
    service.check_origin(request.headers())?;
    let headers = request.headers().clone();
    let refresh: Refresh = request::json(request).await?;
    let asked = Asked {
        resource: refresh.resource.as_deref(),
        scopes: scopes(refresh.scope.as_deref())?,
    };
    let token = service
        .refresh_token(refresh.refresh_token, &headers)?
        .ok_or(malformed_field(NO_TOKEN))?;
    service
        .refresh(&token, FIRST_PARTY_CLIENT, &asked, call)
        .await
}

impl AuthService {
    /// In the body, or where there is none and cookies are set, in the cookie.
    pub(super) fn refresh_token(
        &self,
        in_body: Option<Zeroizing<String>>,
        headers: &HeaderMap,
    ) -> Result<Option<Zeroizing<String>>, Refusal> {
        match (in_body, &self.cookies) {
            (Some(token), _) => Ok(Some(token)),
            (None, Some(_)) => Cookies::read(headers),
            (None, None) => Ok(None),
        }
    }

    /// The cookie is taken away only with its session. After any other refusal it may be the good one by now, which another
    /// tab has just been given.
    fn refused_refresh(&self, no: NotRefreshed) -> Response {
        let ends_session = matches!(no, NotRefreshed::Reused);
        let refusal = match no {
            NotRefreshed::Invalid | NotRefreshed::Reused => Rejection::InvalidCredentials.into(),
            NotRefreshed::TooManyRepeats => self.too_many_repeats().into(),
            NotRefreshed::NotEntitled(_) => Rejection::ResourceNotAllowed.into(),
            NotRefreshed::Failed(refusal) => refusal,
        };
        let response = refusal.into_response();
        if ends_session {
            self.without_cookie(response)
        } else {
            response
        }
    }
}
