//! What is known of the spans of each group and interval.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracewell_model::span::Span;
use tracewell_model::{Column, TimeRange, TraceId};

use super::axis::Axis;
use super::batch::{BatchCounter, Found};
use super::comparison::{self, Sides};
use super::sketch::{Place, Sketch};
use super::{Exemplar, NAME, Series, SeriesSet};
use crate::open::OpenSpans;
use crate::pipeline::{self, View};
use crate::plan::series::{Comparison, Function, SpansPlan};
use crate::scalar::Scalar;
use crate::watch::Watch;

/// Adds up the spans of one pipeline.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(super) plan: Arc<SpansPlan>,
    pub(super) axis: Axis,
    /// True if spans count as often as their sampler says that they stand for others.
    is_weighted: bool,
    pub(super) exemplars_max: usize,
    pub(super) watch: Option<Arc<Watch>>,
    groups: BTreeMap<Vec<Option<Scalar>>, Group>,
    /// Of a comparison.
    pub(super) sides: Sides,
    /// The columns of it that batches are counted by.
    pub(super) compared: Arc<[Column]>,
    /// About what the groups hold.
    n_bytes: u64,
}

/// What was counted.
pub(crate) struct Finished {
    pub(crate) set: SeriesSet,
    /// Series beyond those that there was room for.
    pub(crate) n_left_out: usize,
    /// Spans that are missing in a count of a comparison at most, because rare values were forgotten, where they
    /// are more than a hundredth of all.
    pub(crate) n_uncertain: Option<f64>,
}

#[derive(Debug, Default)]
struct Group {
    cells: BTreeMap<usize, Cell>,
    /// The first span of each interval.
    exemplars: BTreeMap<usize, Exemplar>,
}

/// One interval of a group.
#[derive(Debug, Default)]
pub(super) struct Cell {
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
const BUCKET_BYTES: u64 = 16;

impl Counter {
    pub(crate) fn new(
        plan: Arc<SpansPlan>,
        axis: Axis,
        is_weighted: bool,
        exemplars_max: usize,
    ) -> Self {
        Self {
            plan,
            axis,
            is_weighted,
            exemplars_max,
            watch: None,
            groups: BTreeMap::new(),
            sides: Sides::default(),
            compared: comparison::intrinsics().collect(),
            n_bytes: 0,
        }
    }

    /// Takes nothing of a trace once that is over.
    #[must_use]
    pub(crate) fn watched(mut self, watch: Arc<Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes + self.sides.n_bytes()
    }

    /// From now on batches are counted by these columns, of those that are compared.
    pub(crate) fn compare(&mut self, columns: Arc<[Column]>) {
        self.compared = columns;
    }

    /// Takes no more than so many bytes, if rare values can make up for it.
    pub(crate) fn shrink(&mut self, bytes_max: u64) {
        if let Function::Compare(plan) = &self.plan.function {
            self.sides
                .shrink(plan, bytes_max.saturating_sub(self.n_bytes));
        }
    }

    pub(crate) fn is_weighted(&self) -> bool {
        self.is_weighted
    }

    pub(crate) fn window(&self) -> TimeRange {
        self.axis.window()
    }

    /// Every span of a trace once, in however many spansets it is. `weight_of` says how many spans one stands for.
    pub(crate) fn take(&mut self, trace: &dyn View, weight_of: &dyn Fn(usize) -> f64) {
        let sets = pipeline::spansets_of(&self.plan.plan, trace, self.watch.as_deref());
        let spans = pipeline::in_order(sets.into_iter().flat_map(|set| set.spans));
        let plan = Arc::clone(&self.plan);
        if let Function::Compare(plan) = &plan.function {
            return self.take_sides(plan, (trace, &spans), weight_of);
        }
        for span in spans {
            if let Some(interval) = self.axis.interval(trace.start_unix_nano(span)) {
                self.count((trace, span), interval, weight_of(span));
            }
        }
    }

    /// All attributes of some spans of a trace, by the side that each is on.
    fn take_sides(
        &mut self,
        plan: &Comparison,
        (trace, spans): (&dyn View, &[usize]),
        weight_of: &dyn Fn(usize) -> f64,
    ) {
        let filter = self.plan.plan.filters.get(plan.selection);
        let matches = filter.map(|filter| trace.bits(plan.selection, filter));
        let matches = matches.unwrap_or_default();
        if self.watch.as_ref().is_some_and(|watch| watch.is_over()) {
            return;
        }
        for span in spans {
            let start = trace.start_unix_nano(*span);
            let Some(interval) = self.axis.interval(start) else {
                continue;
            };
            // Views that know columns alone are never asked.
            let Some(row) = trace.row(*span) else {
                debug_assert!(false, "a comparison of whole spans reads whole traces");
                return;
            };
            let is_selected = matches.get(*span).is_some_and(|it| *it) && plan.selects(start);
            self.sides
                .take(&row, is_selected, interval as u32, weight_of(*span));
        }
    }

    /// The spans of traces of several sources. Returns the ids of those that what is known of them does not decide.
    pub(crate) fn take_open(&mut self, mut open: OpenSpans) -> Vec<TraceId> {
        open.decided(|_, trace| self.take(trace, &|_| 1.0))
    }

    fn count(&mut self, (trace, span): (&dyn View, usize), interval: usize, weight: f64) {
        let measured = match self.plan.function.measured() {
            None => f64::NAN,
            Some(measured) => {
                let value = trace.value_of(&measured.field, span);
                match value.and_then(|value| value.as_number()) {
                    Some(value) => measured.shown(value),
                    None => return,
                }
            }
        };
        let by = self.plan.by.iter();
        let key: Vec<Option<Scalar>> = by.map(|field| trace.value_of(field, span)).collect();
        let mut cell = Cell::default();
        cell.add(&self.plan.function, measured, weight);
        let exemplar = (self.exemplars_max > 0).then(|| Exemplar {
            trace_id: trace.trace_id(span),
            unix_nano: trace.start_unix_nano(span),
            value: measured,
        });
        self.add(&key, interval, cell, exemplar);
    }

    /// Adds what is known of spans of one group and interval, and the first of them.
    fn add(
        &mut self,
        key: &[Option<Scalar>],
        interval: usize,
        cell: Cell,
        exemplar: Option<Exemplar>,
    ) {
        if !self.groups.contains_key(key) {
            let n_bytes = key.iter().flatten().map(Scalar::n_bytes).sum::<u64>();
            self.n_bytes += GROUP_BYTES + n_bytes;
            self.groups.insert(key.to_vec(), Group::default());
        }
        let Some(group) = self.groups.get_mut(key) else {
            return;
        };
        let n_bytes = &mut self.n_bytes;
        let known = group.cells.entry(interval).or_insert_with(|| {
            *n_bytes += CELL_BYTES;
            Cell::default()
        });
        *n_bytes += known.merge(cell);
        let Some(mut exemplar) = exemplar else {
            return;
        };
        if matches!(self.plan.function, Function::Histogram(_)) {
            exemplar.value = f64::NAN;
        }
        let place = |it: &Exemplar| (it.unix_nano, it.trace_id);
        match group.exemplars.entry(interval) {
            Entry::Vacant(entry) => {
                entry.insert(exemplar);
            }
            Entry::Occupied(mut entry) => {
                if place(&exemplar) < place(entry.get()) {
                    entry.insert(exemplar);
                }
            }
        }
    }

    /// What batches are counted by, whoever adds up what it finds.
    pub(crate) fn for_batches(&self) -> BatchCounter {
        BatchCounter {
            plan: Arc::clone(&self.plan),
            axis: self.axis,
            has_exemplars: self.exemplars_max > 0,
            watch: self.watch.clone(),
        }
    }

    /// Adds what was found in a batch.
    pub(crate) fn add_found(&mut self, found: Found) {
        let Found { keys, cells } = found;
        for (group, interval, cell, exemplar) in cells {
            if let Some(key) = keys.get(group as usize) {
                self.add(key, interval as usize, cell, exemplar);
            }
        }
    }

    pub(crate) fn n_intervals(&self) -> u64 {
        self.axis.n() as u64
    }

    /// So many series at most.
    pub(crate) fn finish(self, series_max: usize) -> Finished {
        let (axis, plan) = (self.axis, &*self.plan);
        if let Function::Compare(comparison) = &plan.function {
            return self.sides.finish(comparison, &axis, series_max);
        }
        let mut n_left_out = 0;
        let share = self.exemplars_max.div_ceil(self.groups.len().max(1));
        let mut all = Vec::new();
        for (key, mut group) in self.groups {
            let labels = labels(plan, key);
            if all.len() >= series_max {
                n_left_out += match &plan.function {
                    Function::Quantile(_, quantiles) => quantiles.len(),
                    Function::Histogram(_) => group.buckets().len(),
                    _ => 1,
                };
                continue;
            }
            let exemplars = spread(std::mem::take(&mut group.exemplars), share);
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
                    for bucket in group.buckets() {
                        let upper = of.shown(f64::from(bucket).exp2());
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
        n_left_out += all.len().saturating_sub(series_max);
        all.truncate(series_max);
        Finished {
            set: SeriesSet { series: all },
            n_left_out,
            n_uncertain: None,
        }
    }
}

impl Group {
    /// The powers of two that values of some interval lie below.
    fn buckets(&self) -> BTreeSet<i32> {
        let buckets = self.cells.values().flat_map(|cell| cell.buckets.keys());
        buckets.copied().collect()
    }
}

impl Cell {
    pub(super) fn add(&mut self, function: &Function, value: f64, weight: f64) {
        match function {
            Function::Rate | Function::Count => self.n += weight,
            Function::Histogram(_) | Function::Quantile(..) => {
                if let Some(place) = place_of(function, value) {
                    self.add_at(function, place, weight);
                }
            }
            Function::Compare(_) => debug_assert!(false, "a comparison has sides and no cells"),
            Function::Min(_) | Function::Max(_) | Function::Sum(_) | Function::Avg(_) => {
                self.n += weight;
                self.sum += value * weight;
                self.min = Some(self.min.map_or(value, |min| min.min(value)));
                self.max = Some(self.max.map_or(value, |max| max.max(value)));
            }
        }
    }

    /// Adds so many spans with a value of [`place_of`].
    pub(super) fn add_at(&mut self, function: &Function, place: Place, weight: f64) {
        match (function, place) {
            (Function::Histogram(_), Place::Positive(bucket)) => {
                *self.buckets.entry(bucket).or_default() += weight;
            }
            (Function::Quantile(..), place) => self.sketch.add_at(place, weight),
            _ => debug_assert!(false, "{function:?} has no {place:?}"),
        }
    }

    /// Adds what another cell knows. Returns the bytes that this one takes more.
    fn merge(&mut self, other: Self) -> u64 {
        let n_before = self.n_buckets();
        self.n += other.n;
        self.sum += other.sum;
        let both = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(of(a, b)),
            (a, b) => a.or(b),
        };
        self.min = both(self.min, other.min, f64::min);
        self.max = both(self.max, other.max, f64::max);
        for (bucket, n) in other.buckets {
            *self.buckets.entry(bucket).or_default() += n;
        }
        self.sketch.merge(other.sketch);
        BUCKET_BYTES * self.n_buckets().saturating_sub(n_before) as u64
    }

    fn n_buckets(&self) -> usize {
        self.buckets.len() + self.sketch.n_buckets()
    }

    fn value(&self, function: &Function, seconds: f64) -> Option<f64> {
        match function {
            Function::Rate => Some(self.n / seconds),
            Function::Count => Some(self.n),
            Function::Min(_) => self.min,
            Function::Max(_) => self.max,
            Function::Sum(_) => Some(self.sum),
            Function::Avg(_) => Some(self.sum / self.n),
            Function::Histogram(_) | Function::Quantile(..) | Function::Compare(_) => None,
        }
    }
}

/// Where a function counts a value that counts many of them together; `None` where that is not counted.
pub(super) fn place_of(function: &Function, value: f64) -> Option<Place> {
    match function {
        Function::Histogram(of) => {
            let value = value * if of.in_seconds { 1e9 } else { 1.0 };
            (value > 0.0).then(|| Place::Positive(power_of_two(value)))
        }
        Function::Quantile(..) => Place::of(value),
        _ => None,
    }
}

/// The exponent of the power of two that is not below a positive number.
pub(super) fn power_of_two(value: f64) -> i32 {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION_BITS) as i32;
    if exponent == 0 {
        // Too small for an exponent of its own.
        return value.log2().ceil() as i32;
    }
    let is_above = bits & ((1 << FRACTION_BITS) - 1) != 0;
    exponent - (f64::MAX_EXP - 1) + i32::from(is_above)
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

/// How many spans one stands for: `ot=th:...` in its trace state, the threshold below which its sampler rejects
/// (OpenTelemetry, TraceState probability sampling): 56 bits in hex, with the zeros at their end left out.
pub(crate) fn weight(span: &Span) -> f64 {
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
