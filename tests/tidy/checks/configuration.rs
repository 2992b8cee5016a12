//! The page about the configuration, the schema and the files that ship say the same.

use std::{fs, path::Path};

use jsonschema::Validator;
use portcullis_config::schema::JSON_SCHEMA;
use portcullis_tidy::{configuration_page::render, root};
use serde_json::Value;

use crate::{
    deployments::gateway_configurations,
    findings::{assert_none, files},
};

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("it is a schema");
    jsonschema::validator_for(&schema).expect("it can be used")
}

fn faults(validator: &Validator, path: &str, text: &str) -> Vec<String> {
    let value: Value = serde_yaml::from_str(text).expect(path);
    let faults = validator.iter_errors(&value);
    faults
        .map(|fault| format!("{path}: {}: {fault}", fault.instance_path()))
        .collect()
}

#[test]
fn the_page_is_made_from_the_schema() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap_or_default();
    let made = render(JSON_SCHEMA).expect("a page");
    assert!(
        page == made,
        "docs/configuration.md is older than the schema: run `make configuration-page`"
    );
}

#[test]
fn every_configuration_that_ships_is_valid_by_the_schema() {
    let validator = validator();
    let configurations: Vec<_> = files().iter().flat_map(gateway_configurations).collect();
    assert!(
        configurations
            .iter()
            .any(|(path, _)| path == "gateway.yaml")
    );
    let faults = configurations
        .iter()
        .flat_map(|(path, text)| faults(&validator, path, text));
    assert_none(
        "a configuration is what the schema says",
        &faults.collect::<Vec<_>>(),
    );
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let validator = validator();
    for wrong in [
        "{}",
        "version: 2",
        "{ version: 1, sever: {} }",
        "{ version: 1, server: { limits: { headers: 300 } } }",
        "{ version: 1, server: { shutdown: { timeout: soon } } }",
        "{ version: 1, upstreams: { hotel: { endpoints: [] } } }",
        "{ version: 1, rate_limits: { per_ip: { key: address, limit: 60/1m } } }",
        "{ version: 1, routes: [{ name: open, match: { path: /open } }] }",
    ] {
        assert!(!faults(&validator, "wrong", wrong).is_empty(), "{wrong}");
    }
}

/// A key that the shipped file neither uses nor explains is one that nobody finds.
#[test]
fn the_shipped_file_uses_or_documents_every_key() {
    let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON");
    let file = fs::read_to_string(root().join(Path::new("gateway.yaml"))).expect("it ships");
    let mut keys = Vec::new();
    names(&schema, &mut keys);
    let missing = keys
        .into_iter()
        .filter(|key| !file.contains(&format!("{key}:")));
    assert_none(
        "gateway.yaml has every key, if only in a comment",
        &missing.collect::<Vec<_>>(),
    );
}

fn names(node: &Value, found: &mut Vec<String>) {
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        found.push(key.clone());
        names(below, found);
    }
    for part in ["items", "additionalProperties"] {
        node.get(part)
            .into_iter()
            .for_each(|below| names(below, found));
    }
    for below in node["oneOf"].as_array().into_iter().flatten() {
        names(below, found);
    }
}
