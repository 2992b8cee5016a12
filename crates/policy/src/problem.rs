//! The body of every refusal, as RFC 9457 has it.
//!
//! Written by hand rather than through a serializer: all members but one are our own constants, and a flood of
//! refusals should cost less than the requests it stands for.

use crate::rejection::Rejection;

/// The media type of [`Problem::to_json`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A rejection together with the request it answers.
pub struct Problem<'a> {
    rejection: &'a Rejection,
    request_id: &'a str,
    challenge: Option<&'a str>,
}

impl<'a> Problem<'a> {
    pub fn of(rejection: &'a Rejection, request_id: &'a str) -> Self {
        Self {
            rejection,
            request_id,
            challenge: None,
        }
    }

    /// With what a sign-in that needs a second proof goes on with.
    #[must_use]
    pub fn with_challenge(self, challenge: &'a str) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        let code = self.rejection.code();
        let mut json = String::with_capacity(384);
        json.push_str(r#"{"type":"urn:portcullis:problem:"#);
        json.push_str(code);
        push_member(&mut json, "title", self.rejection.title());
        json.push_str(r#"","status":"#);
        json.push_str(self.rejection.status().as_str());
        json.push_str(r#","code":""#);
        json.push_str(code);
        push_member(&mut json, "detail", &self.rejection.detail());
        push_member(&mut json, "request_id", self.request_id);
        if let Some(challenge) = self.challenge {
            push_member(&mut json, "challenge", challenge);
        }
        json.push_str(r#""}"#);
        json.into_bytes()
    }
}

/// Ends the string that is open and begins the next member, whose string stays open in turn.
fn push_member(json: &mut String, name: &str, value: &str) {
    json.push_str(r#"",""#);
    json.push_str(name);
    json.push_str(r#"":""#);
    push_escaped(json, value);
}

/// RFC 8259 section 7. A request id from a trusted proxy is visible characters, but is not ours, so nothing is assumed.
fn push_escaped(json: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for character in value.chars() {
        match character {
            '"' => json.push_str(r#"\""#),
            '\\' => json.push_str(r"\\"),
            '\0'..='\x1f' | '\x7f' => {
                let code = u32::from(character);
                json.push_str(r"\u00");
                for nibble in [code >> 4, code & 15] {
                    let digit = HEX
                        .get(usize::try_from(nibble).unwrap_or(0))
                        .copied()
                        .unwrap_or(b'0');
                    json.push(char::from(digit));
                }
            }
            _ => json.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        let body = Problem::of(&Rejection::RouteNotFound, "r-1").to_json();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            concat!(
                r#"{"type":"urn:portcullis:problem:route-not-found","title":"No such route","status":404,"#,
                r#""code":"route-not-found","detail":"Nothing is served under this host and path.","request_id":"r-1"}"#
            )
        );
    }

    #[test]
    fn a_challenge_is_the_last_member() {
        let problem = Problem::of(&Rejection::MfaRequired, "r-1").with_challenge("c-1");
        let body = String::from_utf8(problem.to_json()).unwrap();
        assert!(
            body.ends_with(r#","request_id":"r-1","challenge":"c-1"}"#),
            "{body}"
        );
    }

    proptest! {
        #[test]
        fn any_request_id_comes_back_as_it_was(id in ".*") {
            let body = Problem::of(&Rejection::InternalError, &id).to_json();
            let parsed: serde_json::Value = serde_json::from_slice(&body).expect("the body is JSON");
            prop_assert_eq!(parsed["request_id"].as_str(), Some(id.as_str()));
        }
    }
}
