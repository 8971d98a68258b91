//! The contenders of the lock API: over gRPC, beside a bare tonic server, the
//! stores without a network, and etcd.

use super::contender::{self, Contender};
use super::generator::{self, Beside, Load};
use super::scratch;
use super::server::Program;
use super::suite::{Aim, Figure, Ratio, Suite};
use super::tools;
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
    scratch::is_on_disk()?;
    generator::build()?;
    let mut field = Field {
        lockport: host(Profile::Release)?,
        seconds,
        contenders: Vec::new(),
        ratios: Vec::new(),
    };
    field.calls();
    field.durable();
    field.handover();
    field.crowds();
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
    Etcd,
}

impl Field {
    /// What the protocol costs: everything in memory.
    fn calls(&mut self) {
        use Kind::{Memory, Tonic};
        let echo = self.add("tonic echo, unary: calls", Tonic, "echo-unary", FEW);
        let stream = self.add("tonic echo, stream: messages", Tonic, "echo-stream", FEW);
        let unary = self.add("memory, unary: pairs", Memory, "lock-unary", FEW);
        let session = self.add("memory, session: pairs", Memory, "lock-stream", FEW);
        let alone = self.in_process("memory, no network: pairs", false, FEW);
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
            let alone = self.in_process(&name("embedded, no network"), true, in_flight);
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

    /// One lock that all want: from a release to the next grant.
    fn handover(&mut self) {
        use Kind::{Memory, Tonic};
        let calls = [
            ("unary", "echo-unary", "handover-unary"),
            ("session", "echo-stream", "handover-stream"),
        ];
        for (how, echo, handover) in calls {
            let trip = format!("tonic echo, {how}, one at a time: calls");
            let trip = self.add(&trip, Tonic, echo, 1);
            let pass = format!("memory, {how}, one lock, {FEW} waiters: grants");
            let pass = self.add(&pass, Memory, handover, FEW);
            let aim = Some(Aim::AtMost(2.0));
            self.compare(Figure::Latency, &pass, &trip, 1.0, aim);
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

    /// A store without a server.
    fn in_process(&mut self, name: &str, durable: bool, in_flight: usize) -> String {
        let load = Load::InProcess {
            durable,
            in_flight,
            seconds: self.seconds,
        };
        self.push(name, None, load)
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
            Kind::Etcd => etcd(),
        }
    }
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
