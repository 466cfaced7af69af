//! The spans of a selection beside all others: how often each value of each attribute is on either side.
//!
//! `compare()` of the language. What differs between the two sides is what to look at first. Every span has
//! many attributes, so that whole traces are read, and of each attribute a bounded number of values is kept.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashSet};
use tracewell_model::{Column, Intrinsic, KeyValue};

use super::{Axis, Series, SeriesSet};
use crate::pipeline::View;
use crate::plan::series::Comparison;
use crate::row::Row;
use crate::scalar::Scalar;

/// Values of one attribute that are told apart on one side. Of more, those that come first are counted, and
/// the answer says that there are too many.
pub(crate) const VALUES_MAX: usize = 10_000;

/// The columns that are compared beside the attributes of span and resource. Times, durations and ids are of
/// one span each, and tell no side from another.
const INTRINSICS: [(&str, Intrinsic); 6] = [
    ("kind", Intrinsic::Kind),
    ("name", Intrinsic::Name),
    ("rootName", Intrinsic::RootName),
    ("rootServiceName", Intrinsic::RootService),
    ("status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
];

/// Labels that say what a series is.
const META_TYPE: &str = "__meta_type";
const META_ERROR: &str = "__meta_error";
const TOO_MANY_VALUES: &str = "__too_many_values__";

/// Bytes of the place of a value, of an attribute and of a cell: estimates.
const VALUE_BYTES: u64 = 128;
const ATTRIBUTE_BYTES: u64 = 256;
const CELL_BYTES: u64 = 40;

/// Both sides of a comparison.
#[derive(Debug, Default)]
pub(super) struct Sides {
    baseline: Side,
    selection: Side,
    n_bytes: u64,
}

#[derive(Debug, Default)]
struct Side {
    intrinsics: [Values; INTRINSICS.len()],
    spans: HashMap<String, Values>,
    resources: HashMap<String, Values>,
}

/// The values of one attribute.
#[derive(Debug, Default)]
struct Values {
    total: Cells,
    each: BTreeMap<Scalar, Cells>,
    /// True if some values are not told apart.
    is_full: bool,
}

/// How many spans there are, in all and by interval.
#[derive(Debug, Default)]
struct Cells {
    n: f64,
    by_interval: BTreeMap<usize, f64>,
}

// === impl Sides ===

impl Sides {
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Counts a span of a trace with all of its attributes, as often as it stands for others.
    pub(super) fn take(
        &mut self,
        plan: &Comparison,
        (trace, span): (&dyn View, usize),
        interval: usize,
        weight: f64,
    ) {
        // Views that know columns alone are never asked.
        let Some(row) = trace.row(span) else {
            debug_assert!(false, "a comparison reads whole traces");
            return;
        };
        let side = match plan.selects(&row) {
            true => &mut self.selection,
            false => &mut self.baseline,
        };
        self.n_bytes += side.take(&row, interval, weight);
    }

    /// The most frequent values of each side, then the totals, then what was not shown in full: so many series at
    /// most, and how many were left out. What comes last stays longest.
    pub(super) fn finish(
        self,
        plan: &Comparison,
        axis: &Axis,
        series_max: usize,
    ) -> (SeriesSet, usize) {
        let sides = [(self.baseline, "baseline"), (self.selection, "selection")];
        let sides = sides.map(|(side, name)| (side.by_label(), name));
        let mut full = BTreeSet::new();
        let mut ends = Vec::new();
        for (by_label, name) in &sides {
            for (label, values) in by_label {
                if values.is_full || values.each.len() > plan.n_max {
                    full.insert(label);
                }
                let labels = [(META_TYPE, text(&format!("{name}_total"))), (label, nil())];
                ends.push((labels, Some(&values.total)));
            }
        }
        for label in full {
            ends.push(([(META_ERROR, text(TOO_MANY_VALUES)), (label, nil())], None));
        }
        let mut n_left_out = ends.len().saturating_sub(series_max);
        ends.truncate(series_max);
        let mut all = Vec::new();
        for (by_label, name) in &sides {
            for (label, values) in by_label {
                for (value, cells) in values.most_frequent(plan.n_max) {
                    if all.len() + ends.len() >= series_max {
                        n_left_out += 1;
                        continue;
                    }
                    let labels = [(META_TYPE, text(name)), (label, value)];
                    all.push(series(labels, cells.on(axis)));
                }
            }
        }
        let none = Cells::default();
        let ends = ends.into_iter();
        all.extend(ends.map(|(labels, cells)| series(labels, cells.unwrap_or(&none).on(axis))));
        (SeriesSet { series: all }, n_left_out)
    }
}

// === impl Side ===

impl Side {
    /// Returns the bytes that it takes more.
    fn take(&mut self, row: &Row<'_>, interval: usize, weight: f64) -> u64 {
        let mut n_bytes = 0;
        for ((_, intrinsic), values) in INTRINSICS.iter().zip(&mut self.intrinsics) {
            let held = row.held(&Column::Intrinsic(*intrinsic));
            if let Some(value) = Scalar::of(held.value()).filter(|value| !is_empty(value)) {
                n_bytes += values.add(value, interval, weight);
            }
        }
        let span = row.span();
        for (attributes, known) in [
            (&span.attributes, &mut self.spans),
            (&span.resource.attributes, &mut self.resources),
        ] {
            let mut met = HashSet::default();
            for KeyValue { key, value } in attributes {
                // The first of a key is its value.
                if !met.insert(key.as_str()) {
                    continue;
                }
                let Some(value) = Scalar::of(value.as_value()) else {
                    continue;
                };
                if !known.contains_key(key) {
                    known.insert(key.clone(), Values::default());
                    n_bytes += ATTRIBUTE_BYTES + key.len() as u64;
                }
                if let Some(values) = known.get_mut(key) {
                    n_bytes += values.add(value, interval, weight);
                }
            }
        }
        n_bytes
    }

    /// By the label of each attribute, as the language writes it.
    fn by_label(self) -> BTreeMap<String, Values> {
        let intrinsics = INTRINSICS.iter().zip(self.intrinsics);
        let intrinsics = intrinsics.map(|((name, _), values)| ((*name).to_owned(), values));
        let spans = self.spans.into_iter();
        let spans = spans.map(|(key, values)| (format!("span.{key}"), values));
        let resources = self.resources.into_iter();
        let resources = resources.map(|(key, values)| (format!("resource.{key}"), values));
        let all = intrinsics.chain(spans).chain(resources);
        all.filter(|(_, values)| !values.each.is_empty()).collect()
    }
}

// === impl Values ===

impl Values {
    fn add(&mut self, value: Scalar, interval: usize, weight: f64) -> u64 {
        let mut n_bytes = self.total.add(interval, weight);
        if let Some(cells) = self.each.get_mut(&value) {
            return n_bytes + cells.add(interval, weight);
        }
        if self.each.len() >= VALUES_MAX {
            self.is_full = true;
            return n_bytes;
        }
        n_bytes += VALUE_BYTES + value.n_bytes();
        n_bytes + self.each.entry(value).or_default().add(interval, weight)
    }

    /// So many, the most frequent first; of two as frequent the smaller.
    fn most_frequent(&self, n_max: usize) -> Vec<(Scalar, &Cells)> {
        let mut all: Vec<(&Scalar, &Cells)> = self.each.iter().collect();
        // Stable: values are in order.
        all.sort_by(|(_, a), (_, b)| b.n.total_cmp(&a.n));
        let some = all.into_iter().take(n_max);
        some.map(|(value, cells)| (value.clone(), cells)).collect()
    }
}

// === impl Cells ===

impl Cells {
    fn add(&mut self, interval: usize, weight: f64) -> u64 {
        self.n += weight;
        let n_before = self.by_interval.len();
        *self.by_interval.entry(interval).or_default() += weight;
        CELL_BYTES * (self.by_interval.len() - n_before) as u64
    }

    fn on(&self, axis: &Axis) -> Vec<Option<f64>> {
        let count = |interval| self.by_interval.get(&interval).copied().unwrap_or(0.0);
        (0..axis.n())
            .map(|interval| Some(count(interval)))
            .collect()
    }
}

fn series<const N: usize>(labels: [(&str, Scalar); N], values: Vec<Option<f64>>) -> Series {
    let labels = labels.into_iter();
    Series {
        labels: labels
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        name: "compare".to_owned(),
        values,
        exemplars: Vec::new(),
    }
}

fn text(text: &str) -> Scalar {
    Scalar::String(text.into())
}

/// The value of a label that stands for all values.
fn nil() -> Scalar {
    text("nil")
}

fn is_empty(value: &Scalar) -> bool {
    matches!(value, Scalar::String(text) if text.is_empty())
}
