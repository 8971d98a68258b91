//! Names of hosts, and the addresses behind them.

use super::grant::Host;
use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Finds out the addresses of names.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, the one to try first first. None at all, or an
    /// error, if nobody knows the name.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// How many names are looked up at once. The machine's resolver takes a thread
/// for as long as it likes, and the threads are the whole node's.
const LOOKUPS_MAX: usize = 32;

/// The machine's own resolver.
#[derive(Clone, Debug)]
pub struct System {
    lookups: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl Resolve for System {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let lookups = self.lookups.clone();
        let name = name.to_owned();
        Box::pin(async move {
            let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                // Kept until the thread is free again, whoever waits for it.
                let _permit = permit;
                let found = (name.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|it| it.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

/// The addresses of a host.
pub(super) async fn addresses(resolver: &dyn Resolve, host: &Host) -> io::Result<Vec<IpAddr>> {
    match host {
        Host::Address(address) => Ok(vec![*address]),
        Host::Name(name) => resolver.resolve(name).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machine_knows_itself_and_not_everybody() {
        let resolver = System::default();
        let found = resolver.resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        let unknown = resolver.resolve("nobody.invalid").await;
        assert!(unknown.is_err() || unknown.is_ok_and(|it| it.is_empty()));
    }
}
