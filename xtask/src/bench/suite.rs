//! Contenders that are measured together, and what is compared among them.

use super::contender::Contender;
use super::sample::{Sample, Spread};
use crate::steps::{Outcome, say};
use serde::Serialize;

/// Contenders that are measured in one run.
pub(super) struct Suite {
    /// As on the command line.
    pub(super) name: &'static str,
    /// What the rates count.
    pub(super) counted: &'static str,
    /// The contender of which the others are shown as shares, if there is one.
    pub(super) reference: Option<&'static str>,
    pub(super) contenders: Vec<Contender>,
    pub(super) ratios: Vec<Ratio>,
}

/// A figure of one contender divided by the same of another.
#[derive(Clone)]
pub(super) struct Ratio {
    pub(super) figure: Figure,
    pub(super) of: String,
    pub(super) to: String,
    /// How many of the one's make one of the other's.
    pub(super) factor: f64,
    pub(super) aim: Option<Aim>,
}

/// What is compared.
#[derive(Clone, Copy)]
pub(super) enum Figure {
    /// How much there is each second.
    Rate,
    /// The median latency.
    Latency,
}

/// What a ratio ought to be.
#[derive(Clone, Copy)]
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// What was measured of a contender: a sample for each round.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) rounds: Vec<Sample>,
}

impl Suite {
    /// Leaves only contenders whose names contain `part`, the reference, and
    /// what those are compared with.
    pub(super) fn keep(&mut self, part: &str) {
        let ratios = &self.ratios;
        let reference = self.reference;
        self.contenders.retain(|it| {
            let compared = |ratio: &Ratio| ratio.of.contains(part) && ratio.to == it.name;
            it.name.contains(part)
                || reference == Some(it.name.as_str())
                || ratios.iter().any(compared)
        });
    }

    /// Measures each contender once in each round, in an order that is turned
    /// by one place each round.
    pub(super) fn measure(&self, rounds: u32) -> Outcome<Vec<Measured>> {
        let mut measured: Vec<Measured> = self
            .contenders
            .iter()
            .map(|it| Measured {
                name: it.name.clone(),
                rounds: Vec::new(),
            })
            .collect();
        for round in 0..rounds {
            say(&format!("{}: round {} of {rounds}", self.name, round + 1));
            for turn in 0..self.contenders.len() {
                let at = (turn + round as usize) % self.contenders.len();
                let contender = &self.contenders[at];
                let sample = contender.measure()?;
                say(&format!(
                    "  {:<58} {:>9.0} {}",
                    contender.name, sample.rate, self.counted
                ));
                measured[at].rounds.push(sample);
            }
        }
        Ok(measured)
    }
}

impl Ratio {
    pub(super) fn new(figure: Figure, of: &str, to: &str, aim: Option<Aim>) -> Self {
        Self {
            figure,
            of: of.to_owned(),
            to: to.to_owned(),
            factor: 1.0,
            aim,
        }
    }

    /// What is divided by what.
    pub(super) fn name(&self) -> String {
        let Self { of, to, factor, .. } = self;
        let times = if *factor == 1.0 {
            String::new()
        } else {
            format!("{factor} x ")
        };
        match self.figure {
            Figure::Rate => format!("{times}{of} / {to}"),
            Figure::Latency => format!("{times}{of} / {to}, median latency"),
        }
    }

    /// The ratio in each round; `None` if one of the two was not measured.
    pub(super) fn spread(&self, measured: &[Measured]) -> Option<Spread> {
        let rounds = |name: &str| {
            let found = measured.iter().find(|it| it.name == name);
            found.map(|it| it.rounds.as_slice())
        };
        let figure = |sample: &Sample| match self.figure {
            Figure::Rate => sample.rate,
            Figure::Latency => sample.p50.as_secs_f64(),
        };
        let pairs = rounds(&self.of)?.iter().zip(rounds(&self.to)?);
        Spread::of(pairs.map(|(of, to)| self.factor * figure(of) / figure(to)))
    }
}

impl Aim {
    pub(super) fn is_reached(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn measured(name: &str, rates: &[f64]) -> Measured {
        let sample = |rate: &f64| Sample {
            rate: *rate,
            p50: Duration::from_millis(1),
            p99: Duration::from_millis(2),
            refused: 0,
            busy: None,
        };
        Measured {
            name: name.to_owned(),
            rounds: rates.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_ratio_is_that_of_each_round() {
        let measured = [
            measured("a", &[10.0, 30.0, 20.0]),
            measured("b", &[10.0, 10.0, 40.0]),
        ];
        let ratio = Ratio::new(Figure::Rate, "a", "b", Some(Aim::AtLeast(1.0)));
        let spread = ratio.spread(&measured).expect("both were measured");
        assert!((spread.median - 1.0).abs() < 1e-9);
        assert!((spread.min - 0.5).abs() < 1e-9);
        assert!((spread.max - 3.0).abs() < 1e-9);
        assert!(Aim::AtLeast(1.0).is_reached(spread.median));
        assert!(!Aim::AtMost(0.9).is_reached(spread.median));
        let missing = Ratio::new(Figure::Rate, "a", "c", None);
        assert!(missing.spread(&measured).is_none());
    }
}
