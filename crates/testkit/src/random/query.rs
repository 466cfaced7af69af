//! Random TraceQL over the vocabulary of [`super::traces`]: braces with every intrinsic and scope and all
//! operators, relations of them, and pipelines of every stage ([`pipeline`]). Nearly all of it passes the type check; a test skips what the
//! engine refuses and counts it.
//!
//! A query of chance alone mostly finds nothing, and `&&` makes it worse. So most braces are about
//! one span of the data ([`about`]): many of their conditions are true of it, and the rest are as
//! likely to be false there as anywhere.

mod about;
mod pipeline;

use tracewell_model::Span;

use super::Random;
use super::traces::{EVENT_NAMES, KEYS, LIBRARIES, NAMES, SERVICES, TEXTS};

/// A query, for data with these spans in it.
pub fn random_query(random: &mut Random, spans: &[&Span]) -> String {
    match random.below(10) {
        0..6 => braces(random, spans),
        6..8 => pipeline::relation(random, spans),
        _ => pipeline::pipeline(random, spans),
    }
}

/// A metrics query of one function, for data with these spans in it.
pub fn random_series_query(random: &mut Random, spans: &[&Span]) -> String {
    pipeline::series(random, spans)
}

/// One or several pairs of braces, and what joins them.
fn braces(random: &mut Random, spans: &[&Span]) -> String {
    let filter = |random: &mut Random| filter(random, spans);
    match random.below(10) {
        0..6 => filter(random),
        6 => format!("{} || {}", filter(random), filter(random)),
        7 | 8 => {
            let (a, b) = pair(random, spans);
            format!("{a} && {b}")
        }
        _ => {
            let op = *random.pick(&["&&", "||"]);
            let (a, b) = pair(random, spans);
            format!("({a} {op} {}) && {b}", filter(random))
        }
    }
}

/// Braces, about a span more often than not.
fn filter(random: &mut Random, spans: &[&Span]) -> String {
    let about = some_span(random, spans);
    filter_about(random, about)
}

/// Two pairs of braces, about spans of one trace if about any.
fn pair(random: &mut Random, spans: &[&Span]) -> (String, String) {
    let first = some_span(random, spans);
    let second = first.and_then(|first| {
        let same_trace = |span: &&&Span| span.trace_id == first.trace_id;
        let others: Vec<&Span> = spans.iter().filter(same_trace).copied().collect();
        some_span(random, &others)
    });
    (filter_about(random, first), filter_about(random, second))
}

fn some_span<'a>(random: &mut Random, spans: &[&'a Span]) -> Option<&'a Span> {
    if spans.is_empty() || random.percent(18) {
        None
    } else {
        Some(*random.pick(spans))
    }
}

fn filter_about(random: &mut Random, about: Option<&Span>) -> String {
    if random.percent(2) {
        return "{ }".to_owned();
    }
    let depth = *random.pick(&[0, 0, 1, 1, 2, 3]);
    format!("{{ {} }}", condition(random, depth, about))
}

fn condition(random: &mut Random, depth: usize, about: Option<&Span>) -> String {
    if depth == 0 {
        return match about {
            Some(span) if random.percent(76) => about::leaf(random, span),
            _ => leaf(random),
        };
    }
    let choice = random.below(12);
    if choice == 0 {
        return format!("!({})", condition(random, depth - 1, about));
    }
    let (a, b) = (
        condition(random, depth - 1, about),
        condition(random, depth - 1, about),
    );
    let op = if choice < 7 { "&&" } else { "||" };
    format!("({a}) {op} ({b})")
}

fn leaf(random: &mut Random) -> String {
    match random.below(20) {
        0..7 => attribute_leaf(random),
        7..13 => intrinsic_leaf(random),
        13 => {
            let op = *random.pick(&["=", "!="]);
            let name = attribute(random);
            swapped(random, &name, op, "nil")
        }
        14 => {
            let bang = *random.pick(&["", "!"]);
            format!("{bang}{}", attribute(random))
        }
        15 => {
            let op = ordering(random);
            format!("{} {op} {}", attribute(random), attribute(random))
        }
        16 | 17 => arithmetic_leaf(random),
        18 => {
            let op = ordering(random);
            format!("{} {op} {}", duration_name(random), duration_name(random))
        }
        _ => {
            let op = *random.pick(&["=", "!="]);
            format!(
                "({}) {op} ({})",
                attribute_leaf(random),
                intrinsic_leaf(random)
            )
        }
    }
}

fn attribute_leaf(random: &mut Random) -> String {
    let name = attribute(random);
    if random.percent(20) {
        return regex_leaf(random, &name);
    }
    let constant = constant(random);
    let op = if matches!(constant.as_str(), "true" | "false") {
        *random.pick(&["=", "!="])
    } else {
        comparison(random)
    };
    swapped(random, &name, op, &constant)
}

fn regex_leaf(random: &mut Random, name: &str) -> String {
    let op = *random.pick(&["=~", "!~"]);
    let pattern = *random.pick(&[
        "x|y",
        "G.T",
        ".*",
        "[a-z]+",
        "",
        "ms.*",
        ".*sql.*",
        "(?i)get.*",
        r"\\w+",
        r".*\\W.*",
        r"[\\w\\.]+\\_server",
    ]);
    format!("{name} {op} \"{pattern}\"")
}

/// What only the whole trace says.
fn tree_leaf(random: &mut Random) -> String {
    let (name, bounds): (&str, &[&str]) = *random.pick(&[
        ("nestedSetParent", &["0", "-1", "1", "2", "3"] as &[&str]),
        ("nestedSetParent", &["0", "-1"]),
        ("nestedSetLeft", &["0", "1", "2", "4"]),
        ("nestedSetRight", &["0", "2", "5", "8"]),
        ("nestedSetRight - nestedSetLeft", &["0", "1", "3"]),
        ("span:childCount", &["0", "1", "2"]),
    ]);
    let op = ordering(random);
    format!("{name} {op} {}", random.pick(bounds))
}

fn intrinsic_leaf(random: &mut Random) -> String {
    match random.below(13) {
        12 => tree_leaf(random),
        0 | 1 => {
            let op = *random.pick(&["=", "!="]);
            let name = *random.pick(&["status", "span:status"]);
            format!("{name} {op} {}", random.pick(&["error", "ok", "unset"]))
        }
        2 | 3 => {
            let op = *random.pick(&["=", "!="]);
            let kind = *random.pick(&["server", "client", "internal", "consumer", "unspecified"]);
            format!("{} {op} {kind}", random.pick(&["kind", "span:kind"]))
        }
        4 | 5 => {
            let amount = 1 + random.below(30);
            let op = ordering(random);
            format!("{} {op} {amount}00ms", duration_name(random))
        }
        6 => {
            let id = *random.pick(&["trace:id", "span:id", "span:parentID", "link:traceID"]);
            format!("{id} {} \"{:x}\"", ordering(random), random.bits() >> 1)
        }
        7 => {
            let (name, value) = *random.pick(&[
                ("link:spanID", "0707070707070707"),
                ("link:traceID", "07070707070707070707070707070707"),
                ("link:traceID", "7070707070707070707070707070707"),
            ]);
            format!("{name} {} \"{value}\"", random.pick(&["=", "!="]))
        }
        _ => text_leaf(random),
    }
}

fn text_leaf(random: &mut Random) -> String {
    const CHOICES: &[(&[&str], &[&str])] = &[
        (&["name", "span:name"], NAMES),
        (&["rootName", "trace:rootName"], NAMES),
        (&["rootServiceName", "trace:rootService"], SERVICES),
        (&["event:name"], EVENT_NAMES),
        (&["instrumentation:name"], LIBRARIES),
        (&["instrumentation:version"], &["1", "2"]),
        (&["statusMessage", "span:statusMessage"], &["", "x", "no"]),
        (&["resource.service.name"], SERVICES),
    ];
    let (names, values) = *random.pick(CHOICES);
    let name = (*random.pick(names)).to_owned();
    if random.percent(20) {
        return regex_leaf(random, &name);
    }
    let value = *random.pick(values);
    let op = comparison(random);
    swapped(random, &name, op, &format!("\"{value}\""))
}

fn arithmetic_leaf(random: &mut Random) -> String {
    let number = *random.pick(&["1", "2", "0", "-1", "0.5", "100ms", "200"]);
    let op = *random.pick(&["+", "-", "*", "/", "%", "^"]);
    let left = match random.below(3) {
        0 => format!("-({})", attribute(random)),
        1 => duration_name(random),
        _ => attribute(random),
    };
    let right = if random.percent(40) {
        attribute(random)
    } else {
        number.to_owned()
    };
    let compare = ordering(random);
    let bound = *random.pick(&["0", "1", "2", "200", "1s", "1.5"]);
    format!("{left} {op} {right} {compare} {bound}")
}

fn duration_name(random: &mut Random) -> String {
    let names = [
        "duration",
        "span:duration",
        "traceDuration",
        "trace:duration",
        "event:timeSinceStart",
    ];
    (*random.pick(&names)).to_owned()
}

fn attribute(random: &mut Random) -> String {
    let scope = *random.pick(&[
        "span.",
        "span.",
        "span.",
        "resource.",
        "event.",
        "link.",
        "instrumentation.",
        ".",
        ".",
        "parent.",
        "parent.span.",
        "parent.resource.",
    ]);
    scoped(scope, random.pick::<&str>(KEYS))
}

fn scoped(scope: &str, key: &str) -> String {
    if key.contains(' ') {
        format!("{scope}\"{key}\"")
    } else {
        format!("{scope}{key}")
    }
}

fn constant(random: &mut Random) -> String {
    match random.below(10) {
        0..5 => format!("\"{}\"", random.pick(TEXTS)),
        5..8 => (*random.pick(&["0", "1", "2", "200", "500", "-1"])).to_owned(),
        8 => (*random.pick(&["0.5", "1.0", "199.5"])).to_owned(),
        _ => (*random.pick(&["true", "false"])).to_owned(),
    }
}

/// Any comparison; equality is what people ask most.
fn comparison(random: &mut Random) -> &'static str {
    random.pick::<&str>(&["=", "=", "=", "!=", "<", "<=", ">", ">="])
}

fn ordering(random: &mut Random) -> &'static str {
    random.pick::<&str>(&["=", "!=", "<", "<=", ">", ">="])
}

fn swapped(random: &mut Random, name: &str, op: &str, constant: &str) -> String {
    if random.percent(20) {
        let op = match op {
            "<" => ">",
            "<=" => ">=",
            ">" => "<",
            ">=" => "<=",
            same => same,
        };
        format!("{constant} {op} {name}")
    } else {
        format!("{name} {op} {constant}")
    }
}
