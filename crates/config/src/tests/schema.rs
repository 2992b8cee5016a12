//! The schema and the loader speak of the same keys, and of the same values.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use portcullis_harness::certificates::Authority;
use secrecy::SecretString;
use serde_json::Value;

use crate::{Reference, load::read_text, parse, reader::Loading, schema::JSON_SCHEMA};

/// Every key there is, in as many files as it takes.
const EVERY_KEY: [&str; 3] = [
    include_str!("schema/every_key.yaml"),
    include_str!("schema/every_key_else.yaml"),
    include_str!("../../../../gateway.yaml"),
];

fn schema() -> Value {
    serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON")
}

fn set(reference: &Reference) -> Result<SecretString, String> {
    match reference {
        Reference::Env(name) if name == "KEY" => {
            Ok("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into())
        }
        Reference::File(path) => {
            let (certificate, key) = &*PAIR;
            let is_key = path.extension().is_some_and(|extension| extension == "key");
            Ok(if is_key { key } else { certificate }.as_str().into())
        }
        Reference::HashList(_) => Ok(SecretString::default()),
        Reference::Env(_) => Err(String::from("it is not set")),
    }
}

/// What stands in every file that is named: a certificate, and its key in those whose name says so.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let authority = Authority::new("test").expect("an authority");
    let pair = authority.server(&["a.test"]).expect("a certificate");
    let read = |path| fs::read_to_string(path).expect("it was written");
    (read(&pair.certificate), read(&pair.key))
});

/// What the loader looked for in `text`, by path; false for what it refuses as not supported yet.
fn asked(text: &str) -> Vec<(String, bool)> {
    let loading = Loading::new("every_key.yaml", &set);
    if let Err(mistakes) = read_text(text, &loading) {
        panic!("{mistakes}");
    }
    loading.asked.take().into_iter().collect()
}

/// A place in the schema, as a JSON pointer.
type Pointer = String;

/// The schemas that may stand at `at`: itself, what it refers to, and its alternatives.
fn alternatives(root: &Value, at: &Pointer) -> Vec<Pointer> {
    let node = root.pointer(at).unwrap_or(&Value::Null);
    let mut found = vec![at.clone()];
    if let Some(reference) = node["$ref"].as_str() {
        found.extend(alternatives(root, &reference[1..].to_owned()));
    }
    for (index, _) in node["oneOf"].as_array().into_iter().flatten().enumerate() {
        found.extend(alternatives(root, &format!("{at}/oneOf/{index}")));
    }
    found
}

/// Where one more step of a path leads: a key, a name of the operator's, or an element.
fn step(root: &Value, from: &Pointer, step: &str) -> Vec<Pointer> {
    let mut found = Vec::new();
    for at in alternatives(root, from) {
        let node = root.pointer(&at).unwrap_or(&Value::Null);
        if step.starts_with('[') {
            found.extend(node.get("items").map(|_| format!("{at}/items")));
        } else if node["properties"].get(step).is_some() {
            found.push(format!("{at}/properties/{step}"));
        } else if node["additionalProperties"].is_object() {
            found.push(format!("{at}/additionalProperties"));
        }
    }
    found
}

fn places(root: &Value, path: &str) -> Vec<Pointer> {
    let steps = path.replace('[', ".[");
    let start = vec![Pointer::new()];
    steps.split('.').fold(start, |places, next| {
        let reached = places.iter().flat_map(|place| step(root, place, next));
        reached.collect()
    })
}

/// Every key the schema knows, as the place of its own schema.
fn keys(node: &Value, at: &str, found: &mut BTreeSet<Pointer>) {
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        found.insert(format!("{at}/properties/{key}"));
        keys(below, &format!("{at}/properties/{key}"), found);
    }
    for name in ["additionalProperties", "items"] {
        if let Some(below) = node.get(name) {
            keys(below, &format!("{at}/{name}"), found);
        }
    }
    for (index, below) in node["oneOf"].as_array().into_iter().flatten().enumerate() {
        keys(below, &format!("{at}/oneOf/{index}"), found);
    }
    for (name, below) in node["$defs"].as_object().into_iter().flatten() {
        keys(below, &format!("{at}/$defs/{name}"), found);
    }
}

#[test]
fn every_key_that_the_loader_looks_for_is_in_the_schema() {
    let root = schema();
    let missing: BTreeSet<String> = EVERY_KEY
        .into_iter()
        .flat_map(asked)
        .filter(|(path, is_supported)| *is_supported && places(&root, path).is_empty())
        .map(|(path, _)| path)
        .collect();
    assert!(missing.is_empty(), "not in the schema: {missing:#?}");
}

#[test]
fn every_key_of_the_schema_is_one_that_the_loader_looks_for() {
    let root = schema();
    let mut unread = BTreeSet::new();
    keys(&root, "", &mut unread);
    let asked = EVERY_KEY.into_iter().flat_map(asked);
    for (path, _) in asked.filter(|(_, is_supported)| *is_supported) {
        // Whoever asks for `a.b` has been at `a`.
        let ends = path.match_indices('.').map(|(end, _)| end);
        for part in ends.chain([path.len()]).map(|end| &path[..end]) {
            for place in places(&root, part) {
                unread.remove(&place);
            }
        }
    }
    assert!(unread.is_empty(), "the loader never asks for {unread:#?}");
}

#[test]
fn what_the_schema_calls_a_default_is_accepted_where_it_is_written() {
    let root = schema();
    for section in ["server", "storage"] {
        let mut written = Vec::new();
        defaults(&root["properties"][section], section, &mut written);
        assert!(!written.is_empty(), "{section} has defaults");
        for (path, value) in written {
            let text = write(&path, &value);
            let text = format!(
                "version: 1\n{text}\nupstreams: {{ a: {{ endpoints: [127.0.0.1:1] }} }}\n\
                 routes: [{{ name: a, match: {{ path: /** }}, upstream: a, auth: public }}]\n"
            );
            if let Err(mistakes) = parse(&text, "default.yaml", &set) {
                panic!("{path} = {value}\n{mistakes}");
            }
        }
    }
}

fn defaults(node: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    if let Some(default) = node.get("default") {
        found.push((path.to_owned(), default.clone()));
    }
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        defaults(below, &format!("{path}.{key}"), found);
    }
    for below in node["oneOf"].as_array().into_iter().flatten() {
        defaults(below, path, found);
    }
}

/// `a.b` and `1` as `a: { b: 1 }`.
fn write(path: &str, value: &Value) -> String {
    let mut keys: Vec<&str> = path.split('.').collect();
    let first = keys.remove(0);
    let inner = keys.iter().rev().fold(value.to_string(), |inner, key| {
        format!("{{ {key}: {inner} }}")
    });
    format!("{first}: {inner}")
}
