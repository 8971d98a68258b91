//! The table at the end: medians, spread, and the ratio to the reference.
#![expect(clippy::print_stdout, reason = "the table is what was asked for")]

use super::contender::Contender;
use super::load::Sample;

pub(super) fn print(contenders: &[Contender], samples: &[Vec<Sample>]) {
    let reference = contenders
        .iter()
        .position(Contender::is_reference)
        .map(|at| median(rates(&samples[at])));
    println!(
        "| what | requests/s (median) | min to max | of plain axum | p99 (median) | refused |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (contender, samples) in contenders.iter().zip(samples) {
        let rates = rates(samples);
        let median_rate = median(rates.clone());
        let share = reference.map_or_else(String::new, |it| {
            format!("{:.1} %", 100.0 * median_rate / it)
        });
        println!(
            "| {} | {median_rate:.0} | {:.0} to {:.0} | {share} | {:.2} ms | {} |",
            contender.name,
            rates.iter().copied().fold(f64::INFINITY, f64::min),
            rates.iter().copied().fold(0.0, f64::max),
            1_000.0 * median(samples.iter().map(|it| it.p99.as_secs_f64()).collect()),
            samples.iter().map(|it| it.refused).sum::<u64>(),
        );
    }
}

fn rates(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|it| it.rate).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
