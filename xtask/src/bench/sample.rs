//! What one measurement found, and what many of them say.

use serde::Serialize;
use std::time::Duration;

/// What one run of a load found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    /// What the contender counts, each second.
    pub(super) rate: f64,
    /// The median of the latency.
    pub(super) p50: Duration,
    /// Its 99th percentile.
    pub(super) p99: Duration,
    /// Answers that said no.
    pub(super) refused: u64,
    /// How busy who was, if the load looked.
    pub(super) busy: Option<Busy>,
}

/// Shares of one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Busy {
    /// The server's; none if there is none.
    pub(super) server: Option<f64>,
    /// The load's: near 1, it is the load that was measured.
    pub(super) load: f64,
}

/// The median of some figures and how far apart they are.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of nothing, nothing is known.
    pub(super) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (&min, &max) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 10.0].into_iter()).expect("figures");
        assert!((spread.median - 3.5).abs() < 1e-9);
        assert!((spread.min - 1.0).abs() < 1e-9);
        assert!((spread.max - 10.0).abs() < 1e-9);
        assert!(Spread::of(std::iter::empty()).is_none());
    }
}
