//! `upstreams.*.retries`. The types are in [`crate::upstreams`].

use crate::{reader::Section, upstreams::Retries};

const MOST_ATTEMPTS: u64 = 5;

/// One request in five: enough for an endpoint that restarts, too little to bury one that is overloaded.
const DEFAULT_BUDGET: u8 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Connect,
    Status(u16),
}

pub(super) fn retries(section: &Section<'_>) -> Retries {
    let reasons = section
        .find("when")
        .map_or_else(|| vec![Reason::Connect], |when| reasons(&when));
    let status = |reason: &Reason| match reason {
        Reason::Connect => None,
        Reason::Status(status) => Some(*status),
    };
    Retries {
        attempts: section.or("attempts", 2, |value| value.number(1..=MOST_ATTEMPTS)),
        on_connect: reasons.contains(&Reason::Connect),
        on_status: reasons.iter().filter_map(status).collect(),
        budget: section.or("budget", DEFAULT_BUDGET, |value| value.parse(percent)),
    }
}

fn reasons(when: &crate::reader::Value<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for element in when.list() {
        let Some(reason) = element.parse(reason) else {
            continue;
        };
        if reasons.contains(&reason) {
            element.mistake("is written twice: keep one");
        }
        reasons.push(reason);
    }
    reasons
}

fn reason(text: &str) -> Result<Reason, String> {
    match text {
        "connect" => Ok(Reason::Connect),
        "502" => Ok(Reason::Status(502)),
        "503" => Ok(Reason::Status(503)),
        "504" => Ok(Reason::Status(504)),
        _ => Err("is no reason to try again: write connect, 502, 503 or 504".to_owned()),
    }
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    number
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| "is not a share: write 0% to 100%".to_owned())
}
