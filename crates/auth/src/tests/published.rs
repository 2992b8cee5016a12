//! What anybody may read, and what is not there.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use portcullis_tokens::rotation::{KEY_SET_MAX_AGE, PUBLISHED_AHEAD};
use serde_json::json;

use super::{House, ISSUER, request};

#[tokio::test]
async fn the_key_set_has_public_members_only() {
    let house = House::open().await;
    let answer = house.get("/.well-known/jwks.json", None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "public, max-age=300");
    let set = answer.json();
    let key = set["keys"][0].as_object().unwrap();
    let mut members: Vec<_> = key.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
}

#[tokio::test]
async fn the_metadata_names_the_issuer_byte_for_byte_and_only_what_exists() {
    for issuer in [ISSUER, "https://gate.example/"] {
        let house = House::open_with(|config| config.issuer = issuer.to_owned()).await;
        let metadata = house
            .get("/.well-known/oauth-authorization-server", None)
            .await
            .json();
        assert_eq!(metadata["issuer"], issuer);
        let base = issuer.trim_end_matches('/');
        for (name, path) in [
            ("jwks_uri", "/.well-known/jwks.json"),
            ("token_endpoint", "/oauth/token"),
            ("revocation_endpoint", "/oauth/revoke"),
            ("introspection_endpoint", "/oauth/introspect"),
            ("service_documentation", "/docs"),
        ] {
            assert_eq!(metadata[name], format!("{base}{path}"));
        }
        let secrets = json!([
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
        ]);
        assert_eq!(
            metadata["introspection_endpoint_auth_methods_supported"],
            secrets
        );
        assert_eq!(
            metadata["revocation_endpoint_auth_methods_supported"][0],
            "none"
        );
        assert_eq!(
            metadata["grant_types_supported"],
            json!(["client_credentials", "refresh_token"])
        );
        assert_eq!(metadata["response_types_supported"], json!([]));
    }
}

#[tokio::test]
async fn a_client_that_begins_at_the_resource_is_led_to_the_issuer() {
    let house = House::open_with(|config| config.issuer = "https://gate.example/".to_owned()).await;
    let answer = house
        .get("/.well-known/oauth-protected-resource", None)
        .await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "public, max-age=300");
    let metadata = answer.json();
    assert_eq!(
        metadata["authorization_servers"],
        json!(["https://gate.example/"])
    );
    assert_eq!(metadata["resource"], "https://gate.example");
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
}

const METADATA: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource",
];

#[tokio::test]
async fn the_metadata_of_an_issuer_with_a_path_is_found_between_host_and_path() {
    for issuer in ["https://gate.example/a/b", "https://gate.example/a/b/"] {
        let house = House::open_with(|config| config.issuer = issuer.to_owned()).await;
        let [server, resource] = METADATA.map(|document| format!("{document}/a/b"));
        let server = house.get(&server, None).await;
        assert_eq!(server.headers[header::CACHE_CONTROL], "public, max-age=300");
        let server = server.json();
        assert_eq!(server["issuer"], issuer);
        let endpoint = "https://gate.example/a/b/oauth/token";
        assert_eq!(server["token_endpoint"], endpoint);
        let resource = house.get(&resource, None).await.json();
        assert_eq!(resource["resource"], "https://gate.example/a/b");
        assert_eq!(resource["authorization_servers"], json!([issuer]));
        for document in METADATA {
            let without = house.get(document, None).await;
            assert_eq!(without.status, StatusCode::OK, "a proxy cut the path off");
        }
    }
}

#[tokio::test]
async fn under_a_path_that_is_not_the_issuers_there_is_no_metadata() {
    let table: [(&str, &[&str]); 2] = [
        (
            "https://gate.example/a/b",
            &["a", "b", "a/b/", "a/b/c", "A/b", "a%2Fb", "x", "a//b"],
        ),
        ("https://gate.example", &["a", "hotel", "/", "x/y"]),
    ];
    for (issuer, paths) in table {
        let house = House::open_with(|config| config.issuer = issuer.to_owned()).await;
        for document in METADATA {
            for path in paths {
                let answer = house.get(&format!("{document}/{path}"), None).await;
                assert_eq!(answer.problem(), "route-not-found", "{document}/{path}");
                assert_eq!(answer.status, StatusCode::NOT_FOUND);
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_published_for_longer_than_the_key_set_may_be_kept() {
    let house = House::open().await;
    let answer = house.get("/.well-known/jwks.json", None).await;
    let age = KEY_SET_MAX_AGE.as_secs();
    assert_eq!(
        answer.headers[header::CACHE_CONTROL],
        format!("public, max-age={age}")
    );
    assert!(PUBLISHED_AHEAD > KEY_SET_MAX_AGE);
}

#[tokio::test]
async fn health_is_the_line_of_the_older_services() {
    let house = House::open().await;
    let expected = json!({"status": "healthy", "service": "portcullis", "timestamp": "2027-01-15T08:00:00.000Z"});
    assert_eq!(house.get("/health", None).await.json(), expected);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let house = House::open().await;
    for path in [
        "/",
        "/v1",
        "/v1/auth/",
        "/v1/auth/refresh/",
        "/v1/auth/login/",
        "/v1/admin/users/x/y/z",
    ] {
        let answer = house.get(path, None).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::NOT_FOUND, "route-not-found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_told_those_it_takes() {
    let house = House::open().await;
    for (method, path, allow) in [
        (Method::GET, "/v1/auth/login", "POST"),
        (Method::POST, "/.well-known/jwks.json", "GET,HEAD"),
        (Method::DELETE, "/v1/users/me", "GET,HEAD,PATCH"),
        (Method::PUT, "/health", "GET,HEAD"),
    ] {
        let answer = house
            .send(request(method, path, None, Body::from("{}")))
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed")
        );
        assert_eq!(answer.headers[header::ALLOW], allow, "{path}");
    }
    let head = house
        .send(request(Method::HEAD, "/health", None, Body::empty()))
        .await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
}
