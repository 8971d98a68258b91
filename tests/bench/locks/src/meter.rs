//! What is counted while a load runs.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The longest latency that is told from longer ones, in nanoseconds.
const LATENCY_MAX: u64 = 60_000_000_000;

/// Counts what ends between two moments; before the first, it warms up.
pub struct Meter {
    from: Instant,
    until: Instant,
    /// Processes that serve.
    servers: Vec<u32>,
    calls: Cell<u64>,
    pairs: Cell<u64>,
    latencies: RefCell<Histogram<u64>>,
}

/// What was measured: one line of JSON.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Questions that were answered, each second.
    pub calls_per_second: f64,
    /// Locks that were acquired and released, each second.
    pub pairs_per_second: f64,
    /// The median latency of a call, or of what the target says.
    pub p50_us: f64,
    /// The 99th percentile of the same.
    pub p99_us: f64,
    /// How many latencies there were.
    pub samples: u64,
    /// The share of one core that the load itself used.
    pub load_busy: f64,
    /// The same of the servers, if their processes are known.
    pub server_busy: Option<f64>,
}

impl Meter {
    /// A meter that counts for `span`, after `warm_up`, and watches `servers`.
    pub fn start(warm_up: Duration, span: Duration, servers: Vec<u32>) -> Result<Self> {
        let from = Instant::now() + warm_up;
        Ok(Self {
            from,
            until: from + span,
            servers,
            calls: Cell::new(0),
            pairs: Cell::new(0),
            latencies: RefCell::new(Histogram::new_with_max(LATENCY_MAX, 3)?),
        })
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// A call was answered that had been sent at `sent`.
    pub fn call(&self, sent: Instant) {
        if self.passed(sent) {
            self.calls.set(self.calls.get() + 1);
        }
    }

    /// Something took from `since` to now, and is no call.
    pub fn passed(&self, since: Instant) -> bool {
        let now = Instant::now();
        let counts = (self.from..self.until).contains(&now);
        if counts {
            let nanoseconds = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
            self.latencies.borrow_mut().saturating_record(nanoseconds);
        }
        counts
    }

    /// A lock that had been acquired was released.
    pub fn pair(&self) {
        if (self.from..self.until).contains(&Instant::now()) {
            self.pairs.set(self.pairs.get() + 1);
        }
    }

    /// Waits until the time is over, and says what was counted.
    pub async fn finish(&self) -> Result<Figures> {
        sleep_until(self.from).await;
        let (load, served) = (busy("self")?, self.served()?);
        sleep_until(self.until).await;
        let span = (self.until - self.from).as_secs_f64();
        let load_busy = (busy("self")? - load) / span;
        let server_busy = (self.served()? - served) / span;
        let server_busy = (!self.servers.is_empty()).then_some(server_busy);
        let latencies = self.latencies.borrow();
        let quantile = |at| latencies.value_at_quantile(at) as f64 / 1_000.0;
        Ok(Figures {
            calls_per_second: self.calls.get() as f64 / span,
            pairs_per_second: self.pairs.get() as f64 / span,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            samples: latencies.len(),
            load_busy,
            server_busy,
        })
    }

    /// For how many seconds the servers have run.
    fn served(&self) -> Result<f64> {
        self.servers.iter().map(|id| busy(&id.to_string())).sum()
    }
}

impl Figures {
    /// Prints them: what every measuring command ends with.
    pub fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// For how many seconds a process has run on a core: fields 14 and 15 of its
/// `stat`, in hundredths.
fn busy(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("looking at process {process}"))?;
    // The second field is a name in brackets that may have spaces in it.
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}
