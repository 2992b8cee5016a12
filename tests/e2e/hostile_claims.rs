//! Tokens that are validly signed and claim what they must not.

use serde_json::{Value, json};

use crate::{
    stage::now,
    token_stage::{Stage, Table},
};

#[test]
fn a_token_is_good_in_its_own_time_only() {
    let stage = Stage::build();
    let mut table = stage.table();
    let bad = |name: &str| -> Vec<Value> {
        let far = [
            json!(1e18),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX),
            json!(1e300),
            json!(9_999_999_999.999),
        ];
        let kinds = [
            Value::Null,
            json!("soon"),
            json!([]),
            json!({}),
            json!(true),
            json!(-1),
        ];
        match name {
            "exp" => [
                far.as_slice(),
                &kinds,
                &[json!(0), json!(now() - 10), json!(now() + 100_000)],
            ]
            .concat(),
            "nbf" => vec![json!(now() + 60), json!("soon"), json!([])],
            _ => [kinds.as_slice(), &[json!(now() + 60), json!("now")]].concat(),
        }
    };
    for name in ["exp", "nbf", "iat"] {
        for value in bad(name) {
            table.refuses(
                &format!("{name} {value}"),
                &stage.forge_claim(name, value.clone()),
            );
        }
    }
    for name in ["exp", "iat"] {
        table.refuses(&format!("no {name}"), &without(&stage, name));
    }
    let beyond = stage.forge_text(
        &stage.good.header_json().unwrap().to_string(),
        &stage.good.claims().unwrap().to_string().replacen(
            '{',
            "{\"nbf\":18446744073709551616,",
            1,
        ),
    );
    table.refuses("nbf beyond 64 bits", &beyond);
    table.accepts(
        "exp in a moment",
        &stage.forge_claim("exp", json!(now() + 30)),
    );
    table.accepts(
        "nbf in the past",
        &stage.forge_claim("nbf", json!(now() - 30)),
    );
    table.end();
}

fn without(stage: &Stage, name: &str) -> String {
    stage.forge(|_, claims| drop(claims.as_object_mut().unwrap().remove(name)))
}

type Values = Vec<(&'static str, Vec<Value>)>;

fn names() -> Values {
    vec![
        (
            "iss",
            vec![
                json!("https://evil.example"),
                json!("http://localhost:8080/"),
                json!("HTTP://LOCALHOST:8080"),
                json!(["https://evil.example", "http://localhost:8080"]),
                json!(1),
                json!(""),
                Value::Null,
                json!("https://corp.example"),
            ],
        ),
        (
            "aud",
            vec![
                json!([]),
                json!("event"),
                json!(["event"]),
                json!(1),
                json!({ "hotel": true }),
                json!(["hotel", 1]),
                json!(""),
                json!("Hotel"),
                json!(["hotel", "event"]),
                Value::Null,
            ],
        ),
        (
            "resource",
            vec![
                json!("event"),
                json!(""),
                json!(1),
                json!(["hotel"]),
                Value::Null,
            ],
        ),
        (
            "sub",
            vec![
                json!(""),
                json!("a".repeat(10_240)),
                json!("a\0b"),
                json!("a\u{202e}b"),
                json!(1),
                Value::Null,
                json!(" root"),
                json!("root\n"),
            ],
        ),
    ]
}

fn grants() -> Values {
    vec![
        ("sid", vec![json!(""), json!(1), Value::Null, json!([])]),
        (
            "ver",
            vec![json!(1.5), json!("1"), json!(-1), Value::Null, json!(true)],
        ),
        (
            "scope",
            vec![
                json!(["hotel:read"]),
                json!("hotel:read\thotel:write"),
                json!(1),
                json!({}),
                json!("\"hotel:read\""),
            ],
        ),
        (
            "roles",
            vec![json!("admin"), json!([1]), json!(["a,b"]), json!({})],
        ),
    ]
}

/// Each value in place of the good one.
fn refuses_all(table: &mut Table<'_>, stage: &Stage, bad: Values) {
    for (name, values) in bad {
        for value in values {
            table.refuses(
                &format!("{name} {:.60}", value.to_string()),
                &stage.forge_claim(name, value),
            );
        }
    }
}

#[test]
fn a_token_names_issuer_audience_and_subject_exactly() {
    let stage = Stage::build();
    let mut table = stage.table();
    refuses_all(&mut table, &stage, names());
    for name in ["iss", "aud", "sub", "resource"] {
        table.refuses(&format!("no {name}"), &without(&stage, name));
    }
    table.end();
}

#[test]
fn a_token_says_in_one_way_what_it_grants() {
    let stage = Stage::build();
    let mut table = stage.table();
    refuses_all(&mut table, &stage, grants());
    for name in ["sid", "ver"] {
        table.refuses(&format!("no {name}"), &without(&stage, name));
    }
    table.refuses(
        "4,000 scopes",
        &stage.forge_claim("scope", json!("a ".repeat(4_000).trim_end())),
    );
    table.end();
}

#[test]
fn a_good_token_opens_what_it_was_issued_for_and_no_more() {
    let stage = Stage::build();
    let mut table = stage.table();
    let elsewhere = stage.forge(|_, claims| {
        claims["aud"] = json!("event");
        claims["resource"] = json!("event");
    });
    table.bearer("another resource", &elsewhere, &[(403, "wrong-resource")]);
    let insufficient: &[(u16, &str)] = &[(403, "insufficient-scope")];
    for scope in [
        "hotel:write",
        "hotel:*",
        "*",
        "hotel",
        "hotel:rea",
        "hotel:readx",
        "HOTEL:READ",
    ] {
        table.bearer(
            &format!("scope {scope}"),
            &stage.forge_claim("scope", json!(scope)),
            insufficient,
        );
    }
    let no_scope = stage.forge(|_, claims| {
        claims["scope"] = json!("");
        claims["roles"] = json!(["admin"]);
    });
    table.bearer(
        "a role instead of a scope",
        &no_scope,
        &[(403, "insufficient-scope"), (401, "invalid-token")],
    );
    table.end();
}
