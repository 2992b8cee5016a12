//! The form of `gateway.yaml` as JSON Schema: for editors, for other programs, and for the page of documentation that is
//! made from it.
//!
//! The loader does not read it: a schema can say what a value looks like, not that a route names an upstream that
//! exists. That both speak of the same keys is proven by tests, in either direction.

/// JSON Schema, draft 2020-12.
pub const JSON_SCHEMA: &str = include_str!("schema/gateway.schema.json");
