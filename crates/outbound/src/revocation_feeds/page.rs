//! What the other side answers: a token, and pages of its log. Nothing in them is believed to be small or well-formed,
//! and what cannot be understood is an error: a revocation that was overlooked would be worse than none that came.

use std::time::Duration;

use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;
use serde_json::{Map, Value};

/// As many as one answer of ours has. With fewer, the reader is at the head of the log.
pub(super) const FULL: usize = 1000;

/// The answer is not what the endpoint promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not understood")]
pub struct NotUnderstood;

pub(super) struct Page {
    pub(super) revocations: Vec<(Revocation, Timestamp)>,
    pub(super) next: u64,
}

pub(super) struct Token {
    pub(super) text: String,
    pub(super) lasts: Duration,
}

impl Page {
    pub(super) fn read(body: &[u8]) -> Result<Self, NotUnderstood> {
        let page = object(body)?;
        let rows = page.get("revocations").and_then(Value::as_array);
        let rows = rows.ok_or(NotUnderstood)?;
        Ok(Self {
            revocations: rows.iter().map(entry).collect::<Result<_, _>>()?,
            next: number(&page, "next")?,
        })
    }
}

impl Token {
    pub(super) fn read(body: &[u8]) -> Result<Self, NotUnderstood> {
        let answer = object(body)?;
        let is_bearer = text(&answer, "token_type")?.eq_ignore_ascii_case("bearer");
        let text = text(&answer, "access_token")?;
        // It becomes a header.
        if !is_bearer || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotUnderstood);
        }
        Ok(Self {
            text: text.to_owned(),
            lasts: Duration::from_secs(number(&answer, "expires_in")?),
        })
    }
}

fn entry(entry: &Value) -> Result<(Revocation, Timestamp), NotUnderstood> {
    let entry = entry.as_object().ok_or(NotUnderstood)?;
    let id = text(entry, "id")?.to_owned();
    let revocation = match text(entry, "kind")? {
        "session" => Revocation::Session(id),
        "key" => Revocation::Key(id),
        "user" => Revocation::UserBefore {
            user_id: id,
            version: number(entry, "version")?,
        },
        _ => return Err(NotUnderstood),
    };
    let until = Timestamp::from_millis(number(entry, "until")?);
    Ok((revocation, until))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, NotUnderstood> {
    serde_json::from_slice(body).map_err(|_error| NotUnderstood)
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, NotUnderstood> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or(NotUnderstood)
}

fn number(object: &Map<String, Value>, name: &str) -> Result<u64, NotUnderstood> {
    object
        .get(name)
        .and_then(Value::as_u64)
        .ok_or(NotUnderstood)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let page = Page::read(
            br#"{"revocations":[
                {"seq":7,"kind":"user","id":"u","version":3,"until":9000},
                {"seq":8,"kind":"session","id":"s","until":1},
                {"seq":9,"kind":"key","id":"k","until":2}],"next":9,"more":1}"#,
        );
        let page = page.unwrap();
        let user = Revocation::UserBefore {
            user_id: "u".to_owned(),
            version: 3,
        };
        assert_eq!(page.next, 9);
        assert_eq!(page.revocations[0], (user, Timestamp::from_secs(9)));
        assert_eq!(page.revocations.len(), 3);
        for broken in [
            "",
            "[]",
            r#"{"revocations":[]}"#,
            r#"{"next":1}"#,
            r#"{"revocations":[],"next":-1}"#,
            r#"{"revocations":[{"kind":"user","id":"u","until":1}],"next":1}"#,
            r#"{"revocations":[{"kind":"tenant","id":"u","until":1}],"next":1}"#,
            r#"{"revocations":[{"kind":"key","id":"u"}],"next":1}"#,
            r#"{"revocations":[1],"next":1}"#,
        ] {
            assert!(Page::read(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_token_must_be_one_that_can_be_sent() {
        let read = |text: &str| Token::read(text.as_bytes()).map(|token| token.text);
        let good = r#"{"access_token":"abc","token_type":"Bearer","expires_in":300}"#;
        assert_eq!(read(good), Ok("abc".to_owned()));
        for bad in [
            r#"{"access_token":"a\nb","token_type":"bearer","expires_in":300}"#,
            r#"{"access_token":"abc","token_type":"mac","expires_in":300}"#,
            r#"{"access_token":"abc","token_type":"bearer"}"#,
            r#"{"error":"invalid_client"}"#,
        ] {
            assert_eq!(read(bad), Err(NotUnderstood), "{bad}");
        }
    }
}
