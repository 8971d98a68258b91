//! A network that misbehaves: a TCP proxy between a client and a server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// How much is passed on at once.
const PIECE: usize = 16 << 10;

/// The proxy. Dropping it cuts every connection.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

/// Which way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

struct Shared {
    server: Mutex<SocketAddr>,
    /// Whether new connections swallow what goes this way.
    swallows: [AtomicBool; 2],
    swallowed: AtomicUsize,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    swallows: [Arc<AtomicBool>; 2],
    task: AbortHandle,
}

impl Proxy {
    /// In front of a server.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            swallows: Default::default(),
            swallowed: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let ours = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                ours.accept(client);
            }
        });
        Self {
            address,
            shared,
            listener: listener.abort_handle(),
        }
    }

    /// Swallows what goes this way on the connections that there are; each side
    /// takes them for whole.
    pub(crate) fn swallow(&self, way: Way) {
        for connection in self.shared.connections.lock().unwrap().iter() {
            connection.swallows[way as usize].store(true, Ordering::SeqCst);
        }
    }

    /// The same, and on all connections to come.
    pub(crate) fn swallow_for_good(&self, way: Way) {
        self.shared.swallows[way as usize].store(true, Ordering::SeqCst);
        self.swallow(way);
    }

    /// Cuts every connection; new ones pass everything on.
    pub(crate) fn cut(&self) {
        for swallows in &self.shared.swallows {
            swallows.store(false, Ordering::SeqCst);
        }
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.task.abort();
        }
    }

    /// Leads to another server from now on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
        self.cut();
    }

    /// How many bytes have been swallowed.
    pub(crate) fn swallowed(&self) -> usize {
        self.shared.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, client: TcpStream) {
        let swallows = [Way::ToServer, Way::ToClient].map(|way| {
            let swallows = self.swallows[way as usize].load(Ordering::SeqCst);
            Arc::new(AtomicBool::new(swallows))
        });
        let [to_server, to_client] = swallows.clone();
        let shared = Arc::clone(self);
        let task = tokio::spawn(async move {
            let server = *shared.server.lock().unwrap();
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (from_client, client) = client.into_split();
            let (from_server, server) = server.into_split();
            // What is over for one side is over for the other.
            tokio::select! {
                () = shared.pass_on(from_client, server, &to_server) => {}
                () = shared.pass_on(from_server, client, &to_client) => {}
            }
        });
        self.connections.lock().unwrap().push(Connection {
            swallows,
            task: task.abort_handle(),
        });
    }

    async fn pass_on(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        swallows: &AtomicBool,
    ) {
        let mut piece = vec![0; PIECE];
        loop {
            let count = match from.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            if swallows.load(Ordering::SeqCst) {
                self.swallowed.fetch_add(count, Ordering::SeqCst);
            } else if to.write_all(&piece[..count]).await.is_err() {
                return;
            }
        }
    }
}
