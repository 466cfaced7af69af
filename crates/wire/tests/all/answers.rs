//! Counts and answers against the prost types.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
};
use prost::Message;
use std::time::Duration;
use tracewell_wire::otlp::Signal;
use tracewell_wire::otlp::response::{PartialSuccess, Status};

use crate::generate::Generator;

fn metrics() -> ExportMetricsServiceRequest {
    let data = [
        Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint::default(); 2],
        }),
        Data::Sum(Sum {
            data_points: vec![NumberDataPoint::default(); 3],
            ..Sum::default()
        }),
        Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint::default(); 5],
            ..Histogram::default()
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint::default(); 7],
            ..ExponentialHistogram::default()
        }),
        Data::Summary(Summary {
            data_points: vec![SummaryDataPoint::default(); 11],
        }),
    ];
    let metrics = data.map(|data| Metric {
        name: "m".to_owned(),
        data: Some(data),
        ..Metric::default()
    });
    let scope = ScopeMetrics {
        metrics: metrics.to_vec(),
        ..ScopeMetrics::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope.clone(), scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource, ResourceMetrics::default()],
    }
}

fn logs() -> ExportLogsServiceRequest {
    let scope = ScopeLogs {
        log_records: vec![LogRecord::default(); 4],
        ..ScopeLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![
            ResourceLogs {
                scope_logs: vec![scope.clone(), scope],
                ..ResourceLogs::default()
            };
            3
        ],
    }
}

#[test]
fn data_points_and_log_records_are_counted() {
    let body = metrics().encode_to_vec();
    assert_eq!(Signal::Metrics.count_protobuf(&body).unwrap(), 56);
    let json = serde_json::to_vec(&metrics()).unwrap();
    assert_eq!(Signal::Metrics.count_json(&json).unwrap(), 56);
    let body = logs().encode_to_vec();
    assert_eq!(Signal::Logs.count_protobuf(&body).unwrap(), 24);
    let json = serde_json::to_vec(&logs()).unwrap();
    assert_eq!(Signal::Logs.count_json(&json).unwrap(), 24);
    assert_eq!(Signal::Logs.count_protobuf(&[]).unwrap(), 0);
    assert_eq!(Signal::Logs.count_json(b"{}").unwrap(), 0);
    assert!(Signal::Logs.count_protobuf(&[0x0a, 5]).is_err());
    assert!(Signal::Logs.count_protobuf(&[0x08, 5]).is_err());
    assert!(Signal::Logs.count_json(b"[]").is_err());
    let deep = format!(r#"{{"resourceLogs":{}"#, "[".repeat(200_000));
    assert!(Signal::Logs.count_json(deep.as_bytes()).is_err());
}

#[test]
fn spans_are_counted() {
    for seed in 0..50 {
        let request = Generator::new(seed).request();
        let n: usize = request
            .resource_spans
            .iter()
            .flat_map(|r| &r.scope_spans)
            .map(|s| s.spans.len())
            .sum();
        let body = request.encode_to_vec();
        assert_eq!(Signal::Traces.count_protobuf(&body).unwrap(), n as u64);
    }
}

#[test]
fn answers_are_what_prost_reads() {
    let everything = PartialSuccess::default();
    assert!(everything.to_protobuf().is_empty());
    assert_eq!(everything.to_json(Signal::Traces), "{}");
    let some = PartialSuccess {
        rejected: 300,
        message: "refused 300 of 512 spans".to_owned(),
    };
    let read = ExportTraceServiceResponse::decode(&*some.to_protobuf()).unwrap();
    assert_eq!(
        read.partial_success,
        Some(ExportTracePartialSuccess {
            rejected_spans: 300,
            error_message: "refused 300 of 512 spans".to_owned(),
        })
    );
    let read = ExportLogsServiceResponse::decode(&*some.to_protobuf()).unwrap();
    assert_eq!(read.partial_success.unwrap().rejected_log_records, 300);
    for (signal, name) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Metrics, "rejectedDataPoints"),
        (Signal::Logs, "rejectedLogRecords"),
    ] {
        let read: serde_json::Value = serde_json::from_str(&some.to_json(signal)).unwrap();
        assert_eq!(read["partialSuccess"][name], "300");
        let message = &read["partialSuccess"]["errorMessage"];
        assert_eq!(message, "refused 300 of 512 spans");
    }
}

/// `google.rpc.Status`, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[test]
fn errors_are_google_rpc_status() {
    let mut status = Status {
        code: 8,
        message: "limits.memory_bytes is used up".to_owned(),
        retry_after: Some(Duration::from_millis(1_500)),
    };
    let read = RpcStatus::decode(&*status.to_protobuf()).unwrap();
    assert_eq!((read.code, &read.message), (8, &status.message));
    let [detail] = read.details.as_slice() else {
        panic!("{read:?}");
    };
    assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
    // RetryInfo { retry_delay { seconds: 1, nanos: 500000000 } }
    assert_eq!(
        detail.value,
        [0x0a, 8, 0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]
    );
    let json: serde_json::Value = serde_json::from_str(&status.to_json()).unwrap();
    assert_eq!(json["code"], 8);
    assert_eq!(json["details"][0]["retryDelay"], "1.500s");
    status.retry_after = None;
    assert!(
        RpcStatus::decode(&*status.to_protobuf())
            .unwrap()
            .details
            .is_empty()
    );
    assert!(!status.to_json().contains("details"));
}
