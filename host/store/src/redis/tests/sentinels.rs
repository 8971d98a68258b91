//! Sentinels that put a replica in the place of a server that was killed.

use super::*;
use crate::contract::block_on_within;
use crate::redis::Lost;
use crate::redis::server::until;

/// How many sentinels there are.
const SENTINELS: usize = 3;

/// The name of the service that they watch over.
const SERVICE: &str = "shop";

/// A server, one that follows it, and those that watch over both.
struct Watched {
    server: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

/// How long a failover may take. Sentinels that were not run for two seconds, as on
/// a machine that is busy, do nothing for thirty.
const FAILOVER_MAX: Duration = Duration::from_secs(120);

impl Watched {
    fn start() -> Self {
        let server = Server::listening(&[]);
        let port = server.port().to_string();
        // They take none that is not there yet, and look again after a while only.
        let replica = Server::following(&server);
        let sentinels: Vec<Server> = (0..SENTINELS).map(|_| sentinel(&port)).collect();
        let watched = Self {
            server,
            replica,
            sentinels,
        };
        for sentinel in &watched.sentinels {
            until("a sentinel knows all", || knows_all(sentinel));
        }
        watched
    }

    fn url(&self, service: &str) -> String {
        let all = self
            .sentinels
            .iter()
            .map(|it| format!("127.0.0.1:{}", it.port()));
        let all: Vec<String> = all.collect();
        format!("redis+sentinel://{}/{service}", all.join(","))
    }

    async fn node(&self) -> Redis {
        let options = Options {
            reclaim: Duration::from_millis(1_500),
            ..Options::default()
        };
        Redis::open_with(&self.url(SERVICE), options).await.unwrap()
    }
}

fn sentinel(of: &str) -> Server {
    Server::start_with(|port, directory| {
        let file = directory.join("sentinel.conf");
        let text = format!(
            "port {port}\n\
             sentinel monitor {SERVICE} 127.0.0.1 {of} 2\n\
             sentinel down-after-milliseconds {SERVICE} 1000\n\
             sentinel failover-timeout {SERVICE} 1000\n"
        );
        std::fs::write(&file, text).unwrap();
        strings(&[file.to_str().unwrap(), "--sentinel"])
    })
}

/// Whether it has found the others, and the replica.
fn knows_all(sentinel: &Server) -> bool {
    let mut about = cmd("SENTINEL");
    about.arg("MASTER").arg(SERVICE);
    let known: std::collections::HashMap<String, String> =
        about.query(&mut sentinel.connection()).unwrap();
    let others = (SENTINELS - 1).to_string();
    known["num-other-sentinels"] == others && known["num-slaves"] == "1"
}

#[test]
fn nodes_go_on_with_the_replica_that_took_the_place_of_a_killed_server() {
    let mut watched = Watched::start();
    block_on_within(FAILOVER_MAX, async {
        let (one, other) = (watched.node().await, watched.node().await);
        let holder = of(TransactionId::mint(), &["a"]);
        let held = one.acquire(holder.clone()).await.unwrap();
        let freed = acquire_again(&other, &of_caller(&["b"])).await;
        watched.server.kill();
        let next = acquire_again(&other, &of_caller(&["c"])).await;
        assert!(next.tokens[0].1 > freed.tokens[0].1);
        let mut role: Vec<::redis::Value> =
            ::redis::from_redis_value(tell(&watched.replica, &cmd("ROLE"))).unwrap();
        assert_eq!(
            role.swap_remove(0),
            ::redis::Value::BulkString("master".into())
        );
        // What was held is held there, by the same.
        let lock = other.lock(name("a")).await.unwrap();
        let tokens: Vec<u64> = lock.holders.iter().map(|it| it.token).collect();
        assert_eq!(tokens, [held.tokens[0].1]);
        let request = patient("a");
        let queued = queue(&other, &request).await;
        one.end(transaction_of(&holder));
        let granted = queued.await.unwrap();
        assert!(granted.tokens[0].1 > next.tokens[0].1);
    });
}

#[test]
fn sentinels_that_do_not_know_or_do_not_answer_are_said_to() {
    let mut watched = Watched::start();
    block_on(async {
        let refused = Redis::open(&watched.url("bar")).await.err();
        assert!(
            matches!(&refused, Some(OpenError::Lost(Lost::Service(it))) if it == "bar"),
            "{refused:?}"
        );
        // Most are enough, and one is.
        for _ in 1..SENTINELS {
            watched.node().await;
            watched.sentinels.last_mut().unwrap().kill();
            watched.sentinels.rotate_right(1);
        }
        watched.node().await;
        watched.sentinels.iter_mut().for_each(Server::kill);
        let refused = Redis::open(&watched.url(SERVICE)).await.err();
        assert!(
            matches!(refused, Some(OpenError::Lost(Lost::Sentinels(Some(_))))),
            "{refused:?}"
        );
    });
}
