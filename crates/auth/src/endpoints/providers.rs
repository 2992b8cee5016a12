//! `GET /v1/auth/providers/{name}` and `…/callback`: to an identity provider, and back with a code (OIDC Core 1.0
//! section 3.1). Both are for browsers: the first answers with a redirect and a cookie, and the second takes nothing
//! without that cookie.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use portcullis_outbound::providers::Provider;
use portcullis_policy::rejection::Rejection;
use secrecy::ExposeSecret;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::Refusal,
    elsewhere::{self, Answer, BegunSignIn},
    entitlement::{Wanted, entitle},
    form::Form,
    issue::{self, Issued},
    openapi::{
        refusals::{
            Conflict, InvalidCredentials, NotFound, ProviderFailed, ProviderUnreachable,
            ResourceNotAllowed,
        },
        tags,
    },
    request::{Call, malformed_field},
    service::AuthService,
    sign_in::SignedIn,
};

/// Of a code or a state. Those that we draw have 43 bytes, and providers' codes hardly more than a kilobyte.
const MAX_PARAMETER_BYTES: usize = 4 * 1024;
const MAX_RESOURCE_BYTES: usize = 128;
const BAD_QUERY: &str = "Each parameter may stand once, in UTF-8.";
const NO_ANSWER: &str = "The provider sends state and code, or state and error.";
const NO_RESOURCE: &str = "Name the resource that the token is for.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(come_back))
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query, which is read by name")]
struct Beginning {
    /// What the token is for; the default resource where absent.
    resource: Option<String>,
}

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query, which is read by name")]
struct Brought {
    /// As it was sent along.
    state: String,
    /// What is exchanged for who signed in.
    code: Option<String>,
    /// Instead of a code: the person declined, or the provider did.
    error: Option<String>,
    /// The provider's name for itself (RFC 9207).
    iss: Option<String>,
}

/// Sign in at an identity provider
///
/// For browsers: goes to the provider, which sends the browser back to `…/callback`.
#[utoipa::path(
    get,
    path = "/v1/auth/providers/{name}",
    operation_id = "begin_provider_sign_in",
    tag = tags::SIGN_IN,
    security(()),
    params(("name" = String, Path, description = "As it stands under `auth.providers`."), Beginning),
    responses(
        (
            status = 302,
            description = "To the provider.",
            headers(
                ("Location" = String, description = "Where the browser signs in."),
                ("Set-Cookie" = String, description = "By which this browser is known when it comes back, within ten minutes."),
            ),
        ),
        NotFound,
        ProviderUnreachable,
        ProviderFailed,
    ),
)]
async fn begin(
    State(service): State<Arc<AuthService>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let provider = service.provider(&name)?;
    let resource = resource_in(&query(&uri)?)?;
    if resource.is_none() && service.config.default_resource.is_none() {
        return Err(malformed_field(NO_RESOURCE));
    }
    let begun = BegunSignIn::draw(&name, resource, service.now())?;
    let address = provider.address(&begun.drawn()).await;
    let address = address.map_err(|error| elsewhere::provider_refusal(provider, &error))?;
    let cookie = begun.cookie(&service.elsewhere.key);
    let cookie = cookie.ok_or_else(|| Refusal::internal("a sign-in could not be encrypted"))?;
    let mut response = redirect(StatusCode::FOUND, &address)?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Come back from an identity provider
///
/// For browsers. Answers with the tokens, or goes to the page that the operator named, with the refresh token in its
/// cookie.
#[utoipa::path(
    get,
    path = "/v1/auth/providers/{name}/callback",
    operation_id = "finish_provider_sign_in",
    tag = tags::SIGN_IN,
    security(()),
    params(("name" = String, Path, description = "As it stands under `auth.providers`."), Brought),
    responses(
        (status = 200, description = "The token.", body = Issued, example = json!(issue::example())),
        (
            status = 303,
            description = "To the page that the operator named, for which the refresh token is in a cookie.",
            headers(("Location" = String, description = "`return_to` of the provider.")),
        ),
        NotFound,
        InvalidCredentials,
        ResourceNotAllowed,
        Conflict,
        ProviderUnreachable,
        ProviderFailed,
    ),
)]
async fn come_back(
    State(service): State<Arc<AuthService>>,
    Path(name): Path<String>,
    call: Call,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let provider = service.provider(&name)?;
    let result = match service.begun_in(provider, &query(&uri)?, &headers, &call) {
        Ok((begun, answer)) => sign_in(&service, provider, begun, answer, &call).await,
        Err(refusal) => Err(refusal),
    };
    service.metrics.count_login(&result);
    finished(provider, result?)
}

async fn sign_in(
    service: &AuthService,
    provider: &Provider,
    begun: BegunSignIn,
    answer: Answer,
    call: &Call,
) -> Result<SignedIn, Refusal> {
    let user = service.user_from(provider, &begun, answer, call).await?;
    let resource = begun.resource.as_deref();
    let resource = resource.or(service.config.default_resource.as_deref());
    let resource = resource.ok_or_else(|| malformed_field(NO_RESOURCE))?;
    let entitlement = entitle(&service.config, &user, &Wanted::all_of(resource))
        .map_err(|no| service.refuse_entitlement(no, &user, resource, call))?;
    let success = service.signed_in_elsewhere(&user, provider, call);
    service
        .complete_sign_in(&user, entitlement, call, success)
        .await
}

impl AuthService {
    fn provider(&self, name: &str) -> Result<&Provider, Refusal> {
        let found = self.elsewhere.providers.named(name);
        found.ok_or_else(|| Rejection::RouteNotFound.into())
    }

    /// What this browser has begun, if that is what the provider answers.
    fn begun_in(
        &self,
        provider: &Provider,
        brought: &Form,
        headers: &HeaderMap,
        call: &Call,
    ) -> Result<(BegunSignIn, Answer), Refusal> {
        let (state, answer) = answer_in(brought)?;
        let name = provider.settings().name.as_str();
        let begun = BegunSignIn::of(headers, &self.elsewhere.key, (name, state), self.now());
        let begun = begun.map_err(|reason| self.not_begun_here(reason, call))?;
        Ok((begun, answer))
    }
}

/// What others add to it is not looked at.
fn query(uri: &Uri) -> Result<Form, Refusal> {
    let query = uri.query().unwrap_or_default();
    Form::parse(query.as_bytes()).map_err(|_no_form| malformed_field(BAD_QUERY))
}

/// Whether there is one of this name is not told before it is known who asks.
fn resource_in(query: &Form) -> Result<Option<String>, Refusal> {
    match query.value("resource") {
        Some(resource) if resource.len() > MAX_RESOURCE_BYTES => {
            Err(malformed_field("A resource has at most 128 bytes."))
        }
        resource => Ok(resource.map(str::to_owned)),
    }
}

fn answer_in(brought: &Form) -> Result<(&str, Answer), Refusal> {
    let value = |name| {
        let value = brought.value(name);
        value.filter(|value| value.len() <= MAX_PARAMETER_BYTES)
    };
    let state = value("state").ok_or_else(|| malformed_field(NO_ANSWER))?;
    let answer = match (value("code"), brought.value("error")) {
        (Some(code), None) => Answer::Code {
            code: code.to_owned(),
            issuer: brought.value("iss").map(str::to_owned),
        },
        (None, Some(_)) => Answer::Refused,
        (Some(_), Some(_)) | (None, None) => return Err(malformed_field(NO_ANSWER)),
    };
    Ok((state, answer))
}

/// Where there is a page to go to, only the cookies of the answer go along: tokens do not belong into addresses.
fn finished(provider: &Provider, signed_in: SignedIn) -> Result<Response, Refusal> {
    let page = page_after(provider, &signed_in);
    let mut response = signed_in.into_response();
    if let Some(page) = page {
        let mut to_page = redirect(StatusCode::SEE_OTHER, &page)?;
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            to_page
                .headers_mut()
                .append(header::SET_COOKIE, cookie.clone());
        }
        response = to_page;
    }
    if let Some(removal) = elsewhere::removal() {
        response.headers_mut().append(header::SET_COOKIE, removal);
    }
    Ok(response)
}

fn page_after(provider: &Provider, signed_in: &SignedIn) -> Option<String> {
    let page = provider.settings().return_to.clone()?;
    match signed_in {
        SignedIn::Tokens(_) => Some(page),
        // A fragment is sent to no server, and a challenge is worth nothing without a code.
        SignedIn::SecondFactor(challenge) => {
            Some(format!("{page}#challenge={}", challenge.expose_secret()))
        }
    }
}

fn redirect(status: StatusCode, address: &str) -> Result<Response, Refusal> {
    let address = HeaderValue::from_str(address)
        .map_err(|_invalid| Refusal::internal("an address that fits into no header"))?;
    Ok((status, [(header::LOCATION, address)]).into_response())
}
