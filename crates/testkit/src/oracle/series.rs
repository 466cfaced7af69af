//! What a metrics query must answer: every span put into the interval of its start, one by one.

use std::collections::BTreeMap;

use tracewell_model::Span;
use tracewell_query::Aliases;
use tracewell_query::parse;
use tracewell_query::syntax::ast::{
    Expr, ExprKind, IntrinsicField, MetricsExpr, MetricsFunction, MetricsKind, OverTime, Pipeline,
    Root,
};

use super::comparison::Sides;
use super::filter::TraceFacts;
use super::pipeline::Scene;
use super::value::Datum;
use super::{Oracle, OracleError};
use stages::{Line, Operand};

mod stages;

type Result<T> = std::result::Result<T, OracleError>;

/// Labels, as text, and a value for each interval, of series that have any.
pub type SeriesOfAll = BTreeMap<Vec<(String, String)>, Vec<Option<f64>>>;

/// What was grouped by, and the numbers of each interval.
type Group = (Vec<Datum>, Vec<Vec<f64>>);

/// From the multiple of the step before the start, and one step more, to that behind the end. An interval holds
/// its end, and not its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    pub start: u64,
    pub end: u64,
    pub step: u64,
}

impl Intervals {
    fn ends(&self) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut end = self.start / self.step * self.step;
        loop {
            ends.push(end);
            if end >= self.end {
                return ends;
            }
            end += self.step;
        }
    }

    fn interval(&self, start: u64) -> Option<usize> {
        // The first may begin before the beginning of time.
        let (start, step) = (i128::from(start), i128::from(self.step));
        let mut ends = self.ends().into_iter().map(i128::from);
        ends.position(|end| start <= end && start > end - step)
    }
}

impl Oracle {
    /// What a metrics query yields, of everything that the language has.
    pub fn series(&self, text: &str, over: Intervals, aliases: Aliases) -> Result<SeriesOfAll> {
        let query = parse(text)?;
        let Root::Metrics(expr) = &query.root else {
            return Err(OracleError::Unknown("a search as series"));
        };
        if let MetricsKind::Pipeline {
            pipeline,
            function: function @ MetricsFunction::Compare { top, .. },
            ..
        } = &expr.kind
        {
            let mut sides = Sides::new(over.ends().len());
            self.each_span((pipeline, aliases), over, |scene, (at, span), interval| {
                if let Some(is_selected) = selected(function, scene, (at, span))? {
                    sides.take(scene.facts, span, interval, is_selected);
                }
                Ok(())
            })?;
            return Ok(sides.series(*top));
        }
        match self.operand(expr, over, aliases)? {
            Operand::Lines(lines) => Ok(lines.into_iter().map(shown).collect()),
            Operand::Number(_) => Err(OracleError::Unknown("a number as series")),
        }
    }

    fn operand(&self, expr: &MetricsExpr, over: Intervals, aliases: Aliases) -> Result<Operand> {
        match &expr.kind {
            MetricsKind::Pipeline {
                pipeline,
                function,
                by,
            } => {
                let groups = self.groups((pipeline, aliases), function, by, over)?;
                let seconds = over.step as f64 / 1e9;
                Ok(Operand::Lines(of_groups(function, by, groups, seconds)))
            }
            MetricsKind::Stage(of, stage) => match self.operand(of, over, aliases)? {
                Operand::Lines(lines) => Ok(Operand::Lines(stages::staged(stage, lines)?)),
                Operand::Number(_) => Err(OracleError::Unknown("a stage over a number")),
            },
            MetricsKind::Arithmetic(op, left, right) => {
                let left = self.operand(left, over, aliases)?;
                stages::arithmetic(*op, left, self.operand(right, over, aliases)?)
            }
            MetricsKind::Scalar(scalar) => Ok(Operand::Number(stages::number(scalar)?)),
        }
    }

    fn groups<'q>(
        &self,
        from: (&'q Pipeline, Aliases),
        function: &'q MetricsFunction,
        by: &'q [Expr],
        over: Intervals,
    ) -> Result<BTreeMap<Vec<String>, Group>> {
        let n_intervals = over.ends().len();
        let mut groups: BTreeMap<Vec<String>, Group> = BTreeMap::new();
        self.each_span(from, over, |scene, (at, _), interval| {
            let Some(value) = measured(function, scene, at)? else {
                return Ok(());
            };
            let mut values = Vec::new();
            for expr in by {
                values.push(scene.value(expr, at)?);
            }
            let key = values
                .iter()
                .map(|value| format!("{:?} {}", std::mem::discriminant(value), value.shown()));
            let (_, cells) = groups
                .entry(key.collect())
                .or_insert_with(|| (values.clone(), vec![Vec::new(); n_intervals]));
            if let Some(cell) = cells.get_mut(interval) {
                cell.push(value);
            }
            Ok(())
        })?;
        Ok(groups)
    }

    /// Every span that the pipeline yields and that began in one of the intervals.
    fn each_span<'q>(
        &self,
        (pipeline, aliases): (&'q Pipeline, Aliases),
        over: Intervals,
        mut visit: impl FnMut(&mut Scene<'q, '_>, (usize, &Span), usize) -> Result<()>,
    ) -> Result<()> {
        let mut filters = BTreeMap::new();
        for trace in self.traces() {
            let facts = TraceFacts::of(&trace.spans);
            let mut scene = Scene {
                facts: &facts,
                aliases,
                filters: &mut filters,
            };
            let everything = scene.everything();
            let sets = scene.pipeline(pipeline, vec![everything])?;
            let spans: std::collections::BTreeSet<usize> =
                sets.into_iter().flat_map(|set| set.spans).collect();
            for at in spans {
                let Some(span) = trace.spans.get(at) else {
                    continue;
                };
                if let Some(interval) = over.interval(span.start_unix_nano) {
                    visit(&mut scene, (at, span), interval)?;
                }
            }
        }
        Ok(())
    }
}

fn shown(line: Line) -> (Vec<(String, String)>, Vec<Option<f64>>) {
    let labels = line.labels.into_iter();
    let labels = labels.map(|(key, value)| (key, value.shown()));
    (labels.collect(), line.values)
}

fn of_groups(
    function: &MetricsFunction,
    by: &[Expr],
    groups: BTreeMap<Vec<String>, Group>,
    seconds: f64,
) -> Vec<Line> {
    let names: Vec<String> = by.iter().map(ToString::to_string).collect();
    let mut all = Vec::new();
    for (values, cells) in groups.into_values() {
        for (more, values_of) in of_cells(function, &cells, seconds) {
            all.push(Line {
                labels: labels(function, &names, &values, more),
                name: name(function).to_owned(),
                values: values_of,
            });
        }
    }
    all
}

/// Of a comparison, whether a span is of its selection.
fn selected<'q>(
    function: &'q MetricsFunction,
    scene: &mut Scene<'q, '_>,
    (at, span): (usize, &Span),
) -> Result<Option<bool>> {
    let MetricsFunction::Compare {
        selection, window, ..
    } = function
    else {
        return Ok(None);
    };
    let start = i128::from(span.start_unix_nano);
    let is_in = |(from, to): (i64, i64)| {
        (from, to) == (0, 0) || (start >= from.into() && start < to.into())
    };
    let holds = match selection {
        None => true,
        Some(selection) => scene.holds(selection, at)?,
    };
    Ok(Some(holds && window.is_none_or(is_in)))
}

fn name(function: &MetricsFunction) -> &'static str {
    match function {
        MetricsFunction::Rate => "rate",
        MetricsFunction::CountOverTime => "count_over_time",
        MetricsFunction::OverTime(OverTime::Min, _) => "min_over_time",
        MetricsFunction::OverTime(OverTime::Max, _) => "max_over_time",
        MetricsFunction::OverTime(OverTime::Sum, _) => "sum_over_time",
        MetricsFunction::OverTime(OverTime::Avg, _) => "avg_over_time",
        MetricsFunction::OverTime(OverTime::Histogram, _) => "histogram_over_time",
        MetricsFunction::QuantileOverTime(..) => "quantile_over_time",
        MetricsFunction::Compare { .. } => "compare",
    }
}

fn labels(
    function: &MetricsFunction,
    names: &[String],
    values: &[Datum],
    more: Option<(String, Datum)>,
) -> Vec<(String, Datum)> {
    let mut labels = Vec::new();
    for (name, value) in names.iter().zip(values) {
        if !value.is_nil() {
            labels.push((name.clone(), value.clone()));
        }
    }
    if let (true, Some(first)) = (labels.is_empty(), names.first()) {
        labels.push((first.clone(), Datum::Text("nil".to_owned())));
    }
    labels.extend(more);
    if labels.is_empty() {
        let name = Datum::Text(name(function).to_owned());
        labels.push((stages::NAME.to_owned(), name));
    }
    labels
}

fn is_span_duration(expr: &Expr) -> bool {
    let duration = IntrinsicField::Column(tracewell_model::Intrinsic::Duration);
    matches!(&expr.kind, ExprKind::Intrinsic(name) if name.field == duration)
}

/// What is measured of a span, 1 where spans are counted; `None` for no number.
fn measured<'q>(
    function: &'q MetricsFunction,
    scene: &mut Scene<'q, '_>,
    at: usize,
) -> Result<Option<f64>> {
    let of = match function {
        MetricsFunction::Rate | MetricsFunction::CountOverTime => return Ok(Some(1.0)),
        MetricsFunction::OverTime(_, of) | MetricsFunction::QuantileOverTime(of, _) => of,
        MetricsFunction::Compare { .. } => return Ok(None),
    };
    let number = scene.value(of, at)?.number();
    Ok(number.map(|number| match is_span_duration(of) {
        true => number / 1e9,
        false => number,
    }))
}

/// The exponent of the smallest power of two that is not below a positive number.
fn power_above(value: f64) -> i32 {
    // A logarithm may be rounded to the power before.
    let mut power = value.log2().floor() as i32;
    while f64::from(power).exp2() < value {
        power += 1;
    }
    power
}

type Cells = Vec<(Option<(String, Datum)>, Vec<Option<f64>>)>;

/// The series of one group.
fn of_cells(function: &MetricsFunction, cells: &[Vec<f64>], seconds: f64) -> Cells {
    match function {
        MetricsFunction::QuantileOverTime(_, quantiles) => {
            let of = |q: &f64| {
                let values = cells.iter().map(|cell| Some(quantile(cell, *q)));
                (Some(("p".to_owned(), Datum::Float(*q))), values.collect())
            };
            quantiles.iter().map(of).collect()
        }
        MetricsFunction::OverTime(OverTime::Histogram, of) => {
            let unit = if is_span_duration(of) { 1e9 } else { 1.0 };
            let bucket = |value: &f64| (*value > 0.0).then(|| power_above(value * unit));
            let mut buckets: Vec<i32> = cells.iter().flatten().filter_map(bucket).collect();
            buckets.sort_unstable();
            buckets.dedup();
            let of_bucket = |of: &i32| {
                let n = |cell: &Vec<f64>| cell.iter().filter(|it| bucket(it) == Some(*of)).count();
                let values = cells.iter().map(|cell| Some(n(cell) as f64));
                let upper = f64::from(*of).exp2() / unit;
                (
                    Some(("__bucket".to_owned(), Datum::Float(upper))),
                    values.collect(),
                )
            };
            buckets.iter().map(of_bucket).collect()
        }
        _ => {
            let values = cells.iter().map(|cell| {
                let n = cell.len() as f64;
                let fold = |pick: fn(f64, f64) -> f64| cell.iter().copied().reduce(pick);
                match function {
                    MetricsFunction::Rate => Some(n / seconds),
                    MetricsFunction::CountOverTime => Some(n),
                    MetricsFunction::OverTime(OverTime::Min, _) => fold(f64::min),
                    MetricsFunction::OverTime(OverTime::Max, _) => fold(f64::max),
                    _ if cell.is_empty() => None,
                    MetricsFunction::OverTime(OverTime::Avg, _) => {
                        Some(cell.iter().sum::<f64>() / n)
                    }
                    _ => Some(cell.iter().sum()),
                }
            });
            vec![(None, values.collect())]
        }
    }
}

/// The number of rank `floor(q * (n - 1))`, exactly; 0 of none.
fn quantile(numbers: &[f64], q: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((q * last as f64).floor() as usize)
        .copied()
        .unwrap_or(0.0)
}
