//! `${…}` in strings: what it stands for, and that it never shows up in a mistake.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::file;
use crate::{Config, Mistakes, Reference, auth::Signing, parse, storage::Database};

fn some_set(reference: &Reference) -> Result<SecretString, String> {
    let value = match reference {
        Reference::Env(name) if name == "HOST" => "db.internal",
        Reference::Env(name) if name == "EMPTY" => "",
        Reference::Env(name) if name == "FIFTY" => "50",
        Reference::Env(name) if name == "NESTED" => "${env:HOST}",
        Reference::File(path) if path == Path::new("/run/secrets/password") => "hunter2\n",
        Reference::File(path) if path == Path::new("/run/secrets/hmac") => {
            "0123456789abcdef0123456789abcdef\n"
        }
        Reference::Env(_) | Reference::File(_) | Reference::HashList(_) => {
            return Err("it is not there".to_owned());
        }
    };
    Ok(SecretString::from(value))
}

fn read(sections: &str) -> Result<Config, Mistakes> {
    parse(&file(sections), "g.yaml", &some_set)
}

fn issuer(written: &str) -> String {
    let config = read(&format!("auth: {{ issuer: \"{written}\" }}"))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    config.auth.expect("auth is written").issuer
}

#[test]
fn references_stand_anywhere_in_a_string_and_several_times() {
    assert_eq!(
        issuer("https://${env:HOST}/${env:HOST}"),
        "https://db.internal/db.internal"
    );
}

#[test]
fn a_default_replaces_what_is_unset_or_empty() {
    assert_eq!(
        issuer("https://${env:UNSET:-a.example}"),
        "https://a.example"
    );
    assert_eq!(
        issuer("https://${env:EMPTY:-b.example}"),
        "https://b.example"
    );
    assert_eq!(
        issuer("https://${env:HOST:-c.example}"),
        "https://db.internal"
    );
}

#[test]
fn a_reference_may_stand_for_a_number() {
    let text = r#"upstreams: { hotel: { endpoints: ["${env:HOST}:9001"], max_in_flight: "${env:FIFTY}" } }"#;
    let config = read(text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        config
            .upstreams
            .first()
            .expect("one is written")
            .max_in_flight,
        Some(50)
    );
}

#[test]
fn the_line_end_of_a_secret_file_is_not_part_of_the_secret() {
    let config =
        read(r#"auth: { signing: { algorithm: HS256, secret: "${file:/run/secrets/hmac}" } }"#);
    let auth = config
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
        .auth
        .expect("auth is written");
    let Signing::Hs256 { secret } = auth.signing else {
        panic!("HS256 was asked for")
    };
    assert_eq!(secret.expose_secret().len(), 32);
}

#[test]
fn a_password_in_a_database_url_stays_in_a_type_that_does_not_print() {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let url = "postgres://app:${file:/run/secrets/password}@${env:HOST}/portcullis";
    let config = read(&format!("storage: {{ database: \"{url}\", key: {key} }}"));
    let database = config
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
        .storage
        .database;
    let Database::Postgres(url) = database else {
        panic!("PostgreSQL was asked for")
    };
    assert_eq!(
        url.expose_secret(),
        "postgres://app:hunter2@db.internal/portcullis"
    );
}

#[test]
fn what_a_reference_brought_in_is_not_searched_for_references() {
    let mistakes = read(r#"auth: { issuer: "https://${env:NESTED}" }"#)
        .err()
        .expect("braces are not part of a URL");
    assert!(
        mistakes.to_string().contains("not an absolute URL"),
        "{mistakes}"
    );
}

#[test]
fn no_mistake_shows_what_a_reference_stands_for() {
    let secret = r#""${file:/run/secrets/password}""#;
    let mistakes = read(&format!(
        "server: {{ threads: {secret}, admin: {secret}, headers: {{ process_time: {secret} }} }}\n\
         storage: {{ database: {secret}, key: {secret} }}\n\
         auth: {{ default_role: {secret}, signing: {{ algorithm: HS256, secret: {secret} }} }}\n\
         routes: [{{ name: {secret}, match: {{ path: {secret}, methods: [{secret}] }}, upstream: {secret}, auth: {secret} }}]"
    ));
    let shown = mistakes.err().expect("none of these is valid").to_string();
    assert!(shown.lines().count() >= 9, "{shown}");
    assert!(!shown.to_lowercase().contains("hunter2"), "{shown}");
}
