//! `auth.mail:`. The types are in [`crate::mail`].
//!
//! The server is one URL, as mail servers are given elsewhere: `smtp://`, or `smtps://` for TLS from the first byte. It
//! may hold a password, so nothing of it is shown in a mistake.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::{auth::absolute_url, tls::authorities};
use crate::{
    mail::{Mail, MailLogin, MailServer, MailTls},
    reader::{Section, Value},
};

const SPELLINGS: &str = "write smtp://host:25, smtp://user:password@host:587?tls=required or smtps://user:password@host";

pub(super) fn mail(section: &Section<'_>) -> Option<Mail> {
    let server = section.require("smtp", "name the mail server, such as smtp://localhost:25");
    let from = section.require(
        "from",
        "write whom mail is from, such as no-reply@example.com",
    );
    let server = server.and_then(|value| read(&value));
    let from = from.and_then(|value| value.parse(sender));
    let links = |key| section.find(key).and_then(|value| value.parse(link));
    let (reset_link, verify_link) = (links("reset_link"), links("verify_link"));
    let ca = section.find("ca").and_then(|value| authorities(&value));
    Some(Mail {
        server: server?,
        from: from?,
        reset_link,
        verify_link,
        ca,
    })
}

fn read(value: &Value<'_>) -> Option<MailServer> {
    let url = value.secret()?;
    let server = server(url.expose_secret());
    server.map_err(|complaint| value.mistake(complaint)).ok()
}

fn server(text: &str) -> Result<MailServer, String> {
    let unknown = || format!("is no mail server: {SPELLINGS}");
    let uri: Uri = text.parse().map_err(|_malformed| unknown())?;
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(unknown)?;
    if !matches!(uri.path(), "" | "/") || text.contains('#') || uri.port_u16() == Some(0) {
        return Err(unknown());
    }
    let tls = tls(uri.scheme_str(), uri.query()).ok_or_else(unknown)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let login = authority.rsplit_once('@').map(|(login, _)| login);
    let login = login
        .map(|login| parse_login(login).ok_or_else(unknown))
        .transpose()?;
    if login.is_some() && matches!(tls, MailTls::Plain | MailTls::IfOffered) && !is_here(host) {
        return Err(
            "would send its password where anybody on the way can read it: write smtps://, or ?tls=required at the end"
                .to_owned(),
        );
    }
    let usual = match tls {
        MailTls::Plain | MailTls::IfOffered => 25,
        MailTls::Required => 587,
        MailTls::Wrapped => 465,
    };
    Ok(MailServer {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: uri.port_u16().unwrap_or(usual),
        tls,
        login,
    })
}

fn tls(scheme: Option<&str>, query: Option<&str>) -> Option<MailTls> {
    match (scheme?, query) {
        ("smtps", None) => Some(MailTls::Wrapped),
        ("smtp", None) => Some(MailTls::Plain),
        ("smtp", Some("tls=required")) => Some(MailTls::Required),
        ("smtp", Some("tls=opportunistic")) => Some(MailTls::IfOffered),
        _ => None,
    }
}

/// What does not leave this machine.
fn is_here(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn parse_login(text: &str) -> Option<MailLogin> {
    let (user, password) = text.split_once(':')?;
    Some(MailLogin {
        user: decoded(user).filter(|user| !user.is_empty())?,
        password: SecretString::from(decoded(password)?),
    })
}

/// RFC 3986 section 2.1.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, following) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = following;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Whether it is an address is for who sends mail to say; here it must only not reach beyond its line.
fn sender(text: &str) -> Result<String, String> {
    let address = text
        .rsplit_once('<')
        .map_or(text, |(_, rest)| rest.trim_end_matches('>'));
    let is_address = address
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if is_address && text.len() <= 320 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(
            "is no sender: write no-reply@example.com, or Example <no-reply@example.com>"
                .to_owned(),
        )
    }
}

/// A code is put behind it, so a query or a fragment may be begun.
fn link(text: &str) -> Result<String, String> {
    let base = text.split(['?', '#']).next().unwrap_or_default();
    absolute_url(base)?;
    if text.len() > 512 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no link: write up to 512 visible ASCII characters".to_owned());
    }
    Ok(text.to_owned())
}
