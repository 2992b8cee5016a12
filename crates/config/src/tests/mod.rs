//! The loader as an operator meets it.

mod certificates;
mod defaults;
mod limits;
mod references;
mod robustness;
mod schema;
mod shipped;
mod wording;

use secrecy::SecretString;

use crate::{Config, Reference, parse};

/// Sections that a test takes as given; those that it writes itself are left out.
const GIVEN: [(&str, &str); 4] = [
    (
        "auth:",
        "auth: { resources: { hotel: { scopes: [hotel:read, hotel:write] } }, roles: { guest: [hotel:read] } }",
    ),
    (
        "upstreams:",
        "upstreams: { hotel: { endpoints: [127.0.0.1:9001] } }",
    ),
    (
        "rate_limits:",
        "rate_limits: { per_ip: { key: ip, limit: 60/1m, burst: 5 } }",
    ),
    (
        "routes:",
        "routes: [{ name: given, match: { path: /given }, upstream: hotel, auth: public }]",
    ),
];

fn nothing_set(_: &Reference) -> Result<SecretString, String> {
    Err("it is not set".to_owned())
}

/// `version: 1` in line 1, `sections` from line 2, and after them whatever else a file needs.
fn file(sections: &str) -> String {
    let mut text = format!("version: 1\n{}\n", sections.trim_matches('\n'));
    for (key, section) in GIVEN {
        if !text.lines().any(|line| line.starts_with(key)) {
            text.push_str(section);
            text.push('\n');
        }
    }
    text
}

fn valid(sections: &str) -> Config {
    parse(&file(sections), "g.yaml", &nothing_set).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn wrong(sections: &str) -> String {
    whole(&file(sections))
}

fn whole(text: &str) -> String {
    match parse(text, "g.yaml", &nothing_set) {
        Ok(_) => panic!("no mistake was found"),
        Err(mistakes) => mistakes.to_string(),
    }
}
