//! A network that misbehaves: a TCP proxy whose two ways can be delayed, held
//! back or made to lose everything, and that can be led elsewhere.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How much is passed on at once.
const PIECE: usize = 16 << 10;

/// How long to try to reach whoever is behind it.
const CONNECT: Duration = Duration::from_secs(5);

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From whoever connects to whoever is behind the proxy.
    There = 0,
    /// From whoever is behind it to whoever connected.
    Back = 1,
}

/// What becomes of what is said one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It arrives.
    #[default]
    Open,
    /// It arrives, each piece so much later.
    Slow(Duration),
    /// It arrives when the passage is open again.
    Held,
    /// It never arrives, and the connection is worth nothing any more.
    Lost,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
struct Weather {
    ways: [Passage; 2],
    behind: SocketAddr,
    /// Counts the cuts: a connection that was made before the last one is over.
    cuts: u64,
}

/// The proxy. Dropping it ends it and every connection through it.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// In front of an address.
    pub(crate) async fn to(behind: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, receiver) = watch::channel(Weather {
            ways: [Passage::Open; 2],
            behind,
            cuts: 0,
        });
        let accepting = tokio::spawn(async move {
            // Fails only if there are no descriptors left: the round says so.
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, receiver.clone()));
            }
        });
        Ok(Self {
            address,
            weather,
            accepting,
        })
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes from now on of what is said this way.
    pub(crate) fn set(&self, way: Way, passage: Passage) {
        self.weather
            .send_modify(|it| it.ways[way as usize] = passage);
    }

    /// Opens both ways. Connections that have lost something are cut.
    pub(crate) fn heal(&self) {
        self.weather.send_modify(|it| {
            it.cuts += u64::from(it.ways.contains(&Passage::Lost));
            it.ways = [Passage::Open; 2];
        });
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|it| it.cuts += 1);
    }

    /// Leads new connections elsewhere, and cuts those there are.
    pub(crate) fn lead_to(&self, behind: SocketAddr) {
        self.weather.send_modify(|it| {
            it.behind = behind;
            it.cuts += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Carries one connection.
async fn connect(client: TcpStream, weather: watch::Receiver<Weather>) {
    let Weather { behind, cuts, .. } = *weather.borrow();
    let Ok(Ok(server)) = timeout(CONNECT, TcpStream::connect(behind)).await else {
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = carry(from_client, to_server, Way::There, cuts, weather.clone());
    let back = carry(from_server, to_client, Way::Back, cuts, weather.clone());
    let mut over = weather;
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        // A proxy that is gone has cut everything as well.
        _ = over.wait_for(|it| it.cuts != cuts) => {}
    }
}

/// Carries what is said one way, until its speaker has ended.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    cuts: u64,
    mut weather: watch::Receiver<Weather>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await.unwrap_or(0);
        let passage = weather.borrow_and_update().ways[way as usize];
        match passage {
            Passage::Open => {}
            Passage::Slow(by) => sleep(by).await,
            Passage::Held => {
                let is_open = |it: &Weather| it.ways[way as usize] != Passage::Held;
                let opened = weather.wait_for(is_open).await;
                if opened.is_err() {
                    return;
                }
            }
            Passage::Lost => {
                // The end is lost too: the other side hears nothing at all until
                // the connection is cut.
                if count == 0 {
                    let _ = weather.wait_for(|it| it.cuts != cuts).await;
                    return;
                }
                continue;
            }
        }
        if count == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest that a test waits.
    const BOUND: Duration = Duration::from_secs(30);

    /// Sends back what it is sent.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        Proxy::to(behind).await.unwrap()
    }

    async fn said(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        stream.write_all(text).await.unwrap();
        heard(stream, text.len()).await
    }

    async fn heard(stream: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = timeout(BOUND, stream.read_exact(&mut bytes)).await;
        match read.expect("something is heard") {
            Ok(_) => bytes,
            Err(_) => Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_is_held_arrives_when_it_is_healed() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"ab").await, b"ab");
        proxy.set(Way::Back, Passage::Held);
        stream.write_all(b"cd").await.unwrap();
        proxy.set(Way::There, Passage::Slow(Duration::from_millis(1)));
        proxy.heal();
        assert_eq!(heard(&mut stream, 2).await, b"cd");
    }

    #[tokio::test]
    async fn what_is_lost_never_arrives_and_the_connection_is_cut() {
        let proxy = echo().await;
        for way in [Way::There, Way::Back] {
            let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(said(&mut stream, b"ab").await, b"ab");
            proxy.set(way, Passage::Lost);
            stream.write_all(b"cd").await.unwrap();
            let quiet = timeout(Duration::from_millis(50), heard(&mut stream, 2)).await;
            assert!(quiet.is_err(), "{quiet:?}");
            proxy.heal();
            assert_eq!(heard(&mut stream, 2).await, b"");
        }
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"ef").await, b"ef");
    }

    #[tokio::test]
    async fn a_cut_ends_what_there_was() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"ab").await, b"ab");
        proxy.cut();
        assert_eq!(heard(&mut stream, 1).await, b"");
    }

    #[tokio::test]
    async fn new_connections_go_where_the_proxy_leads() {
        let other = echo().await;
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = nobody.local_addr().unwrap();
        drop(nobody);
        let proxy = Proxy::to(nowhere).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(heard(&mut stream, 1).await, b"");
        proxy.lead_to(other.address());
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said(&mut stream, b"cd").await, b"cd");
    }
}
