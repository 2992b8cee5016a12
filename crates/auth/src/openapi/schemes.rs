//! How a caller proves who it is: the names that `security(…)` of an annotation uses.

use portcullis_config::auth::{Auth, PORTCULLIS_SCOPES};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, ClientCredentials, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Scopes,
    SecurityScheme,
};

use crate::cookie;

/// An access token, of a user or of a client.
pub(crate) const BEARER: &str = "bearer";
/// The way to one for programs.
pub(crate) const CLIENT: &str = "client";
/// The id and the secret of a client, at OAuth's endpoints.
pub(crate) const CLIENT_SECRET: &str = "client_secret";
/// The refresh token, where the file has it travel so.
pub(crate) const REFRESH_COOKIE: &str = "refresh_cookie";

pub(super) fn all(config: &Auth) -> [(String, SecurityScheme); 4] {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The `access_token` of a sign-in."))
        .build();
    let token_url = format!("{}/oauth/token", config.issuer.trim_end_matches('/'));
    let scopes = PORTCULLIS_SCOPES.map(|scope| (scope, purpose_of(scope)));
    let scopes = Scopes::from_iter(scopes);
    let flow = Flow::ClientCredentials(ClientCredentials::new(token_url, scopes));
    let cookie = ApiKeyValue::new(cookie::NAME);
    let secret = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some(
            "The id and the secret that `portcullis client add` prints.",
        ))
        .build();
    [
        (BEARER.to_owned(), SecurityScheme::Http(bearer)),
        (
            CLIENT.to_owned(),
            SecurityScheme::OAuth2(OAuth2::new([flow])),
        ),
        (CLIENT_SECRET.to_owned(), SecurityScheme::Http(secret)),
        (
            REFRESH_COOKIE.to_owned(),
            SecurityScheme::ApiKey(ApiKey::Cookie(cookie)),
        ),
    ]
}

/// Empty for a scope without a line here, which a test does not let pass.
fn purpose_of(scope: &str) -> &'static str {
    match scope {
        "users:read" => "See users.",
        "users:write" => "Make, change, disable and import users.",
        "roles:write" => "Make and change roles, and give them to users.",
        "sessions:revoke" => "See and end sessions.",
        "clients:write" => "Make, change and disable clients.",
        "breakers:write" => "See and hold circuit breakers.",
        "keys:rotate" => "See, rotate and take back signing keys.",
        "audit:read" => "Read the audit log.",
        "revocations:read" => "Follow revocations, for other gateways.",
        _ => "",
    }
}
