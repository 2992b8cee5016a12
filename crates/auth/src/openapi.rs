//! The document that describes the endpoints (OpenAPI 3.1), put together from the annotations on the handlers.
//!
//! A handler says what is particular to it; what follows from its form is added here, so that it is the same everywhere
//! and cannot be forgotten: who takes a body may find it too large, who asks for a token may find it expired. Refusals
//! are the types in [`refusals`], written beside the answers in an annotation.

pub(crate) mod refusals;
mod responses;
mod schemes;
mod values;

use std::collections::BTreeMap;

use portcullis_config::auth::Auth;
use utoipa::openapi::{
    InfoBuilder, OpenApi, PathItem, RefOr, Response, ServerBuilder, tag::TagBuilder,
};
use utoipa_axum::router::UtoipaMethodRouter;

/// The groups of the document, in the order in which somebody new needs them.
pub(crate) mod tags {
    pub(crate) const SIGN_IN: &str = "Sign-in";
    pub(crate) const PROFILE: &str = "Profile";
    pub(crate) const OAUTH: &str = "OAuth";
    pub(crate) const ADMINISTRATION: &str = "Administration";
    pub(crate) const PUBLISHED: &str = "Published";

    pub(super) const ALL: &[(&str, &str)] = &[
        (SIGN_IN, "From a name and a password to tokens."),
        (
            PROFILE,
            "What concerns only the user: a token of any resource will do.",
        ),
        (OAUTH, "For programs. Errors are in the form of RFC 6749."),
        (
            ADMINISTRATION,
            "For tokens of the resource `portcullis`, with the scope that each names.",
        ),
        (PUBLISHED, "What anybody may read."),
    ];
}

const DESCRIPTION: &str = "\
Sign-in, tokens and administration of Portcullis.

Bodies are JSON in UTF-8, at most 4 KiB, and fields that are not named here are refused. \
A refusal is a problem (RFC 9457), but under `/oauth`, where RFC 6749 fixes the form; `code` is the stable word for it. \
Any request may also be refused by the gateway in front, as a problem: 404, 405, 414, 431, 502, 503 or 504.";

/// Completes what the router collected.
pub(crate) fn document(mut collected: OpenApi, config: &Auth) -> OpenApi {
    collected.info = InfoBuilder::new()
        .title("Portcullis")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let issuer = ServerBuilder::new().url(config.issuer.trim_end_matches('/'));
    collected.servers = Some(vec![
        issuer.description(Some("The issuer of the tokens")).build(),
    ]);
    let tags = tags::ALL.iter().map(|(name, about)| {
        let tag = TagBuilder::new().name(*name);
        tag.description(Some(*about)).build()
    });
    collected.tags = Some(tags.collect());
    let components = collected.components.get_or_insert_default();
    components.security_schemes.extend(schemes::all(config));
    components.schemas.extend(responses::schemas());
    for (path, item) in &mut collected.paths.paths {
        complete(path, item, &mut components.responses);
    }
    collected
}

fn complete(path: &str, item: &mut PathItem, shared: &mut BTreeMap<String, RefOr<Response>>) {
    // HEAD and OPTIONS are answered by the router, not by a handler.
    let operations = [
        (&mut item.get, "get"),
        (&mut item.post, "post"),
        (&mut item.put, "put"),
        (&mut item.patch, "patch"),
        (&mut item.delete, "delete"),
    ];
    let mut seen: Option<String> = None;
    for (operation, method) in operations {
        let Some(operation) = operation else {
            continue;
        };
        responses::complete(path, operation, shared);
        // One handler for two methods has one name in its annotation.
        if seen.is_some() && seen == operation.operation_id {
            operation.operation_id = seen.as_ref().map(|id| format!("{id}_by_{method}"));
        }
        seen = seen.or_else(|| operation.operation_id.clone());
    }
}

/// The same handlers under another path, for clients that know it by that name.
pub(crate) fn also<S: Clone + Send + Sync + 'static>(
    (schemas, mut paths, handlers): UtoipaMethodRouter<S>,
    path: &str,
    operation_id: &str,
) -> UtoipaMethodRouter<S> {
    let first = std::mem::take(&mut paths.paths).into_iter().next();
    if let Some((original, mut item)) = first {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            operation.operation_id = Some(operation_id.to_owned());
            operation.description = Some(format!("The same as `{original}`."));
        }
        paths.paths.insert(path.to_owned(), item);
    }
    (schemas, paths, handlers)
}
