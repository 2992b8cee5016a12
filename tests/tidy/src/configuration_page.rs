//! `docs/configuration.md`, made from the JSON Schema: one table a section, one row a key, in the schema's order.

use std::fmt::Write;

use serde_yaml::Value;

const HEAD: &str = "\
# Configuration

Every key of `gateway.yaml`. This page is made from the schema that `portcullis schema` prints (`make configuration-page`);
a commented file to begin with is [gateway.yaml](../gateway.yaml), and whole files for particular ends are in [deploy/examples](../deploy/examples/README.md).

- An unknown key is a mistake. `portcullis check` reports every mistake at once, with line, column and remedy.
- Durations are `500ms`, `30s`, `15m`, `14d`; sizes `16KiB`, `10MiB`; rates `60/1m`.
- `${env:NAME}`, `${env:NAME:-default}` and `${file:/run/secrets/name}` work inside any string. One that does not resolve stops the start.
- Relative paths are taken from the working directory.
- Where a default is not given, an absent key asks for nothing; **required** keys have none.
";

/// The whole page. `schema` is JSON, read as YAML because that keeps the order of its keys.
///
/// # Errors
/// Where the schema is no such document.
pub fn render(schema: &str) -> Result<String, String> {
    let root: Value = serde_yaml::from_str(schema).map_err(|error| error.to_string())?;
    let mut page = HEAD.to_owned();
    for (name, section) in fields(&root, "properties") {
        let about = text(section, "description");
        page.push_str(&format!("\n## `{name}`\n\n{about}\n"));
        let mut rows = Vec::new();
        collect(&root, section, "", &mut rows);
        if rows.is_empty() {
            continue;
        }
        page.push_str("\n| key | value | default | |\n|---|---|---|---|\n");
        for row in rows {
            writeln!(page, "| {} |", row.join(" | ")).map_err(|error| error.to_string())?;
        }
    }
    Ok(page)
}

/// The rows of all keys below `node`: its own, those of its elements and those of its alternatives.
fn collect(root: &Value, node: &Value, path: &str, rows: &mut Vec<[String; 4]>) {
    let required: Vec<&str> = elements(node, "required")
        .filter_map(Value::as_str)
        .collect();
    for (key, below) in fields(node, "properties") {
        let path = match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        let default = match (below.get("default"), required.contains(&key)) {
            (Some(default), _) => code(&compact(default)),
            (None, true) => String::from("**required**"),
            (None, false) => String::new(),
        };
        let about = text(below, "description").replace('|', "\\|");
        rows.push([code(&path), kind(root, below), default, about]);
        collect(root, below, &path, rows);
    }
    for (part, mark) in [("items", "[]"), ("additionalProperties", "NAME")] {
        if let Some(below) = node.get(part).filter(|below| below.is_mapping()) {
            let path = match (path, mark) {
                ("", _) => String::new(),
                (path, "[]") => format!("{path}[]"),
                (path, mark) => format!("{path}.{mark}"),
            };
            collect(root, below, &path, rows);
        }
    }
    for below in elements(node, "oneOf") {
        collect(root, below, path, rows);
    }
}

/// What a value looks like, in a few words.
fn kind(root: &Value, node: &Value) -> String {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        return reference
            .rsplit('/')
            .next()
            .unwrap_or(reference)
            .replace('_', " ");
    }
    if let Some(constant) = node.get("const") {
        return code(&compact(constant));
    }
    let words: Vec<String> = elements(node, "enum")
        .map(|word| code(&compact(word)))
        .collect();
    let kinds: Vec<String> = elements(node, "oneOf").map(|one| kind(root, one)).collect();
    match (words.is_empty(), kinds.is_empty()) {
        (false, _) => words.join(", "),
        (_, false) => kinds.join(" or "),
        (true, true) => plain_kind(root, node),
    }
}

fn plain_kind(root: &Value, node: &Value) -> String {
    match node.get("type").map(compact).unwrap_or_default().as_str() {
        "array" => match node.get("items") {
            Some(items) => format!("list of {}", kind(root, items)),
            None => String::from("list"),
        },
        "object" if node.get("properties").is_some() => String::from("section"),
        "object" => match node
            .get("additionalProperties")
            .filter(|below| below.is_mapping())
        {
            Some(below) => format!("names, each with {}", kind(root, below)),
            None => String::from("section"),
        },
        "integer" | "number" => number(node),
        "string" => String::from("text"),
        "boolean" => String::from("`true`, `false`"),
        _ => String::from("text or null"),
    }
}

fn number(node: &Value) -> String {
    let bound = |name: &str| node.get(name).map(compact);
    match (
        bound("minimum").or_else(|| bound("exclusiveMinimum")),
        bound("maximum"),
    ) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("number from {least}"),
        (None, Some(most)) => format!("number up to {most}"),
        (None, None) => String::from("number"),
    }
}

/// As it would be written in the file, on one line.
fn compact(value: &Value) -> String {
    match value {
        Value::Null => String::from("null"),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => String::from("\"\""),
        Value::String(text) => text.clone(),
        Value::Sequence(elements) => {
            let elements: Vec<String> = elements.iter().map(compact).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Mapping(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", compact(key), compact(value)))
                .collect();
            format!("{{ {} }}", fields.join(", ")).replace("{  }", "{}")
        }
        Value::Tagged(tagged) => compact(&tagged.value),
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn fields<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let fields = node.get(name).and_then(Value::as_mapping);
    fields
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
}

fn elements<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let elements = node.get(name).and_then(Value::as_sequence);
    elements.into_iter().flatten()
}

fn text(node: &Value, name: &str) -> String {
    let text = node.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
