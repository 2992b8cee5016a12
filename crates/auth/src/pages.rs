//! What describes the endpoints to people and to programs: the OpenAPI document, and two pages that show it.
//!
//! All of it is in the binary, and the pages may ask no other host: their policy forbids it, and the programs they run
//! were made not to (`scripts/vendor-pages`). Links are relative, so that a page works under any prefix.

mod asset;

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use portcullis_policy::rejection::Rejection;
use utoipa::openapi::OpenApi;

use crate::answer::Refusal;
use asset::Asset;

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Scripts are files of ours. Styles may stand in the page: both programs write theirs there. One of them searches in a
/// worker that it makes out of its own text.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(crate) fn router<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    // A document is texts, numbers and lists; there is nothing in it that JSON has no form for.
    let json = serde_json::to_vec(document).unwrap_or_default();
    let json = Arc::new(Asset::new("application/json", json));
    let router = Router::new().route(
        "/openapi.json",
        get(async move |headers: HeaderMap| json.answer(&headers)),
    );
    let pages = [
        ("/docs", swagger_ui("../openapi.json")),
        ("/api/docs", swagger_ui("../../openapi.json")),
        ("/redoc", redoc("../openapi.json")),
    ];
    pages.into_iter().fold(router, |router, (place, page)| {
        router.merge(folder(place, page))
    })
}

/// A page and what it loads, by their names.
struct Page(Vec<(&'static str, Asset)>);

/// `document` is the way from the page to the document.
fn swagger_ui(document: &str) -> Page {
    let html = include_str!("../assets/docs.html").replace("{document}", document);
    let start = include_str!("../assets/docs.js");
    let program = include_bytes!("../assets/swagger-ui-bundle.js.gz");
    let style = include_bytes!("../assets/swagger-ui.css.gz");
    Page(vec![
        ("", Asset::new(HTML, html)),
        ("start.js", Asset::new(JAVASCRIPT, start)),
        ("swagger-ui-bundle.js", Asset::packed(JAVASCRIPT, program)),
        ("swagger-ui.css", Asset::packed(CSS, style)),
    ])
}

fn redoc(document: &str) -> Page {
    let html = include_str!("../assets/redoc.html").replace("{document}", document);
    let program = include_bytes!("../assets/redoc.standalone.js.gz");
    Page(vec![
        ("", Asset::new(HTML, html)),
        ("redoc.standalone.js", Asset::packed(JAVASCRIPT, program)),
    ])
}

/// The page stands at the folder's own address, which ends in a slash: from there its relative links lead to its files.
fn folder<S: Clone + Send + Sync + 'static>(place: &str, page: Page) -> Router<S> {
    let last = place.rsplit('/').next().unwrap_or_default();
    let slash = format!("{last}/");
    let page = Arc::new(page);
    let index = Arc::clone(&page);
    Router::new()
        .route(place, get(async move || Redirect::temporary(&slash)))
        .route(
            &format!("{place}/"),
            get(async move |headers: HeaderMap| index.answer("", &headers)),
        )
        .route(
            &format!("{place}/{{file}}"),
            get(async move |Path(file): Path<String>, headers: HeaderMap| {
                page.answer(&file, &headers)
            }),
        )
}

impl Page {
    fn answer(&self, file: &str, headers: &HeaderMap) -> Response {
        let found = self.0.iter().find(|(name, _)| *name == file);
        match found {
            Some((_, asset)) => (POLICY_HEADER, asset.answer(headers)).into_response(),
            None => Refusal::from(Rejection::RouteNotFound).into_response(),
        }
    }
}

const POLICY_HEADER: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_SECURITY_POLICY, POLICY)];
