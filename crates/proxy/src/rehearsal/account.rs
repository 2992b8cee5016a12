//! What admission did with one request, step by step, in words for whoever wrote the configuration.
//!
//! Admission itself keeps no such journal: it stops at the first refusal, so that the refusal tells which step it was,
//! and every step before it was passed.

use std::{net::IpAddr, sync::Arc};

use portcullis_config::{
    routes::{Access, AccessRule, TenantRule},
    shadow::Check,
};
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::Principal;

use crate::{admission::Admitted, answer::Stop, exchange::Progress, snapshot::Route, stage::Stage};

/// The checks of admission, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The form of the request, before anything in it is believed.
    Hygiene,
    Route,
    Address,
    Body,
    ClientLimits,
    Token,
    Access,
    PrincipalLimits,
    /// How many requests the upstream has already.
    Capacity,
    CircuitBreaker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    /// It would have been refused, were the check not in the route's shadow.
    Watched,
    Refused,
    /// The request ended at an earlier step.
    NotReached,
}

#[derive(Clone, Debug)]
pub struct StepAccount {
    pub step: Step,
    pub verdict: Verdict,
    pub note: String,
}

/// How the request ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It would be sent to this upstream, with this target where it is not the one that came.
    Forwarded {
        upstream: String,
        target: Option<String>,
    },
    /// Neither: a preflight, a redirect.
    Answered {
        status: u16,
        /// Where a redirect leads.
        location: Option<String>,
    },
    Refused(Rejection),
}

/// Everything that can be told of one request.
#[derive(Clone, Debug)]
pub struct Account {
    pub client: IpAddr,
    pub route: Option<String>,
    pub principal: Option<Arc<Principal>>,
    pub steps: Vec<StepAccount>,
    pub outcome: Outcome,
    /// Codes of what shadowed checks would have refused it for.
    pub would_reject: Vec<&'static str>,
}

impl Step {
    pub const ALL: [Self; 10] = [
        Self::Hygiene,
        Self::Route,
        Self::Address,
        Self::Body,
        Self::ClientLimits,
        Self::Token,
        Self::Access,
        Self::PrincipalLimits,
        Self::Capacity,
        Self::CircuitBreaker,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hygiene => "hygiene",
            Self::Route => "route",
            Self::Address => "address",
            Self::Body => "body",
            Self::ClientLimits => "client limits",
            Self::Token => "token",
            Self::Access => "access",
            Self::PrincipalLimits => "user limits",
            Self::Capacity => "capacity",
            Self::CircuitBreaker => "circuit breaker",
        }
    }

    /// What a route calls this step in its `shadow`; limits go by their own names.
    fn check(self) -> Option<Check> {
        match self {
            Self::Hygiene | Self::Route | Self::ClientLimits | Self::PrincipalLimits => None,
            Self::Address => Some(Check::Address),
            Self::Body => Some(Check::Body),
            Self::Token => Some(Check::Token),
            Self::Access => Some(Check::Access),
            Self::Capacity => Some(Check::MaxInFlight),
            Self::CircuitBreaker => Some(Check::CircuitBreaker),
        }
    }

    /// The last step of a request that the gateway answers itself: a redirect comes behind all that asks who the caller
    /// is, a preflight before it.
    fn that_answered(route: &Route) -> Self {
        if route.redirect.is_some() {
            Self::PrincipalLimits
        } else {
            Self::ClientLimits
        }
    }

    /// The step that a refusal comes from.
    fn that_refused(rejection: &Rejection, route: Option<&Route>) -> Self {
        match rejection {
            // Only what names the scheme but holds no token is malformed once there is a route.
            Rejection::Malformed(_) if route.is_some() => Self::Token,
            Rejection::RouteNotFound | Rejection::MethodNotAllowed { .. } => Self::Route,
            Rejection::AddressNotAllowed => Self::Address,
            Rejection::BodyTooLarge => Self::Body,
            Rejection::RateLimited(refused) => {
                let name = refused.standing.limit_name();
                let is_clients = route.is_some_and(|route| route.client_limits.has(name));
                if is_clients {
                    Self::ClientLimits
                } else {
                    Self::PrincipalLimits
                }
            }
            Rejection::AuthenticationRequired
            | Rejection::InvalidToken { .. }
            | Rejection::KeysUnavailable
            | Rejection::RevocationsStale => Self::Token,
            Rejection::InsufficientScope { .. } | Rejection::WrongResource { .. } => Self::Access,
            Rejection::Overloaded { .. } => Self::Capacity,
            Rejection::CircuitOpen { .. } => Self::CircuitBreaker,
            Rejection::Malformed(_)
            | Rejection::RequestTimeout
            | Rejection::UriTooLong
            | Rejection::HeadersTooLarge
            | Rejection::UpstreamUnreachable
            | Rejection::UpstreamFailed
            | Rejection::UpstreamTimeout
            | Rejection::StoreUnavailable
            | Rejection::InvalidCredentials
            | Rejection::MfaRequired
            | Rejection::ResourceNotAllowed
            | Rejection::CrossSite
            | Rejection::Conflict
            | Rejection::UnsupportedMediaType
            | Rejection::WeakPassword { .. }
            | Rejection::UnusableHash
            | Rejection::InternalError => Self::Hygiene,
        }
    }
}

impl Account {
    pub(super) fn of(client: IpAddr, decided: Result<Admitted, Stop>, progress: Progress) -> Self {
        let route = progress.route.as_deref();
        let refused = match &decided {
            Err(Stop::Refused(rejection)) => Some(rejection),
            Ok(_) | Err(Stop::Answered(_)) => None,
        };
        let last = match &decided {
            Ok(_) => None,
            Err(Stop::Refused(rejection)) => Some(Step::that_refused(rejection, route)),
            Err(Stop::Answered(_)) => route.map(Step::that_answered),
        };
        let steps = Step::ALL.map(|step| StepAccount {
            step,
            verdict: verdict(step, last, refused, &progress),
            note: note(step, last, refused, &progress),
        });
        Self {
            client,
            steps: steps.into(),
            outcome: match &decided {
                Ok(admitted) => forwarded(admitted),
                Err(Stop::Answered(answer)) => Outcome::Answered {
                    status: answer.status.as_u16(),
                    location: answer.location().map(ToOwned::to_owned),
                },
                Err(Stop::Refused(rejection)) => Outcome::Refused(rejection.clone()),
            },
            route: route.map(|route| route.name.to_string()),
            principal: progress.principal,
            would_reject: progress.would_reject.into_iter().collect(),
        }
    }
}

fn forwarded(admitted: &Admitted) -> Outcome {
    Outcome::Forwarded {
        upstream: admitted.route().upstream.name.to_string(),
        target: admitted.target().map(ToString::to_string),
    }
}

fn verdict(
    step: Step,
    last: Option<Step>,
    refused: Option<&Rejection>,
    progress: &Progress,
) -> Verdict {
    match last {
        Some(last) if step > last => Verdict::NotReached,
        Some(last) if step == last && refused.is_some() => Verdict::Refused,
        Some(_) | None if is_watched(step, progress) => Verdict::Watched,
        Some(_) | None => Verdict::Passed,
    }
}

/// Whether the route watches this step, and the step would have refused.
fn is_watched(step: Step, progress: &Progress) -> bool {
    let codes: &[&str] = match step {
        Step::Hygiene | Step::Route => &[],
        Step::Address => &["address-not-allowed"],
        Step::Body => &["body-too-large"],
        Step::ClientLimits | Step::PrincipalLimits => &["rate-limited"],
        Step::Token => &[
            "authentication-required",
            "invalid-token",
            "keys-unavailable",
        ],
        Step::Access => &["insufficient-scope", "wrong-resource"],
        Step::Capacity => &["overloaded"],
        Step::CircuitBreaker => &["circuit-open"],
    };
    let would = codes
        .iter()
        .any(|code| progress.would_reject.contains(code));
    let route = progress.route.as_deref();
    would && route.is_some_and(|route| watches(route, step))
}

fn watches(route: &Route, step: Step) -> bool {
    match (step, step.check()) {
        (_, Some(check)) => route.shadow.contains(&check),
        (Step::ClientLimits, None) => !route.client_limits.shadowed.is_empty(),
        (_, None) => !route.principal_limits.shadowed.is_empty(),
    }
}

fn note(
    step: Step,
    last: Option<Step>,
    refused: Option<&Rejection>,
    progress: &Progress,
) -> String {
    if last.is_some_and(|last| step > last) {
        return String::new();
    }
    let here = refused.filter(|_| last == Some(step));
    match (here, progress.route.as_deref()) {
        (Some(rejection), route) => refusal_note(rejection, route, progress),
        (None, Some(route)) => passed_note(step, route, progress),
        (None, None) => String::new(),
    }
}

fn refusal_note(rejection: &Rejection, route: Option<&Route>, progress: &Progress) -> String {
    match (rejection, route.map(|route| &route.access)) {
        (Rejection::InvalidToken { cause }, _) => format!("the token is not valid: {cause}"),
        (Rejection::RateLimited(refused), _) => {
            format!("{} has nothing left", refused.standing.limit_name())
        }
        (
            Rejection::InsufficientScope { .. } | Rejection::WrongResource { .. },
            Some(Access::Protected(rule) | Access::Optional(rule)),
        ) => match &progress.principal {
            Some(principal) => format!("{}; the token {}", wanted(rule), held(principal)),
            None => wanted(rule),
        },
        _ => rejection.detail().into_owned(),
    }
}

fn passed_note(step: Step, route: &Route, progress: &Progress) -> String {
    match step {
        Step::Hygiene => String::new(),
        Step::Route if route.redirect.is_some() => format!("{} redirects", route.name),
        Step::Route => format!("{} → {}", route.name, route.upstream.name),
        Step::Address => match (&*route.addresses.allow, &*route.addresses.deny) {
            ([], []) => String::from("no lists"),
            _ => String::from("allowed"),
        },
        Step::Body => format!("at most {} bytes", route.body_limit),
        Step::ClientLimits => limits(&route.client_limits),
        Step::PrincipalLimits => limits(&route.principal_limits),
        Step::Token => match (&progress.principal, &route.access) {
            (Some(principal), _) => held(principal),
            (None, Access::Public) => String::from("public"),
            (None, Access::Protected(_) | Access::Optional(_)) => String::from("anonymous"),
        },
        Step::Access => match &route.access {
            Access::Public => String::from("public"),
            Access::Protected(rule) | Access::Optional(rule) => wanted(rule),
        },
        Step::Capacity | Step::CircuitBreaker => route.upstream.name.to_string(),
    }
}

fn limits(stage: &Stage) -> String {
    let names: Vec<&str> = stage.names().collect();
    if names.is_empty() {
        String::from("none")
    } else {
        names.join(", ")
    }
}

/// What the rule asks for, as the file says it.
fn wanted(rule: &AccessRule) -> String {
    let lists = [
        (" with all of ", &rule.all_scopes),
        (" with any of ", &rule.any_scopes),
        (" as any of ", &rule.any_roles),
        (" from any of ", &rule.issuers),
    ];
    let written = lists.iter().filter(|(_, list)| !list.is_empty());
    let more: String = written
        .map(|(words, list)| format!("{words}{}", list.join(" ")))
        .collect();
    let tenant = match rule.tenant {
        TenantRule::Any => String::new(),
        TenantRule::Required => String::from(" of a tenant"),
        TenantRule::Segment(number) => format!(" of the tenant in segment {number}"),
    };
    format!("wants {}{more}{tenant}", rule.resource)
}

/// What the token says, as it was read.
fn held(principal: &Principal) -> String {
    let mut text = format!(
        "of {} is {}'s, for {}",
        principal.issuer().as_str(),
        principal.subject(),
        principal.resource()
    );
    for (words, line) in [
        (" with ", principal.scope_line()),
        (" as ", principal.role_line()),
    ] {
        if !line.is_empty() {
            text.push_str(words);
            text.push_str(line);
        }
    }
    if let Some(tenant) = principal.tenant() {
        text.push_str(" of ");
        text.push_str(tenant);
    }
    text
}
