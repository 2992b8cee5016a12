//! Whose request it is, where proxies stand in front.
//!
//! Every proxy appends the address it saw, so the list is believed from the right, and only as far as trusted proxies
//! wrote it: the first address that is none of theirs is the client. The left end is whatever the client claims.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses looked at. A chain that is longer is somebody's attempt to keep us busy.
const MOST_HOPS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    pub ip: IpAddr,
    /// The peer is a trusted proxy, so that its request id and the like may be kept.
    pub via_trusted_proxy: bool,
}

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// `X-Forwarded-For` if there is one, else `Forwarded` (RFC 7239). IPv4 in IPv6 clothes becomes IPv4.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return ClientAddress {
                ip: peer,
                via_trusted_proxy: false,
            };
        }
        let ip = if headers.contains_key(X_FORWARDED_FOR) {
            self.walk(
                peer,
                words_from_the_right(headers, &X_FORWARDED_FOR).map(parse_address),
            )
        } else {
            self.walk(
                peer,
                words_from_the_right(headers, &header::FORWARDED).map(parse_element),
            )
        };
        ClientAddress {
            ip,
            via_trusted_proxy: true,
        }
    }

    /// Stops at the first address that is not trusted, or at the first word that is no address: what stands left of
    /// it was vouched for by nobody.
    fn walk(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut last = peer;
        for hop in hops.take(MOST_HOPS) {
            let Some(address) = hop else { break };
            last = address;
            if !self.trusts(address) {
                break;
            }
        }
        last
    }

    /// Whether this peer may say whose connection or request it hands on.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// All lines of a header are one list (RFC 9110 section 5.3). A line that is no text becomes a word that is no address.
fn words_from_the_right<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',').map(str::trim))
}

/// One element of `Forwarded`: pairs separated by semicolons, of which `for` is asked for.
fn parse_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    parse_address(
        node.strip_prefix('"')
            .and_then(|node| node.strip_suffix('"'))
            .unwrap_or(node),
    )
}

/// With or without port, with or without brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: Option<IpAddr> = text.parse().ok().or_else(bracketed);
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let trusted =
            TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = trusted.client_address(peer.parse().unwrap(), &headers);
        (found.ip.to_string(), found.via_trusted_proxy)
    }

    fn check_forwarded_for(lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        assert_eq!(
            client("10.0.0.1", &lines),
            (expected.to_owned(), true),
            "{lines:?}"
        );
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(
            client("192.0.2.1", &[("x-forwarded-for", "127.0.0.1")]),
            ("192.0.2.1".to_owned(), false)
        );
        assert_eq!(
            client("::ffff:192.0.2.1", &[]),
            ("192.0.2.1".to_owned(), false)
        );
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        check_forwarded_for(&["192.0.2.1"], "192.0.2.1");
        check_forwarded_for(&["1.1.1.1, 192.0.2.1"], "192.0.2.1");
        check_forwarded_for(&["1.1.1.1, 192.0.2.1, 10.0.0.7"], "192.0.2.1");
        check_forwarded_for(&["1.1.1.1", "192.0.2.1", "10.0.0.7, fd00::1"], "192.0.2.1");
    }

    #[test]
    fn nothing_left_of_an_unreadable_word_is_believed() {
        check_forwarded_for(&["192.0.2.1, unknown, 10.0.0.7"], "10.0.0.7");
        check_forwarded_for(&["192.0.2.1, nonsense"], "10.0.0.1");
        check_forwarded_for(&["192.0.2.1, "], "10.0.0.1");
        check_forwarded_for(&["192.0.2.1", "\u{e9}, 10.0.0.7"], "10.0.0.1");
    }

    #[test]
    fn a_chain_of_trusted_proxies_ends_at_its_far_end() {
        check_forwarded_for(&["10.0.0.9, 10.0.0.8"], "10.0.0.9");
        assert_eq!(client("10.0.0.1", &[]), ("10.0.0.1".to_owned(), true));
    }

    #[test]
    fn addresses_come_in_many_clothes() {
        for spelling in [
            "192.0.2.1:1234",
            "[::ffff:192.0.2.1]:80",
            "::ffff:192.0.2.1",
            "[::ffff:192.0.2.1]",
        ] {
            check_forwarded_for(&[spelling], "192.0.2.1");
        }
        check_forwarded_for(&["[2001:db8::1]:443"], "2001:db8::1");
        check_forwarded_for(&["2001:db8::1"], "2001:db8::1");
    }

    #[test]
    fn forwarded_is_read_where_the_older_header_is_absent() {
        let check = |line, expected: &str| {
            assert_eq!(
                client("10.0.0.1", &[("forwarded", line)]),
                (expected.to_owned(), true),
                "{line}"
            );
        };
        check("for=192.0.2.1", "192.0.2.1");
        check(
            "proto=https; For=\"[2001:db8::1]:4711\";by=10.0.0.1",
            "2001:db8::1",
        );
        check("for=1.1.1.1, for=192.0.2.1, for=10.0.0.2", "192.0.2.1");
        check("for=192.0.2.1, for=_hidden", "10.0.0.1");
        check("for=192.0.2.1, proto=https", "10.0.0.1");
        let both = [
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2"),
        ];
        assert_eq!(client("10.0.0.1", &both).0, "192.0.2.2");
    }

    #[test]
    fn a_chain_without_end_is_not_followed() {
        let chain = "192.0.2.1".to_owned() + &", 10.0.0.2".repeat(100);
        check_forwarded_for(&[&chain], "10.0.0.2");
    }
}
