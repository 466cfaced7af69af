//! One trace as a search shows it.

use std::collections::BTreeMap;

use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeValue, KeyValue, Trace, TraceId};

use super::gather::JoinedRow;
use crate::pipeline;
use crate::plan::Plan;
use crate::request::{RootSummary, ServiceStats, SpanSummary, Spanset, TraceSummary};
use crate::row::TraceFacts;
use crate::scalar::Scalar;

const STATUS_ERROR: i32 = 2;

/// A whole trace, with what a search shows of its spansets.
pub(super) fn of_trace(
    trace: &Trace,
    facts: &TraceFacts<'_>,
    found: Option<(&Plan, &[pipeline::Spanset])>,
    spans_max: usize,
) -> TraceSummary {
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
        spansets: found.map_or_else(Vec::new, |(plan, sets)| {
            let each = sets.iter();
            each.map(|set| spanset(plan, facts, set, spans_max))
                .collect()
        }),
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
    set: &pipeline::Spanset,
    spans_max: usize,
) -> Spanset {
    let rows = set.spans.iter().take(spans_max);
    let rows = rows.filter_map(|index| facts.row(*index));
    let attributes = set.attributes.iter().map(|(key, value)| KeyValue {
        key: key.clone(),
        value: value.as_ref().map_or_else(nil, Scalar::to_attribute),
    });
    Spanset {
        matched: set.spans.len() as u64,
        spans: rows
            .map(|row| {
                let span = row.span();
                let shown = plan.shown.iter();
                SpanSummary {
                    span_id: span.span_id,
                    name: span.name.clone(),
                    start_unix_nano: span.start_unix_nano,
                    duration_nano: span.duration_nano().unsigned_abs(),
                    attributes: shown.filter_map(|shown| row.shown(shown)).collect(),
                }
            })
            .collect(),
        attributes: attributes.collect(),
    }
}

/// The group of what has no value, as Tempo writes it.
fn nil() -> AttributeValue {
    AttributeValue::String("nil".to_owned())
}

/// About what a summary holds in memory.
pub(super) fn bytes(summary: &TraceSummary) -> u64 {
    let text = |text: &str| text.len() + size_of::<String>();
    let attributes = |all: &[KeyValue]| -> usize {
        all.iter()
            .map(|attribute| text(&attribute.key) + value_bytes(&attribute.value))
            .sum()
    };
    let sets: usize = summary
        .spansets
        .iter()
        .map(|spanset| size_of::<Spanset>() + attributes(&spanset.attributes))
        .sum();
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
    (size_of::<TraceSummary>() + sets + spans + services + root) as u64
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
