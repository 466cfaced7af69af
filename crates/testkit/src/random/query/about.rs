//! Conditions that one span satisfies, as far as one can tell without evaluating them: aliases may
//! give a name another value. For spans of the small vocabulary; texts are not escaped.

use tracewell_model::alias::{JOINS, Join};
use tracewell_model::{AttributeValue, KeyValue, Span};

use super::super::Random;
use super::{intrinsic_leaf, scoped, swapped};
use crate::oracle::value::{KINDS, STATUSES};

/// A condition that is most likely true of the span.
pub(super) fn leaf(random: &mut Random, span: &Span) -> String {
    if random.percent(35) {
        return intrinsic(random, span);
    }
    let mut lists: Vec<(&str, &[KeyValue])> = vec![
        ("span.", &span.attributes),
        ("span.", &span.attributes),
        (".", &span.attributes),
        ("resource.", &span.resource.attributes),
        ("instrumentation.", &span.scope.attributes),
    ];
    for event in &span.events {
        lists.push(("event.", &event.attributes));
    }
    for link in &span.links {
        lists.push(("link.", &link.attributes));
    }
    lists.retain(|(_, attributes)| !attributes.is_empty());
    if lists.is_empty() {
        return intrinsic(random, span);
    }
    if random.percent(20)
        && let Some((name, whole)) = joined(random, span)
    {
        let op = *random.pick(&["=", "=", "!=", "=~", "!~"]);
        return format!("{name} {op} \"{whole}\"");
    }
    let (scope, attributes) = *random.pick(&lists);
    let attribute = random.pick(attributes);
    let name = scoped(scope, &attribute.key);
    value(random, &name, &attribute.value)
}

/// An attribute of today that the span sends as two, or the part of one that it sends as a whole.
fn joined(random: &mut Random, span: &Span) -> Option<(String, String)> {
    let sent = |key: &str| {
        let attribute = span.attributes.iter().find(|it| it.key == key)?;
        match &attribute.value {
            AttributeValue::String(text) => Some(text.as_str()),
            _ => None,
        }
    };
    let is_sent = |join: &&Join| sent(join.whole).is_some() || sent(join.part).is_some();
    let joins: Vec<&Join> = JOINS.iter().filter(is_sent).collect();
    if joins.is_empty() {
        return None;
    }
    let join = *random.pick(&joins);
    let separator = *random.pick(join.separators.0);
    let name = scoped("span.", random.pick::<&str>(&[join.whole, join.part]));
    let text = match (sent(join.qualifier), sent(join.part)) {
        (Some(qualifier), Some(part)) => format!("{qualifier}{separator}{part}"),
        _ => sent(join.whole)?.rsplit_once(separator)?.1.to_owned(),
    };
    Some((name, text))
}

fn value(random: &mut Random, name: &str, value: &AttributeValue) -> String {
    match value {
        AttributeValue::String(value) => text(random, name, value),
        AttributeValue::Int(value) => number(random, name, &value.to_string()),
        AttributeValue::Double(value) if value.is_finite() => {
            number(random, name, &format!("{value:?}"))
        }
        AttributeValue::Bool(value) => swapped(random, name, "=", &value.to_string()),
        AttributeValue::Array(items) if !items.is_empty() => {
            let item = random.pick(items).clone();
            self::value(random, name, &item)
        }
        AttributeValue::Empty => swapped(random, name, "=", "nil"),
        _ => swapped(random, name, "!=", "nil"),
    }
}

fn text(random: &mut Random, name: &str, value: &str) -> String {
    let literal = format!("\"{value}\"");
    match random.below(10) {
        0 => format!("{name} =~ {literal}"),
        1 => format!("{name} =~ \".*{value}|none\""),
        2 => swapped(random, name, ">=", &literal),
        3 => swapped(random, name, "!=", "\"none\""),
        _ => swapped(random, name, "=", &literal),
    }
}

fn number(random: &mut Random, name: &str, literal: &str) -> String {
    let op = *random.pick(&["=", "=", "=", "<=", ">="]);
    swapped(random, name, op, literal)
}

fn intrinsic(random: &mut Random, span: &Span) -> String {
    match random.below(10) {
        0 => text(random, "name", &span.name),
        1 => {
            let code = usize::try_from(span.status_code());
            match code.map(|code| STATUSES.get(code)) {
                Ok(Some(name)) => swapped(random, "status", "=", name),
                _ => intrinsic_leaf(random),
            }
        }
        2 => match usize::try_from(span.kind).map(|kind| KINDS.get(kind)) {
            Ok(Some(name)) => swapped(random, "kind", "=", name),
            _ => intrinsic_leaf(random),
        },
        3 | 4 => {
            let op = *random.pick(&["=", "<=", ">=", ">="]);
            let name = *random.pick(&["duration", "span:duration"]);
            swapped(random, name, op, &format!("{}ns", span.duration_nano()))
        }
        5 => {
            let (name, id) = match span.parent_span_id {
                Some(parent) if random.percent(50) => ("span:parentID", parent.to_string()),
                _ if random.percent(50) => ("span:id", span.span_id.to_string()),
                _ => ("trace:id", span.trace_id.to_string()),
            };
            let op = *random.pick(&["=", "=", ">=", "<="]);
            swapped(random, name, op, &format!("\"{id}\""))
        }
        6 => text(
            random,
            "resource.service.name",
            span.resource.service_name(),
        ),
        7 => text(random, "instrumentation:name", &span.scope.name),
        8 => match span.events.as_slice() {
            [] => intrinsic_leaf(random),
            events => {
                let event = random.pick(events);
                let since = event.time_unix_nano.saturating_sub(span.start_unix_nano);
                if random.percent(50) {
                    text(random, "event:name", &event.name)
                } else {
                    swapped(random, "event:timeSinceStart", ">=", &format!("{since}ns"))
                }
            }
        },
        _ => match span.links.as_slice() {
            [] => intrinsic_leaf(random),
            links => {
                let link = random.pick(links);
                let id = link.trace_id;
                swapped(random, "link:traceID", "=", &format!("\"{id}\""))
            }
        },
    }
}
