//! `tls:` of a listener and of an upstream. The files they name are read and checked here; the types are in
//! [`crate::certificates`] and [`crate::upstreams`].

use std::net::IpAddr;

use super::endpoints::is_host_name;
use crate::{
    certificates::{Authorities, Fault, KeyPair, Tls},
    reader::{Section, Value},
    upstreams::UpstreamTls,
};

/// What has a mistake is left out: a configuration with one is never handed out.
pub(super) fn tls(section: &Section<'_>) -> Option<Tls> {
    let one = (section.find("certificate"), section.find("key"));
    let certificates = match (section.find("certificates"), one) {
        (Some(list), (None, None)) => several(&list),
        (Some(list), (Some(_), _) | (_, Some(_))) => {
            list.mistake(
                "stands beside `certificate` and `key`: put that pair into the list, first",
            );
            Vec::new()
        }
        (None, _) => pair(section).into_iter().collect(),
    };
    let client_ca = section.or("client_ca", None, |value| authorities(value).map(Some));
    Some(Tls {
        certificates,
        client_ca,
    })
}

/// Verified in any case: Pingora would verify nothing where no name is given.
pub(super) fn upstream_tls(section: &Section<'_>) -> UpstreamTls {
    let server_name = section.require(
        "server_name",
        "write the name that the endpoints' certificates are for, such as hotel.internal",
    );
    let has_identity = section.find("certificate").is_some() || section.find("key").is_some();
    UpstreamTls {
        server_name: server_name
            .and_then(|name| name.parse(server))
            .unwrap_or_default(),
        ca: section.find("ca").and_then(|value| authorities(&value)),
        identity: has_identity.then(|| pair(section)).flatten(),
    }
}

fn server(text: &str) -> Result<String, String> {
    if is_host_name(text) || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("is no name that a certificate is for: write a host name or an address, without port and wildcard".to_owned())
    }
}

fn several(list: &Value<'_>) -> Vec<KeyPair> {
    let elements = list.list();
    if elements.is_empty() {
        list.mistake("is empty: name at least one `{ certificate: …, key: … }`");
    }
    let pairs = elements.iter().map(|element| element.section(pair));
    pairs.flatten().flatten().collect()
}

fn pair(section: &Section<'_>) -> Option<KeyPair> {
    let certificate = section.require("certificate", "name its PEM file, such as /etc/tls/tls.crt");
    let key = section.require("key", "name its PEM file, such as /etc/tls/tls.key");
    let (certificate, key) = (certificate?, key?);
    let (chain, private) = (certificate.file(), key.file());
    match KeyPair::of(chain?, private?) {
        Ok(pair) => Some(pair),
        Err(Fault::Certificate(complaint)) => certificate.parse(|_path| Err(complaint)),
        Err(Fault::Key(complaint)) => key.parse(|_path| Err(complaint)),
    }
}

pub(super) fn authorities(value: &Value<'_>) -> Option<Authorities> {
    let (path, text) = value.file()?;
    let read = Authorities::of(path, &text);
    read.map_or_else(|complaint| value.parse(|_path| Err(complaint)), Some)
}
