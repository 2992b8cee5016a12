//! Requests that are spoilt in one way at a time.

use std::time::Duration;

use portcullis_config::{
    header_rules::HeaderRules,
    routes::{
        Access, AddressLists, AuditLevel, IdentityHeaders, PathPattern, Rewrite, RouteMatch,
        Target, Upgrade,
    },
    shadow::Shadow,
    units::ByteSize,
};

use super::*;

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        header_bytes: ByteSize(16 * 1024),
        headers: 100,
        body: ByteSize(1024),
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        connections: 10,
        connections_per_ip: 10,
    }
}

/// A route that tells the upstream the user's id and takes one unusual method.
fn route() -> Route {
    Route {
        name: "dav".to_owned(),
        matches: RouteMatch {
            path: PathPattern {
                segments: Vec::new(),
                subtree: true,
            },
            methods: vec![
                Method::GET,
                Method::from_bytes(b"PROPFIND").expect("a token"),
                Method::TRACE,
            ],
            hosts: Vec::new(),
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
            user: Some(HeaderName::from_static("x-user-id")),
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

struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    raw_target: Option<&'static [u8]>,
}

/// `GET /x HTTP/1.1` with a host, to be spoilt in one way at a time.
fn head() -> Head {
    Head {
        method: Method::GET,
        uri: Uri::from_static("/x"),
        version: Version::HTTP_11,
        headers: HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("a.test"))]),
        raw_target: None,
    }
}

impl Head {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
        self
    }

    fn examine<T>(&self, then: impl FnOnce(Result<Examined<'_>, Rejection>) -> T) -> T {
        let Self {
            method,
            uri,
            version,
            headers,
            raw_target,
        } = self;
        let view = RequestView {
            method,
            uri,
            version: *version,
            headers,
            raw_target: *raw_target,
        };
        then(Hygiene::new(&limits(), &[route()]).examine(&view))
    }

    fn refused(&self, expected: Malformation) {
        let found = self.examine(|examined| examined.map(|_| ()));
        assert_eq!(
            found,
            Err(Rejection::Malformed(expected)),
            "{} {:?}",
            self.uri,
            self.headers
        );
    }

    fn code(&self) -> &'static str {
        self.examine(|examined| examined.map_or_else(|rejection| rejection.code(), |_| "passed"))
    }
}

#[test]
fn an_ordinary_request_passes_uncopied() {
    let request = Head {
        uri: Uri::from_static("/hotel-db/rooms?from=1&to=%20"),
        ..head()
    };
    request.examine(|examined| {
        let examined = examined.expect("nothing is wrong with it");
        assert!(examined.target.is_as_received());
        assert!(matches!(examined.target.host, Cow::Borrowed("a.test")));
        assert_eq!(
            examined.target.path_and_query(),
            "/hotel-db/rooms?from=1&to=%20"
        );
        assert_eq!(
            (
                examined.body,
                examined.wants_upgrade,
                examined.dropped.len()
            ),
            (BodyLength::Unsaid, false, 0)
        );
    });
}

#[test]
fn the_target_comes_out_in_its_one_form() {
    let request = Head {
        uri: Uri::from_static("http://A.test:80/%61dmin/?Q=%61"),
        ..head()
    };
    request.examine(|examined| {
        let target = examined.expect("nothing is wrong with it").target;
        assert_eq!(
            (target.host.as_ref(), target.path_and_query().as_ref()),
            ("a.test", "/admin/?Q=%61")
        );
        assert!(!target.is_as_received());
    });
}

#[test]
fn the_body_length_is_said_in_one_way_only() {
    use Malformation::{ContentLength, Framing, TransferEncoding};
    for length in [
        "5, 5",
        "+5",
        "-1",
        "0x5",
        "",
        " 5",
        "5 ",
        "18446744073709551621",
        "٣",
    ] {
        head().with("content-length", length).refused(ContentLength);
    }
    head()
        .with("content-length", "5")
        .with("content-length", "5")
        .refused(ContentLength);
    for coding in [
        "chunked, identity",
        "xchunked",
        ",chunked",
        "gzip, chunked",
        "",
        "chunked\t",
        "identity",
    ] {
        head()
            .with("transfer-encoding", coding)
            .refused(TransferEncoding);
    }
    head()
        .with("transfer-encoding", "chunked")
        .with("transfer-encoding", "chunked")
        .refused(TransferEncoding);
    head()
        .with("transfer-encoding", "chunked")
        .with("content-length", "5")
        .refused(Framing);
    for version in [Version::HTTP_10, Version::HTTP_2] {
        Head { version, ..head() }
            .with("transfer-encoding", "chunked")
            .refused(TransferEncoding);
    }
}

#[test]
fn the_body_length_is_passed_on() {
    let check = |name, value, expected| {
        head()
            .with(name, value)
            .examine(|examined| assert_eq!(examined.map(|examined| examined.body), Ok(expected)));
    };
    check("content-length", "0", BodyLength::Exactly(0));
    check("content-length", "42", BodyLength::Exactly(42));
    check("transfer-encoding", "Chunked", BodyLength::Chunked);
}

#[test]
fn targets_that_are_no_path_are_refused() {
    for target in ["*", "a.test:80"] {
        Head {
            uri: target.parse().expect("a target"),
            ..head()
        }
        .refused(Malformation::Target);
    }
    Head {
        method: Method::OPTIONS,
        uri: Uri::from_static("*"),
        ..head()
    }
    .refused(Malformation::Target);
    Head {
        uri: Uri::from_static("http://b.test/x"),
        ..head()
    }
    .refused(Malformation::HostDisagrees);
    Head {
        raw_target: Some(b"/x#admin"),
        ..head()
    }
    .refused(Malformation::Fragment);
    Head {
        raw_target: Some(b"/x y"),
        ..head()
    }
    .refused(Malformation::TargetEncoding);
    Head {
        raw_target: Some(b"/\xc3\xa9"),
        ..head()
    }
    .refused(Malformation::TargetEncoding);
    for raw_target in [&b"ftp://a.test/x"[..], b"a.test:80", b"x", b"http:/x", b"*"] {
        Head {
            raw_target: Some(raw_target),
            ..head()
        }
        .refused(Malformation::Target);
    }
}

#[test]
fn a_query_is_ascii() {
    let uri = Uri::from_maybe_shared("/x?q=\u{e9}".as_bytes()).expect("the parser lets it through");
    Head { uri, ..head() }.refused(Malformation::Query);
}

#[test]
fn there_is_one_host() {
    Head {
        headers: HeaderMap::new(),
        ..head()
    }
    .refused(Malformation::Host);
    head().with("host", "a.test").refused(Malformation::Host);
}

#[test]
fn methods_are_known_words_in_their_own_case() {
    let code = |method: &[u8]| {
        Head {
            method: Method::from_bytes(method).expect("a token"),
            ..head()
        }
        .code()
    };
    assert_eq!(code(b"PROPFIND"), "passed", "a route lists it");
    for method in [
        &b"get"[..],
        b"FOO",
        b"CONNECT",
        b"TRACE",
        &b"A".repeat(5000),
    ] {
        assert_eq!(
            code(method),
            "method-not-allowed",
            "{}",
            method.escape_ascii()
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let long = |length: usize| {
        format!("/{}", "a".repeat(length - 1))
            .parse()
            .expect("a target")
    };
    assert_eq!(
        Head {
            uri: long(LONGEST_TARGET),
            ..head()
        }
        .code(),
        "passed"
    );
    assert_eq!(
        Head {
            uri: long(LONGEST_TARGET + 1),
            ..head()
        }
        .code(),
        "uri-too-long"
    );
    assert_eq!(
        head().with("x-a", &"a".repeat(17_000)).code(),
        "headers-too-large"
    );
    let many = |count| (0..count).fold(head(), |head, _| head.with("x-a", "1"));
    assert_eq!(many(99).code(), "passed");
    assert_eq!(many(100).code(), "headers-too-large");
}

#[test]
fn two_credentials_are_none() {
    head()
        .with("authorization", "Bearer a")
        .with("authorization", "Bearer a")
        .refused(Malformation::DuplicateAuthorization);
}

#[test]
fn connection_may_not_name_what_others_rely_on() {
    for name in [
        "authorization",
        "Cookie",
        "close, x-user-id",
        "X-USER-ID",
        "content-length",
        "transfer-encoding",
        "host",
        "x-forwarded-for",
        "X-Forwarded-Whatever",
        "forwarded",
        "x-real-ip",
        "x-request-id",
        "keep-alive,traceparent",
    ] {
        head()
            .with("connection", name)
            .refused(Malformation::ConnectionNomination);
    }
    for name in [
        "close",
        "keep-alive, TE",
        "x-own-hop",
        "",
        "upgrade, http2-settings",
    ] {
        assert_eq!(head().with("connection", name).code(), "passed", "{name}");
    }
}

#[test]
fn control_characters_are_refused_and_tabs_are_not() {
    let mut request = head();
    // `HeaderValue` refuses most of them itself; what a parser builds unchecked is our business.
    assert!(HeaderValue::from_bytes(b"a\x01b").is_err());
    request
        .headers
        .insert("x-a", HeaderValue::from_static("a\tb"));
    assert_eq!(request.code(), "passed");
}

#[test]
fn names_that_servers_fold_together_are_dropped() {
    let request = head()
        .with("x_user_id", "1")
        .with("proxy", "p")
        .with("x-original-url", "/admin")
        .with("x-a", "1");
    request.examine(|examined| {
        let dropped: Vec<&str> = examined
            .expect("they are no error")
            .dropped
            .iter()
            .map(|name| name.as_str())
            .collect();
        assert_eq!(dropped, ["x_user_id", "proxy", "x-original-url"]);
    });
}

#[test]
fn an_upgrade_is_asked_for_in_both_headers() {
    let wants =
        |head: Head| head.examine(|examined| examined.expect("it is no error").wants_upgrade);
    assert!(wants(
        head()
            .with("connection", "keep-alive, Upgrade")
            .with("upgrade", "websocket")
    ));
    assert!(!wants(head().with("upgrade", "websocket")));
    assert!(!wants(head().with("connection", "upgrade")));
}

#[test]
fn an_unknown_version_is_refused() {
    Head {
        version: Version::HTTP_09,
        ..head()
    }
    .refused(Malformation::Version);
}
