//! Certificates in the file: what a listener may show and ask for, and what is said of files that cannot be used.

use std::{fs, path::Path};

use portcullis_harness::certificates::{Authority, Certified};
use secrecy::SecretString;

use super::file;
use crate::{Config, Mistakes, Reference, certificates::Tls, parse, units::Timestamp};

fn on_disk(reference: &Reference) -> Result<SecretString, String> {
    match reference {
        Reference::File(path) => fs::read_to_string(path)
            .map(SecretString::from)
            .map_err(|error| error.to_string()),
        Reference::Env(_) | Reference::HashList(_) => Err("it is not set".to_owned()),
    }
}

fn listener(tls: &str) -> Result<Config, Mistakes> {
    let text = file(&format!(
        "server: {{ listeners: [{{ address: 127.0.0.1:1, tls: {{ {tls} }} }}] }}"
    ));
    parse(&text, "g.yaml", &on_disk)
}

fn read(tls: &str) -> Tls {
    let config = listener(tls).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    config.server.listeners[0].tls.clone().expect("it has TLS")
}

/// What is said of it, without the place in the file.
fn complaint(tls: &str) -> String {
    let mistakes = listener(tls).err().expect("a mistake").to_string();
    let (_, text) = mistakes.split_once("tls").expect("the path");
    text.to_owned()
}

fn pair(certificate: &Path, key: &Path) -> String {
    format!(
        "certificate: {}, key: {}",
        certificate.display(),
        key.display()
    )
}

fn pair_of(certified: &Certified) -> String {
    pair(&certified.certificate, &certified.key)
}

#[test]
fn a_certificate_is_for_the_names_it_says() {
    let authority = Authority::new("test").unwrap();
    let first = authority
        .server(&["A.test", "*.b.test", "127.0.0.1"])
        .unwrap();
    let tls = read(&pair_of(&first));
    assert_eq!(tls.certificates[0].names(), ["a.test", "*.b.test"]);
    assert_eq!(
        tls.certificates[0].certified().cert[0].as_ref(),
        first.der()
    );
    assert!(tls.client_ca.is_none());
    let second = authority.expired_server(&["c.test"]).unwrap();
    let tls = read(&format!(
        "certificates: [{{ {} }}, {{ {} }}], client_ca: {}",
        pair_of(&first),
        pair_of(&second),
        authority.certificate().display()
    ));
    assert_eq!(tls.certificates[1].names(), ["c.test"]);
    let new_year_2002 = Timestamp::from_secs(1_009_843_200);
    assert_eq!(tls.certificates[1].expires(), new_year_2002);
    assert_eq!(
        tls.client_ca.map(|authorities| authorities.roots().len()),
        Some(1)
    );
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_remedy() {
    let authority = Authority::new("test").unwrap();
    let (one, other) = (
        authority.server(&["a.test"]).unwrap(),
        authority.server(&["b.test"]).unwrap(),
    );
    let check = |tls: &str, expected: &[&str]| {
        let said = complaint(tls);
        assert!(
            expected.iter().all(|part| said.contains(part)),
            "{tls}: {said}"
        );
    };
    let missing = Path::new("/no/such.pem");
    check(
        &pair(missing, &one.key),
        &[
            ".certificate: `/no/such.pem` cannot be read",
            "No such file",
        ],
    );
    check(
        &pair(&one.certificate, missing),
        &[".key: `/no/such.pem` cannot be read"],
    );
    check(
        &pair(&one.key, &one.key),
        &[".certificate: ", "holds no certificate"],
    );
    check(
        &pair(&one.certificate, &one.certificate),
        &[".key: ", "holds no private key"],
    );
    check(
        &pair(&one.certificate, &other.key),
        &[".key: ", "is not the key of this certificate"],
    );
    let locked = authority.path("locked.key");
    fs::write(
        &locked,
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    check(
        &pair(&one.certificate, &locked),
        &[".key: ", "is encrypted"],
    );
    let broken = authority.path("broken.crt");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    check(
        &pair(&broken, &one.key),
        &[".certificate: ", "cannot be read"],
    );
    check(
        &format!("{}, client_ca: {}", pair_of(&one), one.key.display()),
        &[".client_ca: ", "holds no certificate"],
    );
}

#[test]
fn a_pair_is_whole_and_written_in_one_place() {
    let authority = Authority::new("test").unwrap();
    let one = authority.server(&["a.test"]).unwrap();
    assert!(complaint("").contains("`certificate` is missing"));
    assert!(
        complaint(&format!("certificate: {}", one.certificate.display()))
            .contains("`key` is missing")
    );
    assert!(complaint("certificates: []").contains("is empty"));
    let both = format!("certificates: [{{ {0} }}], {0}", pair_of(&one));
    assert!(complaint(&both).contains("stands beside"));
}

#[test]
fn a_renewed_certificate_is_told_from_the_one_before() {
    let authority = Authority::new("test").unwrap();
    let (shown, renewed) = (
        authority.server(&["a.test"]).unwrap(),
        authority.server(&["a.test"]).unwrap(),
    );
    let before = read(&pair_of(&shown));
    assert!(before.is_same_as(&read(&pair_of(&shown))));
    renewed.replace(&shown.certificate, &shown.key).unwrap();
    assert!(!before.is_same_as(&read(&pair_of(&shown))));
    let asking = |authority: &Authority| {
        let ca = authority.certificate();
        read(&format!("{}, client_ca: {}", pair_of(&shown), ca.display()))
    };
    assert!(!asking(&authority).is_same_as(&read(&pair_of(&shown))));
    let other = Authority::new("other").unwrap();
    assert!(!asking(&authority).is_same_as(&asking(&other)));
}

#[test]
fn what_a_listener_shows_may_change_without_a_restart() {
    let authority = Authority::new("test").unwrap();
    let (one, other) = (
        authority.server(&["a.test"]).unwrap(),
        authority.server(&["b.test"]).unwrap(),
    );
    let running = listener(&pair_of(&one)).unwrap();
    let mut wanted = listener(&pair_of(&other)).unwrap();
    assert!(wanted.keep_what_needs_a_restart(&running).is_empty());
    let mut moved = wanted.server.listeners[0].clone();
    moved.address.set_port(2);
    wanted.server.listeners.push(moved);
    let listeners = wanted.keep_what_needs_a_restart(&running);
    assert_eq!(listeners, ["server.listeners"]);
    let [kept] = &*wanted.server.listeners else {
        panic!("the new listener waits for the restart");
    };
    let shown = kept.tls.as_ref().expect("it has TLS");
    assert_eq!(shown.certificates[0].names(), ["b.test"]);
    let plain = parse(
        &file("server: { listeners: [{ address: 127.0.0.1:1 }] }"),
        "g.yaml",
        &on_disk,
    );
    let mut plain = plain.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    plain.keep_what_needs_a_restart(&running);
    let still = plain.server.listeners[0].tls.is_some();
    assert!(still, "a listener never loses its TLS under way");
}
