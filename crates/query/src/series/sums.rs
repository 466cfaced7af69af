//! What is known of the spans of each group and interval.

use std::collections::BTreeMap;

use tracewell_model::TimeRange;
use tracewell_model::span::Span;

use super::axis::Axis;
use super::sketch::Sketch;
use super::{Exemplar, NAME, Series, SeriesSet};
use crate::pipeline;
use crate::plan::series::{Function, SpansPlan};
use crate::row::{Row, TraceFacts};
use crate::scalar::Scalar;

/// Adds up the spans of one pipeline.
#[derive(Debug)]
pub(crate) struct Counter<'p> {
    plan: &'p SpansPlan,
    axis: Axis,
    /// True if spans count as often as their sampler says that they stand for others.
    is_weighted: bool,
    exemplars_max: usize,
    groups: BTreeMap<Vec<Option<Scalar>>, Group>,
    /// About what the groups hold.
    n_bytes: u64,
}

#[derive(Debug, Default)]
struct Group {
    cells: BTreeMap<usize, Cell>,
    /// The first span of each interval.
    exemplars: BTreeMap<usize, Exemplar>,
}

/// One interval of a group.
#[derive(Debug, Default)]
struct Cell {
    n: f64,
    sum: f64,
    min: Option<f64>,
    max: Option<f64>,
    /// Weights by power of two.
    buckets: BTreeMap<i32, f64>,
    sketch: Sketch,
}

/// Bytes of a group and of a cell beside their buckets: estimates.
const GROUP_BYTES: u64 = 256;
const CELL_BYTES: u64 = 192;

impl<'p> Counter<'p> {
    pub(crate) fn new(
        plan: &'p SpansPlan,
        axis: Axis,
        is_weighted: bool,
        exemplars_max: usize,
    ) -> Self {
        Self {
            plan,
            axis,
            is_weighted,
            exemplars_max,
            groups: BTreeMap::new(),
            n_bytes: 0,
        }
    }

    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    pub(crate) fn window(&self) -> TimeRange {
        self.axis.window()
    }

    /// Every span once, in however many spansets it is.
    pub(crate) fn take(&mut self, facts: &TraceFacts<'_>) {
        let sets = pipeline::spansets(&self.plan.plan, facts);
        let spans = pipeline::in_order(sets.into_iter().flat_map(|set| set.spans));
        for row in spans.into_iter().filter_map(|index| facts.row(index)) {
            if let Some(interval) = self.axis.interval(row.span().start_unix_nano) {
                self.count(&row, interval);
            }
        }
    }

    fn count(&mut self, row: &Row<'_>, interval: usize) {
        let measured = match self.plan.function.measured() {
            None => f64::NAN,
            Some(measured) => {
                let scale = if measured.in_seconds { 1e-9 } else { 1.0 };
                match row.value_of(&measured.field) {
                    Some(Scalar::Int(value) | Scalar::Duration(value)) => value as f64 * scale,
                    Some(Scalar::Float(value)) => value * scale,
                    _ => return,
                }
            }
        };
        let weight = if self.is_weighted {
            weight(row.span())
        } else {
            1.0
        };
        let by = self.plan.by.iter();
        let key: Vec<Option<Scalar>> = by.map(|field| row.value_of(field)).collect();
        let n_bytes = &mut self.n_bytes;
        let group = self.groups.entry(key).or_insert_with_key(|key| {
            *n_bytes += GROUP_BYTES + key.iter().flatten().map(scalar_bytes).sum::<u64>();
            Group::default()
        });
        let cell = group.cells.entry(interval).or_insert_with(|| {
            *n_bytes += CELL_BYTES;
            Cell::default()
        });
        *n_bytes += cell.add(&self.plan.function, measured, weight);
        if self.exemplars_max > 0 {
            let span = row.span();
            let exemplar = Exemplar {
                trace_id: span.trace_id,
                unix_nano: span.start_unix_nano,
                value: match self.plan.function {
                    Function::Histogram(_) => f64::NAN,
                    _ => measured,
                },
            };
            let place = |it: &Exemplar| (it.unix_nano, it.trace_id);
            let known = group
                .exemplars
                .entry(interval)
                .or_insert_with(|| exemplar.clone());
            if place(&exemplar) < place(known) {
                *known = exemplar;
            }
        }
    }

    pub(crate) fn finish(self) -> SeriesSet {
        let (axis, plan) = (self.axis, self.plan);
        let share = self.exemplars_max.div_ceil(self.groups.len().max(1));
        let mut all = Vec::new();
        for (key, group) in self.groups {
            let labels = labels(plan, key);
            let exemplars = spread(group.exemplars, share);
            match &plan.function {
                Function::Quantile(_, quantiles) => {
                    for q in quantiles {
                        let label = ("p".to_owned(), Scalar::Float(*q));
                        let values = axis_values(&axis, |interval| {
                            let cell = group.cells.get(&interval);
                            Some(
                                cell.and_then(|cell| cell.sketch.quantile(*q))
                                    .unwrap_or(0.0),
                            )
                        });
                        all.push(series(plan, &labels, Some(label), values));
                    }
                }
                Function::Histogram(of) => {
                    let buckets = group.cells.values().flat_map(|cell| cell.buckets.keys());
                    let mut buckets: Vec<i32> = buckets.copied().collect();
                    buckets.sort_unstable();
                    buckets.dedup();
                    for bucket in buckets {
                        let scale = if of.in_seconds { 1e-9 } else { 1.0 };
                        let upper = f64::from(bucket).exp2() * scale;
                        let label = ("__bucket".to_owned(), Scalar::Float(upper));
                        let values = axis_values(&axis, |interval| {
                            let cell = group.cells.get(&interval);
                            let n = cell.and_then(|cell| cell.buckets.get(&bucket));
                            Some(n.copied().unwrap_or(0.0))
                        });
                        all.push(series(plan, &labels, Some(label), values));
                    }
                }
                function => {
                    let values = axis_values(&axis, |interval| {
                        group.cells.get(&interval).map_or(
                            matches!(function, Function::Rate | Function::Count).then_some(0.0),
                            |cell| cell.value(function, axis.seconds()),
                        )
                    });
                    all.push(series(plan, &labels, None, values));
                }
            }
            if let Some(first) = all.last_mut() {
                first.exemplars = exemplars;
            }
        }
        SeriesSet { series: all }
    }
}

impl Cell {
    /// Returns the bytes that it takes more.
    fn add(&mut self, function: &Function, value: f64, weight: f64) -> u64 {
        match function {
            Function::Rate | Function::Count => self.n += weight,
            Function::Histogram(of) => {
                let unit = if of.in_seconds { 1e9 } else { 1.0 };
                if value > 0.0 {
                    let n_before = self.buckets.len();
                    // The power of two that is not below it.
                    let bucket = (value * unit).log2().ceil() as i32;
                    *self.buckets.entry(bucket).or_default() += weight;
                    return 16 * (self.buckets.len() - n_before) as u64;
                }
            }
            Function::Quantile(..) => {
                let n_before = self.sketch.n_buckets();
                self.sketch.add(value, weight);
                return 16 * (self.sketch.n_buckets() - n_before) as u64;
            }
            Function::Min(_) | Function::Max(_) | Function::Sum(_) | Function::Avg(_) => {
                self.n += weight;
                self.sum += value * weight;
                self.min = Some(self.min.map_or(value, |min| min.min(value)));
                self.max = Some(self.max.map_or(value, |max| max.max(value)));
            }
        }
        0
    }

    fn value(&self, function: &Function, seconds: f64) -> Option<f64> {
        match function {
            Function::Rate => Some(self.n / seconds),
            Function::Count => Some(self.n),
            Function::Min(_) => self.min,
            Function::Max(_) => self.max,
            Function::Sum(_) => Some(self.sum),
            Function::Avg(_) => Some(self.sum / self.n),
            Function::Histogram(_) | Function::Quantile(..) => None,
        }
    }
}

fn series(
    plan: &SpansPlan,
    labels: &[(String, Scalar)],
    more: Option<(String, Scalar)>,
    values: Vec<Option<f64>>,
) -> Series {
    let name = plan.function.name().to_owned();
    let mut labels = labels.to_vec();
    labels.extend(more);
    if labels.is_empty() {
        labels.push((NAME.to_owned(), Scalar::String(name.as_str().into())));
    }
    Series {
        labels,
        name,
        values,
        exemplars: Vec::new(),
    }
}

/// What is missing is left out; where all is, the first says so.
fn labels(plan: &SpansPlan, key: Vec<Option<Scalar>>) -> Vec<(String, Scalar)> {
    let names = plan.by.iter().map(|field| field.label.clone());
    let labels: Vec<(String, Option<Scalar>)> = names.zip(key).collect();
    let nil = match labels.first() {
        Some((name, _)) if labels.iter().all(|(_, value)| value.is_none()) => {
            Some((name.clone(), Scalar::String("nil".into())))
        }
        _ => None,
    };
    let present = labels
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    nil.into_iter().chain(present).collect()
}

fn axis_values(axis: &Axis, of: impl Fn(usize) -> Option<f64>) -> Vec<Option<f64>> {
    (0..axis.n()).map(of).collect()
}

/// So many, evenly over the intervals that have one.
fn spread(all: BTreeMap<usize, Exemplar>, n_max: usize) -> Vec<Exemplar> {
    let n = all.len();
    let step = n.div_ceil(n_max.max(1)).max(1);
    let each = all.into_values().step_by(step);
    each.take(n_max).collect()
}

fn scalar_bytes(scalar: &Scalar) -> u64 {
    let text = match scalar {
        Scalar::String(text) => text.len(),
        Scalar::Array(items) => items.len() * size_of::<Scalar>(),
        _ => 0,
    };
    (size_of::<Scalar>() + text) as u64
}

/// How many spans one stands for: `ot=th:...` in its trace state, the threshold below which its sampler rejects
/// (OpenTelemetry, TraceState probability sampling): 56 bits in hex, with the zeros at their end left out.
fn weight(span: &Span) -> f64 {
    const DIGITS: usize = 14;
    let vendors = span.trace_state.split(',');
    let ot = vendors.filter_map(|vendor| vendor.trim().strip_prefix("ot="));
    let mut values = ot.flat_map(|ot| ot.split(';'));
    let Some(threshold) = values.find_map(|value| value.strip_prefix("th:")) else {
        return 1.0;
    };
    let is_hex = threshold.bytes().all(|byte| byte.is_ascii_hexdigit());
    if threshold.is_empty() || threshold.len() > DIGITS || !is_hex {
        return 1.0;
    }
    let Ok(rejected) = u64::from_str_radix(&format!("{threshold:0<DIGITS$}"), 16) else {
        return 1.0;
    };
    let all = 1u64 << 56;
    all as f64 / (all - rejected) as f64
}
