//! The keys of [`Limits`](tracewell_model::Limits).

use super::{KeySpec, Unit, at_least, fit, show_bytes, show_or_off, store, widen};
use crate::config::values;
use crate::config::yaml::Value;

/// A size or count of `Limits`: key, unit, meaning. It is 1 or more, as nothing works without; where 0
/// has a sense it is written behind the unit.
macro_rules! limit {
    ($field:ident, size_or_off, $doc:expr) => {
        KeySpec {
            name: concat!("limits.", stringify!($field)),
            unit: Unit::SizeOrOff,
            doc: $doc,
            apply: |config, node| {
                config.limits.$field = values::or_off(node, values::bytes)?;
                Ok(())
            },
            show: |config| show_or_off(config.limits.$field, show_bytes),
        }
    };
    ($field:ident, count_or_off, $doc:expr) => {
        KeySpec {
            name: concat!("limits.", stringify!($field)),
            unit: Unit::CountOrOff,
            doc: $doc,
            apply: |config, node| {
                config.limits.$field = values::or_off(node, values::positive)?;
                Ok(())
            },
            show: |config| show_or_off(config.limits.$field, |n| n.to_string()),
        }
    };
    ($field:ident, $unit:ident, $doc:expr) => {
        limit!($field, $unit, 1, $doc)
    };
    ($field:ident, size, $min:literal, $doc:expr) => {
        KeySpec {
            name: concat!("limits.", stringify!($field)),
            unit: Unit::Size,
            doc: $doc,
            apply: |config, node| {
                config.limits.$field = fit(at_least($min, values::bytes(node)?)?)?;
                Ok(())
            },
            show: |config| show_bytes(widen(config.limits.$field)),
        }
    };
    ($field:ident, count, $min:literal, $doc:expr) => {
        KeySpec {
            name: concat!("limits.", stringify!($field)),
            unit: Unit::Count,
            doc: $doc,
            apply: |config, node| {
                config.limits.$field = fit(at_least($min, values::count(node)?)?)?;
                Ok(())
            },
            show: |config| config.limits.$field.to_string(),
        }
    };
}

pub(super) const KEYS: &[KeySpec] = &[
    limit!(
        memory_bytes,
        size,
        // `Config::check` has the minimum.
        0,
        "The one budget for data in memory: half for the newest spans, an eighth for requests in flight, a quarter for cutting and merging blocks, the rest for queries and caches."
    ),
    limit!(
        request_bytes_max,
        size,
        "A request body as it arrives. More is answered 413."
    ),
    limit!(
        request_decoded_bytes_max,
        size,
        "A request body once decompressed; bounds a decompression bomb."
    ),
    limit!(request_spans_max, count, "Spans in one request."),
    limit!(
        request_items_max,
        count,
        "Attributes, events and links in one request, together."
    ),
    limit!(
        attributes_max,
        count,
        "Attributes of one span, event, link, resource or scope. A span with more is rejected alone."
    ),
    limit!(attribute_key_bytes_max, size, "Key of an attribute."),
    limit!(
        attribute_value_bytes_max,
        size,
        "Value of an attribute, nested content included."
    ),
    limit!(
        attribute_depth_max,
        count,
        0,
        "Levels of lists and maps within an attribute value."
    ),
    limit!(
        name_bytes_max,
        size,
        "Name of a span or event, and a trace state."
    ),
    limit!(
        connections_max,
        count,
        "Connections open at the same time on one listener."
    ),
    limit!(query_bytes_max, size, "Text of a TraceQL query."),
    limit!(
        query_depth_max,
        count,
        "Levels of parentheses and operators in a query."
    ),
    limit!(
        regex_bytes_max,
        size,
        "Compiled size of one regular expression."
    ),
    limit!(
        query_read_bytes_max,
        size,
        "What one query may read from blocks."
    ),
    limit!(
        query_memory_bytes_max,
        size,
        "What queries may keep in memory, all together, until their answers are sent."
    ),
    KeySpec {
        name: "limits.query_ms_max",
        unit: Unit::Milliseconds,
        doc: "How long one query may take; then it answers with what it has found.",
        apply: |config, node| {
            let milliseconds = match &node.value {
                Value::Text(_) => values::duration(node)?.as_millis(),
                _ => values::count(node)? as u128,
            };
            let milliseconds = at_least(1, milliseconds).and_then(fit);
            store(&mut config.limits.query_ms_max, milliseconds)
        },
        show: |config| config.limits.query_ms_max.to_string(),
    },
    limit!(
        queries_max,
        count,
        "Queries that run at the same time; further ones wait, for 30 seconds at most, then get 429."
    ),
    limit!(
        trace_spans_max,
        count,
        "Spans of one trace in an answer; a larger trace is answered in part, and the answer says so."
    ),
    limit!(
        disk_reserve_bytes,
        size,
        0,
        "Free space on the volume below which new spans are answered 429, so that merging and retention can go on."
    ),
    limit!(
        waiting_blocks_max,
        count,
        "First blocks that wait for a merge; more slow down what comes in."
    ),
    limit!(
        tenant_bytes_per_second_max,
        size_or_off,
        "Bytes of requests, decompressed, that each tenant may send a second. More is answered 429 with the time after which it passes."
    ),
    limit!(
        tenant_burst_bytes_max,
        size,
        "What a tenant with a rate may send at once before that holds. A larger request is answered 413."
    ),
    limit!(
        tenant_queries_max,
        count_or_off,
        "Queries of one tenant that run at the same time; further ones wait, for 30 seconds at most, then get 429. With tenants.enabled it is half of limits.queries_max unless it is written."
    ),
    limit!(
        tenant_traces_max,
        count_or_off,
        "Traces of one tenant that grow at the same time: a trace does until 10 to 20 seconds pass without a span of it. Spans of further traces are refused as live_traces_exceeded."
    ),
    limit!(
        trace_bytes_max,
        size_or_off,
        "Bytes of one trace, as its spans came, while it grows; the spans behind them are refused as trace_too_large. 0 lets nothing pass."
    ),
];
