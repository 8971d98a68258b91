//! One measurement: `wrk` on its own core, and what it found.

use crate::process::output;
use crate::steps::{Failure, Outcome};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The core the load runs on; the server has [`SERVER_CORE`].
pub(super) const LOAD_CORE: &str = "0";
/// See [`LOAD_CORE`].
pub(super) const SERVER_CORE: &str = "1";

pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) duration: Duration,
}

/// What one run of the load found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Requests per second.
    pub(super) rate: f64,
    /// The 99th percentile of the latency.
    pub(super) p99: Duration,
    /// Answers that were neither 2xx nor 3xx.
    pub(super) refused: u64,
}

impl Load {
    /// Puts the load on `url`, with a script of wrk's where one is needed.
    pub(super) fn put_on(&self, url: &str, script: Option<&PathBuf>) -> Outcome<Sample> {
        let mut wrk = Command::new("taskset");
        wrk.args([
            "--cpu-list",
            LOAD_CORE,
            "wrk",
            "--latency",
            "--threads",
            "1",
        ])
        .args(["--connections", &self.connections.to_string()])
        .args(["--duration", &format!("{}s", self.duration.as_secs())]);
        if let Some(script) = script {
            wrk.arg("--script").arg(script);
        }
        let text = output(wrk.arg(url), "wrk")?;
        parse(&text).ok_or_else(|| Failure::new(format!("wrk printed no figures:\n{text}")))
    }
}

fn parse(text: &str) -> Option<Sample> {
    let field = |label: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(label))?;
        line.split_whitespace().last().map(str::to_owned)
    };
    Some(Sample {
        rate: field("Requests/sec:")?.parse().ok()?,
        p99: duration(&field("99%")?)?,
        refused: field("Non-2xx or 3xx responses:").map_or(Some(0), |it| it.parse().ok())?,
    })
}

/// A duration as wrk prints it: `731.00us`, `1.25ms`, `2.00s`.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| c.is_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let seconds = number.parse::<f64>().ok()?
        * match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            _ => return None,
        };
    Some(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "  Latency Distribution\n     50%  316.00us\n     99%    1.25ms\n  \
                    500 requests in 5.00s\n  Non-2xx or 3xx responses: 7\nRequests/sec:  75000.25\n";
        let sample = parse(text).expect("a sample");
        assert!((sample.rate - 75_000.25).abs() < 0.001);
        assert_eq!(sample.p99, Duration::from_micros(1_250));
        assert_eq!(sample.refused, 7);
        assert!(parse("nothing").is_none());
    }
}
