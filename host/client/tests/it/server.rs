//! A lock API that listens, and can be stopped and started again.

use axum::body::Body;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lockport_client::{Client, Options};
use lockport_locks::{Access, Limits, LockApi, Token};
use lockport_store::embedded::Durability;
use lockport_store::{Embedded, LockPattern, Memory, Store};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The secret of the principal `alice`.
pub(crate) const ALICE: &str = "alice-secret-0123456789";

/// A lock API that listens. Dropping it cuts its connections.
pub(crate) struct Server {
    api: LockApi,
    pub(crate) address: SocketAddr,
    store: Arc<dyn Store>,
    traffic: Arc<Traffic>,
    task: JoinHandle<()>,
}

/// What comes in, and what is held back of it.
#[derive(Default)]
struct Traffic {
    connections: AtomicUsize,
    /// Requests of this method are held back, while there is one.
    holds: watch::Sender<Option<&'static str>>,
    held: AtomicUsize,
}

impl Server {
    /// In memory, open to everybody.
    pub(crate) async fn start() -> Self {
        Self::over(Arc::new(Memory::new()), Access::open()).await
    }

    /// In a directory, open to everybody.
    pub(crate) async fn in_directory(directory: &Path) -> Self {
        let store = Embedded::open(directory, Durability::Relaxed).unwrap();
        Self::over(Arc::new(store), Access::open()).await
    }

    /// In memory, open to whoever has the secret of [`ALICE`].
    pub(crate) async fn with_token() -> Self {
        let token = Token {
            principal: "alice".to_owned(),
            secret: ALICE.to_owned(),
            operator: false,
            locks: vec![LockPattern::parse("shared/**").unwrap()],
        };
        let access = Access::tokens(vec![token]).unwrap();
        Self::over(Arc::new(Memory::new()), access).await
    }

    async fn over(store: Arc<dyn Store>, access: Access) -> Self {
        let options = lockport_locks::Options {
            access,
            compat: None,
            limits: Limits::default(),
        };
        let api = LockApi::new(Arc::clone(&store), options);
        let traffic = Arc::default();
        let (address, task) = listen(([127, 0, 0, 1], 0).into(), &api, &traffic);
        Self {
            api,
            address,
            store,
            traffic,
            task,
        }
    }

    /// Cuts every connection and listens anew, on the same store.
    pub(crate) async fn restart(&mut self) {
        self.task.abort();
        // Its connections are gone when it is.
        drop((&mut self.task).await);
        self.task = listen(self.address, &self.api, &self.traffic).1;
    }

    /// Holds back the requests of a method, by its name in the contract, until
    /// it is told otherwise.
    pub(crate) fn hold(&self, method: Option<&'static str>) {
        self.traffic.holds.send_replace(method);
    }

    /// How many requests were held back.
    pub(crate) fn held(&self) -> usize {
        self.traffic.held.load(Ordering::SeqCst)
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> u64 {
        self.store.statistics().sessions
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.traffic.connections.load(Ordering::SeqCst)
    }

    /// Its address as a client wants it.
    pub(crate) fn options(&self) -> Options {
        Options::server(self.address.to_string())
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.options()).await.unwrap()
    }

    /// How many requests of this method there were, whatever became of them.
    pub(crate) fn count(&self, method: &str) -> u64 {
        let counts = self.api.statistics().requests;
        let of_method = counts.iter().filter(|it| it.method == method);
        of_method.map(|it| it.count).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Traffic {
    /// Waits while requests to this path are held back.
    async fn pass(&self, path: &str) {
        let mut holds = self.holds.subscribe();
        let is_held = |it: &Option<&str>| it.is_some_and(|it| path.ends_with(it));
        if is_held(&holds.borrow_and_update()) {
            self.held.fetch_add(1, Ordering::SeqCst);
            drop(holds.wait_for(|it| !is_held(it)).await);
        }
    }
}

fn listen(
    address: SocketAddr,
    api: &LockApi,
    traffic: &Arc<Traffic>,
) -> (SocketAddr, JoinHandle<()>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        tokio::spawn(serve(listener, api.router(), Arc::clone(traffic))),
    )
}

async fn serve(listener: TcpListener, router: axum::Router, traffic: Arc<Traffic>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        traffic.connections.fetch_add(1, Ordering::SeqCst);
        let traffic = Arc::clone(&traffic);
        let router = router.clone();
        connections.spawn(async move {
            let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
                let mut router = router.clone();
                let traffic = Arc::clone(&traffic);
                async move {
                    traffic.pass(request.uri().path()).await;
                    tower::Service::call(&mut router, request.map(Body::new)).await
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

/// Waits, but not forever.
pub(crate) async fn soon<T>(what: impl IntoFuture<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, what.into_future()).await;
    waited.expect("it takes too long")
}

/// Asks until the answer is yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asking = async {
        while !ask().await {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, asking).await.is_err() {
        panic!("it never happened: {what}");
    }
}

/// Waits until a request waits for a lock.
pub(crate) async fn until_awaited(client: &Client, name: &str) {
    until_waiting(client, name, 1).await;
}

/// Waits until so many requests wait for a lock.
pub(crate) async fn until_waiting(client: &Client, name: &str, count: u32) {
    eventually("somebody waits", || async {
        client.get(name).await.unwrap().waiter_count == count
    })
    .await;
}

/// Waits until a lock is free.
pub(crate) async fn until_free(client: &Client, name: &str) {
    eventually("it is free", || async {
        let lock = client.get(name).await.unwrap();
        lock.holder_count == 0 && lock.waiter_count == 0
    })
    .await;
}
