//! Metrics that are not counted but read when somebody asks: numbers that
//! other parts keep anyway, in the shape of the exposition format.

use lockport_store::statistics::{BOUNDS, Histogram};
use prometheus::proto::{self, Metric, MetricFamily, MetricType};

/// What a metric is called, and what it means.
pub(super) type Named = (&'static str, &'static str);

/// Metrics under construction.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// A number that only rises.
    pub(super) fn counter(&mut self, named: Named, value: u64) {
        self.counters(named, [([], value)]);
    }

    /// A number that only rises, one per combination of labels.
    pub(super) fn counters<'a, const N: usize>(
        &mut self,
        named: Named,
        values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
    ) {
        let values = values.into_iter().map(|(labels, value)| {
            let mut counter = proto::Counter::default();
            counter.set_value(value as f64);
            let mut metric = labelled(&labels);
            metric.set_counter(counter);
            metric
        });
        self.add(named, MetricType::COUNTER, values.collect());
    }

    /// How things stand.
    pub(super) fn gauge(&mut self, named: Named, value: u64) {
        self.gauges(named, [([], value)]);
    }

    /// How things stand, one per combination of labels.
    pub(super) fn gauges<'a, const N: usize>(
        &mut self,
        named: Named,
        values: impl IntoIterator<Item = ([(&'a str, &'a str); N], u64)>,
    ) {
        let values = values.into_iter().map(|(labels, value)| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value as f64);
            let mut metric = labelled(&labels);
            metric.set_gauge(gauge);
            metric
        });
        self.add(named, MetricType::GAUGE, values.collect());
    }

    /// How many values fell into which range.
    pub(super) fn histogram(&mut self, named: Named, values: &Histogram) {
        let mut cumulative = 0;
        let buckets = BOUNDS.iter().zip(values.counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(values.sum.as_secs_f64());
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.add(named, MetricType::HISTOGRAM, vec![metric]);
    }

    /// What was built, beside `others`, in the order of the names.
    pub(super) fn beside(mut self, others: Vec<MetricFamily>) -> Vec<MetricFamily> {
        self.0.extend(others);
        self.0.sort_by(|a, b| a.name().cmp(b.name()));
        self.0
    }

    fn add(&mut self, (name, help): Named, kind: MetricType, values: Vec<Metric>) {
        // The format has no way to say that there is nothing of a kind.
        if values.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(values);
        self.0.push(family);
    }
}

fn labelled<const N: usize>(labels: &[(&str, &str); N]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
