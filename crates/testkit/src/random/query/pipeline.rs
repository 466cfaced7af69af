//! What stands around braces: relations, stages, aggregates.

use tracewell_model::Span;

use super::super::Random;
use super::{attribute, braces, duration_name, filter, ordering, pair};

const RELATIONS: &[&str] = &[
    ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<", "&<<", "&~",
];

/// What makes few groups of many spans.
const GROUPS: &[&str] = &[
    "name",
    "status",
    "kind",
    "resource.service.name",
    "event:name",
    "rootName",
];

/// A relation of braces, or of what a relation yields.
pub(super) fn relation(random: &mut Random, spans: &[&Span]) -> String {
    let op = *random.pick(RELATIONS);
    let (a, b) = pair(random, spans);
    // Of everything, relations tell more.
    let a = if random.percent(50) {
        "{ }".to_owned()
    } else {
        a
    };
    let b = if random.percent(30) {
        "{ }".to_owned()
    } else {
        b
    };
    match random.below(12) {
        0 => {
            let (again, c) = (*random.pick(RELATIONS), filter(random, spans));
            format!("{a} {op} {b} {again} {c}")
        }
        1 => {
            let (again, c) = (*random.pick(RELATIONS), filter(random, spans));
            format!("{a} {op} ({b} {again} {c})")
        }
        2 => {
            let logic = *random.pick(&["&&", "||"]);
            format!("({a} {op} {b}) {logic} {}", filter(random, spans))
        }
        _ => format!("{a} {op} {b}"),
    }
}

/// One to three stages, at times an operand of others.
pub(super) fn pipeline(random: &mut Random, spans: &[&Span]) -> String {
    match random.below(12) {
        0 => {
            let inner = single(random, spans);
            let op = *random.pick(&["&&", "||", ">", ">>", "!~", "&<"]);
            let other = filter(random, spans);
            match random.percent(50) {
                true => format!("({inner}) {op} {other}"),
                false => format!("{other} {op} ({inner})"),
            }
        }
        1 => {
            let (a, b) = (source(random, spans), source(random, spans));
            let (left, right) = (aggregate(random), aggregate(random));
            let (op, compare) = (*random.pick(&["+", "-", "*", "/"]), ordering(random));
            match random.percent(50) {
                true => format!(
                    "({a} | {left}) {op} ({b} | {right}) {compare} {}",
                    bound(random)
                ),
                false => format!("({a} | {left}) {compare} ({b} | {right})"),
            }
        }
        _ => staged(random, spans),
    }
}

fn source(random: &mut Random, spans: &[&Span]) -> String {
    match random.below(10) {
        // Aggregates of everything tell traces apart.
        0..5 => "{ }".to_owned(),
        5 | 6 => relation(random, spans),
        _ => braces(random, spans),
    }
}

fn staged(random: &mut Random, spans: &[&Span]) -> String {
    let mut text = source(random, spans);
    let n_stages = 1 + random.below(3);
    for _ in 0..n_stages {
        text.push_str(" | ");
        text.push_str(&stage(random, spans));
    }
    text
}

/// Yields one spanset of a trace.
fn single(random: &mut Random, spans: &[&Span]) -> String {
    let from = source(random, spans);
    match random.percent(50) {
        true => format!("{from} | {}", comparison(random)),
        false => format!("{from} | by({}) | coalesce()", field(random)),
    }
}

fn stage(random: &mut Random, spans: &[&Span]) -> String {
    match random.below(12) {
        0..7 => comparison(random),
        7 => format!("by({})", field(random)),
        8 => "coalesce()".to_owned(),
        9 => format!("select({})", attribute(random)),
        10 => relation(random, spans),
        _ => braces(random, spans),
    }
}

/// Of a number of the spanset with another, true as often as not.
fn comparison(random: &mut Random) -> String {
    let (left, op) = (scalar(random), ordering(random));
    match random.below(8) {
        0 => format!("{} {op} {left}", bound(random)),
        1 => format!("{left} {op} {}", scalar(random)),
        _ => format!("{left} {op} {}", bound(random)),
    }
}

fn scalar(random: &mut Random) -> String {
    let one = aggregate(random);
    match random.below(10) {
        0 => format!(
            "{one} {} {}",
            random.pick(&["+", "-", "*", "/"]),
            bound(random)
        ),
        1 => format!(
            "{one} {} {}",
            random.pick(&["+", "-", "*", "/"]),
            aggregate(random)
        ),
        2 => format!("-{one}"),
        _ => one,
    }
}

fn aggregate(random: &mut Random) -> String {
    if random.percent(45) {
        return "count()".to_owned();
    }
    let of = match random.below(6) {
        0 | 1 => duration_name(random),
        2 => format!("{} + {}", attribute(random), duration_name(random)),
        3 => (*random.pick(&["span:childCount", "nestedSetLeft"])).to_owned(),
        _ => attribute(random),
    };
    format!("{}({of})", random.pick(&["min", "max", "avg", "sum"]))
}

fn bound(random: &mut Random) -> &'static str {
    random.pick::<&str>(&[
        "0", "1", "2", "2", "3", "4", "1.5", "200", "500ms", "1s", "2s",
    ])
}

fn field(random: &mut Random) -> String {
    match random.below(8) {
        0..4 => (*random.pick(GROUPS)).to_owned(),
        4 => format!("{} {} 1s", duration_name(random), ordering(random)),
        5 => "span:childCount".to_owned(),
        _ => attribute(random),
    }
}

/// A selection, the number of values to show, and the time that the selection is from.
fn sides(random: &mut Random, spans: &[&Span]) -> String {
    let selection = super::filter(random, spans);
    let n_max = *random.pick(&[1, 2, 10, 1_000]);
    let mut start = || {
        spans
            .get(random.below(spans.len().max(1)))
            .map(|span| span.start_unix_nano)
    };
    match (start(), start()) {
        (Some(a), Some(b)) if a < b && b <= i64::MAX as u64 && n_max < 10 => {
            format!("compare({selection}, {n_max}, {a}, {b})")
        }
        _ if n_max == 10 => format!("compare({selection})"),
        _ if n_max == 2 => format!("compare({selection}, 2, 0, 0)"),
        _ => format!("compare({selection}, {n_max})"),
    }
}

/// One function over a pipeline, at times with stages and arithmetic behind it.
pub(super) fn series(random: &mut Random, spans: &[&Span]) -> String {
    let from = match random.percent(60) {
        true => source(random, spans),
        false => pipeline(random, spans),
    };
    if random.percent(12) {
        return format!("{from} | {}", sides(random, spans));
    }
    if random.percent(30) {
        return series_of_series(random, spans, &from);
    }
    let measured = measured(random);
    let function = match random.below(6) {
        0 => counted(random),
        1 => format!("quantile_over_time({measured}, .5, .99, 0)"),
        2 => format!("{}_over_time({measured})", random.pick(&["sum", "avg"])),
        _ => exact(random),
    };
    let by = by(&labels(random));
    format!("{from} | {function}{by}")
}

/// Stages and arithmetic. What is below them is the same to the last bit in whatever order it is added up:
/// otherwise values that are as good as equal would be ranked and compared by chance.
fn series_of_series(random: &mut Random, spans: &[&Span], from: &str) -> String {
    let (function, mut labels) = (exact(random), labels(random));
    let one = format!("{from} | {function}{}", by(&labels));
    match random.below(6) {
        0..3 => format!("{one}{}", series_stage(random)),
        3 => format!("{one}{}{}", series_stage(random), series_stage(random)),
        4 => {
            let op = *random.pick(&["+", "-", "*", "/"]);
            let number = *random.pick(&["0", "1", "2", "0.5", "-3"]);
            match random.percent(50) {
                true => format!("({one}) {op} {number}"),
                false => format!("{number} {op} ({one})"),
            }
        }
        _ => {
            let op = *random.pick(&["+", "-", "*", "/", "/"]);
            let other = source(random, spans);
            // Of the same groups, in the same order or in another, or of none.
            match random.below(10) {
                0..3 => labels.clear(),
                3..6 => labels.reverse(),
                _ => {}
            }
            let other = format!("{other} | {}{}", exact(random), by(&labels));
            let (a, b) = match random.percent(50) {
                true => (one, other),
                false => (other, one),
            };
            let stage = match random.percent(30) {
                true => series_stage(random),
                false => String::new(),
            };
            format!("({a}) {op} ({b}){stage}")
        }
    }
}

fn series_stage(random: &mut Random) -> String {
    if random.percent(60) {
        let which = *random.pick(&["topk", "bottomk"]);
        return format!(" | {which}({})", 1 + random.below(4));
    }
    let op = *random.pick(&["=", "!=", "<", "<=", ">", ">=", ">", ">="]);
    let bound = *random.pick(&["0", "1", "2", "0.5", "100ms", "150ms", "300ms", "1s"]);
    format!(" {op} {bound}")
}

fn counted(random: &mut Random) -> String {
    (*random.pick(&["rate()", "count_over_time()"])).to_owned()
}

/// A function whose values do not depend on the order of the spans.
fn exact(random: &mut Random) -> String {
    match random.below(8) {
        0..4 => counted(random),
        4 => format!("histogram_over_time({})", measured(random)),
        5 | 6 => format!("max_over_time({})", measured(random)),
        _ => format!("min_over_time({})", measured(random)),
    }
}

fn measured(random: &mut Random) -> String {
    match random.below(4) {
        0 | 1 => duration_name(random),
        2 => (*random.pick(&["span:childCount", "nestedSetLeft"])).to_owned(),
        _ => attribute(random),
    }
}

/// What a function groups by: nothing, or one or two fields.
fn labels(random: &mut Random) -> Vec<String> {
    let n = match random.below(4) {
        0 => 0,
        1 => 2,
        _ => 1,
    };
    let mut label = |_| match random.percent(60) {
        true => (*random.pick(GROUPS)).to_owned(),
        false => attribute(random),
    };
    (0..n).map(&mut label).collect()
}

fn by(labels: &[String]) -> String {
    match labels {
        [] => String::new(),
        labels => format!(" by({})", labels.join(", ")),
    }
}
