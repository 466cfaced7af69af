//! The protobuf messages of `tempopb` that answers are made of. Field numbers are those of Tempo's API; a
//! default is not written.

use tracewell_model::KeyValue;
use tracewell_query::QueryStats;
use tracewell_query::request::{ScopeTags, SpanSummary, Spanset, TagValue, TraceSummary};
use tracewell_query::series::{Axis, Exemplar, Series};
use tracewell_wire::otlp::write_key_value;
use tracewell_wire::protobuf::Writer;

use super::search::NO_ROOT;
use super::small;

const NANOS_PER_MS: u64 = 1_000_000;
const PARTIAL: u64 = 1;

/// How the values of a series are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Samples {
    EachInterval,
    /// One value without a time.
    One,
}

/// A `TraceSearchMetadata` of a `SearchResponse`.
pub(super) fn write_trace(out: &mut Writer, trace: &TraceSummary) {
    out.message(1, |out| {
        let id = trace.trace_id.to_string();
        out.bytes(1, id.trim_start_matches('0').as_bytes());
        match &trace.root {
            None => out.bytes(2, NO_ROOT.as_bytes()),
            Some(root) => {
                out.bytes_unless_empty(2, root.service.as_bytes());
                out.bytes_unless_empty(3, root.name.as_bytes());
            }
        }
        out.varint_unless_zero(4, trace.start_unix_nano);
        let millis = trace.duration_nano / NANOS_PER_MS;
        out.varint_unless_zero(5, small(millis).into());
        if let Some(first) = trace.spansets.first() {
            write_spanset(out, 6, first);
        }
        for spanset in &trace.spansets {
            write_spanset(out, 7, spanset);
        }
        for service in &trace.services {
            out.message(8, |out| {
                out.bytes(1, service.service.as_bytes());
                out.message(2, |out| {
                    out.varint_unless_zero(1, small(service.n_spans).into());
                    out.varint_unless_zero(2, small(service.n_errors).into());
                });
            });
        }
    });
}

fn write_spanset(out: &mut Writer, field: u32, spanset: &Spanset) {
    out.message(field, |out| {
        for span in &spanset.spans {
            write_span(out, span);
        }
        out.varint_unless_zero(2, small(spanset.matched).into());
        write_labels(out, 3, &spanset.attributes);
    });
}

fn write_span(out: &mut Writer, span: &SpanSummary) {
    out.message(1, |out| {
        out.bytes(1, span.span_id.to_string().as_bytes());
        out.bytes_unless_empty(2, span.name.as_bytes());
        out.varint_unless_zero(3, span.start_unix_nano);
        out.varint_unless_zero(4, span.duration_nano);
        write_labels(out, 5, &span.attributes);
    });
}

fn write_labels(out: &mut Writer, field: u32, labels: &[KeyValue]) {
    for label in labels {
        write_key_value(out, field, label);
    }
}

/// `SearchMetrics`.
pub(super) fn write_search_metrics(out: &mut Writer, stats: &QueryStats) {
    out.message(2, |out| {
        out.varint_unless_zero(1, small(stats.inspected_traces).into());
        out.varint_unless_zero(2, stats.inspected_bytes);
        out.varint_unless_zero(3, small(stats.n_sources).into());
        out.varint_unless_zero(4, small(stats.n_sources_done).into());
        out.varint_unless_zero(5, small(stats.n_sources).into());
        out.varint_unless_zero(6, stats.source_bytes);
        out.varint_unless_zero(7, stats.inspected_spans);
    });
}

/// `MetadataMetrics`.
pub(super) fn write_metadata_metrics(out: &mut Writer, stats: &QueryStats) {
    out.message(2, |out| {
        out.varint_unless_zero(1, stats.inspected_bytes);
        out.varint_unless_zero(2, small(stats.n_sources).into());
        out.varint_unless_zero(3, small(stats.n_sources_done).into());
        out.varint_unless_zero(4, small(stats.n_sources).into());
        out.varint_unless_zero(5, stats.source_bytes);
    });
}

/// A scope of a `SearchTagsV2Response`.
pub(super) fn write_scope(out: &mut Writer, scope: &ScopeTags) {
    out.message(1, |out| {
        out.bytes(1, scope.scope.name().as_bytes());
        for name in &scope.names {
            out.bytes(2, name.as_bytes());
        }
    });
}

/// A value of a `SearchTagValuesV2Response`.
pub(super) fn write_tag_value(out: &mut Writer, value: &TagValue) {
    out.message(1, |out| {
        out.bytes(1, value.value_type.name().as_bytes());
        out.bytes_unless_empty(2, value.value.as_bytes());
    });
}

/// A series of a `QueryRangeResponse` or a `QueryInstantResponse`.
pub(super) fn write_series(out: &mut Writer, axis: &Axis, series: &Series, samples: Samples) {
    out.message(1, |out| {
        write_labels(out, 1, &series.shown_labels());
        if samples == Samples::One {
            let value = series.values.first().copied().flatten();
            write_value(out, 2, value.unwrap_or(0.0));
            return;
        }
        for (interval, value) in series.values.iter().enumerate() {
            let Some(value) = value else { continue };
            out.message(2, |out| {
                write_value(out, 1, *value);
                out.varint_unless_zero(2, axis.end_of(interval) / NANOS_PER_MS);
            });
        }
        for exemplar in &series.exemplars {
            write_exemplar(out, exemplar);
        }
    });
}

fn write_exemplar(out: &mut Writer, exemplar: &Exemplar) {
    out.message(4, |out| {
        write_labels(out, 1, &exemplar.labels());
        write_value(out, 2, exemplar.value);
        out.varint_unless_zero(3, exemplar.unix_nano / NANOS_PER_MS);
    });
}

fn write_value(out: &mut Writer, field: u32, value: f64) {
    out.fixed64_unless_zero(field, value.to_bits());
}

/// Whether series may miss something, and why.
pub(super) fn write_status(out: &mut Writer, partial: &[String]) {
    if !partial.is_empty() {
        out.varint(3, PARTIAL);
        out.bytes(4, partial.join("; ").as_bytes());
    }
}
