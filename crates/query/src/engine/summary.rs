//! One trace as a search shows it.

use std::collections::BTreeMap;

use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeValue, KeyValue, Span, Trace, TraceId};

use super::gather::JoinedRow;
use crate::plan::Plan;
use crate::request::{RootSummary, ServiceStats, SpanSummary, Spanset, TraceSummary};
use crate::row::{Row, TraceFacts};

const STATUS_ERROR: i32 = 2;

/// A whole trace; the spans that matched, by index, for a search that shows them.
pub(super) fn of_trace(
    trace: &Trace,
    matched: Option<(&Plan, &[usize])>,
    spans_max: usize,
) -> TraceSummary {
    let facts = TraceFacts::of(&trace.spans);
    let mut services: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for span in &trace.spans {
        let (n_spans, n_errors) = services.entry(span.resource.service_name()).or_default();
        *n_spans += 1;
        *n_errors += u64::from(span.status_code() == STATUS_ERROR);
    }
    TraceSummary {
        trace_id: trace.trace_id,
        root: facts.root.map(|root| RootSummary {
            service: root.resource.service_name().to_owned(),
            name: root.name.clone(),
        }),
        start_unix_nano: facts.start_unix_nano,
        duration_nano: facts.duration_nano.unsigned_abs(),
        spansets: matched
            .map(|(plan, matched)| spanset(plan, &facts, &trace.spans, matched, spans_max))
            .into_iter()
            .collect(),
        services: services
            .into_iter()
            .map(|(service, (n_spans, n_errors))| ServiceStats {
                service: service.to_owned(),
                n_spans,
                n_errors,
            })
            .collect(),
    }
}

/// A trace of which only its rows are known.
pub(super) fn of_row(id: TraceId, row: &JoinedRow, n_matched: Option<u64>) -> TraceSummary {
    TraceSummary {
        trace_id: id,
        root: row.root.as_ref().map(|root| RootSummary {
            service: root.service.clone(),
            name: root.name.clone(),
        }),
        start_unix_nano: row.start_unix_nano,
        duration_nano: duration_nano(row.start_unix_nano, row.end_unix_nano).unsigned_abs(),
        spansets: n_matched
            .map(|matched| Spanset {
                matched,
                ..Spanset::default()
            })
            .into_iter()
            .collect(),
        services: Vec::new(),
    }
}

/// Spans of a whole trace are in the order of their start, and so are those shown.
fn spanset(
    plan: &Plan,
    facts: &TraceFacts<'_>,
    spans: &[Span],
    matched: &[usize],
    spans_max: usize,
) -> Spanset {
    Spanset {
        matched: matched.len() as u64,
        spans: matched
            .iter()
            .take(spans_max)
            .filter_map(|index| spans.get(*index))
            .map(|span| {
                let row = Row::new(facts, span);
                SpanSummary {
                    span_id: span.span_id,
                    name: span.name.clone(),
                    start_unix_nano: span.start_unix_nano,
                    duration_nano: span.duration_nano().unsigned_abs(),
                    attributes: plan
                        .shown
                        .iter()
                        .filter_map(|shown| row.shown(shown))
                        .collect(),
                }
            })
            .collect(),
        attributes: Vec::new(),
    }
}

/// About what a summary holds in memory.
pub(super) fn bytes(summary: &TraceSummary) -> u64 {
    let text = |text: &str| text.len() + size_of::<String>();
    let attributes = |all: &[KeyValue]| -> usize {
        all.iter()
            .map(|attribute| text(&attribute.key) + value_bytes(&attribute.value))
            .sum()
    };
    let spans: usize = summary
        .spansets
        .iter()
        .flat_map(|spanset| &spanset.spans)
        .map(|span| size_of::<SpanSummary>() + span.name.len() + attributes(&span.attributes))
        .sum();
    let services: usize = summary
        .services
        .iter()
        .map(|service| size_of::<ServiceStats>() + service.service.len())
        .sum();
    let root = summary
        .root
        .as_ref()
        .map_or(0, |root| root.service.len() + root.name.len());
    (size_of::<TraceSummary>() + size_of::<Spanset>() + spans + services + root) as u64
}

fn value_bytes(value: &AttributeValue) -> usize {
    size_of::<AttributeValue>()
        + match value {
            AttributeValue::String(text) => text.len(),
            AttributeValue::Bytes(bytes) => bytes.len(),
            AttributeValue::Array(items) => items.iter().map(value_bytes).sum(),
            _ => 0,
        }
}
