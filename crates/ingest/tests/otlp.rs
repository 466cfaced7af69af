//! The receivers over real sockets: every status code, every compression, both protocols, hostile
//! clients. What the sink would store is a list in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod client;
mod room;
mod slow;

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Running, get, post, request_of, status_of};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt;
use tracewell_ingest::compression::Encoding;
use tracewell_model::sink::WriteError;

const PROTOBUF: &str = "application/x-protobuf";

#[tokio::test(flavor = "multi_thread")]
async fn each_compression_is_accepted_over_http() {
    let running = Running::start().await;
    for encoding in Encoding::ALL {
        let body = request_of(40).encode_to_vec();
        let answer = post(
            running.http,
            "/v1/traces",
            &[
                ("content-type", PROTOBUF),
                ("content-encoding", encoding.name()),
            ],
            client::compress(encoding, &body),
        )
        .await;
        assert_eq!(answer.status, 200, "{encoding:?}: {answer:?}");
        assert_eq!(answer.header("content-type"), PROTOBUF);
        let response = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap();
        assert_eq!(response.partial_success, None);
        let (batch, hash) = running.sink.last();
        assert_eq!(batch.n_spans(), 40);
        assert_eq!(batch.body, body);
        assert_eq!(hash, twox_hash::XxHash3_128::oneshot(&body));
    }
    assert_eq!(
        running.metrics.accepted_spans_http.load(Ordering::Relaxed),
        160
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_compression_is_accepted_over_grpc() {
    let running = Running::start().await;
    let encodings = [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
        Some(CompressionEncoding::Deflate),
    ];
    for encoding in encodings {
        let body = request_of(40).encode_to_vec();
        let answer = running.export_traces(body.clone(), encoding).await.unwrap();
        let response = ExportTraceServiceResponse::decode(answer).unwrap();
        assert_eq!(response.partial_success, None);
        assert_eq!(running.sink.last().0.body, body);
    }
    assert_eq!(
        running.metrics.accepted_spans_grpc.load(Ordering::Relaxed),
        160
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_becomes_what_protobuf_would_be() {
    let running = Running::start().await;
    let request = request_of(1_000);
    let body = serde_json::to_vec(&request).unwrap();
    for encoding in Encoding::ALL {
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", encoding.name()),
        ];
        let compressed = client::compress(encoding, &body);
        let answer = post(running.http, "/v1/traces", &headers, compressed).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.text(), "{}");
        let (batch, hash) = running.sink.last();
        assert_eq!(hash, twox_hash::XxHash3_128::oneshot(&body));
        let stored = ExportTraceServiceRequest::decode(batch.body).unwrap();
        assert_eq!(stored, request);
    }
    let bad = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00","spanId":"01"}]}]}]}"#;
    let headers = [("content-type", "application/json")];
    let answer = post(running.http, "/v1/traces", &headers, bad).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.contains(r#""rejectedSpans":"1""#), "{text}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_passes_through_the_pool() {
    let running = Running::start().await;
    let body = request_of(20_000).encode_to_vec();
    assert!(body.len() > 4 << 20, "{}", body.len());
    running
        .export_traces(body.clone(), Some(CompressionEncoding::Gzip))
        .await
        .unwrap();
    assert_eq!(running.sink.last().0.n_spans(), 20_000);
    let headers = [("content-type", PROTOBUF), ("content-encoding", "zstd")];
    let compressed = client::compress(Encoding::Zstd, &body);
    let answer = post(running.http, "/v1/traces", &headers, compressed).await;
    assert_eq!(answer.status, 200);
    assert_eq!(running.sink.last().0.body, body);
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_spans_are_refused_alone() {
    let running = Running::start().await;
    let mut request = request_of(5);
    request.resource_spans[0].scope_spans[0].spans[2].trace_id = vec![1, 2, 3];
    request.resource_spans[0].scope_spans[0].spans[3].span_id = vec![0; 8];
    let body = request.encode_to_vec();
    let answer = running.export_traces(body.clone(), None).await.unwrap();
    let partial = ExportTraceServiceResponse::decode(answer)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert!(
        partial.error_message.contains("invalid_trace_id"),
        "{}",
        partial.error_message
    );
    assert_eq!(running.sink.last().0.n_spans(), 3);

    let answer = post(
        running.http,
        "/v1/traces",
        &[("content-type", PROTOBUF)],
        body,
    )
    .await;
    assert_eq!(answer.status, 200);
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap();
    assert_eq!(partial.partial_success.unwrap().rejected_spans, 2);
    let tenant = running.metrics.tenant(&tracewell_model::TenantId::single());
    assert_eq!(
        tenant.refused_spans(),
        [("invalid_span_id", 2), ("invalid_trace_id", 2)]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_logs_are_rejected_with_what_to_set() {
    let running = Running::start().await;
    let points = vec![NumberDataPoint::default(); 3];
    let gauge = Metric {
        data: Some(metric::Data::Gauge(Gauge {
            data_points: points,
        })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![gauge.clone(), gauge],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let answer = running
        .export(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            request.encode_to_vec(),
            None,
        )
        .await
        .unwrap();
    let partial = ExportMetricsServiceResponse::decode(answer).unwrap();
    let partial = partial.partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 6);
    assert!(partial.error_message.contains("OTEL_METRICS_EXPORTER=none"));

    let logs =
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}},{}]}]}]}"#;
    let headers = [("content-type", "application/json; charset=utf-8")];
    let answer = post(running.http, "/v1/logs", &headers, logs).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.contains(r#""rejectedLogRecords":"2""#), "{text}");
    assert!(text.contains("OTEL_LOGS_EXPORTER=none"), "{text}");

    let headers = [("content-type", PROTOBUF)];
    let answer = post(running.http, "/v1/logs", &headers, "").await;
    let response = ExportLogsServiceResponse::decode(&answer.body[..]).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_log_records, 0);
    let metrics = &running.metrics;
    assert_eq!(metrics.rejected_points.load(Ordering::Relaxed), 6);
    assert_eq!(metrics.rejected_log_records.load(Ordering::Relaxed), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_bad_requests_without_a_retry_hint() {
    let running = Running::start().await;
    let cases: [(&str, &str, Vec<u8>); 4] = [
        (PROTOBUF, "identity", b"\x0a\xff\xff\xff\xff\x0f".to_vec()),
        (PROTOBUF, "gzip", b"not gzip at all".to_vec()),
        (
            "application/json",
            "identity",
            b"{\"resourceSpans\":[".to_vec(),
        ),
        (
            "application/json",
            "identity",
            "[".repeat(200_000).into_bytes(),
        ),
    ];
    for (content_type, encoding, body) in cases {
        let headers = [
            ("content-type", content_type),
            ("content-encoding", encoding),
        ];
        let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
        assert_eq!(answer.status, 400, "{content_type} {encoding}: {answer:?}");
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("retry-after"), "");
        if content_type == PROTOBUF {
            let status = tonic_types::pb::Status::decode(&answer.body[..]).unwrap();
            assert_eq!(status.code, i32::from(Code::InvalidArgument));
            assert!(!status.message.is_empty());
        } else {
            let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(status["code"], 3);
        }
    }
    let body = b"\x0a\xff\xff\xff\xff\x0f".to_vec();
    let status = running.export_traces(body, None).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.get_details_retry_info().is_none());
    assert_eq!(running.sink.n_batches(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_ways_to_ask_get_a_sentence() {
    let running = Running::start().await;
    let address = running.http;
    let answer = get(address, "/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("OTLP/HTTP receiver"));
    let grpc_port = running.grpc.port().to_string();
    assert!(answer.text().contains(&grpc_port), "{}", answer.text());

    let answer = get(address, "/v1/traces").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
    assert!(answer.text().contains("takes POST only"));

    let headers = [("content-type", PROTOBUF)];
    for path in ["/", "/v1/traces/v1/traces", "/api/v2/spans"] {
        let answer = post(address, path, &headers, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("POST /v1/traces"), "{path}");
    }
    let answer = post(address, "/v1/traces", &[("content-type", "text/xml")], "").await;
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("application/x-protobuf"));
    let headers = [("content-type", PROTOBUF), ("content-encoding", "br")];
    let answer = post(address, "/v1/traces", &headers, "x").await;
    assert_eq!(answer.status, 415);
    assert!(answer.header("accept-encoding").contains("zstd"));

    // The other protocol's port.
    let answer = get(running.grpc, "/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("OTLP/gRPC receiver"));
    for path in ["/v1/traces", client::TRACES, "/metrics"] {
        let answer = get(running.grpc, path).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.text().contains("OTLP/gRPC receiver"), "{path}");
    }
    let headers = [("content-type", PROTOBUF)];
    let answer = post(running.grpc, "/v1/traces", &headers, "").await;
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains(&address.port().to_string()));
    let status = client::export(address, client::TRACES, Vec::new(), None)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("OTLP/gRPC is on port"));
    let status = running.export("/a.B/C", Vec::new(), None).await;
    assert_eq!(status.unwrap_err().code(), Code::Unimplemented);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_wrong_are_refused_with_a_reason() {
    let running = Running::start().await;
    let framed = |flags: u8, claimed: u32, message: &[u8]| {
        let mut body = vec![flags];
        body.extend_from_slice(&claimed.to_be_bytes());
        body.extend_from_slice(message);
        body
    };
    let grpc = ("content-type", "application/grpc");
    let gzip = ("grpc-encoding", "gzip");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let table: [(Headers<'_>, Vec<u8>, Code); 10] = [
        (&[grpc], framed(0, 0, b""), Code::Ok),
        (
            &[("content-type", "application/grpc+proto")],
            framed(0, 0, b""),
            Code::Ok,
        ),
        (&[grpc], vec![0, 0], Code::InvalidArgument),
        (&[grpc], framed(0, 7, b"abc"), Code::InvalidArgument),
        (&[grpc], framed(0, 0, b"two"), Code::InvalidArgument),
        (&[grpc], framed(9, 0, b""), Code::InvalidArgument),
        (&[grpc], framed(1, 3, b"abc"), Code::InvalidArgument),
        (&[grpc, gzip], framed(1, 3, b"abc"), Code::InvalidArgument),
        (
            &[grpc],
            framed(0, 1 << 30, b"a gigabyte"),
            Code::InvalidArgument,
        ),
        (
            &[("content-type", "application/grpc+json")],
            framed(0, 2, b"{}"),
            Code::InvalidArgument,
        ),
    ];
    for (headers, body, expected) in table {
        let (code, message) = client::raw_grpc(running.grpc, headers, body.clone()).await;
        assert_eq!(code, i32::from(expected).to_string(), "{body:?}: {message}");
        assert_eq!(message.is_empty(), expected == Code::Ok);
    }
    let headers = [grpc, ("grpc-encoding", "snappy")];
    let (code, message) = client::raw_grpc(running.grpc, &headers, framed(1, 1, b"x")).await;
    assert_eq!(code, i32::from(Code::Unimplemented).to_string());
    assert!(message.contains("zstd"), "{message}");
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_cut_into_frames_anywhere() {
    let running = Running::start().await;
    let message = request_of(3).encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    let headers = [("content-type", "application/grpc")];
    for n in [1, 3, 5, 6] {
        let frame = bytes::Bytes::copy_from_slice;
        let in_two = vec![frame(&body[..n]), frame(&body[n..])];
        let in_many = body.chunks(n).map(frame).collect();
        for frames in [in_two, in_many] {
            let n_batches = running.sink.n_batches();
            let (code, why) =
                client::raw_grpc_in_frames(running.grpc, &headers, frames.clone()).await;
            assert_eq!(code, "0", "{} frames, first of {n}: {why}", frames.len());
            assert_eq!(running.sink.n_batches(), n_batches + 1);
        }
        // What it claims counts as soon as it is whole, however it came.
        let claim = [&[0u8][..], &(1u32 << 30).to_be_bytes(), b"x"].concat();
        let frames = vec![frame(&claim[..n]), frame(&claim[n..])];
        let (code, why) = client::raw_grpc_in_frames(running.grpc, &headers, frames).await;
        assert_eq!(code, i32::from(Code::InvalidArgument).to_string(), "{why}");
        assert!(why.contains("limits.request_bytes_max"), "{why}");
    }
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_utf8_costs_its_span_alone() {
    let running = Running::start().await;
    let mut body = request_of(3).encode_to_vec();
    let name = body
        .windows(12)
        .position(|part| part == b"GET /items/2")
        .unwrap();
    body[name] = 0xff;
    let answer = running.export_traces(body, None).await.unwrap();
    let response = ExportTraceServiceResponse::decode(answer).unwrap();
    let partial = response.partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("invalid_utf8"));
    assert_eq!(running.sink.last().0.n_spans(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_of_any_kind_never_harms_the_next_request() {
    use rand::{Rng, SeedableRng};

    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = u64::from(since.subsec_nanos());
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let running = Running::start().await;
    let good = request_of(20).encode_to_vec();
    for _ in 0..200 {
        let mut body = good.clone();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        body.truncate(random.random_range(0..=body.len()));
        let content_type =
            ["application/x-protobuf", "application/json"][random.random_range(0..2)];
        let encoding = Encoding::ALL[random.random_range(0..4)].name();
        let headers = [
            ("content-type", content_type),
            ("content-encoding", encoding),
        ];
        let answer = post(running.http, "/v1/traces", &headers, body).await;
        assert!([200, 400].contains(&answer.status), "{answer:?}");
    }
    let answer = running.export_traces(good, None).await.unwrap();
    let response = ExportTraceServiceResponse::decode(answer).unwrap();
    assert_eq!(response.partial_success, None);
    let connections = &running.metrics.http_connections;
    assert_eq!(connections.panics.load(Ordering::Relaxed), 0);
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_capped_before_and_after_decompression() {
    let running = Running::start_with(|config| {
        config.limits.request_bytes_max = 1 << 20;
        config.limits.request_decoded_bytes_max = 2 << 20;
    })
    .await;
    let headers = [("content-type", PROTOBUF)];
    let answer = post(running.http, "/v1/traces", &headers, vec![0; (1 << 20) + 1]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "");
    let bomb = vec![0u8; 64 << 20];
    for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate] {
        let headers = [
            ("content-type", PROTOBUF),
            ("content-encoding", encoding.name()),
        ];
        let body = client::compress(encoding, &bomb);
        assert!(body.len() < 1 << 20);
        let answer = post(running.http, "/v1/traces", &headers, body).await;
        assert_eq!(answer.status, 413, "{encoding:?}");
    }
    let status = running
        .export_traces(bomb, Some(CompressionEncoding::Gzip))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.get_details_retry_info().is_none());
    assert_eq!(running.in_flight_bytes(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_sink_reach_the_sender_with_or_without_a_hint() {
    let running = Running::start().await;
    let table = [
        (
            WriteError::Busy {
                limit: "head_bytes",
                retry_after: Duration::from_millis(2_500),
            },
            429,
            "3",
            Code::ResourceExhausted,
        ),
        (
            WriteError::TooLarge {
                limit: "generation_bytes",
                seen: 2,
                max: 1,
            },
            413,
            "",
            Code::InvalidArgument,
        ),
        (
            WriteError::Log {
                reason: String::from("a sync failed"),
            },
            503,
            "1",
            Code::Unavailable,
        ),
        (
            WriteError::Halted {
                reason: String::from("two syncs failed"),
            },
            503,
            "",
            Code::Unavailable,
        ),
        (WriteError::Stopping, 503, "2", Code::Unavailable),
    ];
    for (error, http, retry_after, code) in table {
        running.sink.fail_with(Some(error));
        let body = request_of(1).encode_to_vec();
        let headers = [("content-type", PROTOBUF)];
        let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
        assert_eq!(answer.status, http);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(status_of(&answer).code, i32::from(code));
        let status = running.export_traces(body, None).await.unwrap_err();
        assert_eq!(status.code(), code);
        let hint = status.get_details_retry_info();
        assert_eq!(hint.is_some(), !retry_after.is_empty(), "{status:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_byte_budget_answers_429_and_recovers() {
    let running = Running::start_with(|config| {
        config.limits.memory_bytes = 1 << 20; // 128 KiB in flight.
        config.admission_wait = Duration::ZERO;
    })
    .await;
    let gate = running.sink.close_gate();
    let body = request_of(300).encode_to_vec();
    assert!(body.len() > 64 << 10);
    let address = running.http;
    let held = tokio::spawn({
        let body = body.clone();
        async move { post(address, "/v1/traces", &[("content-type", PROTOBUF)], body).await }
    });
    running.sink.wait_for_waiting(1).await;
    let headers = [("content-type", PROTOBUF)];
    let answer = post(address, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "1");
    let status = running.export_traces(body.clone(), None).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_details_retry_info().is_some());
    drop(gate);
    assert_eq!(held.await.unwrap().status, 200);
    let answer = post(address, "/v1/traces", &headers, body).await;
    assert_eq!(answer.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_claim_and_send_little_leave_the_budget_to_others() {
    let running = Running::start_with(|config| {
        config.limits.memory_bytes = 8 << 20; // 1 MiB in flight.
        config.admission_wait = Duration::ZERO;
    })
    .await;
    // Nothing of the body, and its first bytes; together they claim four times the budget.
    let mut idle = Vec::new();
    for sent in [&b""[..], b"abc"].repeat(32) {
        let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n\
             Content-Length: 65536\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(sent).await.unwrap();
        idle.push(stream);
    }
    // One unit of the budget for each that has sent something.
    while running.in_flight_bytes() < 32 << 10 {
        tokio::task::yield_now().await;
    }
    let body = request_of(300).encode_to_vec();
    let headers = [("content-type", PROTOBUF)];
    let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    running.export_traces(body, None).await.unwrap();
    assert_eq!(running.in_flight_bytes(), 32 << 10);
    running.cancel.cancel();
    drop(idle);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_limited_and_counted() {
    let running = Running::start_with(|config| config.connections.connections_max = 20).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(client::KeptAlive::connect(running.http).await);
    }
    for _ in 0..3 {
        for client in &mut clients {
            let body = request_of(1).encode_to_vec();
            assert_eq!(client.post("/v1/traces", PROTOBUF, body).await, 200);
        }
    }
    let connections = &running.metrics.http_connections;
    assert_eq!(connections.accepted.load(Ordering::Relaxed), 20);
    assert_eq!(running.sink.n_batches(), 60);
    let mut stream = tokio::net::TcpStream::connect(running.http).await.unwrap();
    let mut answer = String::new();
    // The peer may have closed before the request line was written; the answer stands anyway.
    let _sent = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    let _read = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"));
    assert_eq!(connections.refused.load(Ordering::Relaxed), 1);
    drop(clients);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_requests_in_flight_and_takes_no_more() {
    let running = Running::start_with(|config| {
        config.connections.stop_within = Duration::from_secs(30);
    })
    .await;
    let gate = running.sink.close_gate();
    let address = running.http;
    let held = tokio::spawn(async move {
        let body = request_of(3).encode_to_vec();
        post(address, "/v1/traces", &[("content-type", PROTOBUF)], body).await
    });
    running.sink.wait_for_waiting(1).await;
    running.cancel.cancel();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(gate);
    assert_eq!(held.await.unwrap().status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_sink_is_one_answer_of_500() {
    let running = Running::start().await;
    running.sink.panic_next();
    let headers = [("content-type", PROTOBUF)];
    let body = request_of(1).encode_to_vec();
    let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 500);
    let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 200);
    running.sink.panic_next();
    let status = running.export_traces(body, None).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let connections = &running.metrics.http_connections;
    assert_eq!(connections.panics.load(Ordering::Relaxed), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_named_by_the_header_when_switched_on() {
    let running =
        Running::start_with(|config| config.tenancy = tracewell_ingest::Tenancy::FromHeader).await;
    let body = request_of(1).encode_to_vec();
    let headers = [("content-type", PROTOBUF)];
    let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(status_of(&answer).message, "no org id");
    let headers = [("content-type", PROTOBUF), ("X-Scope-OrgID", "team-a")];
    let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(running.sink.last().0.tenant.as_str(), "team-a");
    let headers = [("content-type", PROTOBUF), ("X-Scope-OrgID", "a/b")];
    let answer = post(running.http, "/v1/traces", &headers, body).await;
    assert_eq!(answer.status, 400);
    running.stop().await;
}
