//! Metrics over a real store against the oracle.

use tracewell_query::{Aliases, SeriesRequest, SeriesResponse};
use tracewell_testkit::Random;
use tracewell_testkit::oracle::series::{Intervals, SeriesOfAll};
use tracewell_testkit::oracle::value::Datum;
use tracewell_testkit::random::random_series_query;

use super::ask;
use super::data::DataSet;

/// Relative, of a quantile and of a sum in another order.
const SKETCH_ERROR: f64 = 0.0101;
const SUM_ERROR: f64 = 1e-9;

#[derive(Debug, Clone)]
pub(super) struct Case {
    text: String,
    over: Intervals,
    aliases: Aliases,
    expected: SeriesOfAll,
}

/// Queries over the time of the data, with few and many intervals.
pub(super) fn cases(seed: u64, data: &DataSet, n: u64) -> Vec<Case> {
    let mut random = Random::new(!seed.rotate_left(7));
    let spans = data.oracle.spans();
    let mut starts: Vec<u64> = spans.iter().map(|span| span.start_unix_nano).collect();
    starts.sort_unstable();
    // Clocks that are far off would make a range of centuries.
    let middle = &starts[starts.len() / 8..starts.len() - starts.len() / 8];
    let draw = |_| {
        let text = random_series_query(&mut random, &spans);
        let (a, b) = (*random.pick(middle), *random.pick(middle));
        let (start, end) = (a.min(b), a.max(b) + 1 + random.number(1_000));
        let over = Intervals {
            start,
            end,
            step: ((end - start) / (1 + random.number(12))).max(1),
        };
        let aliases = if random.percent(80) {
            Aliases::Resolve
        } else {
            Aliases::Off
        };
        let expected = data.oracle.series(&text, over, aliases).unwrap();
        Case {
            text,
            over,
            aliases,
            expected,
        }
    };
    (0..n).map(draw).collect()
}

impl Case {
    /// True if there is a series that is not all of one value.
    pub(super) fn tells(&self) -> bool {
        let mut series = self.expected.values();
        series.any(|values| values.iter().any(|value| *value != values[0]))
    }

    /// What is wrong with the engine's answer, if anything.
    pub(super) async fn check(&self, data: &DataSet) -> Option<String> {
        let engine = ask::engine(data, data.snapshots());
        let answer = engine.series(SeriesRequest {
            caller: ask::caller(self.aliases),
            query: self.text.clone(),
            start: self.over.start,
            end: self.over.end,
            step_nano: Some(self.over.step),
            exemplars_max: 0,
            series_max: None,
        });
        let difference = match answer.await {
            Ok(found) => self.difference(found)?,
            Err(error) => error.to_string(),
        };
        Some(format!(
            "{} over {:?}, {:?}: {difference}",
            self.text, self.over, self.aliases
        ))
    }

    fn difference(&self, found: SeriesResponse) -> Option<String> {
        if !found.partial.is_empty() {
            return Some(format!("partial: {:?}", found.partial));
        }
        let mut all = SeriesOfAll::new();
        for series in found.series {
            let labels = series.shown_labels().into_iter();
            let labels = labels.map(|label| (label.key, Datum::from(&label.value).shown()));
            let labels: Vec<(String, String)> = labels.collect();
            if all.insert(labels.clone(), series.values).is_some() {
                return Some(format!("two series of {labels:?}"));
            }
        }
        let keys = |of: &SeriesOfAll| of.keys().cloned().collect::<Vec<_>>();
        if keys(&all) != keys(&self.expected) {
            return Some(format!(
                "series of {:?}, not {:?}",
                keys(&all),
                keys(&self.expected)
            ));
        }
        let error = match self.text.contains("quantile") {
            true => SKETCH_ERROR,
            false => SUM_ERROR,
        };
        let near = |a: f64, b: f64| a == b || (a - b).abs() <= b.abs() * error + 1e-11;
        all.iter()
            .zip(self.expected.values())
            .find_map(|((labels, a), b)| {
                let same = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
                    (Some(a), Some(b)) => near(*a, *b),
                    (a, b) => a == b,
                };
                let is_same = a.len() == b.len() && a.iter().zip(b).all(same);
                (!is_same).then(|| format!("{labels:?}: {a:?}, not {b:?}"))
            })
    }
}
