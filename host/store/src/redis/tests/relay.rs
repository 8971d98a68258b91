//! What stands between a node and a server: connections that can be led elsewhere,
//! and on which what the server says can be held back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A relay. Dropping it lets everything through, and takes no more connections.
pub(super) struct Relay {
    port: u16,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    /// Where the next connection leads.
    to: u16,
    /// How many there were.
    count: usize,
    /// Those on which the server is not heard, by their places.
    held: Vec<usize>,
    is_over: bool,
}

impl Relay {
    /// One that leads to a port of this machine.
    pub(super) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ways = Arc::new(Ways::default());
        ways.now.lock().unwrap().to = port;
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            ways: ways.clone(),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                if ways.now.lock().unwrap().is_over {
                    return;
                }
                take(client.unwrap(), &ways);
            }
        });
        relay
    }

    /// Where it is, as a URL.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Leads the next connections to another port.
    pub(super) fn lead_to(&self, port: u16) {
        self.ways.now.lock().unwrap().to = port;
    }

    /// How many connections there were.
    pub(super) fn count(&self) -> usize {
        self.ways.now.lock().unwrap().count
    }

    /// Holds back what the server says on these connections, by their places.
    pub(super) fn hold(&self, connections: impl IntoIterator<Item = usize>) {
        self.ways.now.lock().unwrap().held.extend(connections);
    }

    /// Lets everything through.
    pub(super) fn release(&self) {
        self.ways.now.lock().unwrap().held.clear();
        self.ways.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ways.now.lock().unwrap().is_over = true;
        self.release();
        // The thread looks when somebody comes.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn take(client: TcpStream, ways: &Arc<Ways>) {
    let (place, to) = {
        let mut now = ways.now.lock().unwrap();
        now.count += 1;
        (now.count - 1, now.to)
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
    let Ok(server) = TcpStream::connect(address) else {
        return;
    };
    let there = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || pass(there.0, there.1, || {}));
    let ways = ways.clone();
    let when_free = move || {
        let now = ways.now.lock().unwrap();
        let is_held = |now: &mut Now| now.held.contains(&place);
        drop(ways.changed.wait_while(now, is_held).unwrap());
    };
    thread::spawn(move || pass(server, client, when_free));
}

/// Passes on what comes, each time when that is allowed, until one of them ends.
fn pass(mut from: TcpStream, mut to: TcpStream, allowed: impl Fn()) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        allowed();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Whoever is left hears that it is over.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
