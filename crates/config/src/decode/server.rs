//! `server:`. Every value has a default; the types are in [`crate::server`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{at_least_a_millisecond, tls};
use crate::{
    names,
    reader::{Section, Value},
    server::{
        AccessLog, ConnectionLimits, Listener, LogTarget, RateLimitHeaders, ResponseHeaders,
        SecurityHeaders, Server, Shutdown, Threads, TraceCollector,
    },
    units::{ByteSize, LONGEST, MOST},
};

const DEFAULT_LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

pub(super) fn server(section: &Section<'_>) -> Server {
    let (listeners, admin) = addresses(section);
    let trusted_proxies = section.or("trusted_proxies", Vec::new(), |value| Some(networks(value)));
    if trusted_proxies.is_empty() && listeners.iter().any(|listener| listener.proxy_protocol) {
        section.mistake(
            "`trusted_proxies` names nobody who may speak `proxy_protocol`: add the networks of the load balancer",
        );
    }
    Server {
        listeners,
        admin,
        trusted_proxies,
        threads: section.or("threads", Threads::Auto, |value| value.parse(threads)),
        limits: section.within("limits", limits),
        shutdown: section.within("shutdown", shutdown),
        headers: section.within("headers", headers),
        access_log: access_log(section),
        traces: section.within("tracing", traces),
    }
}

/// The listeners and the admin address, no two of which may bind the same.
fn addresses(section: &Section<'_>) -> (Vec<Listener>, SocketAddr) {
    let admin = section.or("admin", DEFAULT_ADMIN, |value| value.parse(socket_address));
    let Some(value) = section.find("listeners") else {
        return (
            vec![Listener {
                address: DEFAULT_LISTENER,
                proxy_protocol: false,
                tls: None,
            }],
            admin,
        );
    };
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: name at least one, such as `- address: 0.0.0.0:8080`");
    }
    let mut bound = vec![admin];
    let listeners = elements
        .iter()
        .filter_map(|element| listener(element, &mut bound));
    (listeners.collect(), admin)
}

fn listener(value: &Value<'_>, bound: &mut Vec<SocketAddr>) -> Option<Listener> {
    let (address, proxy_protocol, tls) = value.section(|section| {
        let tls = section.find("tls");
        (
            section.require("address", "write `address: 0.0.0.0:8080`"),
            section.or("proxy_protocol", false, Value::boolean),
            tls.and_then(|tls| tls.section(tls::tls)).flatten(),
        )
    })?;
    let value = address?;
    let address = value.parse(socket_address)?;
    if bound.iter().any(|other| overlap(*other, address)) {
        value.mistake(
            "this address is bound twice: give each listener and `server.admin` its own port",
        );
    }
    bound.push(address);
    Some(Listener {
        address,
        proxy_protocol,
        tls,
    })
}

/// Whether the second bind would fail. Port 0 asks for a free one and never collides.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let same_family = left.is_ipv4() == right.is_ipv4();
    let any = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && (left.ip() == right.ip() || (any && same_family))
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_error: std::net::AddrParseError| {
        "is not an address to bind: write an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
    })
}

fn threads(text: &str) -> Result<Threads, String> {
    const MOST_THREADS: usize = 1024;
    if text == "auto" {
        return Ok(Threads::Auto);
    }
    let threads = text
        .parse::<NonZeroUsize>()
        .ok()
        .filter(|threads| threads.get() <= MOST_THREADS);
    threads
        .map(Threads::Exactly)
        .ok_or_else(|| format!("is not a number of threads: write auto, or 1 to {MOST_THREADS}"))
}

pub(super) fn networks(value: &Value<'_>) -> Vec<IpNet> {
    value.each(|element| element.parse(network))
}

fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_error: ipnet::AddrParseError| {
        "is not a network: write 10.0.0.0/8, 2001:db8::/32 or a single address".to_owned()
    })?;
    if network != network.trunc() {
        return Err(
            "has bits beyond its prefix: write the first address of the network, as in 10.0.0.0/8"
                .to_owned(),
        );
    }
    Ok(network)
}

fn limits(section: &Section<'_>) -> ConnectionLimits {
    // Pingora refuses more header fields than this while it parses, without a hook for us.
    const PINGORA_HEADERS: u64 = 256;
    // Likewise for the bytes of a header.
    const PINGORA_HEADER_BYTES: u64 = 1 << 20;
    ConnectionLimits {
        header_bytes: section.or("header_bytes", ByteSize(16 << 10), |value| {
            value.size(1 << 10..=PINGORA_HEADER_BYTES)
        }),
        headers: section.or("headers", 100, |value| value.number(1..=PINGORA_HEADERS)),
        body: section.or("body", ByteSize(10 << 20), |value| value.size(0..=MOST)),
        header_timeout: section.or("header_timeout", Duration::from_secs(10), |value| {
            value.duration(at_least_a_millisecond())
        }),
        idle_timeout: section.or("idle_timeout", Duration::from_secs(60), |value| {
            value.duration(at_least_a_millisecond())
        }),
        connections: section.or("connections", 10_000, |value| value.number(1..=MOST)),
        connections_per_ip: section.or("connections_per_ip", 1000, |value| value.number(1..=MOST)),
    }
}

fn shutdown(section: &Section<'_>) -> Shutdown {
    let timeout = section.or("timeout", Duration::from_secs(20), |value| {
        value.duration(at_least_a_millisecond())
    });
    let drain_delay = section.or("drain_delay", Duration::ZERO, |value| {
        let delay = value.duration(Duration::ZERO..=LONGEST)?;
        if delay >= timeout {
            value.mistake("must be shorter than `timeout`, which counts from the signal too");
        }
        Some(delay)
    });
    Shutdown {
        drain_delay,
        timeout,
    }
}

fn headers(section: &Section<'_>) -> ResponseHeaders {
    let rate_limit = [
        ("ietf", RateLimitHeaders::Ietf),
        ("x", RateLimitHeaders::X),
        ("both", RateLimitHeaders::Both),
        ("none", RateLimitHeaders::None),
    ];
    ResponseHeaders {
        security: section.or("security", SecurityHeaders::Owasp, security),
        rate_limit: section.or("rate_limit", RateLimitHeaders::Both, |value| {
            value.word(&rate_limit)
        }),
        process_time: section.or("process_time", true, Value::boolean),
    }
}

fn security(value: &Value<'_>) -> Option<SecurityHeaders> {
    if !value.is_mapping() {
        return value.parse(|text| match text {
            "owasp" => Ok(SecurityHeaders::Owasp),
            "none" => Ok(SecurityHeaders::None),
            _ => Err(
                "is not known here: write owasp, none, or `Header-Name: value` lines".to_owned(),
            ),
        });
    }
    let explicit = value.entries().into_iter().filter_map(|(name, value)| {
        let name = header_name(name)
            .map_err(|complaint| value.mistake(format!("{} {complaint}", names::quote(name))))
            .ok();
        let value = value.parse(|text| {
            HeaderValue::from_str(text)
                .map_err(|_error| "is no header value: keep to visible characters".to_owned())
        });
        name.zip(value)
    });
    Some(SecurityHeaders::Explicit(explicit.collect()))
}

/// A header the gateway may set itself: a valid name, and none that frames the message or belongs to one hop.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    const RESERVED: [&str; 12] = [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    ];
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_error| "is no header name: use letters, digits and `-`".to_owned())?;
    if RESERVED.contains(&name.as_str()) {
        return Err(
            "has a meaning of its own in HTTP or for the gateway: choose another name".to_owned(),
        );
    }
    Ok(name)
}

fn access_log(section: &Section<'_>) -> AccessLog {
    let written = section
        .find("access_log")
        .filter(|value| !value.is_mapping());
    if let Some(value) = written {
        value.parse(|text| match text {
            "none" => Ok(()),
            _ => Err(
                "is not known here: write none, or a section such as { format: json, to: stdout }"
                    .to_owned(),
            ),
        });
        return AccessLog::None;
    }
    section.within("access_log", |log| {
        log.or("format", (), |value| value.word(&[("json", ())]));
        AccessLog::Json {
            to: log.or("to", LogTarget::Stdout, |value| value.parse(log_target)),
            sample: log.or("sample", 1.0, sample),
        }
    })
}

fn log_target(text: &str) -> Result<LogTarget, String> {
    match text {
        "stdout" => Ok(LogTarget::Stdout),
        "stderr" => Ok(LogTarget::Stderr),
        _ => match text.strip_prefix("file:") {
            Some("") => Err("names no file: write file:/var/log/portcullis.log".to_owned()),
            Some(path) => Ok(LogTarget::File(PathBuf::from(path))),
            None => Err("is not known here: write stdout, stderr or file:PATH".to_owned()),
        },
    }
}

/// An empty text asks for none, so that one environment variable turns traces on and off.
fn traces(section: &Section<'_>) -> Option<TraceCollector> {
    let collector = section.find("otlp")?.parse(|text| match text {
        "" => Ok(None),
        _ => collector(text).map(Some),
    });
    collector.flatten()
}

fn collector(text: &str) -> Result<TraceCollector, String> {
    const REMEDY: &str = "is no collector: write the address of its OTLP/HTTP receiver, such as http://localhost:4318";
    let uri: http::Uri = text.parse().map_err(|_invalid| REMEDY.to_owned())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let names_a_host_alone = uri.host().is_some_and(|host| !host.is_empty())
        && uri.query().is_none()
        && !text.contains(['@', '#']);
    if !is_http || !names_a_host_alone {
        return Err(REMEDY.to_owned());
    }
    Ok(TraceCollector {
        url: text.trim_end_matches('/').to_owned(),
    })
}

fn sample(value: &Value<'_>) -> Option<f64> {
    let share = value.fraction()?;
    if share > 0.0 && share <= 1.0 {
        return Some(share);
    }
    value.mistake("must be above 0 and at most 1; for no log at all write `access_log: none`");
    None
}
