//! The service behind a measured gateway: a hundred bytes, as fast as it can.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n\
0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
/// The length of each answer, in bytes, without its head.
pub const BODY: usize = 100;

/// Serves in the background until the process ends.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(connection));
        }
    });
    Ok(address)
}

fn answer_all(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; 8192];
    let mut held = 0;
    loop {
        let read = connection.read(buffer.get_mut(held..).unwrap_or_default())?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        if buffer
            .get(..held)
            .is_some_and(|request| request.ends_with(b"\r\n\r\n"))
        {
            connection.write_all(ANSWER)?;
            held = 0;
        }
    }
}
