//! The header with which a proxy says who its client is: the PROXY protocol, versions 1 and 2.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use crate::wire::socket::Socket;

/// Bytes of the longest header that is taken. One of version 1 has 107 at most; in version 2 a proxy may add what it knows
/// of the client, which is passed over.
const MAX_HEADER: usize = 4096;

/// What a header of version 2 begins with, and then a proxy's that speaks for itself.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;

const PARSE: ParseConfig = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };

/// Takes the header off the socket, and nothing behind it. `None` where the proxy speaks for itself, as it does to see
/// whether the host is there.
///
/// # Errors
/// When what comes is no header.
pub async fn read_header(socket: &Socket) -> io::Result<Option<SocketAddr>> {
    let mut buffer = vec![0; MAX_HEADER];
    let (client, length) = socket.look(&mut buffer, parse).await??;
    let mut taken = 0;
    while taken < length {
        taken += poll_fn(|cx| socket.poll_read(cx, &mut buffer[taken..length])).await?;
    }
    Ok(client)
}

/// The client and the header's length, once there is enough of it.
fn parse(seen: &[u8]) -> Option<io::Result<(Option<SocketAddr>, usize)>> {
    let invalid = |why| Some(Err(io::Error::new(ErrorKind::InvalidData, why)));
    // Whatever it says of addresses then is of no interest, whether it is there or not.
    if let Some([LOCAL, _, high, low, ..]) = seen.strip_prefix(SIGNATURE) {
        let length = SIGNATURE.len() + 4 + usize::from(u16::from_be_bytes([*high, *low]));
        return match length {
            ..=MAX_HEADER => (seen.len() >= length).then_some(Ok((None, length))),
            _ => invalid("a PROXY header that is too long"),
        };
    }
    match ProxyHeader::parse(seen, PARSE) {
        Ok((header, length)) => match header.proxied_address() {
            Some(address) if address.protocol != Protocol::Stream => {
                invalid("a PROXY header for something else than TCP")
            }
            address => Some(Ok((address.map(|address| address.source), length))),
        },
        // Nothing ends it any more. It may have been typed by hand.
        Err(Error::BufferTooShort) if seen.starts_with(b"PROXY") && seen.contains(&b'\n') => {
            invalid("a PROXY header that does not end with CR LF")
        }
        Err(Error::BufferTooShort) if seen.len() < MAX_HEADER => None,
        Err(Error::BufferTooShort) => invalid("a PROXY header that is too long"),
        Err(_) => invalid("no PROXY header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: &[u8]) -> Option<SocketAddr> {
        let (client, length) = parse(header).expect("a whole header").expect("a good header");
        assert_eq!(length, header.len());
        client
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 80];

    #[test]
    fn both_versions_name_the_client() {
        assert_eq!(client(b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\n"), "192.0.2.1:4660".parse().ok());
        assert_eq!(client(b"PROXY TCP6 2001:db8::1 ::1 4660 80\r\n"), "[2001:db8::1]:4660".parse().ok());
        assert_eq!(client(&v2(0x21, 0x11, &ADDRESSES)), "192.0.2.1:4660".parse().ok());
        let more = [&ADDRESSES[..], &[2, 0, 3, b'a', b'.', b'b']].concat();
        assert_eq!(client(&v2(0x21, 0x11, &more)), "192.0.2.1:4660".parse().ok());
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        assert_eq!(client(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(client(&v2(0x20, 0x00, &[])), None);
        for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
            assert_eq!(client(&v2(0x20, family, &ADDRESSES)), None);
            assert_eq!(client(&v2(0x20, family, &[])), None);
            assert!(parse(&v2(0x20, family, &ADDRESSES)[..27]).is_none());
        }
    }

    #[test]
    fn every_beginning_of_a_header_waits_for_the_rest() {
        for header in [b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\n".to_vec(), v2(0x21, 0x11, &ADDRESSES)] {
            for length in 0..header.len() {
                assert!(parse(&header[..length]).is_none(), "{:?}", header[..length].escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"echo hello\n"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 66666 80\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\n",
            &v2(0x20, 0x11, &[0; MAX_HEADER]),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\n\n\n\r\n",
            &v2(0x31, 0x11, &ADDRESSES),
            &v2(0x21, 0x12, &ADDRESSES),
            &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
            &v2(0x21, 0x11, &[0; MAX_HEADER])[..MAX_HEADER],
        ] {
            let refused = parse(bytes).expect("no more is needed").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidData, "{}", bytes.escape_ascii());
        }
    }
}
