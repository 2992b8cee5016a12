//! `auth.providers`. The types are in [`crate::providers`].

use secrecy::SecretString;

use crate::{
    auth::Registration,
    issuers, names,
    providers::Provider,
    reader::{Section, Value},
    refresh_tokens::Transport,
};

/// Whoever asks for more than this makes people wonder what it is for.
const DEFAULT_SCOPES: [&str; 3] = ["openid", "email", "profile"];

pub(super) fn providers(
    section: &Section<'_>,
    issuer: &str,
    registration: Registration,
    transport: Transport,
) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    let Some(value) = section.find("providers") else {
        return providers;
    };
    for element in value.list() {
        let Some(provider) = element.section(|section| provider(section, registration, transport))
        else {
            continue;
        };
        if let Some(clash) = clash(&provider, &providers) {
            element.mistake(clash);
        }
        providers.push(provider);
    }
    // The browser brings back a cookie that it takes from nobody else.
    if !providers.is_empty() && !issuers::may_be_fetched(issuer) {
        value.mistake(
            "needs `auth.issuer` to be https://…, since browsers come back to it; plain http is for 127.0.0.1, ::1 and localhost alone",
        );
    }
    providers
}

fn clash(provider: &Provider, before: &[Provider]) -> Option<String> {
    let is_taken = |other: &Provider| other.name == provider.name;
    (!provider.name.is_empty() && before.iter().any(is_taken)).then(|| {
        format!(
            "there are two providers named {}: give each its own name",
            names::quote(&provider.name)
        )
    })
}

fn provider(section: &Section<'_>, registration: Registration, transport: Transport) -> Provider {
    let given = |key| {
        let value = section.require(key, "the provider gave it to you");
        value.and_then(|value| value.parse(not_empty))
    };
    Provider {
        name: section
            .require("name", "it stands in /v1/auth/providers/NAME")
            .and_then(|value| value.name())
            .unwrap_or_default(),
        issuer: section
            .require(
                "issuer",
                "write its address, such as https://accounts.google.com",
            )
            .and_then(|value| value.parse(discoverable))
            .unwrap_or_default(),
        client_id: given("client_id").unwrap_or_default(),
        client_secret: given("client_secret")
            .map(SecretString::from)
            .unwrap_or_default(),
        scopes: section.or(
            "scopes",
            DEFAULT_SCOPES.map(str::to_owned).to_vec(),
            |value| Some(scopes(value)),
        ),
        create_users: section.or(
            "create_users",
            registration == Registration::Open,
            Value::boolean,
        ),
        allowed_domains: section.or("allowed_domains", Vec::new(), |value| {
            Some(value.each(|domain| domain.parse(domain_name)))
        }),
        return_to: section
            .find("return_to")
            .and_then(|value| returned_to(&value, transport)),
    }
}

/// No token stands in the address of that page: without the cookie the browser would arrive with nothing.
fn returned_to(value: &Value<'_>, transport: Transport) -> Option<String> {
    let page = value.parse(page)?;
    if !transport.has_cookie() {
        value.mistake("needs the refresh token in a cookie: write `transport: cookie` or `transport: both` in `auth.refresh_token`");
    }
    Some(page)
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("says nothing: write what the provider gave to you".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// OIDC Discovery 1.0 section 4: the issuer is the address.
fn discoverable(text: &str) -> Result<String, String> {
    if issuers::may_be_fetched(text) && !text.contains(['?', '#']) {
        Ok(text.to_owned())
    } else {
        Err("is not the address of a provider: write https://… without a query; plain http is for 127.0.0.1, ::1 and localhost alone".to_owned())
    }
}

fn scopes(value: &Value<'_>) -> Vec<String> {
    let scopes = value.each(|scope| scope.parse(scope_word));
    if !scopes.iter().any(|scope| scope == "openid") {
        value.mistake("lacks `openid`: without it the provider does not say who signed in");
    }
    scopes
}

fn scope_word(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !text.is_empty() && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("is no scope: use visible characters without space, quote and backslash".to_owned())
    }
}

fn domain_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.split('.').all(is_label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is no domain: write what stands behind the @, such as example.com".to_owned())
    }
}

fn page(text: &str) -> Result<String, String> {
    if issuers::may_be_fetched(text) && !text.contains('#') {
        Ok(text.to_owned())
    } else {
        Err("is no page that a browser may be sent to: write https://… without a fragment; plain http is for 127.0.0.1, ::1 and localhost alone".to_owned())
    }
}
