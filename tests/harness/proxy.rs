//! A network that misbehaves: a TCP proxy between a client and a node that a
//! test can make swallow what one side says, or cut.

use super::BOUND;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// How much is passed on at once.
const PIECE: usize = 16 << 10;

/// The least bytes of a request.
const REQUEST: usize = 64;

/// The proxy. Dropping it cuts every connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What the client says to the node.
    ToNode,
    /// What the node says to the client.
    ToClient,
}

struct Shared {
    node: Mutex<SocketAddr>,
    /// Whether what goes this way is swallowed; both sides take the connection
    /// for whole.
    swallows: [AtomicBool; 2],
    /// How many bytes have been swallowed, either way.
    swallowed: AtomicUsize,
    /// How many bytes have been passed on to the node.
    passed: AtomicUsize,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    closed: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// In front of a node's address.
    #[track_caller]
    pub(crate) fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            node: Mutex::new(node),
            swallows: Default::default(),
            swallowed: AtomicUsize::new(0),
            passed: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if !ours.accept(client.expect("connections can be taken")) {
                    return;
                }
            }
        });
        Self { address, shared }
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Swallows what goes this way from now on, on every connection that there
    /// is and will be. Heal it only after a [`Proxy::cut`]: a connection that
    /// has lost something in its middle is of no use.
    pub(crate) fn swallow(&self, way: Way) {
        self.shared.swallows[way as usize].store(true, Ordering::SeqCst);
    }

    /// Cuts every connection; new ones pass everything on again.
    pub(crate) fn cut_and_heal(&self) {
        let mut connections = self.shared.lock();
        for stream in connections.streams.drain(..) {
            // One that has ended already cannot be cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for swallows in &self.shared.swallows {
            swallows.store(false, Ordering::SeqCst);
        }
    }

    /// Leads new connections to another node.
    pub(crate) fn lead_to(&self, node: SocketAddr) {
        let shared = &self.shared;
        *shared.node.lock().expect("no holder of this mutex panics") = node;
    }

    /// Runs `ask`, and waits until a request has been passed on to the node:
    /// so many bytes as no acknowledgement has.
    #[track_caller]
    pub(crate) fn wait_until_passed(&self, ask: impl FnOnce()) {
        let passed = || self.shared.passed.load(Ordering::SeqCst);
        let before = passed();
        ask();
        super::eventually("a request is passed on", || {
            (passed() >= before + REQUEST).then_some(())
        });
    }

    /// Waits until something has been swallowed.
    #[track_caller]
    pub(crate) fn wait_until_swallowed(&self) {
        super::eventually("something is swallowed", || {
            (self.shared.swallowed.load(Ordering::SeqCst) > 0).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_and_heal();
        self.shared.lock().closed = true;
        // Wakes the thread that accepts, so that it can end.
        let _ = TcpStream::connect_timeout(&self.address, BOUND);
    }
}

impl Shared {
    /// Passes on what a client and the node say; false if it is over.
    fn accept(self: &Arc<Self>, client: TcpStream) -> bool {
        let mut connections = self.lock();
        if connections.closed {
            return false;
        }
        let Ok(node) = TcpStream::connect_timeout(&self.node(), BOUND) else {
            // Nobody listens there: the client is told so by the end of its
            // connection.
            return true;
        };
        for stream in [&client, &node] {
            stream.set_nodelay(true).expect("it is a TCP connection");
            connections.streams.push(copy(stream));
        }
        drop(connections);
        self.pass_on(copy(&client), copy(&node), Way::ToNode);
        self.pass_on(node, client, Way::ToClient);
        true
    }

    fn pass_on(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream, way: Way) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut piece = vec![0; PIECE];
            loop {
                let count = match from.read(&mut piece) {
                    Ok(0) => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                    Ok(count) => count,
                };
                if shared.swallows[way as usize].load(Ordering::SeqCst) {
                    shared.swallowed.fetch_add(count, Ordering::SeqCst);
                    continue;
                }
                if to.write_all(&piece[..count]).is_err() {
                    break;
                }
                if way == Way::ToNode {
                    shared.passed.fetch_add(count, Ordering::SeqCst);
                }
            }
            // What is over for one side is over for the other; but in a network
            // that swallows, nobody hears of it.
            if !shared.swallows[way as usize].load(Ordering::SeqCst) {
                let _ = to.shutdown(Shutdown::Write);
            }
        });
    }

    fn node(&self) -> SocketAddr {
        *self.node.lock().expect("no holder of this mutex panics")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .expect("no holder of this mutex panics")
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("there is room for a descriptor")
}

#[cfg(test)]
mod tests {
    //! The tests of broken networks rely on these.

    use super::*;

    /// A node that sends back what it is sent, and the proxy before it.
    fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let proxy = Proxy::to(listener.local_addr().expect("it is bound"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("connections can be taken");
                let mut other = copy(&stream);
                thread::spawn(move || std::io::copy(&mut other, &mut stream));
            }
        });
        proxy
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
        stream
            .set_read_timeout(Some(BOUND))
            .expect("it is not zero");
        stream
    }

    #[test]
    fn a_proxy_passes_on_swallows_and_cuts() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        let mut heard = [0; 2];
        stream.write_all(b"ab").expect("the proxy reads");
        stream.read_exact(&mut heard).expect("it comes back");
        assert_eq!(&heard, b"ab");

        proxy.swallow(Way::ToClient);
        stream.write_all(b"cd").expect("the proxy reads");
        proxy.wait_until_swallowed();
        proxy.cut_and_heal();
        assert_eq!(
            stream.read(&mut heard).unwrap_or(0),
            0,
            "nothing comes back"
        );

        let mut stream = connect(&proxy);
        stream.write_all(b"ef").expect("the proxy reads");
        stream.read_exact(&mut heard).expect("it comes back");
        assert_eq!(&heard, b"ef");
    }
}
