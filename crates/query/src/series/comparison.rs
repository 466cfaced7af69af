//! The spans of a selection beside all others: how often each value of each attribute is on either side.
//!
//! `compare()` of the language. What differs between the two sides is what to look at first. Spans come whole, with
//! all of their attributes, or by columns, one attribute of many spans at a time.

mod values;

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashSet};
use tracewell_model::{AttributeScope, Column, Intrinsic, KeyValue};

use super::sums::Finished;
use super::{Axis, Series, SeriesSet};
use crate::plan::series::Comparison;
use crate::row::Row;
use crate::scalar::Scalar;
use values::Values;

/// Values of one attribute that are told apart on one side: of more, those that less than one span in 2,048 has may
/// be missed, and of a count as many spans. Fifty attributes of so many take 30 MB.
pub(crate) const VALUES_MAX: usize = 4_096;
/// As few are told apart where memory is short, and at least twice as many as are shown.
const VALUES_MIN: usize = 64;

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

/// They, as columns.
pub(crate) fn intrinsics() -> impl Iterator<Item = Column> {
    INTRINSICS
        .iter()
        .map(|(_, intrinsic)| Column::Intrinsic(*intrinsic))
}

/// Labels that say what a series is.
const META_TYPE: &str = "__meta_type";
const META_ERROR: &str = "__meta_error";
const TOO_MANY_VALUES: &str = "__too_many_values__";

/// Bytes of the place of an attribute: an estimate.
const ATTRIBUTE_BYTES: u64 = 256;

/// Both sides of a comparison.
#[derive(Debug)]
pub(super) struct Sides {
    baseline: Side,
    selection: Side,
    /// Values of an attribute that are told apart by now.
    values_max: usize,
}

#[derive(Debug, Default)]
struct Side {
    intrinsics: [Values; INTRINSICS.len()],
    spans: HashMap<String, Values>,
    resources: HashMap<String, Values>,
    /// What all of them take. Asked for more often than there is time to add them up: keys can be as many as spans.
    n_bytes: u64,
}

// === impl Sides ===

impl Default for Sides {
    fn default() -> Self {
        Self {
            baseline: Side::default(),
            selection: Side::default(),
            values_max: VALUES_MAX,
        }
    }
}

impl Sides {
    pub(super) fn n_bytes(&self) -> u64 {
        self.baseline.n_bytes + self.selection.n_bytes
    }

    /// Counts a span with all of its attributes, as often as it stands for others.
    pub(super) fn take(&mut self, row: &Row<'_>, is_selected: bool, interval: u32, weight: f64) {
        let values_max = self.values_max;
        self.side(is_selected)
            .take(row, interval, weight, values_max);
    }

    /// Counts spans that have this value in a column.
    pub(super) fn add(
        &mut self,
        column: &Column,
        value: Scalar,
        (is_selected, interval): (bool, u32),
        n: f64,
    ) {
        let values_max = self.values_max;
        self.side(is_selected)
            .add(column, value, (interval, n), values_max);
    }

    fn side(&mut self, is_selected: bool) -> &mut Side {
        match is_selected {
            true => &mut self.selection,
            false => &mut self.baseline,
        }
    }

    /// Tells fewer values apart until they take no more than this, if that is enough.
    pub(super) fn shrink(&mut self, plan: &Comparison, bytes_max: u64) {
        let values_min = VALUES_MIN.max(plan.n_max.saturating_mul(2));
        while self.n_bytes() > bytes_max && self.values_max > values_min {
            self.values_max = (self.values_max / 2).max(values_min);
            for side in [&mut self.baseline, &mut self.selection] {
                side.forget_all_but(self.values_max);
            }
        }
    }

    /// The most frequent values of each side, then the totals, then what was not shown in full: so many series at
    /// most. What comes last stays longest.
    pub(super) fn finish(self, plan: &Comparison, axis: &Axis, series_max: usize) -> Finished {
        let sides = [(self.baseline, "baseline"), (self.selection, "selection")];
        let sides = sides.map(|(side, name)| (side.by_label(), name));
        let mut full = BTreeSet::new();
        let mut ends = Vec::new();
        let mut n_uncertain: Option<f64> = None;
        for (by_label, name) in &sides {
            for (label, values) in by_label {
                if values.are_more_than(plan.n_max) {
                    full.insert(label);
                }
                if let Some(n) = values.n_uncertain() {
                    n_uncertain = Some(n_uncertain.map_or(n, |known| known.max(n)));
                }
                let labels = [(META_TYPE, text(&format!("{name}_total"))), (label, nil())];
                ends.push(series(labels, values.total.on(axis)));
            }
        }
        let none = vec![Some(0.0); axis.n()];
        for label in full {
            let labels = [(META_ERROR, text(TOO_MANY_VALUES)), (label, nil())];
            ends.push(series(labels, none.clone()));
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
        all.append(&mut ends);
        Finished {
            set: SeriesSet { series: all },
            n_left_out,
            n_uncertain,
        }
    }
}

// === impl Side ===

impl Side {
    fn take(&mut self, row: &Row<'_>, interval: u32, weight: f64, values_max: usize) {
        for ((_, intrinsic), values) in INTRINSICS.iter().zip(&mut self.intrinsics) {
            let held = row.held(&Column::Intrinsic(*intrinsic));
            if let Some(value) = Scalar::of(held.value()).filter(|value| !is_empty(value)) {
                let add = |values: &mut Values| values.add(value, interval, weight, values_max);
                counting(&mut self.n_bytes, values, add);
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
                if let Some(values) = of_key(known, key, &mut self.n_bytes) {
                    let add = |values: &mut Values| values.add(value, interval, weight, values_max);
                    counting(&mut self.n_bytes, values, add);
                }
            }
        }
    }

    fn add(
        &mut self,
        column: &Column,
        value: Scalar,
        (interval, n): (u32, f64),
        values_max: usize,
    ) {
        let values = match column {
            Column::Intrinsic(_) if is_empty(&value) => return,
            Column::Intrinsic(intrinsic) => {
                let mut known = INTRINSICS.iter().zip(&mut self.intrinsics);
                let found = known.find(|((_, known), _)| known == intrinsic);
                found.map(|(_, values)| values)
            }
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Resource => of_key(&mut self.resources, key, &mut self.n_bytes),
                _ => of_key(&mut self.spans, key, &mut self.n_bytes),
            },
            Column::OfParent(_) => None,
        };
        let Some(values) = values else {
            debug_assert!(false, "{column:?} is not compared");
            return;
        };
        let add = |values: &mut Values| values.add(value, interval, n, values_max);
        counting(&mut self.n_bytes, values, add);
    }

    fn forget_all_but(&mut self, n_kept: usize) {
        let intrinsics = self.intrinsics.iter_mut();
        let attributes = self.spans.values_mut().chain(self.resources.values_mut());
        for values in intrinsics.chain(attributes) {
            counting(&mut self.n_bytes, values, |values| {
                values.forget_all_but(n_kept);
                values.shrink();
            });
        }
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
        all.filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// The values of an attribute, made when it is first met.
fn of_key<'v>(
    known: &'v mut HashMap<String, Values>,
    key: &str,
    n_bytes: &mut u64,
) -> Option<&'v mut Values> {
    if !known.contains_key(key) {
        let values = Values::default();
        *n_bytes += ATTRIBUTE_BYTES + key.len() as u64 + values.n_bytes();
        known.insert(key.to_owned(), values);
    }
    known.get_mut(key)
}

/// Changes values, and the count of what all of them take.
fn counting(n_bytes: &mut u64, values: &mut Values, change: impl FnOnce(&mut Values)) {
    let before = values.n_bytes();
    change(values);
    *n_bytes = (*n_bytes + values.n_bytes()).saturating_sub(before);
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
