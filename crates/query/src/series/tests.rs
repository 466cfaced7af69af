use std::sync::Arc;

use tracewell_model::CompareOp;

use tracewell_model::{KeyValue, Limits, Span, SpanId, Status};

use super::axis::{AxisError, INTERVALS_MAX};
use super::comparison::VALUES_MAX;
use super::math::{Operand, arithmetic, compared, ranked};
use super::*;
use crate::plan::PlanLimits;
use crate::plan::series::SeriesPlan;
use crate::request::Aliases;
use crate::row::TraceFacts;
use crate::syntax::ast::ArithmeticOp;
use crate::syntax::parse;

const SECOND: u64 = 1_000_000_000;

#[test]
fn an_interval_is_closed_at_its_end_and_named_by_it() {
    // 103 to 117 by tens: (90, 100], (100, 110], (110, 120].
    let axis = Axis::of_range(103, 117, 10).unwrap();
    assert_eq!(axis.n(), 3);
    let ends: Vec<u64> = (0..3).map(|interval| axis.end_of(interval)).collect();
    assert_eq!(ends, [100, 110, 120]);
    for (time, interval) in [
        (90, None),
        (91, Some(0)),
        (100, Some(0)),
        (101, Some(1)),
        (110, Some(1)),
        (120, Some(2)),
        (121, None),
    ] {
        assert_eq!(axis.interval(time), interval, "{time}");
        assert_eq!(axis.window().contains(time), interval.is_some(), "{time}");
    }
}

#[test]
fn nothing_lies_before_1970() {
    let axis = Axis::of_range(3, 15, 10).unwrap();
    let ends: Vec<u64> = (0..axis.n())
        .map(|interval| axis.end_of(interval))
        .collect();
    assert_eq!(ends, [0, 10, 20]);
    let intervals = [0, 1, 10, 20, 21].map(|time| axis.interval(time));
    assert_eq!(intervals, [Some(0), Some(1), Some(1), Some(2), None]);
    assert!(axis.window().contains(0));
}

#[test]
fn an_instant_has_both_of_its_ends() {
    let axis = Axis::instant(100, 200).unwrap();
    assert_eq!((axis.n(), axis.end_of(0)), (1, 200));
    for (time, is_in) in [(99, false), (100, true), (200, true), (201, false)] {
        assert_eq!(axis.interval(time).is_some(), is_in, "{time}");
        assert_eq!(axis.window().contains(time), is_in, "{time}");
    }
}

#[test]
fn an_axis_has_bounds() {
    assert_eq!(Axis::of_range(5, 5, 1), Err(AxisError::Empty));
    assert_eq!(Axis::of_range(5, 6, 0), Err(AxisError::NoStep));
    let year = 365 * 86_400 * SECOND;
    let error = Axis::of_range(SECOND, SECOND + year, SECOND).unwrap_err();
    let AxisError::TooMany { step_min, .. } = error else {
        panic!("{error}");
    };
    assert!(
        error.to_string().starts_with("step of 1s is too small"),
        "{error}"
    );
    let least = Axis::of_range(SECOND, SECOND + year, step_min).unwrap();
    assert!(least.n() as u64 <= INTERVALS_MAX);
    assert!(Axis::of_range(0, u64::MAX, u64::MAX / 2).is_ok());
}

#[test]
fn a_default_step_is_of_a_length_that_people_count_in() {
    for (range, step) in [
        (10 * SECOND, 50_000_000),
        (59 * SECOND, 200_000_000),
        (60 * SECOND, SECOND),
        (900 * SECOND, 3 * SECOND),
        (3_600 * SECOND, 15 * SECOND),
        (6 * 3_600 * SECOND, 60 * SECOND),
        (86_400 * SECOND, 300 * SECOND),
    ] {
        assert_eq!(Axis::default_step(0, range), step, "{range}");
    }
}

fn one(labels: &[(&str, &str)], values: &[Option<f64>]) -> Series {
    let label = |(key, value): &(&str, &str)| ((*key).to_owned(), Scalar::String((*value).into()));
    Series {
        labels: labels.iter().map(label).collect(),
        name: "rate".to_owned(),
        values: values.to_vec(),
        exemplars: Vec::new(),
    }
}

fn set(series: &[Series]) -> SeriesSet {
    SeriesSet {
        series: series.to_vec(),
    }
}

#[test]
fn the_largest_are_kept_at_each_moment() {
    let all = set(&[
        one(&[("s", "c")], &[Some(1.0), Some(5.0), None]),
        one(&[("s", "a")], &[Some(2.0), Some(5.0), None]),
        one(&[("s", "b")], &[Some(3.0), Some(1.0), Some(7.0)]),
    ]);
    let shown = |set: SeriesSet| -> Vec<(String, Vec<Option<f64>>)> {
        let each = set.series.into_iter();
        each.map(|it| (format!("{:?}", it.labels[0].1), it.values))
            .collect()
    };
    let top = shown(ranked(all.clone(), 1, true));
    assert_eq!(
        top,
        [
            // Of equal ones the first label.
            ("String(\"a\")".to_owned(), vec![None, Some(5.0), None]),
            ("String(\"b\")".to_owned(), vec![Some(3.0), None, Some(7.0)]),
        ]
    );
    let bottom = shown(ranked(all.clone(), 2, false));
    let bottom: Vec<Vec<Option<f64>>> = bottom.into_iter().map(|(_, values)| values).collect();
    assert_eq!(bottom[0], [Some(2.0), Some(5.0), None]);
    assert_eq!(bottom[1], [None, Some(1.0), Some(7.0)]);
    assert_eq!(bottom[2], [Some(1.0), None, None]);
    assert_eq!(ranked(all.clone(), 3, true), all);
}

#[test]
fn points_for_which_a_comparison_fails_are_dropped() {
    let all = set(&[
        one(&[("s", "a")], &[Some(1.0), Some(5.0)]),
        one(&[("s", "b")], &[Some(1.0), None]),
    ]);
    let kept = compared(all, CompareOp::Greater, 1.0);
    assert_eq!(kept, set(&[one(&[("s", "a")], &[None, Some(5.0)])]));
}

#[test]
fn series_of_equal_labels_are_joined_and_one_of_all_with_each() {
    let by = set(&[
        one(&[("s", "a")], &[Some(1.0), Some(4.0)]),
        one(&[("s", "b")], &[Some(2.0), None]),
    ]);
    let all = set(&[one(&[(NAME, "rate")], &[Some(4.0), Some(0.0)])]);
    let divide = |a: &SeriesSet, b: &SeriesSet| {
        let sides = (Operand::Series(a.clone()), Operand::Series(b.clone()));
        match arithmetic(ArithmeticOp::Divide, sides.0, sides.1) {
            Operand::Series(set) => set.series,
            Operand::Number(number) => panic!("{number}"),
        }
    };
    let shares = divide(&by, &all);
    assert_eq!(shares.len(), 2);
    assert_eq!(shares[0].labels, by.series[0].labels);
    assert_eq!(
        shares[0].values,
        [Some(0.25), None],
        "nothing is divided by zero"
    );
    assert_eq!(shares[0].name, "(rate / rate)");
    let whole = divide(&all, &all);
    assert_eq!(whole[0].labels[0].1, Scalar::String("(rate / rate)".into()));
    let other = set(&[one(&[("s", "b")], &[Some(4.0), Some(1.0)])]);
    let joined = divide(&by, &other);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].values, [Some(0.5), None]);
    let number = arithmetic(
        ArithmeticOp::Multiply,
        Operand::Series(other),
        Operand::Number(2.0),
    );
    assert!(matches!(number, Operand::Series(set) if set.series[0].values[0] == Some(8.0)));
}

fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    let key = key.to_owned();
    KeyValue { key, value }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, AttributeValue::String(value.to_owned()))
}

fn span(id: u8, start: u64, code: i32, attributes: Vec<KeyValue>) -> Span {
    let mut span = Span {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([id; 8]),
        name: "get".to_owned(),
        start_unix_nano: start,
        end_unix_nano: start + 1,
        kind: 2,
        attributes,
        ..Span::default()
    };
    span.status = (code > 0).then(|| Status {
        code,
        message: String::new(),
    });
    span
}

/// The series of a comparison of one trace, as lines: labels, then the count of each interval.
fn sides(query: &str, spans: &[Span]) -> Vec<String> {
    let limits = PlanLimits::from(&Limits::default());
    let plan = SeriesPlan::new(query, &parse(query).unwrap(), Aliases::Resolve, limits).unwrap();
    let SeriesPlan::Spans(plan) = &plan else {
        panic!("{plan:?}");
    };
    let mut counter = Counter::new(
        Arc::clone(plan),
        Axis::of_range(10, 20, 10).unwrap(),
        false,
        100,
    );
    counter.take(&TraceFacts::of(spans), &|_| 1.0);
    let lines = counter
        .finish(usize::MAX)
        .set
        .series
        .into_iter()
        .map(|series| {
            assert_eq!(series.exemplars, []);
            let labels = series.labels.iter().map(|(key, value)| {
                let value = format!("{:?}", value.to_attribute());
                format!("{key}={value}")
            });
            let labels: Vec<String> = labels.collect();
            let values = series.values.iter().map(|value| value.unwrap().to_string());
            let values: Vec<String> = values.collect();
            format!("{} {}", labels.join(" "), values.join(" "))
        });
    lines
        .map(|line| line.replace("String(\"", "").replace("\")", ""))
        .collect()
}

#[test]
fn a_comparison_counts_every_value_of_both_sides() {
    let spans = [
        span(
            1,
            5,
            2,
            vec![text("pod", "a"), attribute("n", AttributeValue::Int(1))],
        ),
        span(2, 6, 2, vec![text("pod", "a"), text("pod", "hidden")]),
        span(
            3,
            15,
            0,
            vec![text("pod", "b"), attribute("n", AttributeValue::Empty)],
        ),
        span(4, 16, 0, vec![text("pod", "a")]),
        // Outside of the range.
        span(5, 25, 2, vec![text("pod", "z")]),
    ];
    let lines = sides("{ } | compare({ status = error })", &spans);
    let with = |start: &str| -> Vec<&str> {
        let lines = lines.iter().map(String::as_str);
        lines.filter(|line| line.contains(start)).collect()
    };
    assert_eq!(
        with("span."),
        [
            "__meta_type=baseline span.pod=a 0 1",
            "__meta_type=baseline span.pod=b 0 1",
            "__meta_type=selection span.n=Int(1) 1 0",
            "__meta_type=selection span.pod=a 2 0",
            "__meta_type=baseline_total span.pod=nil 0 2",
            "__meta_type=selection_total span.n=nil 1 0",
            "__meta_type=selection_total span.pod=nil 2 0",
        ]
    );
    assert_eq!(
        with("status"),
        [
            "__meta_type=baseline status=unset 0 2",
            "__meta_type=selection status=error 2 0",
            "__meta_type=baseline_total status=nil 0 2",
            "__meta_type=selection_total status=nil 2 0",
        ]
    );
    assert_eq!(with("rootName=get").len(), 2);
    assert_eq!(with("__meta_error"), [""; 0]);
}

#[test]
fn series_that_do_not_fit_are_counted_and_totals_stay() {
    let finished = |query: &str, series_max| {
        let limits = PlanLimits::from(&Limits::default());
        let query = (query, parse(query).unwrap());
        let plan = SeriesPlan::new(query.0, &query.1, Aliases::Resolve, limits).unwrap();
        let SeriesPlan::Spans(plan) = &plan else {
            panic!("{plan:?}");
        };
        let pods = ["a", "b", "c"].map(|pod| vec![text("pod", pod)]);
        let spans: Vec<Span> = (1..).zip(pods).map(|(id, of)| span(id, 5, 0, of)).collect();
        let mut counter = Counter::new(
            Arc::clone(plan),
            Axis::of_range(10, 20, 10).unwrap(),
            false,
            0,
        );
        counter.take(&TraceFacts::of(&spans), &|_| 1.0);
        let finished = counter.finish(series_max);
        (finished.set.series.len(), finished.n_left_out)
    };
    assert_eq!(finished("{ } | rate() by (span.pod)", 2), (2, 1));
    assert_eq!(
        finished(
            "{ } | quantile_over_time(duration, .5, .9) by (span.pod)",
            3
        ),
        (3, 3)
    );
    assert_eq!(
        finished("{ } | histogram_over_time(duration) by (span.pod)", 1),
        (1, 2)
    );
    // Of each of name, kind, status, rootName and pod a total, and three values of the last.
    let (n_all, none) = finished("{ } | compare({ .a })", 100);
    assert_eq!((n_all, none), (12, 0));
    assert_eq!(finished("{ } | compare({ .a })", 6), (6, 6));
    assert_eq!(finished("{ } | compare({ .a })", 1), (1, 11));
}

#[test]
fn a_comparison_has_a_time_of_its_own_and_says_what_it_does_not_show() {
    let pods = ["a", "b", "b", "c"];
    let spans: Vec<Span> = (1..)
        .zip(pods)
        .map(|(id, pod)| span(id, u64::from(id), 0, vec![text("pod", pod)]))
        .collect();
    let lines = sides("{ } | compare({ }, 1, 2, 4)", &spans);
    let pods: Vec<&String> = lines.iter().filter(|it| it.contains("pod")).collect();
    assert_eq!(
        pods,
        [
            "__meta_type=baseline span.pod=a 1 0",
            "__meta_type=selection span.pod=b 2 0",
            "__meta_type=baseline_total span.pod=nil 2 0",
            "__meta_type=selection_total span.pod=nil 2 0",
            "__meta_error=__too_many_values__ span.pod=nil 0 0",
        ]
    );
}

#[test]
fn a_comparison_tells_a_bounded_number_of_values_apart() {
    let many = VALUES_MAX as i64 + 10;
    let of = |n: i64| span(1, 5, 0, vec![attribute("id", AttributeValue::Int(n))]);
    // One that comes last is none of the first ten thousand, and the most frequent.
    let last = std::iter::repeat_n(many, 3).map(of);
    let spans: Vec<Span> = (0..many - 3).map(of).chain(last).collect();
    let lines = sides("{ } | compare({ status = error }, 1000)", &spans);
    let first = lines.iter().find(|it| it.contains("span.id=Int(")).unwrap();
    let frequent = format!("__meta_type=baseline span.id=Int({many}) 3 0");
    assert_eq!(*first, frequent);
    let ids = lines.iter().filter(|it| it.contains("span.id=Int("));
    assert_eq!(ids.count(), 1_000);
    let total = format!("__meta_type=baseline_total span.id=nil {many} 0");
    assert!(lines.contains(&total), "{:?}", lines.iter().rev().take(9));
    let error = "__meta_error=__too_many_values__ span.id=nil 0 0";
    assert!(lines.iter().any(|line| line == error));
}

#[test]
fn a_bucket_is_the_power_of_two_that_is_not_below_a_number() {
    let cases = [
        (1.0, 0),
        (1.0 + f64::EPSILON, 1),
        (1.5, 1),
        (2.0, 1),
        (0.5, -1),
        (0.3, -1),
        (1024.0, 10),
        (1025.0, 11),
        // A logarithm is rounded to 50.
        ((1i64 << 50) as f64 + 1.0, 51),
        (f64::MIN_POSITIVE, -1022),
        (f64::MIN_POSITIVE / 4.0, -1024),
        (f64::MAX, 1024),
        (f64::INFINITY, 1024),
    ];
    for (value, exponent) in cases {
        assert_eq!(sums::power_of_two(value), exponent, "{value}");
    }
}
