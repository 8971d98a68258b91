//! One measurement of an HTTP server: `wrk` on its own core, and what it found.

use super::orders::{self, Order};
use super::sample::Sample;
use super::server::{LOAD_CORE, Server, on_core};
use crate::process::output;
use crate::steps::{Failure, Outcome};
use std::time::Duration;

/// What is asked of an HTTP server.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// `GET /hello`, answered with 12 bytes.
    Hello,
    /// Something with the orders of the shop.
    Orders(Order),
}

/// Over so many connections, for so long.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) connections: u32,
    pub(super) seconds: u64,
}

impl Load {
    /// Puts the load on a server.
    pub(super) fn put_on(self, server: &Server, shape: Shape) -> Outcome<Sample> {
        let address = &server.address;
        let mut wrk = on_core(LOAD_CORE, "wrk");
        wrk.args(["--latency", "--threads", "1"])
            .args(["--connections", &shape.connections.to_string()])
            .args(["--duration", &format!("{}s", shape.seconds)]);
        match self {
            Self::Hello => wrk.arg(format!("http://{address}/hello")),
            Self::Orders(order) => {
                let script = orders::script(address, order)?;
                wrk.arg("--script").arg(script);
                wrk.arg(format!("http://{address}/"))
            }
        };
        let text = output(&mut wrk, "wrk")?;
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
        p50: duration(&field("50%")?)?,
        p99: duration(&field("99%")?)?,
        refused: field("Non-2xx or 3xx responses:").map_or(Some(0), |it| it.parse().ok())?,
        busy: None,
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
        assert_eq!(sample.p50, Duration::from_micros(316));
        assert_eq!(sample.p99, Duration::from_micros(1_250));
        assert_eq!(sample.refused, 7);
        assert!(parse("nothing").is_none());
    }
}
