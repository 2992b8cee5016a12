//! The route table as a table of examples, and against a matcher that is too simple to be wrong.

use std::time::Duration;

use portcullis_config::{
    header_rules::HeaderRules,
    routes::{
        Access, AddressLists, AuditLevel, IdentityHeaders, Rewrite, RouteMatch, Target, Upgrade,
    },
    shadow::Shadow,
};
use proptest::prelude::*;

use super::*;

fn route(path: &str, methods: &[&str], hosts: &[&str]) -> Route {
    Route {
        name: path.to_owned(),
        matches: RouteMatch {
            path: PathPattern::parse(path).expect("a pattern"),
            methods: methods
                .iter()
                .map(|method| method.parse().expect("a method"))
                .collect(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        },
        target: Target::Auth,
        access: Access::Public,
        rate_limits: Vec::new(),
        in_flight: Vec::new(),
        timeout: None,
        rewrite: Rewrite::default(),
        audit: AuditLevel::Refusals,
        addresses: AddressLists::default(),
        forward: IdentityHeaders {
            user: None,
            roles: None,
            scopes: None,
            token: false,
        },
        body: None,
        cors: None,
        headers: HeaderRules::default(),
        upgrade: Upgrade::None,
        max_connection_life: Duration::from_secs(3600),
        shadow: Shadow::default(),
    }
}

/// The pattern of the route found, or the code of the refusal.
fn found<'r>(routes: &'r [Route], host: &str, method: &Method, path: &str) -> &'r str {
    match RouteTable::build(routes).find(host, path, method) {
        Ok(id) => &routes[id.index()].name,
        Err(rejection) => rejection.code(),
    }
}

fn check_paths(patterns: &[&str], expected: &[(&str, &str)]) {
    let mut routes: Vec<Route> = patterns
        .iter()
        .map(|pattern| route(pattern, &[], &[]))
        .collect();
    for order in ["as written", "reversed"] {
        for (path, pattern) in expected {
            assert_eq!(
                found(&routes, "a.test", &Method::GET, path),
                *pattern,
                "{path}, {order}"
            );
        }
        routes.reverse();
    }
}

#[test]
fn a_subtree_begins_at_its_own_path() {
    check_paths(
        &["/x/**"],
        &[
            ("/x", "/x/**"),
            ("/x/", "/x/**"),
            ("/x/a", "/x/**"),
            ("/x/a/b/", "/x/**"),
            ("/xy", "route-not-found"),
            ("/X", "route-not-found"),
            ("/", "route-not-found"),
        ],
    );
    check_paths(&["/**"], &[("/", "/**"), ("/a", "/**"), ("/a/b", "/**")]);
}

#[test]
fn an_exact_path_is_exact() {
    check_paths(
        &["/x", "/"],
        &[
            ("/x", "/x"),
            ("/", "/"),
            ("/x/", "route-not-found"),
            ("/x/a", "route-not-found"),
        ],
    );
}

#[test]
fn a_star_is_one_segment_and_not_an_empty_one() {
    check_paths(
        &["/x/*/z"],
        &[
            ("/x/y/z", "/x/*/z"),
            ("/x/z", "route-not-found"),
            ("/x/y/y/z", "route-not-found"),
            ("/x/y", "route-not-found"),
        ],
    );
    check_paths(
        &["/x/*"],
        &[
            ("/x/y", "/x/*"),
            ("/x/", "route-not-found"),
            ("/x", "route-not-found"),
        ],
    );
}

#[test]
fn the_most_specific_wins_in_any_order() {
    check_paths(
        &["/**", "/a/**", "/a/*", "/a/b", "/a/b/**", "/*/b/c"],
        &[
            ("/a", "/a/**"),
            ("/a/b", "/a/b"),
            ("/a/x", "/a/*"),
            ("/a/b/c", "/a/b/**"),
            ("/a/x/y", "/a/**"),
            ("/z/b/c", "/*/b/c"),
            ("/z", "/**"),
        ],
    );
}

#[test]
fn a_literal_that_leads_nowhere_is_stepped_back_from() {
    check_paths(
        &["/a/b/c", "/*/b/d", "/a/**"],
        &[
            ("/a/b/c", "/a/b/c"),
            ("/a/b/d", "/a/**"),
            ("/x/b/d", "/*/b/d"),
        ],
    );
    check_paths(&["/a/b/c", "/*/b/d"], &[("/a/b/d", "/*/b/d")]);
}

#[test]
fn an_escape_is_no_way_around_a_literal() {
    check_paths(
        &["/**", "/@me/a+b"],
        &[
            ("/@me/a+b", "/@me/a+b"),
            ("/%40me/a%2Bb", "/@me/a+b"),
            ("/%2540me/a+b", "/**"),
            ("/%C3%A9", "/**"),
        ],
    );
}

#[test]
fn a_host_of_its_own_goes_before_every_host() {
    let routes = [
        route("/**", &[], &["a.test", "b.test"]),
        route("/x", &[], &[]),
    ];
    assert_eq!(found(&routes, "a.test", &Method::GET, "/x"), "/**");
    assert_eq!(found(&routes, "b.test", &Method::GET, "/x"), "/**");
    assert_eq!(found(&routes, "c.test", &Method::GET, "/x"), "/x");
    assert_eq!(found(&routes, "", &Method::GET, "/y"), "route-not-found");
}

#[test]
fn a_host_that_does_not_know_a_path_leaves_it_to_every_host() {
    let routes = [route("/x", &[], &["a.test"]), route("/y", &[], &[])];
    assert_eq!(found(&routes, "a.test", &Method::GET, "/y"), "/y");
}

#[test]
fn routes_of_one_path_share_it_by_method() {
    let routes = [
        route("/x", &["GET"], &[]),
        route("/x", &["POST", "PUT"], &[]),
    ];
    let table = RouteTable::build(&routes);
    assert_eq!(
        table.find("", "/x", &Method::PUT).map(RouteId::index),
        Ok(1)
    );
    let refusal = table
        .find("", "/x", &Method::DELETE)
        .expect_err("nobody takes it");
    assert_eq!(
        refusal,
        Rejection::MethodNotAllowed {
            allow: HeaderValue::from_static("GET, POST, PUT")
        }
    );
}

#[test]
fn head_is_not_get() {
    let routes = [route("/x", &["GET"], &[])];
    assert_eq!(
        found(&routes, "", &Method::HEAD, "/x"),
        "method-not-allowed"
    );
}

#[test]
fn a_listed_method_goes_before_a_route_that_takes_all() {
    let routes = [route("/x", &[], &[]), route("/x", &["POST"], &[])];
    let table = RouteTable::build(&routes);
    assert_eq!(
        table.find("", "/x", &Method::POST).map(RouteId::index),
        Ok(1)
    );
    assert_eq!(
        table.find("", "/x", &Method::GET).map(RouteId::index),
        Ok(0)
    );
}

#[test]
fn no_route_takes_connect_or_trace() {
    let routes = [route("/**", &[], &[])];
    for method in [Method::CONNECT, Method::TRACE] {
        assert_eq!(found(&routes, "", &method, "/x"), "method-not-allowed");
    }
}

#[test]
fn a_refused_method_does_not_fall_through_to_a_broader_route() {
    let routes = [route("/admin/**", &["GET"], &[]), route("/**", &[], &[])];
    assert_eq!(
        found(&routes, "", &Method::POST, "/admin/x"),
        "method-not-allowed"
    );
}

/// How a pattern ranks for a path it matches: segment by segment, the end of the path above all.
fn rank(pattern: &PathPattern, path: &str) -> Option<Vec<u8>> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let fits = if pattern.subtree {
        segments.len() >= pattern.segments.len()
    } else {
        segments.len() == pattern.segments.len()
    };
    let matches = pattern
        .segments
        .iter()
        .zip(&segments)
        .all(|(wanted, segment)| match wanted {
            Segment::Literal(literal) => literal == segment,
            Segment::Any => !segment.is_empty(),
        });
    let ranks = pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(_) => 2,
        Segment::Any => 1,
    });
    (fits && matches).then(|| ranks.chain([if pattern.subtree { 0 } else { 3 }]).collect())
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = prop_oneof![Just("/a"), Just("/b"), Just("/*")];
    let pattern = (proptest::collection::vec(segment, 0..4), any::<bool>()).prop_map(
        |(segments, subtree)| {
            let path = segments.concat() + if subtree { "/**" } else { "" };
            if path.is_empty() {
                "/".to_owned()
            } else {
                path
            }
        },
    );
    proptest::collection::hash_set(pattern, 1..12)
        .prop_map(|patterns| patterns.into_iter().collect())
}

proptest! {
    #[test]
    fn the_tree_finds_what_trying_every_pattern_finds(patterns in patterns(), path in "(/[abc]){1,5}/?|/") {
        let routes: Vec<Route> = patterns.iter().map(|pattern| route(pattern, &[], &[])).collect();
        let ranked = routes.iter().filter_map(|route| Some((rank(&route.matches.path, &path)?, route.name.as_str())));
        let expected = ranked.max().map_or("route-not-found", |(_, name)| name);
        prop_assert_eq!(found(&routes, "", &Method::GET, &path), expected, "{} in {:?}", path, patterns);
    }
}
