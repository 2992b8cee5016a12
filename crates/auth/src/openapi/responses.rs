//! The refusals of an operation: those that its annotation names and those that follow from its form, put together by
//! status. Operations that refuse in the same ways share one response.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    time::Duration,
};

use portcullis_config::units::Rate;
use portcullis_policy::{limits, rejection::Rejection};
use utoipa::openapi::{
    Content, Header, Object, ObjectBuilder, Ref, RefOr, Response, Type,
    example::ExampleBuilder,
    path::Operation,
    schema::{AllOfBuilder, KnownFormat, Schema, SchemaFormat},
};

use super::{
    refusals::{self, Refused, insufficient_scope, malformed, overloaded, wrong_resource},
    schemes::BEARER,
};
use crate::oauth;

const PROBLEM: &str = "Problem";
const OAUTH_ERROR: &str = "OAuthError";

/// `shared` are the responses of the whole document.
pub(super) fn complete(
    path: &str,
    operation: &mut Operation,
    shared: &mut BTreeMap<String, RefOr<Response>>,
) {
    let answers = std::mem::take(&mut operation.responses.responses);
    let (answers, named): (BTreeMap<_, _>, BTreeMap<_, _>) = answers
        .into_iter()
        .partition(|(key, _)| key.parse::<u16>().is_ok());
    let named = named.keys().filter_map(|word| refusals::find(word));
    let mut by_status: BTreeMap<u16, Vec<Refused>> = BTreeMap::new();
    for refused in named.chain(usual(path, operation)) {
        by_status
            .entry(refused.status().as_u16())
            .or_default()
            .push(refused);
    }
    operation.responses.responses = answers;
    for (status, refusals) in by_status {
        let responses = &mut operation.responses.responses;
        // What an annotation spells out by itself stands.
        responses.entry(status.to_string()).or_insert_with(|| {
            let name = name_of(status, &refusals);
            let reference = Ref::from_response_name(&name);
            shared
                .entry(name)
                .or_insert_with(|| RefOr::T(response(&refusals)));
            RefOr::Ref(reference)
        });
    }
}

/// What follows from the form of an operation.
fn usual(path: &str, operation: &Operation) -> Vec<Refused> {
    let mut rejections = vec![
        Rejection::InternalError,
        Rejection::StoreUnavailable,
        overloaded(),
    ];
    if operation.request_body.is_some() {
        rejections.extend([Rejection::RequestTimeout, Rejection::BodyTooLarge]);
    }
    let mut refused = if path.starts_with(oauth::PREFIX) {
        rejections.into_iter().map(Refused::OAuth).collect()
    } else {
        if operation.request_body.is_some() {
            rejections.push(Rejection::UnsupportedMediaType);
        }
        rejections.extend(of_the_token(operation));
        rejections
            .into_iter()
            .map(Refused::Problem)
            .collect::<Vec<_>>()
    };
    // These are the gateway's own as well, whose form is the same on all paths.
    refused.extend([malformed(), rate_limited()].map(Refused::Problem));
    refused
}

fn of_the_token(operation: &Operation) -> Vec<Rejection> {
    let mut bearer = operation
        .security
        .iter()
        .flatten()
        .filter_map(|requirement| {
            let json = serde_json::to_value(requirement).ok()?;
            let scopes = json.get(BEARER)?.as_array()?.clone();
            Some(scopes.into_iter().next())
        });
    let Some(scope) = bearer.next() else {
        return Vec::new();
    };
    let mut rejections = vec![
        Rejection::AuthenticationRequired,
        Rejection::InvalidToken { cause: "expired" },
        wrong_resource(),
        Rejection::KeysUnavailable,
    ];
    rejections.extend(
        scope
            .as_ref()
            .and_then(|scope| scope.as_str())
            .map(insufficient_scope),
    );
    rejections
}

fn rate_limited() -> Rejection {
    let rate = Rate {
        count: NonZeroU64::MIN,
        period: Duration::from_secs(60),
    };
    let refused = limits::Refused::of("per_ip", rate, Duration::from_secs(2));
    Rejection::RateLimited(Box::new(refused))
}

/// OAuth has one word for several statuses.
fn name_of(status: u16, refusals: &[Refused]) -> String {
    let words = refusals.iter().map(Refused::word);
    [status.to_string()]
        .into_iter()
        .chain(words.map(str::to_owned))
        .collect::<Vec<_>>()
        .join(".")
}

/// All of one status.
fn response(refusals: &[Refused]) -> Response {
    let mut titles: Vec<_> = refusals.iter().map(Refused::title).collect();
    titles.dedup();
    let mut response = Response::new(format!("{}.", titles.join("; ")));
    for refused in refusals {
        let content = response.content.entry(refused.media_type().to_owned());
        let content = content.or_insert_with(|| Content::new(Some(schema_of(refused, refusals))));
        let example = ExampleBuilder::new()
            .summary(refused.title())
            .value(Some(refused.body()));
        content
            .examples
            .insert(refused.word().to_owned(), RefOr::T(example.build()));
        for (name, purpose) in refused.headers() {
            let mut header = Header::new(Object::with_type(Type::String));
            header.description = Some(purpose.to_owned());
            response.headers.insert(canonical(name.as_str()), header);
        }
    }
    response
}

/// `retry-after` as people write it.
fn canonical(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase()).replace("Www", "WWW")
    });
    words.collect::<Vec<_>>().join("-")
}

/// The form of a refusal, with the words that this response may have in it.
fn schema_of(refused: &Refused, all: &[Refused]) -> Schema {
    let (form, member) = match refused {
        Refused::Problem(_) => (PROBLEM, "code"),
        Refused::Fault(_) | Refused::OAuth(_) => (OAUTH_ERROR, "error"),
    };
    let same_form = |other: &&Refused| other.media_type() == refused.media_type();
    let words: BTreeSet<_> = all.iter().filter(same_form).map(Refused::word).collect();
    let word = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words));
    let narrowed = ObjectBuilder::new().property(member, word);
    AllOfBuilder::new()
        .item(Ref::from_schema_name(form))
        .item(narrowed)
        .into()
}

/// The two forms of a refusal.
pub(super) fn schemas() -> [(String, RefOr<Schema>); 2] {
    let text = |about: &str| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(about))
            .build()
    };
    let status = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .description(Some("The status of the answer."));
    let problem = ObjectBuilder::new()
        .description(Some("Why a request was refused (RFC 9457)."))
        .property("type", text("`urn:portcullis:problem:` and the code."))
        .property("title", text("The kind of refusal in a few words."))
        .property("status", status)
        .property("code", text("The stable word for it."))
        .property(
            "detail",
            text("What happened, and what can be done about it."),
        )
        .property(
            "request_id",
            text("To be told to the operator, who finds the request by it."),
        )
        .property(
            "challenge",
            text("Of `mfa-required` alone: what to send with a code to `/v1/auth/login/mfa`."),
        );
    let problem = ["type", "title", "status", "code", "detail", "request_id"]
        .into_iter()
        .fold(problem, ObjectBuilder::required);
    let oauth = ObjectBuilder::new()
        .description(Some("Why a request was refused (RFC 6749 section 5.2)."))
        .property("error", text("The stable word for it."))
        .property("error_description", text("What happened."))
        .required("error");
    [
        (PROBLEM.to_owned(), RefOr::T(problem.into())),
        (OAUTH_ERROR.to_owned(), RefOr::T(oauth.into())),
    ]
}
