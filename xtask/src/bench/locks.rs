//! The contenders of the lock API: over gRPC, beside a bare tonic server, the
//! stores without a network, etcd, and what programs do with Redis by hand.
//!
//! A node on Redis has to share the servers' core with `redis-server`.

use super::contender::{self, Contender};
use super::generator::{self, Beside, Direct, Load};
use super::scratch;
use super::server::Program;
use super::suite::{Aim, Figure, Ratio, Suite};
use super::tools;
use crate::external;
use crate::serve::{Profile, host};
use crate::steps::Outcome;
use std::path::PathBuf;

/// How many requests are in flight, where it is not said.
const FEW: usize = 64;
/// The same where much is in flight.
const MANY: usize = 512;
/// How many are many locks, or many waiters.
const CROWD: usize = 100_000;

/// Builds and installs what the contenders need.
pub(super) fn suite(seconds: u64) -> Outcome<Suite> {
    tools::etcd()?;
    external::redis_server()?;
    scratch::is_on_disk()?;
    generator::build()?;
    let field = Field::all(host(Profile::Release)?, seconds);
    Ok(Suite {
        name: "locks",
        counted: "per second",
        reference: None,
        contenders: field.contenders,
        ratios: field.ratios,
    })
}

/// The contenders and ratios so far.
struct Field {
    lockport: PathBuf,
    seconds: u64,
    contenders: Vec<Contender>,
    ratios: Vec<Ratio>,
}

/// Which server.
#[derive(Clone, Copy)]
enum Kind {
    Tonic,
    Memory,
    Embedded,
    Redis,
    Etcd,
}

impl Field {
    fn all(lockport: PathBuf, seconds: u64) -> Self {
        let mut field = Self {
            lockport,
            seconds,
            contenders: Vec::new(),
            ratios: Vec::new(),
        };
        field.calls();
        field.durable();
        field.shared();
        field.handover();
        field.crowds();
        field
    }

    /// What the protocol costs: everything in memory.
    fn calls(&mut self) {
        use Kind::{Memory, Tonic};
        let echo = self.add("tonic echo, unary: calls", Tonic, "echo-unary", FEW);
        let stream = self.add("tonic echo, stream: messages", Tonic, "echo-stream", FEW);
        let unary = self.add("memory, unary: pairs", Memory, "lock-unary", FEW);
        let session = self.add("memory, session: pairs", Memory, "lock-stream", FEW);
        let alone = self.direct("memory, no network: pairs", Direct::Memory, FEW);
        // A pair is two calls.
        self.compare(Figure::Rate, &unary, &echo, 2.0, Some(Aim::AtLeast(0.7)));
        self.compare(Figure::Rate, &session, &unary, 1.0, Some(Aim::AtLeast(3.0)));
        self.compare(Figure::Rate, &session, &stream, 2.0, None);
        self.compare(Figure::Rate, &session, &alone, 1.0, None);
    }

    /// What a disk costs.
    fn durable(&mut self) {
        use Kind::{Embedded, Etcd};
        for in_flight in [FEW, MANY] {
            let name = |what: &str| format!("{what}, {in_flight} in flight: pairs");
            let etcd = self.add(&name("etcd"), Etcd, "etcd", in_flight);
            let alone = self.direct(&name("embedded, no network"), Direct::Embedded, in_flight);
            let unary = name("embedded, unary");
            let unary = self.add(&unary, Embedded, "lock-unary", in_flight);
            let session = name("embedded, session");
            let session = self.add(&session, Embedded, "lock-stream", in_flight);
            let much = (in_flight == MANY).then_some(Aim::AtLeast(0.6));
            let rate = Figure::Rate;
            self.compare(rate, &unary, &alone, 1.0, None);
            self.compare(rate, &session, &alone, 1.0, much);
            self.compare(rate, &unary, &etcd, 1.0, Some(Aim::AtLeast(7.0)));
            self.compare(rate, &session, &etcd, 1.0, Some(Aim::AtLeast(15.0)));
        }
    }

    /// What a server behind the node costs, and what by itself.
    fn shared(&mut self) {
        let commands = "redis, SET NX PX by hand: pairs";
        let commands = self.direct(commands, Direct::Commands, FEW);
        let functions = "redis, the smallest functions by hand: pairs";
        let functions = self.direct(functions, Direct::Functions, FEW);
        let alone = self.direct("redis, no gRPC: pairs", Direct::Redis, FEW);
        let unary = self.add("redis, unary: pairs", Kind::Redis, "lock-unary", FEW);
        let session = self.add("redis, session: pairs", Kind::Redis, "lock-stream", FEW);
        let memory = "memory, unary: pairs";
        let etcd = &format!("etcd, {FEW} in flight: pairs");
        let at_least = |it| Some(Aim::AtLeast(it));
        self.compare(Figure::Rate, &alone, &functions, 1.0, at_least(0.5));
        self.compare(Figure::Rate, &alone, &commands, 1.0, None);
        self.compare(Figure::Rate, &unary, memory, 1.0, at_least(0.8));
        self.compare(Figure::Rate, &unary, etcd, 1.0, at_least(7.0));
        self.compare(Figure::Rate, &session, etcd, 1.0, at_least(15.0));
        self.compare(Figure::Rate, &session, &alone, 1.0, None);
    }

    /// One lock that all want: from a release to the next grant.
    fn handover(&mut self) {
        use Kind::{Memory, Redis, Tonic};
        let calls = [
            ("unary", "echo-unary", "handover-unary"),
            ("session", "echo-stream", "handover-stream"),
        ];
        for (how, echo, handover) in calls {
            let trip = format!("tonic echo, {how}, one at a time: calls");
            let trip = self.add(&trip, Tonic, echo, 1);
            for (kind, store) in [(Memory, "memory"), (Redis, "redis")] {
                let pass = format!("{store}, {how}, one lock, {FEW} waiters: grants");
                let pass = self.add(&pass, kind, handover, FEW);
                let aim = Some(Aim::AtMost(2.0));
                self.compare(Figure::Latency, &pass, &trip, 1.0, aim);
            }
        }
    }

    /// Whether many locks, or many waiters, make one operation dearer.
    fn crowds(&mut self) {
        let aim = Some(Aim::AtLeast(0.8));
        let alone = "memory, unary: pairs";
        for (kind, what) in [("held", "locks held"), ("waiters", "waiters elsewhere")] {
            let name = format!("memory, unary, {CROWD} {what}: pairs");
            let crowd = self.beside(&name, "lock-unary", kind, CROWD);
            self.compare(Figure::Rate, &crowd, alone, 1.0, aim);
        }
        let refused = "memory, unary, of a lock that is held: refusals";
        let refused = self.beside(refused, "lock-refused", "waiters", 0);
        let crowd = format!("memory, unary, of a lock with {CROWD} waiters: refusals");
        let crowd = self.beside(&crowd, "lock-refused", "waiters", CROWD);
        self.compare(Figure::Rate, &crowd, &refused, 1.0, aim);
    }

    /// A contender with `in_flight` requests; answers its name.
    fn add(&mut self, name: &str, kind: Kind, target: &'static str, in_flight: usize) -> String {
        let load = Load::Server {
            target,
            in_flight,
            beside: None,
            seconds: self.seconds,
        };
        self.push(name, Some(self.program(kind)), load)
    }

    /// A store in memory with many locks or waiters in it.
    fn beside(
        &mut self,
        name: &str,
        target: &'static str,
        kind: &'static str,
        count: usize,
    ) -> String {
        let load = Load::Server {
            target,
            in_flight: FEW,
            beside: Some(Beside { kind, count }),
            seconds: self.seconds,
        };
        self.push(name, Some(self.program(Kind::Memory)), load)
    }

    /// Locks without gRPC.
    fn direct(&mut self, name: &str, what: Direct, in_flight: usize) -> String {
        let server = match what {
            Direct::Memory | Direct::Embedded => None,
            Direct::Redis | Direct::Functions | Direct::Commands => Some(redis()),
        };
        let load = Load::Direct {
            what,
            in_flight,
            seconds: self.seconds,
        };
        self.push(name, server, load)
    }

    fn push(&mut self, name: &str, server: Option<Program>, load: Load) -> String {
        self.contenders.push(Contender {
            name: name.to_owned(),
            server,
            load: contender::Load::Locks(load),
        });
        name.to_owned()
    }

    fn compare(&mut self, figure: Figure, of: &str, to: &str, factor: f64, aim: Option<Aim>) {
        self.ratios.push(Ratio {
            factor,
            ..Ratio::new(figure, of, to, aim)
        });
    }

    fn program(&self, kind: Kind) -> Program {
        let lockport = |store| {
            let arguments = [
                "serve",
                "--http",
                "{peer}",
                "--lock",
                "{address}",
                "--admin",
                "off",
                "--store",
                store,
            ];
            Program::new(&self.lockport, arguments)
        };
        match kind {
            Kind::Tonic => Program::new(&generator::program(), ["echo", "{address}"]),
            Kind::Memory => lockport("memory:"),
            Kind::Embedded => lockport("embedded:{directory}/data"),
            Kind::Redis => lockport("redis://{behind}").behind(redis()),
            Kind::Etcd => etcd(),
        }
    }
}

/// A server that keeps everything in memory, so that no disk is measured.
fn redis() -> Program {
    let arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        "{port}",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    Program::new("redis-server".as_ref(), arguments)
}

/// One node, which is the whole of its cluster.
fn etcd() -> Program {
    let arguments = [
        "--data-dir",
        "{directory}/data",
        "--listen-client-urls",
        "http://{address}",
        "--advertise-client-urls",
        "http://{address}",
        "--listen-peer-urls",
        "http://{peer}",
        "--initial-advertise-peer-urls",
        "http://{peer}",
        "--initial-cluster",
        "default=http://{peer}",
    ];
    Program::new("etcd".as_ref(), arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_compared_is_measured_once() {
        let field = Field::all(PathBuf::from("lockport"), 1);
        let names: BTreeSet<&str> = field.contenders.iter().map(|it| &*it.name).collect();
        assert_eq!(names.len(), field.contenders.len());
        for ratio in &field.ratios {
            assert!(names.contains(&*ratio.of), "{}", ratio.name());
            assert!(names.contains(&*ratio.to), "{}", ratio.name());
        }
    }
}
