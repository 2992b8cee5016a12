//! The pages that show the endpoints: whole, from here alone, and sent once.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{House, request};

/// Each page with the document it shows.
const PAGES: &[&str] = &["/docs", "/api/docs", "/redoc"];

/// `reference` as a browser resolves it at `base`; both are paths.
fn resolved(base: &str, reference: &str) -> String {
    let mut segments: Vec<_> = base.split('/').collect();
    segments.pop();
    for segment in reference.split('/') {
        match segment {
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    segments.join("/")
}

/// What a page loads: the values of its `src`, `href` and the document's place.
fn references(html: &str) -> Vec<&str> {
    let attributes = ["src=\"", "href=\"", "data-document=\"", "spec-url=\""];
    let found = attributes.iter().flat_map(|attribute| {
        let values = html.split(attribute).skip(1);
        values.filter_map(|rest| rest.split('"').next())
    });
    found
        .filter(|reference| !reference.starts_with("data:"))
        .collect()
}

#[tokio::test]
async fn a_page_leads_to_everything_it_loads() {
    let house = House::open().await;
    for page in PAGES {
        let moved = house.get(page, None).await;
        assert_eq!(moved.status, StatusCode::TEMPORARY_REDIRECT, "{page}");
        let location = moved.headers[header::LOCATION].to_str().unwrap();
        let place = resolved(page, location);
        let html = house.get(&place, None).await;
        assert_eq!(html.status, StatusCode::OK, "{place}");
        assert_eq!(
            html.headers[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        let references = references(&html.text);
        assert!(references.len() > 1, "{references:?}");
        for reference in references {
            let path = resolved(&place, reference);
            let response = house.router.clone();
            let response = response
                .oneshot(request(Method::GET, &path, None, Body::empty()))
                .await
                .unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert!(!bytes.is_empty(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_page_may_run_nothing_but_files_of_ours_and_ask_nobody_else() {
    let house = House::open().await;
    for page in PAGES {
        let answer = house.get(&format!("{page}/"), None).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        let directives: Vec<_> = policy.split("; ").collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(directives.contains(&directive), "{page}: {policy}");
        }
        let scripts: Vec<_> = answer.text.split("<script").skip(1).collect();
        assert!(
            scripts.iter().all(|script| script.starts_with(" src=")),
            "{page}: {}",
            answer.text
        );
        assert!(
            !answer.text.contains("//"),
            "{page} names another host: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let house = House::open().await;
    for path in ["/openapi.json", "/docs/", "/docs/start.js", "/redoc/"] {
        let first = house.get(path, None).await;
        assert_eq!(first.headers[header::CACHE_CONTROL], "no-cache", "{path}");
        let tag = first.headers[header::ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let mut again = request(Method::GET, path, None, Body::empty());
            again
                .headers_mut()
                .insert(header::IF_NONE_MATCH, known.parse().unwrap());
            let again = house.send(again).await;
            assert_eq!(
                (again.status, again.text.as_str()),
                (StatusCode::NOT_MODIFIED, ""),
                "{path}"
            );
            assert_eq!(again.headers[header::ETAG], tag.as_str());
        }
    }
}

#[tokio::test]
async fn the_pages_have_no_other_files() {
    let house = House::open().await;
    for path in [
        "/docs/nothing.js",
        "/redoc/start.js",
        "/docs/a/b",
        "/api",
        "/redoc/openapi.json",
    ] {
        let answer = house.get(path, None).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::NOT_FOUND, "route-not-found"),
            "{path}"
        );
    }
}
