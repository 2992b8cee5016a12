//! A TCP relay in front of a server, which can be cut and joined again: for whoever must survive that its connection breaks while
//! the server goes on for everybody else.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Closed when dropped.
pub struct Relay {
    address: SocketAddr,
    line: Arc<Mutex<Line>>,
}

/// Both ends of everything that is connected.
struct Line {
    state: State,
    open: Vec<TcpStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Joined,
    /// Whoever connects is hung up on.
    Cut,
    Closed,
}

impl Relay {
    pub fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let line = Arc::new(Mutex::new(Line {
            state: State::Joined,
            open: Vec::new(),
        }));
        let its_line = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state_of(&its_line) == State::Closed {
                    return;
                }
                // Who cannot be connected learns it by the end of its connection.
                let _unreachable: io::Result<()> = join(client, server, &its_line);
            }
        });
        Ok(Self { address, line })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections, and those that are tried from now on.
    pub fn cut(&self) {
        self.set(State::Cut);
    }

    pub fn restore(&self) {
        self.set(State::Joined);
    }

    fn set(&self, state: State) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.state = state;
        if state != State::Joined {
            for stream in line.open.drain(..) {
                // It may have ended by itself.
                let _ended: io::Result<()> = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.set(State::Closed);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

fn state_of(line: &Mutex<Line>) -> State {
    line.lock().unwrap_or_else(PoisonError::into_inner).state
}

fn join(client: TcpStream, server: SocketAddr, line: &Mutex<Line>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    if line.state != State::Joined {
        return Ok(());
    }
    line.open.extend([client.try_clone()?, server.try_clone()?]);
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || copy(from, to));
    }
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _broken: io::Result<u64> = io::copy(&mut from, &mut to);
    let _ended: io::Result<()> = to.shutdown(Shutdown::Both);
}
