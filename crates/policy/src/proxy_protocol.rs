//! What a load balancer says ahead of a connection that it hands on: whose it is (the PROXY protocol, versions 1 and 2).
//!
//! Read byte for byte and never beyond the header's end: what follows belongs to TLS or HTTP. Only the address is taken;
//! the port, the destination and whatever a balancer adds are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Client(IpAddr),
    /// The balancer's own, as for a health check, or one whose client has no IP address.
    Balancer,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Whole(Origin),
    /// So many bytes follow at least, and may be read without touching what comes after the header.
    Needs(usize),
}

/// The connection begins with something else, or with a header that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeader;

/// The signature of version 2, which no text protocol begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";

/// Of version 1, with its line end.
const LONGEST_LINE: usize = 107;
const SHORTEST_LINE: usize = 15;

/// Of version 2: the signature, command, family and length; then an address block and what the balancer adds.
const FIXED: usize = 16;
const LONGEST_REST: usize = 4096;

/// Reads what has come so far.
pub fn read(bytes: &[u8]) -> Result<Reading, NoHeader> {
    if agrees(bytes, SIGNATURE) && !bytes.is_empty() {
        read_binary(bytes)
    } else if agrees(bytes, PREFIX) {
        read_line(bytes)
    } else {
        Err(NoHeader)
    }
}

/// As far as both go.
fn agrees(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes
        .iter()
        .zip(beginning)
        .all(|(byte, wanted)| byte == wanted)
}

fn read_line(bytes: &[u8]) -> Result<Reading, NoHeader> {
    if bytes.len() < SHORTEST_LINE {
        return Ok(Reading::Needs(SHORTEST_LINE - bytes.len()));
    }
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes {
            _ if bytes.len() >= LONGEST_LINE || bytes.contains(&b'\n') => Err(NoHeader),
            [.., b'\r'] => Ok(Reading::Needs(1)),
            // No more than to the nearest possible end.
            _ => Ok(Reading::Needs(2.min(LONGEST_LINE - bytes.len()))),
        };
    };
    let of_nobody = line.strip_prefix(UNKNOWN);
    if of_nobody.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" ")) {
        return Ok(Reading::Whole(Origin::Balancer));
    }
    let line = std::str::from_utf8(line).map_err(|_binary| NoHeader)?;
    source_of(line).map(|ip| Reading::Whole(Origin::Client(ip)))
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 50000 443`, with single spaces and nothing more.
fn source_of(line: &str) -> Result<IpAddr, NoHeader> {
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(NoHeader);
    let (family, source, destination) = (word()?, word()?, word()?);
    for port in [word()?, word()?] {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>()
            .ok()
            .filter(|_| digits)
            .ok_or(NoHeader)?;
    }
    let parse = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        _ => None,
    };
    parse(destination).ok_or(NoHeader)?;
    let source = parse(source).ok_or(NoHeader)?;
    match words.next() {
        None => Ok(source.to_canonical()),
        Some(_) => Err(NoHeader),
    }
}

fn read_binary(bytes: &[u8]) -> Result<Reading, NoHeader> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(Reading::Needs(FIXED - bytes.len()));
    };
    let &[.., command, family, high, low] = fixed else {
        return Err(NoHeader);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST {
        return Err(NoHeader);
    }
    if rest.len() < length {
        return Ok(Reading::Needs(length - rest.len()));
    }
    let origin = match (command, family) {
        // What stands in the header of a balancer's own connection is not looked at.
        (0x20, _) => Origin::Balancer,
        (0x21, 0x11) => Origin::Client(Ipv4Addr::from(block::<4, 12>(rest)?).into()),
        (0x21, 0x21) => {
            let source = Ipv6Addr::from(block::<16, 36>(rest)?);
            Origin::Client(IpAddr::V6(source).to_canonical())
        }
        // Nothing that is an address to us: unspecified, or a Unix socket.
        (0x21, 0x00 | 0x31) => Origin::Balancer,
        _ => return Err(NoHeader),
    };
    Ok(Reading::Whole(origin))
}

/// The source at the beginning of an address block of `WHOLE` bytes.
fn block<const SOURCE: usize, const WHOLE: usize>(rest: &[u8]) -> Result<[u8; SOURCE], NoHeader> {
    let addresses: &[u8; WHOLE] = rest.first_chunk().ok_or(NoHeader)?;
    addresses.first_chunk().copied().ok_or(NoHeader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn v2_of(source: IpAddr) -> Vec<u8> {
        match source {
            IpAddr::V4(source) => v2(
                0x21,
                0x11,
                &[&source.octets()[..], &[127, 0, 0, 1, 1, 2, 3, 4]].concat(),
            ),
            IpAddr::V6(source) => v2(0x21, 0x21, &[&source.octets()[..], &[0; 20]].concat()),
        }
    }

    fn v1_of(source: IpAddr) -> Vec<u8> {
        let text = match source {
            IpAddr::V4(source) => format!("PROXY TCP4 {source} 192.0.2.9 65535 443\r\n"),
            IpAddr::V6(source) => format!("PROXY TCP6 {source} 2001:db8::9 1 443\r\n"),
        };
        text.into_bytes()
    }

    /// As a socket would be read: never more than was asked for.
    fn read_through(stream: &[u8]) -> (Result<Origin, NoHeader>, usize) {
        let mut taken = 0;
        loop {
            match read(&stream[..taken]) {
                Ok(Reading::Whole(origin)) => return (Ok(origin), taken),
                Ok(Reading::Needs(more)) if more > 0 && taken + more <= stream.len() => {
                    taken += more
                }
                Ok(Reading::Needs(_)) | Err(NoHeader) => return (Err(NoHeader), taken),
            }
        }
    }

    #[test]
    fn a_client_is_told_by_its_address() {
        let check = |header: Vec<u8>, expected: Origin| {
            let followed = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                read_through(&followed),
                (Ok(expected), header.len()),
                "{header:?}"
            );
        };
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().expect("an address");
            check(v1_of(address), Origin::Client(address));
            check(v2_of(address), Origin::Client(address));
        }
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        let plain = "192.0.2.1".parse().expect("an address");
        check(v1_of(mapped), Origin::Client(plain));
        check(v2_of(mapped), Origin::Client(plain));
        let added = [&[192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &[7; 500]].concat();
        check(v2(0x21, 0x11, &added), Origin::Client(plain));
    }

    #[test]
    fn a_balancer_speaks_for_itself() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            v2(0x20, 0x00, &[]),
            v2(0x20, 0x11, &[192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(
                read_through(&header),
                (Ok(Origin::Balancer), header.len()),
                "{header:?}"
            );
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(100));
        for wrong in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 a.test b.test 1 2\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"proxy tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\r",
            long.as_bytes(),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 5_000]),
        ] {
            let (read, _) = read_through(wrong);
            assert_eq!(read, Err(NoHeader), "{}", String::from_utf8_lossy(wrong));
        }
    }

    proptest! {
        #[test]
        fn every_address_is_read_as_it_was_written(source in any::<IpAddr>(), after in any::<Vec<u8>>()) {
            for header in [v1_of(source), v2_of(source)] {
                let stream = [&header[..], &after].concat();
                let expected = Origin::Client(source.to_canonical());
                prop_assert_eq!(read_through(&stream), (Ok(expected), header.len()));
            }
        }

        #[test]
        fn no_bytes_are_asked_for_without_end(bytes in prop::collection::vec(any::<u8>(), 0..64), signed in any::<bool>(), worded in any::<bool>()) {
            let beginning: &[u8] = if signed { SIGNATURE } else if worded { PREFIX } else { b"" };
            let stream = [beginning, &bytes, &[0; 5_000]].concat();
            let (_, taken) = read_through(&stream);
            prop_assert!(taken <= FIXED + LONGEST_REST);
        }
    }
}
