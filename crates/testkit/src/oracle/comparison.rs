//! What `compare()` must answer: every value of every attribute of both sides, counted and sorted.

use std::collections::BTreeMap;

use tracewell_model::{KeyValue, Span};

use super::filter::TraceFacts;
use super::series::SeriesOfAll;
use super::value::Datum;

/// Values of an attribute that are shown if the query does not say.
const SHOWN: usize = 10;

/// A value, and the number of its spans in each interval.
type Counted = (Datum, Vec<f64>);

/// Spans by side, attribute and value.
#[derive(Debug)]
pub(super) struct Sides {
    n_intervals: usize,
    counted: BTreeMap<(bool, String), Vec<Counted>>,
}

impl Sides {
    pub(super) fn new(n_intervals: usize) -> Self {
        Self {
            n_intervals,
            counted: BTreeMap::new(),
        }
    }

    pub(super) fn take(
        &mut self,
        facts: &TraceFacts<'_>,
        span: &Span,
        interval: usize,
        is_selected: bool,
    ) {
        for (label, value) in attributes(facts, span) {
            let values = self.counted.entry((is_selected, label)).or_default();
            let shown = value.shown();
            let at = values.iter().position(|(known, _)| known.shown() == shown);
            let at = at.unwrap_or_else(|| {
                values.push((value, vec![0.0; self.n_intervals]));
                values.len() - 1
            });
            let counts = values.get_mut(at).map(|(_, counts)| counts);
            if let Some(count) = counts.and_then(|counts| counts.get_mut(interval)) {
                *count += 1.0;
            }
        }
    }

    pub(super) fn series(self, top: Option<i64>) -> SeriesOfAll {
        let n_max = top.map_or(SHOWN, |top| usize::try_from(top).unwrap_or(0));
        let text = |text: &str| Datum::Text(text.to_owned()).shown();
        let mut all = SeriesOfAll::new();
        for ((is_selected, label), mut values) in self.counted {
            let side = if is_selected { "selection" } else { "baseline" };
            let sum = |counts: &[f64]| counts.iter().sum::<f64>();
            values.sort_by(|(a, of_a), (b, of_b)| {
                sum(of_b).total_cmp(&sum(of_a)).then_with(|| a.order(b))
            });
            let mut total = vec![0.0; self.n_intervals];
            for (at, (value, counts)) in values.iter().enumerate() {
                total.iter_mut().zip(counts).for_each(|(to, n)| *to += n);
                if at < n_max {
                    let side = ("__meta_type".to_owned(), text(side));
                    let labels = vec![side, (label.clone(), value.shown())];
                    all.insert(labels, some(counts));
                }
            }
            let side = ("__meta_type".to_owned(), text(&format!("{side}_total")));
            all.insert(vec![side, (label.clone(), text("nil"))], some(&total));
            if values.len() > n_max {
                let error = ("__meta_error".to_owned(), text("__too_many_values__"));
                let none = vec![0.0; self.n_intervals];
                all.insert(vec![error, (label, text("nil"))], some(&none));
            }
        }
        all
    }
}

fn some(counts: &[f64]) -> Vec<Option<f64>> {
    counts.iter().copied().map(Some).collect()
}

/// What is compared of a span: attributes of it and its resource, and what tells kinds of spans apart.
fn attributes(facts: &TraceFacts<'_>, span: &Span) -> BTreeMap<String, Datum> {
    let text = |text: &str| Datum::Text(text.to_owned());
    let status = span.status.as_ref();
    let mut all = BTreeMap::from([
        ("name".to_owned(), text(&span.name)),
        ("kind".to_owned(), Datum::Kind(span.kind)),
        (
            "status".to_owned(),
            Datum::Status(status.map_or(0, |status| status.code)),
        ),
    ]);
    if let Some(status) = status {
        all.insert("statusMessage".to_owned(), text(&status.message));
    }
    if let Some(root) = facts.root {
        all.insert("rootName".to_owned(), text(&root.name));
        let service = text(root.resource.service_name());
        all.insert("rootServiceName".to_owned(), service);
    }
    all.retain(|_, value| *value != Datum::Text(String::new()));
    for (scope, attributes) in [
        ("span", &span.attributes),
        ("resource", &span.resource.attributes),
    ] {
        // From the last to the first, which stays.
        for KeyValue { key, value } in attributes.iter().rev() {
            all.insert(format!("{scope}.{key}"), Datum::from(value));
        }
    }
    all.retain(|_, value| !matches!(value, Datum::Nil | Datum::Opaque));
    all
}
