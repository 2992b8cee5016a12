//! What a user or a client may have a token for: the scopes of the roles, or its own, cut down to those of one resource.

use std::time::Duration;

use portcullis_config::auth::{Auth, PORTCULLIS_RESOURCE, PORTCULLIS_SCOPES, RoleScopes};
use portcullis_tokens::ScopeSet;

/// A resource with the scopes that a token for it will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entitlement {
    pub(crate) resource: String,
    pub(crate) scopes: ScopeSet,
    pub(crate) lifetime: Duration,
}

/// Not told apart in the answer: which resources exist is not everybody's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEntitled {
    UnknownResource,
    NoScope,
    /// A scope was asked for that the user does not have here. Refused rather than left out, so that nobody holds a
    /// token that lacks what was asked for.
    ScopeNotGranted,
}

impl NotEntitled {
    /// For the audit log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::UnknownResource => "unknown-resource",
            Self::NoScope => "not-entitled",
            Self::ScopeNotGranted => "scope-not-granted",
        }
    }
}

/// With no resource named, the only one that has all scopes of the client.
pub(crate) fn entitle_client(
    auth: &Auth,
    granted: &ScopeSet,
    resource: Option<&str>,
    requested: Option<&ScopeSet>,
) -> Result<Entitlement, NotEntitled> {
    let resource = match resource {
        Some(resource) => resource,
        None => only_resource(auth, granted).ok_or(NotEntitled::UnknownResource)?,
    };
    cut_down(auth, |scope| granted.contains(scope), resource, requested)
}

fn only_resource<'a>(auth: &'a Auth, granted: &ScopeSet) -> Option<&'a str> {
    let all = auth.resources.keys().map(String::as_str);
    let mut fitting = all.chain([PORTCULLIS_RESOURCE]).filter(|resource| {
        let offered = offered(auth, resource);
        offered.is_some_and(|(scopes, _)| granted.iter().all(|scope| scopes.contains(&scope)))
    });
    fitting.next().filter(|_| fitting.next().is_none())
}

/// With no scope asked for, all that the roles grant on this resource.
pub(crate) fn entitle(
    auth: &Auth,
    roles: &[String],
    resource: &str,
    requested: Option<&ScopeSet>,
) -> Result<Entitlement, NotEntitled> {
    cut_down(
        auth,
        |scope| is_granted(auth, roles, scope),
        resource,
        requested,
    )
}

fn cut_down(
    auth: &Auth,
    is_granted: impl Fn(&str) -> bool,
    resource: &str,
    requested: Option<&ScopeSet>,
) -> Result<Entitlement, NotEntitled> {
    let (offered, lifetime) = offered(auth, resource).ok_or(NotEntitled::UnknownResource)?;
    let granted: Vec<&str> = offered
        .into_iter()
        .filter(|scope| is_granted(scope))
        .collect();
    // A scope that is no scope cannot pass the loader.
    let granted = ScopeSet::from_words(granted).map_err(|_invalid| NotEntitled::NoScope)?;
    if granted.is_empty() {
        return Err(NotEntitled::NoScope);
    }
    let scopes = match requested {
        Some(requested) if requested.iter().all(|scope| granted.contains(scope)) => {
            requested.clone()
        }
        Some(_) => return Err(NotEntitled::ScopeNotGranted),
        None => granted,
    };
    Ok(Entitlement {
        resource: resource.to_owned(),
        scopes,
        lifetime,
    })
}

fn offered<'a>(auth: &'a Auth, resource: &str) -> Option<(Vec<&'a str>, Duration)> {
    if resource == PORTCULLIS_RESOURCE {
        return Some((PORTCULLIS_SCOPES.to_vec(), auth.access_token_lifetime));
    }
    let resource = auth.resources.get(resource)?;
    let longest = resource.max_token_lifetime.unwrap_or(Duration::MAX);
    let scopes = resource.scopes.iter().map(String::as_str).collect();
    Some((scopes, auth.access_token_lifetime.min(longest)))
}

/// A role that the file no longer names grants nothing.
fn is_granted(auth: &Auth, roles: &[String], scope: &str) -> bool {
    roles
        .iter()
        .filter_map(|role| auth.roles.get(role))
        .any(|role| match role {
            RoleScopes::All => true,
            RoleScopes::These(scopes) => scopes.iter().any(|granted| granted == scope),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::auth_config;

    fn entitled(
        roles: &[&str],
        resource: &str,
        requested: Option<&str>,
    ) -> Result<(String, u64), NotEntitled> {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let requested = requested.map(|line| ScopeSet::parse(line).unwrap());
        let entitlement = entitle(&auth_config(), &roles, resource, requested.as_ref())?;
        Ok((
            entitlement.scopes.line().to_owned(),
            entitlement.lifetime.as_secs(),
        ))
    }

    #[test]
    fn a_token_has_the_roles_scopes_of_that_resource_only() {
        let check = |roles: &[&str], resource, expected: Result<(&str, u64), NotEntitled>| {
            let expected = expected.map(|(scopes, lifetime)| (scopes.to_owned(), lifetime));
            assert_eq!(
                entitled(roles, resource, None),
                expected,
                "{roles:?} {resource}"
            );
        };
        check(&["guest"], "hotel", Ok(("hotel:read", 300)));
        check(
            &["guest", "staff"],
            "hotel",
            Ok(("hotel:read hotel:write", 300)),
        );
        check(
            &["admin"],
            "hospital",
            Ok(("hospital:read hospital:write", 120)),
        );
        check(
            &["admin"],
            "portcullis",
            Ok((&PORTCULLIS_SCOPES.join(" "), 300)),
        );
        check(&["guest"], "hospital", Err(NotEntitled::NoScope));
        check(&["guest"], "portcullis", Err(NotEntitled::NoScope));
        check(&["guest"], "casino", Err(NotEntitled::UnknownResource));
        check(&["admin"], "casino", Err(NotEntitled::UnknownResource));
        check(&["gone"], "hotel", Err(NotEntitled::NoScope));
        check(&[], "hotel", Err(NotEntitled::NoScope));
    }

    #[test]
    fn what_is_asked_for_narrows_and_never_widens() {
        let scopes =
            |requested| entitled(&["staff"], "hotel", Some(requested)).map(|(scopes, _)| scopes);
        assert_eq!(scopes("hotel:read"), Ok("hotel:read".to_owned()));
        for wider in [
            "hotel:admin",
            "hotel:read event:read",
            "hospital:read",
            "*",
            "hotel:*",
        ] {
            assert_eq!(scopes(wider), Err(NotEntitled::ScopeNotGranted), "{wider}");
        }
    }
}
