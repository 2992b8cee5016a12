//! The OpenAPI document is complete: every route is in it, and every operation says what it takes, what it answers, how
//! it refuses and who may ask. A new endpoint without these fails here.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use portcullis_config::auth::PORTCULLIS_SCOPES;
use serde_json::{Map, Value};

use super::{House, auth_config, request};
use crate::{endpoints, openapi, router};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub(super) fn document() -> Value {
    let document = openapi::document(router::collected().into_openapi(), &auth_config());
    serde_json::to_value(document).unwrap()
}

/// One operation, by its method and path.
pub(super) struct Operation<'a> {
    pub(super) place: String,
    pub(super) path: &'a str,
    pub(super) is: &'a Map<String, Value>,
    pub(super) document: &'a Value,
}

pub(super) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods
            .filter(|(method, _)| METHODS.contains(&method.as_str()))
            .map(move |(method, operation)| Operation {
                place: format!("{method} {path}"),
                path,
                is: operation.as_object().unwrap(),
                document,
            })
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() > 10, "the document is empty");
    all
}

impl Operation<'_> {
    fn text(&self, field: &str) -> &str {
        let text = self.is.get(field).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{} has no {field}", self.place))
    }

    /// By status, those that operations share looked up.
    fn responses(&self) -> BTreeMap<&str, &Value> {
        let responses = self.is["responses"].as_object().unwrap().iter();
        responses
            .map(|(status, response)| (status.as_str(), followed(self.document, response)))
            .collect()
    }

    fn refuses_with(&self, status: u16, media_type: &str) -> bool {
        self.responses()
            .get(status.to_string().as_str())
            .is_some_and(|response| !response["content"][media_type].is_null())
    }

    /// The requirements as scheme and scopes; none where it is public.
    fn security(&self) -> Vec<(&String, Vec<&str>)> {
        let requirements = self.is.get("security").and_then(Value::as_array);
        let requirements =
            requirements.unwrap_or_else(|| panic!("{} does not say who may ask", self.place));
        let pairs = requirements.iter().flat_map(|one| one.as_object().unwrap());
        pairs
            .map(|(scheme, scopes)| {
                let scopes = scopes.as_array().unwrap().iter();
                (
                    scheme,
                    scopes.map(|scope| scope.as_str().unwrap()).collect(),
                )
            })
            .collect()
    }
}

/// What a reference leads to, where this is one.
pub(super) fn followed<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else {
        return value;
    };
    let place = reference.strip_prefix('#').unwrap();
    let target = document.pointer(place);
    target.unwrap_or_else(|| panic!("{reference} is not there"))
}

/// The router tells its paths to nobody but whoever prints it.
fn routed_paths() -> BTreeSet<String> {
    let (router, _) = router::collected().split_for_parts();
    let printed = format!("{router:?}");
    let quoted = printed.split('"').skip(1).step_by(2);
    // The fallback stands at the root and below a name of axum's own.
    let paths: BTreeSet<_> = quoted
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("__private"))
        .map(str::to_owned)
        .collect();
    assert!(
        paths.contains("/v1/auth/login"),
        "routers print otherwise by now: {printed}"
    );
    paths
}

#[test]
fn every_route_is_described() {
    let document = document();
    let described: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(described, routed_paths());
}

#[tokio::test]
async fn every_method_of_a_route_is_described_and_no_other() {
    let house = House::open().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut described: BTreeSet<_> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|m| m.to_uppercase())
            .collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let path = path.replace(['{', '}'], "");
        let trace = request(Method::TRACE, &path, None, Body::empty());
        let answer = house.send(trace).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = answer.headers[header::ALLOW].to_str().unwrap();
        let allowed = allow.split(',').map(str::to_owned).collect();
        assert_eq!(described, allowed, "{path}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_a_group_and_a_summary() {
    let document = document();
    let groups: Vec<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    let mut names = BTreeMap::new();
    for operation in operations(&document) {
        let summary = operation.text("summary");
        assert!(
            !summary.is_empty() && !summary.ends_with('.'),
            "{}: {summary}",
            operation.place
        );
        let tags = operation.is["tags"].as_array().unwrap();
        assert!(
            tags.len() == 1 && groups.contains(&&tags[0]),
            "{}: {tags:?}",
            operation.place
        );
        let name = operation.text("operationId").to_owned();
        let first = names.insert(name, operation.place.clone());
        assert!(
            first.is_none(),
            "{} has the name of {first:?}",
            operation.place
        );
    }
}

#[test]
fn every_operation_says_who_may_ask() {
    let document = document();
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    for operation in operations(&document) {
        for (scheme, scopes) in operation.security() {
            assert!(
                schemes.contains_key(scheme),
                "{}: {scheme}",
                operation.place
            );
            assert!(
                scopes.iter().all(|scope| PORTCULLIS_SCOPES.contains(scope)),
                "{}: {scopes:?}",
                operation.place
            );
        }
    }
}

#[test]
fn every_scope_says_what_it_is_for() {
    let document = document();
    let flows = &document["components"]["securitySchemes"]["client"]["flows"];
    let scopes = flows["clientCredentials"]["scopes"].as_object().unwrap();
    assert_eq!(scopes.len(), PORTCULLIS_SCOPES.len());
    for (scope, purpose) in scopes {
        assert_ne!(purpose, "", "{scope}");
    }
}

#[test]
fn every_operation_says_how_it_refuses() {
    let document = document();
    for operation in operations(&document) {
        let form = if operation.path.starts_with("/oauth/") {
            "application/json"
        } else {
            "application/problem+json"
        };
        let mut statuses = vec![500, 503];
        if operation.is.contains_key("requestBody") {
            statuses.extend([400, 408, 413]);
        }
        if operation
            .security()
            .iter()
            .any(|(scheme, _)| *scheme == "bearer")
        {
            statuses.extend([401, 403]);
        }
        for status in statuses {
            assert!(
                operation.refuses_with(status, form),
                "{}: {status}",
                operation.place
            );
        }
        assert!(operation.refuses_with(429, "application/problem+json"));
        let responses = operation.responses();
        let words: Vec<_> = responses
            .keys()
            .filter(|key| key.parse::<u16>().is_err())
            .collect();
        assert!(
            words.is_empty(),
            "{}: {words:?} are no refusals",
            operation.place
        );
    }
}

/// The media types of a body, each with the examples it has.
fn examples(content: &Value) -> Vec<(&String, &Value, Vec<&Value>)> {
    let types = content.as_object().into_iter().flatten();
    types
        .map(|(media_type, body)| {
            let several = body["examples"].as_object().into_iter().flatten();
            let several = several.map(|(_, example)| &example["value"]);
            let one = body.get("example");
            (
                media_type,
                &body["schema"],
                one.into_iter().chain(several).collect(),
            )
        })
        .collect()
}

#[test]
fn every_body_has_an_example_that_fits_its_schema() {
    let document = document();
    for operation in operations(&document) {
        let taken = operation
            .is
            .get("requestBody")
            .map(|body| ("body".to_owned(), &body["content"]));
        let given = operation.responses().into_iter().map(|(status, response)| {
            assert_ne!(response["description"], "", "{} {status}", operation.place);
            (status.to_owned(), &response["content"])
        });
        for (part, content) in taken.into_iter().chain(given) {
            let place = format!("{} {part}", operation.place);
            for (media_type, schema, examples) in examples(content) {
                assert!(
                    !examples.is_empty(),
                    "{place} has no example of {media_type}"
                );
                for example in examples {
                    assert!(
                        fits(&document, schema, example),
                        "{place}: {example} is not {schema}"
                    );
                }
            }
        }
    }
}

/// Whether an object has what its schema requires and nothing that it does not know. Values are left to the peers that
/// drive the endpoints with this document.
fn fits(document: &Value, schema: &Value, example: &Value) -> bool {
    let (mut known, mut required) = (BTreeSet::new(), BTreeSet::new());
    gather(document, schema, &mut known, &mut required);
    let Some(example) = example.as_object().filter(|_| !known.is_empty()) else {
        return known.is_empty();
    };
    let is_known = |name: &String| known.contains(name.as_str());
    example.keys().all(is_known) && required.iter().all(|name| example.contains_key(*name))
}

fn gather<'a>(
    document: &'a Value,
    schema: &'a Value,
    known: &mut BTreeSet<&'a str>,
    required: &mut BTreeSet<&'a str>,
) {
    let schema = followed(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        gather(document, part, known, required);
    }
    // Of several forms an example has one; what all may have is known.
    for part in ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| schema[*word].as_array())
        .flatten()
    {
        gather(document, part, known, &mut BTreeSet::new());
    }
    known.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str()),
    );
    required.extend(
        schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str),
    );
}

#[test]
fn no_two_subjects_have_a_schema_of_the_same_name() {
    let mut seen = BTreeMap::new();
    for subject in endpoints::all() {
        let components = subject.into_openapi().components.unwrap_or_default();
        for (name, schema) in components.schemas {
            let schema = serde_json::to_value(schema).unwrap();
            let first = seen.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(
                *first, schema,
                "two schemas are named {name}: use #[schema(as = …)]"
            );
        }
    }
}

#[tokio::test]
async fn the_document_is_what_is_served() {
    let house = House::open().await;
    let answer = house.get("/openapi.json", None).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, document()));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert_eq!(answer.json()["servers"][0]["url"], super::ISSUER);
}
