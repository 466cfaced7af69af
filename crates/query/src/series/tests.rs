use tracewell_model::CompareOp;

use super::axis::{AxisError, INTERVALS_MAX};
use super::math::{Operand, arithmetic, compared, ranked};
use super::*;
use crate::syntax::ast::ArithmeticOp;

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
