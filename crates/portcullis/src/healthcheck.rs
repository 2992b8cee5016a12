//! `portcullis healthcheck`: one `GET /readyz`, for container images that have no curl.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use serde_json::json;

use crate::{cli::Output, configuration, output};

/// For connecting, and for each read and write. Container runtimes give a check some seconds in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// The answer is a line of JSON; whatever is longer is not ours.
const LARGEST_ANSWER: u64 = 16 * 1024;

pub(crate) fn healthcheck(config: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let admin = reachable(configuration::load(config)?.server.admin);
    let answer = ask(admin).with_context(|| format!("no answer from {admin}"))?;
    let ready = is_ready(&answer);
    if output.json {
        output::say_json(&json!({ "ready": ready, "admin": admin }));
    } else {
        output::say(body(&answer));
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where to connect to reach what is bound there: an unspecified address is every address, the loopback one included.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn ask(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(LARGEST_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_ready(answer: &str) -> bool {
    let mut status_line = answer.lines().next().unwrap_or_default().split(' ');
    status_line
        .next()
        .is_some_and(|version| version.starts_with("HTTP/1."))
        && status_line.next() == Some("200")
}

fn body(answer: &str) -> &str {
    answer
        .split_once("\r\n\r\n")
        .map_or("the answer is not HTTP", |(_, body)| body.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_is_ready() {
        assert!(is_ready("HTTP/1.1 200 OK\r\n\r\n{}"));
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "SSH-2.0 200 OK",
            "",
            "200",
        ] {
            assert!(!is_ready(answer), "{answer:?}");
        }
    }

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        let check = |bound: &str, expected: &str| {
            assert_eq!(reachable(bound.parse().unwrap()), expected.parse().unwrap());
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("192.0.2.1:9090", "192.0.2.1:9090");
    }
}
