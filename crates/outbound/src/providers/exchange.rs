//! The two questions of the code flow, put by `oauth2`: the address that the browser is sent to, and the code for an ID
//! token. Its answers come through our own [`Fetcher`], which bounds them.

use std::pin::Pin;

use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use portcullis_config::providers::Provider as Settings;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{Begun, Provider, ProviderError, metadata::Endpoints};
use crate::fetch::{FetchError, Fetcher};

/// Tokens of other kinds may stand beside the one we want.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The member that OIDC adds to the answer of RFC 6749.
#[derive(Deserialize, Serialize)]
pub(super) struct IdTokenField {
    id_token: String,
}

// `oauth2` asks for it. An ID token is in no log.
impl std::fmt::Debug for IdTokenField {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IdTokenField")
    }
}

impl ExtraTokenFields for IdTokenField {}

pub(super) type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

pub(super) fn client(provider: &Provider, endpoints: &Endpoints) -> Result<Client, ProviderError> {
    let settings = &provider.settings;
    let unfit = |name| move |_invalid| ProviderError::NoEndpoint(name);
    let authorization =
        AuthUrl::new(endpoints.authorization.clone()).map_err(unfit("authorization_endpoint"))?;
    let token = TokenUrl::new(endpoints.token.clone()).map_err(unfit("token_endpoint"))?;
    let redirect = RedirectUrl::new(provider.redirect_url.clone()).map_err(unfit("redirect"))?;
    let secret = settings.client_secret.expose_secret().to_owned();
    Ok(
        oauth2::Client::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret))
            .set_auth_type(match endpoints.takes_form {
                true => AuthType::RequestBody,
                false => AuthType::BasicAuth,
            })
            .set_auth_uri(authorization)
            .set_token_uri(token)
            .set_redirect_uri(redirect),
    )
}

pub(super) fn address(client: &Client, settings: &Settings, begun: &Begun) -> String {
    let verifier = PkceCodeVerifier::new(begun.verifier.expose_secret().to_owned());
    let scopes = settings.scopes.iter().cloned().map(Scope::new);
    let (url, _state) = client
        .authorize_url(|| CsrfToken::new(begun.state.clone()))
        .add_scopes(scopes)
        .add_extra_param("nonce", &begun.nonce)
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .url();
    url.into()
}

pub(super) async fn id_token(
    client: &Client,
    fetcher: &Fetcher,
    code: &str,
    begun: &Begun,
) -> Result<String, ProviderError> {
    let verifier = PkceCodeVerifier::new(begun.verifier.expose_secret().to_owned());
    let answer = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(verifier)
        .request_async(&Bounded(fetcher))
        .await;
    match answer {
        Ok(answer) => Ok(answer.extra_fields().id_token.clone()),
        Err(error) => Err(refusal(error)),
    }
}

/// What `oauth2` asks through.
struct Bounded<'a>(&'a Fetcher);

impl<'c> AsyncHttpClient<'c> for Bounded<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.0.exchange(request, MAX_ANSWER_BYTES))
    }
}

/// Of the provider's own words only those of the standard count, and none is repeated.
fn refusal(error: RequestTokenError<FetchError, BasicErrorResponse>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(said) => match said.error() {
            BasicErrorResponseType::InvalidGrant => ProviderError::Code,
            BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
                ProviderError::NotItsClient
            }
            BasicErrorResponseType::InvalidRequest
            | BasicErrorResponseType::InvalidScope
            | BasicErrorResponseType::UnsupportedGrantType
            | BasicErrorResponseType::Extension(_) => ProviderError::Unusable,
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => ProviderError::Unusable,
    }
}
