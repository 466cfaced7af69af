//! Time series of spans: intervals, sums of one interval and group, and arithmetic of series.
//!
//! A span is counted by its own start. Intervals are open on the left and closed on the right, and a sample
//! carries the time of its interval's end, as in Tempo since 2.9. What this is not: it reads nothing;
//! [`crate::engine`] brings the traces.

pub mod axis;
mod batch;
mod comparison;
pub mod math;
pub mod sketch;
mod sums;

use tracewell_model::{AttributeValue, KeyValue, TraceId};

use crate::scalar::Scalar;

pub use axis::Axis;
pub(crate) use batch::Found;
pub(crate) use sums::{Counter, Finished, weight};

/// Series over the intervals of one axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesSet {
    pub series: Vec<Series>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// `__name__`, or what was grouped by, in the order of the query; of values that are missing nothing.
    pub labels: Vec<(String, Scalar)>,
    /// What the function is called, for the name of what arithmetic makes of it.
    pub name: String,
    /// One for each interval; `None` for no sample.
    pub values: Vec<Option<f64>>,
    pub exemplars: Vec<Exemplar>,
}

/// A span to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    pub trace_id: TraceId,
    pub unix_nano: u64,
    /// What was measured; NaN where spans are counted.
    pub value: f64,
}

impl Series {
    /// The labels as an answer shows them.
    pub fn shown_labels(&self) -> Vec<KeyValue> {
        let labels = self.labels.iter();
        let shown = labels.map(|(key, value)| KeyValue {
            key: key.clone(),
            value: value.to_attribute(),
        });
        shown.collect()
    }

    /// True for a series of everything: it has no label but its name.
    fn is_of_all(&self) -> bool {
        self.labels.iter().all(|(key, _)| key == NAME)
    }
}

impl Exemplar {
    pub fn labels(&self) -> Vec<KeyValue> {
        vec![KeyValue {
            key: "trace:id".to_owned(),
            value: AttributeValue::String(self.trace_id.to_string()),
        }]
    }
}

/// The label of a series of everything.
pub(crate) const NAME: &str = "__name__";

#[cfg(test)]
mod tests;
