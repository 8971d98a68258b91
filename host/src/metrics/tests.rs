//! Tests of what a scrape looks like.

use super::*;
use lockport_locks::{Access, Limits, Options};
use lockport_store::Memory;
use std::collections::BTreeMap;

fn scrape(metrics: &Metrics) -> String {
    let store = Arc::new(Memory::new());
    let options = Options {
        access: Access::open(),
        compat: None,
        limits: Limits::default(),
    };
    metrics.scrape(&Sources {
        store: store.clone(),
        engine: Engine::new(lockport_engine::Options::default()).unwrap(),
        locks: Some(LockApi::new(store, options)),
    })
}

/// A scrape after something of every kind was counted.
fn full() -> String {
    let metrics = Metrics::new();
    metrics
        .route("shop", "/orders/{id}")
        .ended(RequestOutcome::Success, Duration::from_millis(2));
    metrics.transactions().ended(TransactionOutcome::Committed);
    metrics.refused("NO_ROUTE");
    drop(metrics.listener("http").accepted());
    scrape(&metrics)
}

/// Lines of the kind `# HELP name text` or `# TYPE name kind`.
fn about<'a>(scrape: &'a str, what: &str) -> BTreeMap<&'a str, &'a str> {
    let prefix = format!("# {what} ");
    let lines = scrape.lines().filter_map(|it| it.strip_prefix(&prefix));
    lines.filter_map(|it| it.split_once(' ')).collect()
}

#[test]
fn every_metric_says_what_it_is_and_is_named_by_the_rules() {
    let scrape = full();
    let (kinds, helps) = (about(&scrape, "TYPE"), about(&scrape, "HELP"));
    assert!(kinds.len() > 25, "{scrape}");
    for (name, kind) in &kinds {
        let help = helps
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no help"));
        assert!(
            help.ends_with('.') || name.starts_with("process_"),
            "{name}: {help}"
        );
        let older = ["locked_total", "unlocked_total"].contains(name);
        let process = name.starts_with("process_");
        assert!(
            name.starts_with("lockport_") || older || process,
            "{name} is nobody's"
        );
        assert_eq!(
            *kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
        if *kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name} has no unit");
        }
    }
}

#[test]
fn every_line_of_a_scrape_is_a_comment_or_a_sample() {
    let scrape = full();
    let kinds = about(&scrape, "TYPE");
    for line in scrape.lines().filter(|it| !it.starts_with("# ")) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|it| kinds.contains_key(it)))
            .unwrap_or(name);
        assert!(kinds.contains_key(family), "{line} is of no family");
        if let Some((_, labels)) = series.split_once('{') {
            assert!(labels.ends_with("\"}"), "{line}");
        }
    }
}

#[test]
fn no_series_comes_twice() {
    let scrape = full();
    let mut series: Vec<_> = scrape
        .lines()
        .filter(|it| !it.starts_with('#'))
        .filter_map(|it| it.rsplit_once(' '))
        .map(|it| it.0)
        .collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count);
}

#[test]
fn what_is_counted_is_scraped_under_its_labels() {
    let scrape = full();
    for line in [
        "lockport_requests_total{component=\"shop\",outcome=\"success\",route=\"/orders/{id}\"} 1",
        "lockport_requests_total{component=\"shop\",outcome=\"failed\",route=\"/orders/{id}\"} 0",
        "lockport_request_duration_seconds_count{component=\"shop\",route=\"/orders/{id}\"} 1",
        "lockport_request_duration_seconds_bucket{component=\"shop\",route=\"/orders/{id}\",le=\"0.0025\"} 1",
        "lockport_request_duration_seconds_bucket{component=\"shop\",route=\"/orders/{id}\",le=\"0.001\"} 0",
        "lockport_refusals_total{reason=\"NO_ROUTE\"} 1",
        "lockport_transactions_total{outcome=\"committed\"} 1",
        "lockport_connections{listener=\"http\"} 0",
        "lockport_connections_accepted_total{listener=\"http\"} 1",
        "lockport_instances_limit 1000",
        "lockport_locks_held 0",
        "locked_total 0",
    ] {
        assert!(
            scrape.lines().any(|it| it == line),
            "no {line} in:\n{scrape}"
        );
    }
}

#[test]
fn a_histogram_of_the_store_is_cumulative_to_its_end() {
    let mut values = lockport_store::statistics::Histogram::default();
    for millis in [1, 2, 3_600_000 * 48] {
        values.record(Duration::from_millis(millis));
    }
    let mut families = Families::default();
    families.histogram(LOCK_WAIT, &values);
    let text = TextEncoder::new()
        .encode_to_string(&families.beside(Vec::new()))
        .unwrap();
    for line in [
        "lockport_lock_wait_seconds_bucket{le=\"0.0005\"} 0",
        "lockport_lock_wait_seconds_bucket{le=\"0.001\"} 1",
        "lockport_lock_wait_seconds_bucket{le=\"0.005\"} 2",
        "lockport_lock_wait_seconds_bucket{le=\"86400\"} 2",
        "lockport_lock_wait_seconds_bucket{le=\"+Inf\"} 3",
        "lockport_lock_wait_seconds_count 3",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in:\n{text}");
    }
}
