//! Metrics and logs: counted and rejected, with the sentence that says what to set.
//!
//! Nothing of them is kept. The count needs a walk over the outer messages only.

use serde::Deserialize;
use serde::de::IgnoredAny;
use tracewell_wire::protobuf::{BYTES, Cursor, Damage, END, tag_of};

use crate::metrics::{Format, Signal};
use crate::refusal::Refusal;

pub(crate) const NO_METRICS: &str = "this is a tracing backend and keeps no metrics: set \
     OTEL_METRICS_EXPORTER=none in the application, or send its metrics elsewhere";
pub(crate) const NO_LOGS: &str = "this is a tracing backend and keeps no logs: set \
     OTEL_LOGS_EXPORTER=none in the application, or send its logs elsewhere";

/// Metric points or log records in an export request.
pub(crate) fn count(signal: Signal, format: Format, body: &[u8]) -> Result<u64, Refusal> {
    match (format, signal) {
        (Format::Protobuf, Signal::Metrics) => count_protobuf(body, METRICS_PATH),
        (Format::Protobuf, _) => count_protobuf(body, LOGS_PATH),
        (Format::Json, Signal::Metrics) => count_json_metrics(body),
        (Format::Json, _) => count_json_logs(body),
    }
}

/// ExportMetricsServiceRequest.resource_metrics, .scope_metrics, .metrics, then the points of a
/// gauge, sum, histogram, exponential histogram or summary.
const METRICS_PATH: &[&[u32]] = &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];
/// ExportLogsServiceRequest.resource_logs, .scope_logs, .log_records.
const LOGS_PATH: &[&[u32]] = &[&[1], &[2], &[2]];

fn count_protobuf(body: &[u8], path: &[&[u32]]) -> Result<u64, Refusal> {
    walk(body, path).map_err(|damage| Refusal::BadBody {
        reason: format!(
            "body is not OTLP protobuf: at byte {}: {}",
            damage.offset_in(body),
            damage.problem
        ),
    })
}

/// Messages at the end of a path of field numbers. The recursion is as deep as the path.
fn walk(message: &[u8], path: &[&[u32]]) -> Result<u64, Damage> {
    let Some((fields, rest)) = path.split_first() else {
        return Ok(1);
    };
    let mut cursor = Cursor::new(message);
    let mut n = 0;
    loop {
        let tag = cursor.tag()?;
        if tag == END {
            return Ok(n);
        }
        if fields.iter().any(|field| tag_of(*field, BYTES) == tag) {
            n += walk(cursor.bytes()?, rest)?;
        } else {
            cursor.unknown(tag, 0)?;
        }
    }
}

fn count_json_metrics(body: &[u8]) -> Result<u64, Refusal> {
    let request: MetricsRequest = parse(body)?;
    let metrics = request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    Ok(metrics
        .flat_map(|metric| {
            [
                &metric.gauge,
                &metric.sum,
                &metric.histogram,
                &metric.exponential_histogram,
                &metric.summary,
            ]
        })
        .flatten()
        .map(|points| points.data_points.len() as u64)
        .sum())
}

fn count_json_logs(body: &[u8]) -> Result<u64, Refusal> {
    let request: LogsRequest = parse(body)?;
    Ok(request
        .resource_logs
        .iter()
        .flat_map(|resource| &resource.scope_logs)
        .map(|scope| scope.log_records.len() as u64)
        .sum())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::BadBody {
        reason: format!("body is not OTLP JSON: {error}"),
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MetricsRequest {
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResourceMetrics {
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScopeMetrics {
    metrics: Vec<Metric>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metric {
    gauge: Option<Points>,
    sum: Option<Points>,
    histogram: Option<Points>,
    exponential_histogram: Option<Points>,
    summary: Option<Points>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Points {
    data_points: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LogsRequest {
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResourceLogs {
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ScopeLogs {
    log_records: Vec<IgnoredAny>,
}
