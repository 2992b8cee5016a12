//! `auth.refresh_token:`. The types are in [`crate::refresh_tokens`].

use std::time::Duration;

use super::cors::origin;
use crate::{
    reader::Section,
    refresh_tokens::{RefreshTokens, Transport, origin_of},
    units,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST: Duration = DAY.saturating_mul(366);
const SHORTEST: Duration = Duration::from_secs(60);
/// Past this a thief who comes second is no longer told from a client that asks again.
const LONGEST_GRACE: Duration = Duration::from_secs(5 * 60);

pub(super) fn refresh_tokens(
    section: &Section<'_>,
    issuer: &str,
    access_token: Duration,
) -> RefreshTokens {
    let span = |key, days| {
        section.or(key, DAY.saturating_mul(days), |value| {
            value.duration(SHORTEST..=LONGEST)
        })
    };
    let tokens = RefreshTokens {
        idle: span("idle", 7),
        absolute: span("absolute", 30),
        grace: section.or("grace", Duration::from_secs(10), |value| {
            value.duration(Duration::ZERO..=LONGEST_GRACE)
        }),
        transport: section.or("transport", Transport::Body, |value| {
            value.word(&[
                ("body", Transport::Body),
                ("cookie", Transport::Cookie),
                ("both", Transport::Both),
            ])
        }),
        origins: origins(section, issuer),
    };
    check(section, &tokens, issuer, access_token);
    tokens
}

/// Each value may be right by itself and wrong beside another.
fn check(section: &Section<'_>, tokens: &RefreshTokens, issuer: &str, access_token: Duration) {
    let show = units::show_duration;
    let (idle, absolute) = (tokens.idle, tokens.absolute);
    if idle > absolute {
        section.mistake(format!(
            "`idle` ({}) is longer than `absolute` ({}), which ends the session anyway: lower it, or raise the other",
            show(idle),
            show(absolute)
        ));
    }
    if idle < access_token {
        section.mistake(format!(
            "`idle` ({}) is shorter than `auth.access_token.lifetime` ({}): sessions would end before there is anything to refresh; raise it",
            show(idle),
            show(access_token)
        ));
    }
    if tokens.transport.has_cookie() && issuer.contains([';', ',']) {
        section.mistake("`auth.issuer` has a `;` or a `,` in its path, which no cookie can be limited to: use another path, or `transport: body`");
    }
}

fn origins(section: &Section<'_>, issuer: &str) -> Vec<String> {
    let own = origin_of(issuer);
    let mut origins: Vec<String> = Vec::new();
    for element in section.or("origins", Vec::new(), |value| Some(value.list())) {
        let Some(origin) = element.parse(listed_origin) else {
            continue;
        };
        if own.as_ref() == Some(&origin) || origins.contains(&origin) {
            element
                .mistake("is there already, as the origin of `auth.issuer` always is: remove it");
        }
        origins.push(origin);
    }
    origins
}

fn listed_origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err(
            "would let any page sign somebody in: list the origins of your own pages".to_owned(),
        );
    }
    origin(text)
}
