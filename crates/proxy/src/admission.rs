//! Lets a request through or says why not: the order of the checks, one line a check.
//!
//! Free checks come first, then those that spend, last the one that holds. A flood must not be able to buy signature
//! checks, and a permit must not be taken by a request that is then refused.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderName, Method, Uri};
use pingora::http::RequestHeader;
use portcullis_config::{
    routes::{Access, AddressLists, Upgrade},
    shadow::Check,
    units::Timestamp,
};
use portcullis_policy::{
    access,
    breaker::BreakerPermit,
    client_address::ClientAddress,
    clock::Moment,
    cors, forwarding,
    hygiene::{BodyLength, CanonicalTarget, Examined, RequestView},
    limits::{self, Standing},
    rejection::{Malformation, Rejection},
    websocket,
};
use portcullis_tokens::Principal;
use smallvec::SmallVec;

use crate::{
    answer::{Stop, answer_preflight, answer_redirect},
    attempt::{enter_breaker, occupy},
    authentication::{Caller, authenticate},
    exchange::{InFlight, Progress},
    gateway::Gateway,
    in_flight::{self, Places},
    snapshot::{Route, Snapshot},
    spending::{Purse, nearest},
};

/// A request as it arrived, before anything in it is believed.
pub(crate) struct Arrival<'a> {
    request: &'a RequestHeader,
    fault: Option<Malformation>,
    client: ClientAddress,
    now: Moment,
}

impl<'a> Arrival<'a> {
    pub(crate) fn new(request: &'a RequestHeader, client: ClientAddress, now: Moment) -> Self {
        Self {
            request,
            fault: None,
            client,
            now,
        }
    }

    /// With what was wrong on the wire before the parser repaired it.
    pub(crate) fn written(self, fault: Option<Malformation>) -> Self {
        Self { fault, ..self }
    }

    fn view(&self) -> RequestView<'a> {
        let request = self.request;
        RequestView {
            method: &request.method,
            uri: &request.uri,
            version: request.version,
            headers: &request.headers,
            raw_target: Some(request.raw_path()),
        }
    }
}

/// The proof that every check was passed, with what the later phases need of it. Made by [`admit`] alone.
pub(crate) struct Admitted {
    route: Arc<Route>,
    caller: Caller,
    /// The target to send, where it is not the one that came: rewritten, or brought into the canonical form.
    target: Option<Uri>,
    /// Headers that must not travel on: spellings that an upstream might take for ours.
    dropped: SmallVec<[HeaderName; 2]>,
    /// The limit nearest to refusing, for the rate headers.
    standing: Option<Standing>,
    /// For the first attempt, which takes it out; later attempts ask the breaker anew.
    permit: Option<BreakerPermit>,
    opens_tunnel: bool,
    _at_upstream: InFlight,
    _places: [Places; 2],
}

impl Admitted {
    pub(crate) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    pub(crate) fn principal(&self) -> Option<&Arc<Principal>> {
        self.caller.verified()
    }

    pub(crate) fn target(&self) -> Option<&Uri> {
        self.target.as_ref()
    }

    pub(crate) fn dropped(&self) -> &[HeaderName] {
        &self.dropped
    }

    pub(crate) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// A whole handshake, on a route that takes them.
    pub(crate) fn opens_tunnel(&self) -> bool {
        self.opens_tunnel
    }

    pub(crate) fn take_permit(&mut self) -> Option<BreakerPermit> {
        self.permit.take()
    }
}

/// Nothing here writes to the client, and with limits of its own and keys at hand nothing waits.
///
/// How far a request came is noted in `progress`, of a refused one as well. `progress.past` gives a check's refusal on,
/// unless the route has the check in its shadow.
pub(crate) async fn admit(
    gateway: &Gateway,
    snapshot: &Snapshot,
    arrival: &Arrival<'_>,
    progress: &mut Progress,
) -> Result<Admitted, Stop> {
    check_wire(arrival.fault)?;
    let clean = snapshot.hygiene.examine(&arrival.view())?;
    let route = progress.reached(find_route(snapshot, arrival, &clean.target)?);
    let at_address = check_address(&route.addresses, arrival.client.ip);
    progress.past(Check::Address, at_address)?;
    check_declared_body(clean.body, progress)?;
    let purse = Purse::new(gateway, arrival.now);
    let client = counted(route, arrival, None);
    let places = in_flight::enter(&route.client_limits.caps, &client, progress)?;
    let spent = purse.spend(&route.client_limits, &client, progress).await?;
    answer_preflight(route, arrival.request, spent.as_ref())?;
    let caller = authenticate(gateway, snapshot, route, arrival.request, arrival.now.wall).await;
    let caller = progress
        .past(Check::Token, caller)?
        .unwrap_or(Caller::Anonymous);
    progress.identified(caller.verified());
    progress.past(
        Check::Token,
        check_freshness(route, &caller, arrival.now.wall),
    )?;
    progress.past(
        Check::Access,
        check_access(route, &caller, &clean.target.path),
    )?;
    let principal = counted(route, arrival, caller.verified());
    let more_places = in_flight::enter(&route.principal_limits.caps, &principal, progress)?;
    let more = purse
        .spend(&route.principal_limits, &principal, progress)
        .await?;
    let standing = nearest(spent, more);
    answer_redirect(route, &clean.target, standing.as_ref())?;
    let at_upstream = progress.past(Check::MaxInFlight, occupy(&route.upstream))?;
    let target = forwarded_target(arrival.request, &clean.target, route)?;
    let permit = enter_breaker(gateway, &route.upstream, arrival.now);
    let permit = progress.past(Check::CircuitBreaker, permit)?.flatten();
    Ok(Admitted {
        route: Arc::clone(route),
        opens_tunnel: opens_tunnel(route, &clean, arrival.request),
        dropped: clean.dropped.into_iter().cloned().collect(),
        standing,
        _at_upstream: at_upstream.unwrap_or_else(|| InFlight::new(&route.upstream.in_flight)),
        _places: [places, more_places],
        caller,
        target,
        permit,
    })
}

fn check_wire(fault: Option<Malformation>) -> Result<(), Rejection> {
    fault.map_or(Ok(()), |fault| Err(Rejection::Malformed(fault)))
}

fn find_route<'a>(
    snapshot: &'a Snapshot,
    arrival: &Arrival<'_>,
    target: &CanonicalTarget<'_>,
) -> Result<&'a Arc<Route>, Rejection> {
    let request = arrival.request;
    let find = |method: &Method| snapshot.table.find(&target.host, &target.path, method);
    // A preflight asks about the route of another method; where that leaves it to the upstream, it is like any OPTIONS.
    let asked_for = cors::method_asked_for(&request.method, &request.headers);
    let asked_about = asked_for.and_then(|method| snapshot.route(find(&method).ok()?));
    if let Some(route) = asked_about.filter(|route| route.cors.is_some()) {
        return Ok(route);
    }
    let id = find(&request.method)?;
    // The table and the routes are compiled together: were they to disagree, the request fails closed.
    snapshot.route(id).ok_or(Rejection::InternalError)
}

fn check_address(lists: &AddressLists, client: IpAddr) -> Result<(), Rejection> {
    let denied = lists.deny.iter().any(|network| network.contains(&client));
    let allowed =
        lists.allow.is_empty() || lists.allow.iter().any(|network| network.contains(&client));
    if denied || !allowed {
        Err(Rejection::AddressNotAllowed)
    } else {
        Ok(())
    }
}

/// A body that declares no length is counted as it streams.
fn check_declared_body(body: BodyLength, progress: &mut Progress) -> Result<(), Rejection> {
    match body {
        BodyLength::Exactly(length) => progress.check_body(length),
        BodyLength::Unsaid | BodyLength::Chunked => Ok(()),
    }
}

/// Whom limits count the request for.
fn counted<'a>(
    route: &'a Route,
    arrival: &'a Arrival<'_>,
    principal: Option<&'a Arc<Principal>>,
) -> limits::Caller<'a> {
    limits::Caller {
        address: arrival.client.ip,
        headers: &arrival.request.headers,
        route: &route.name,
        principal: principal.map(|principal| (&**principal).into()),
    }
}

fn check_freshness(route: &Route, caller: &Caller, now: Timestamp) -> Result<(), Rejection> {
    match (&route.access, caller) {
        (Access::Public, _) | (_, Caller::Anonymous) => Ok(()),
        (Access::Optional(rule) | Access::Protected(rule), Caller::Verified(principal)) => {
            access::check_freshness(rule, principal, now)
        }
    }
}

fn check_access(route: &Route, caller: &Caller, path: &str) -> Result<(), Rejection> {
    match (&route.access, caller) {
        (Access::Public, _) => Ok(()),
        (Access::Optional(_), Caller::Anonymous) => Ok(()),
        (Access::Optional(rule) | Access::Protected(rule), Caller::Verified(principal)) => {
            access::check(rule, principal, path)
        }
        // Nobody's rights can be looked at. `past` alone lets a request without a token come here.
        (Access::Protected(_), Caller::Anonymous) if route.shadow.contains(&Check::Token) => Ok(()),
        (Access::Protected(_), Caller::Anonymous) => Err(Rejection::AuthenticationRequired),
    }
}

fn opens_tunnel(route: &Route, clean: &Examined<'_>, request: &RequestHeader) -> bool {
    match route.upgrade {
        Upgrade::None => false,
        Upgrade::WebSocket => {
            websocket::is_handshake(clean, &request.method, request.version, &request.headers)
        }
    }
}

/// The bytes that were decided on are the bytes that are sent; `None` where they are the bytes that came.
fn forwarded_target(
    request: &RequestHeader,
    target: &CanonicalTarget<'_>,
    route: &Route,
) -> Result<Option<Uri>, Rejection> {
    // The route has matched the path: were a template to miss something all the same, the request fails closed.
    let rewritten = forwarding::rewrite(&route.rewrite, &target.path);
    let path = rewritten.ok_or(Rejection::InternalError)?;
    // An absolute-form target holds a host as well, which an upstream might route on.
    let came_so =
        *path == *target.path && target.is_as_received() && request.raw_path().starts_with(b"/");
    if came_so {
        return Ok(None);
    }
    let written = CanonicalTarget {
        host: Cow::Borrowed(""),
        path,
        query: target.query,
    };
    written
        .path_and_query()
        .parse()
        .map(Some)
        .map_err(|_unparsable| Rejection::InternalError)
}

#[cfg(test)]
mod tests;
