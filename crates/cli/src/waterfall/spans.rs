//! The spans of an answer, and their tree.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use base64::Engine;
use serde_json::Value;

use crate::client::{list, text};

/// What is shown of a span.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Span {
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) service: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) failed: bool,
    pub(super) message: String,
    pub(super) attributes: Attributes,
    /// Time, name and attributes.
    pub(super) events: Vec<(u64, String, Attributes)>,
}

/// Keys and values as text.
type Attributes = Vec<(String, String)>;

/// A span and its depth, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) span: Span,
    pub(super) depth: usize,
    /// It names a parent that the trace does not hold.
    pub(super) orphan: bool,
}

/// Indentation beyond that says nothing any more.
const DEPTH_MAX: usize = 64;

/// All spans of a trace-by-id answer, v1 or v2.
pub(super) fn read(answer: &Value) -> Result<Vec<Span>> {
    let trace = answer.get("trace").unwrap_or(answer);
    let batches = ["resourceSpans", "batches"]
        .iter()
        .find_map(|key| trace.get(*key)?.as_array());
    let mut spans = Vec::new();
    for batch in batches.into_iter().flatten() {
        let resource = batch.get("resource").map(attributes).unwrap_or_default();
        let service = resource
            .iter()
            .find(|(key, _)| key == "service.name")
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.clone());
        for scope in list(batch, "scopeSpans") {
            for span in list(scope, "spans") {
                spans.push(read_span(span, &service)?);
            }
        }
    }
    Ok(spans)
}

fn read_span(span: &Value, service: &str) -> Result<Span> {
    let status = span.get("status");
    let code = status.and_then(|status| status.get("code"));
    let failed = match code {
        Some(Value::String(name)) => name == "STATUS_CODE_ERROR",
        Some(code) => code.as_u64() == Some(2),
        None => false,
    };
    let kind = text(span, "kind");
    Ok(Span {
        id: id(&text(span, "spanId"))?,
        parent: id(&text(span, "parentSpanId"))?,
        service: service.to_owned(),
        name: clean(&text(span, "name")),
        kind: kind.trim_start_matches("SPAN_KIND_").to_lowercase(),
        start: number(span, "startTimeUnixNano"),
        end: number(span, "endTimeUnixNano"),
        failed,
        message: status.map_or_else(String::new, |status| clean(&text(status, "message"))),
        attributes: attributes(span),
        events: list(span, "events")
            .iter()
            .map(|event| {
                let name = clean(&text(event, "name"));
                (number(event, "timeUnixNano"), name, attributes(event))
            })
            .collect(),
    })
}

/// Parents before children, siblings by start; a loop of parents is entered at its first span. Children
/// of an id that several spans have are shown below the first of them.
pub(super) fn tree(mut spans: Vec<Span>) -> Vec<Row> {
    spans.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        if known.contains(span.parent.as_str()) && span.parent != span.id {
            children.entry(&span.parent).or_default().push(index);
        } else {
            roots.push(index);
        }
    }
    let mut shown = vec![false; spans.len()];
    let mut rows = Vec::with_capacity(spans.len());
    // After the roots, whatever was not reached lies on a loop.
    for start in roots.iter().copied().chain(0..spans.len()) {
        let mut stack = vec![(start, 0)];
        while let Some((index, depth)) = stack.pop() {
            let (Some(span), Some(seen)) = (spans.get(index), shown.get_mut(index)) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            rows.push(Row {
                span: span.clone(),
                depth: depth.min(DEPTH_MAX),
                orphan: !span.parent.is_empty() && depth == 0,
            });
            let below = children.remove(span.id.as_str()).unwrap_or_default();
            stack.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
        }
    }
    rows
}

fn attributes(owner: &Value) -> Attributes {
    list(owner, "attributes")
        .iter()
        .map(|attribute| {
            let value = attribute.get("value").map(value_text).unwrap_or_default();
            (clean(&text(attribute, "key")), clean(&value))
        })
        .collect()
}

/// An `AnyValue` as text.
fn value_text(value: &Value) -> String {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return String::new();
    };
    let list = |inner: &Value, key: &str| -> Vec<Value> {
        inner
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    match kind.as_str() {
        "arrayValue" => {
            let parts: Vec<String> = list(inner, "values").iter().map(value_text).collect();
            format!("[{}]", parts.join(", "))
        }
        "kvlistValue" => {
            let parts: Vec<String> = list(inner, "values")
                .iter()
                .map(|pair| {
                    let value = pair.get("value").map(value_text).unwrap_or_default();
                    format!("{}: {value}", text(pair, "key"))
                })
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        _ => match inner {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    }
}

fn number(value: &Value, key: &str) -> u64 {
    text(value, key).parse().unwrap_or(0)
}

/// Tempo writes ids as base64, OTLP as hex; both become hex. A root's parent is empty or zero.
fn id(text: &str) -> Result<String> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex = if is_hex {
        text.to_lowercase()
    } else {
        let engine = base64::engine::general_purpose::STANDARD;
        let bytes = engine
            .decode(text)
            .with_context(|| format!("the id {text:?} is neither base64 nor hex"))?;
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    if hex.bytes().all(|digit| digit == b'0') {
        return Ok(String::new());
    }
    Ok(hex)
}

/// Control characters could move the cursor or change colours.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, start: u64) -> Span {
        Span {
            id: id.to_owned(),
            parent: parent.to_owned(),
            start,
            ..Span::default()
        }
    }

    fn order(spans: Vec<Span>) -> Vec<(String, usize, bool)> {
        tree(spans)
            .into_iter()
            .map(|row| (row.span.id, row.depth, row.orphan))
            .collect()
    }

    #[test]
    fn spans_that_share_an_id_do_not_multiply_their_children() {
        let twins = (0..30_000).map(|start| span("a", "b", start));
        let others = (0..30_000).map(|start| span("b", "a", start));
        let found = order(twins.chain(others).collect());
        assert_eq!(found.len(), 60_000);
        assert_eq!(found[0], ("a".to_owned(), 0, true));
    }

    #[test]
    fn children_follow_their_parents_by_start() {
        let found = order(vec![
            span("c", "a", 9),
            span("b", "a", 5),
            span("a", "", 1),
            span("d", "b", 6),
            span("e", "x", 7),
        ]);
        let expected = [
            ("a", 0, false),
            ("b", 1, false),
            ("d", 2, false),
            ("c", 1, false),
            ("e", 0, true),
        ];
        assert_eq!(
            found,
            expected.map(|(id, depth, orphan)| (id.to_owned(), depth, orphan))
        );
    }

    #[test]
    fn loops_and_twins_show_every_span_once() {
        let found = order(vec![
            span("a", "b", 1),
            span("b", "a", 2),
            span("c", "c", 3),
            span("d", "", 4),
            span("d", "", 5),
        ]);
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn answers_of_tempo_are_read() {
        let answer = serde_json::json!({"trace": {"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "edge"}}]},
            "scopeSpans": [{"spans": [{
                "traceId": "AAAAAAAAAAAAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAE=", "parentSpanId": "0000000000000002",
                "name": "GET\u{1b}[31m", "kind": "SPAN_KIND_SERVER",
                "startTimeUnixNano": "10", "endTimeUnixNano": "30",
                "attributes": [{"key": "n", "value": {"intValue": "200"}},
                               {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"boolValue": true}]}}}],
                "status": {"code": "STATUS_CODE_ERROR", "message": "x"},
            }]}],
        }]}});
        let spans = read(&answer).unwrap();
        assert_eq!(spans.len(), 1);
        let span = &spans[0];
        assert_eq!(
            (span.id.as_str(), span.parent.as_str()),
            ("0000000000000001", "0000000000000002")
        );
        assert_eq!(
            (span.service.as_str(), span.kind.as_str(), span.failed),
            ("edge", "server", true)
        );
        assert_eq!(span.name, "GET [31m");
        assert_eq!(span.attributes[1].1, "[x, true]");
        assert_eq!(read(&serde_json::json!({"trace": {}})).unwrap(), []);
        let span = serde_json::json!({"spanId": "no base64!"});
        let answer = serde_json::json!({"batches": [{"scopeSpans": [{"spans": [span]}]}]});
        let error = read(&answer).unwrap_err().to_string();
        assert!(error.contains("no base64!"), "{error}");
    }
}
