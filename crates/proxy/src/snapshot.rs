//! The compiled configuration: immutable, held by a request for its whole life.
//!
//! What must survive a reload (buckets, breakers, counts in flight) is referred to from here and lives outside, by name.

use std::{path::Path, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use portcullis_config::{
    Config,
    header_rules::HeaderRules,
    redirects::Redirect,
    routes::{self, Access, AddressLists, AuditLevel, Rewrite, Target as RouteTarget, Upgrade},
    server::{SecurityHeaders, Server as ServerSettings},
    shadow::Check,
    upstreams as config,
};
use portcullis_policy::{
    client_address::TrustedProxies,
    cors::Cors,
    hygiene::Hygiene,
    limits::Limiter,
    routing::{RouteId, RouteTable},
    security_headers,
};
use portcullis_tokens::Verifier;

use crate::{
    metrics::{Metrics, RouteMetrics},
    stage::{Plans, Stage},
    upstream::{Upstream, Upstreams},
};

pub(crate) struct Snapshot {
    pub(crate) server: ServerSettings,
    pub(crate) trusted_proxies: TrustedProxies,
    /// Set on every answer that does not carry them already.
    pub(crate) security_headers: Vec<(HeaderName, HeaderValue)>,
    /// Names under which any route tells who calls: never accepted from a client, on no route.
    pub(crate) identity_headers: Vec<HeaderName>,
    /// On answers of the gateway's own, beside those above.
    pub(crate) own_answer_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) hygiene: Hygiene,
    /// Whose tokens are accepted: the issuers are the configuration's too.
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) table: RouteTable,
    routes: Vec<Arc<Route>>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
}

/// A route with everything it refers to at hand.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) upstream: Arc<Upstream>,
    /// Then nothing is asked of the upstream, which leads nowhere.
    pub(crate) redirect: Option<Redirect>,
    pub(crate) access: Access,
    /// Spent before any cryptography.
    pub(crate) client_limits: Stage,
    /// Spent once the principal is known.
    pub(crate) principal_limits: Stage,
    pub(crate) addresses: AddressLists,
    pub(crate) rewrite: Rewrite,
    pub(crate) forward: routes::IdentityHeaders,
    pub(crate) cors: Option<Cors>,
    pub(crate) headers: HeaderRules,
    pub(crate) body_limit: u64,
    /// A limit that only reports. The server's binds meanwhile.
    pub(crate) watched_body_limit: Option<u64>,
    /// Checks that only report. Limits that do stand in their stage.
    pub(crate) shadow: Vec<Check>,
    pub(crate) timeout: Duration,
    pub(crate) upgrade: Upgrade,
    pub(crate) max_connection_life: Duration,
    pub(crate) audit: AuditLevel,
    pub(crate) metrics: RouteMetrics,
}

/// What a configuration is compiled with: the state that outlives it, and the places it refers to.
pub(crate) struct Surroundings<'a> {
    pub(crate) metrics: &'a Metrics,
    pub(crate) limiter: &'a Limiter,
    pub(crate) verifier: &'a Arc<Verifier>,
    /// Where `builtin:auth` listens; absent where no route leads to it.
    pub(crate) auth_socket: Option<&'a Path>,
    /// For the breakers' jitter and the first choice among endpoints.
    pub(crate) seed: u64,
    /// What is in force until now. Its upstreams hand on what they are doing to those of the same name.
    pub(crate) previous: Option<&'a Snapshot>,
}

impl Snapshot {
    pub(crate) fn compile(config: &Config, around: &Surroundings<'_>) -> Self {
        let upstreams = Upstreams::build(&config.upstreams, around);
        let mut plans = Plans::new(around);
        let routes = config.routes.iter().map(|route| {
            let upstream = match &route.target {
                RouteTarget::Upstream(upstream) => upstreams.named(&upstream.name),
                RouteTarget::Auth => upstreams.auth(),
                RouteTarget::Redirect(_) => upstreams.nowhere(),
            };
            Arc::new(Route::compile(
                route,
                upstream,
                &mut plans,
                &config.server,
                around,
            ))
        });
        let routes: Vec<_> = routes.collect();
        Self {
            trusted_proxies: TrustedProxies::new(&config.server.trusted_proxies),
            security_headers: match &config.server.headers.security {
                SecurityHeaders::Owasp => security_headers::owasp(),
                SecurityHeaders::None => Vec::new(),
                SecurityHeaders::Explicit(headers) => headers.clone(),
            },
            own_answer_headers: match &config.server.headers.security {
                SecurityHeaders::Owasp => vec![security_headers::content_policy_of_own_answers()],
                SecurityHeaders::None | SecurityHeaders::Explicit(_) => Vec::new(),
            },
            identity_headers: identity_names(&config.routes),
            verifier: Arc::clone(around.verifier),
            hygiene: Hygiene::new(&config.server.limits, &config.routes),
            table: RouteTable::build(&config.routes),
            server: config.server.clone(),
            upstreams: upstreams.all(),
            routes,
        }
    }

    pub(crate) fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams
            .iter()
            .find(|upstream| *upstream.name == *name)
    }

    /// Gives what is shared with the snapshot before it the settings of this one. From here on there is no way back.
    pub(crate) fn take_over(&self, upstreams: &[Arc<config::Upstream>]) {
        for settings in upstreams {
            if let Some(upstream) = self.upstream(&settings.name) {
                upstream.reconfigure(settings);
            }
        }
    }

    pub(crate) fn route(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.routes.get(id.index())
    }
}

fn identity_names(routes: &[routes::Route]) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for route in routes {
        let forward = &route.forward;
        for name in [&forward.user, &forward.roles, &forward.scopes]
            .into_iter()
            .flatten()
        {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

impl Route {
    fn compile(
        route: &routes::Route,
        upstream: Arc<Upstream>,
        plans: &mut Plans<'_>,
        server: &ServerSettings,
        around: &Surroundings<'_>,
    ) -> Self {
        let (client_limits, principal_limits) = plans.stages_of(route);
        let own_body_limit = route.body.unwrap_or(server.limits.body).bytes();
        let is_body_watched = route.shadow.checks.contains(&Check::Body);
        let watched_body_limit = is_body_watched.then_some(own_body_limit);
        Self {
            name: Arc::from(route.name.as_str()),
            redirect: match &route.target {
                RouteTarget::Redirect(redirect) => Some(redirect.clone()),
                RouteTarget::Upstream(_) | RouteTarget::Auth => None,
            },
            access: route.access.clone(),
            client_limits,
            principal_limits,
            addresses: route.addresses.clone(),
            rewrite: route.rewrite.clone(),
            forward: route.forward.clone(),
            body_limit: if watched_body_limit.is_some() {
                own_body_limit.max(server.limits.body.bytes())
            } else {
                own_body_limit
            },
            watched_body_limit,
            cors: route
                .cors
                .as_ref()
                .map(|rule| Cors::new(rule, &route.matches.methods)),
            headers: route.headers.clone(),
            shadow: route.shadow.checks.clone(),
            timeout: route.timeout.unwrap_or(upstream.timeouts.request),
            upgrade: route.upgrade,
            max_connection_life: route.max_connection_life,
            audit: route.audit,
            metrics: around.metrics.route(&route.name),
            upstream,
        }
    }
}
