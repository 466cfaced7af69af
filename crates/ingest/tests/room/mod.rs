//! What there is room for: rates and traces of a tenant, a store that is full, and retries of what was refused.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;
use tracewell_model::sink::WriteError;

use crate::PROTOBUF;
use crate::client::{Running, post, request_of};

fn hash_of(body: &[u8]) -> u128 {
    twox_hash::XxHash3_128::oneshot(body)
}

/// What was stored of a request with a part that may pass later is not the request: its retry brings the rest.
#[tokio::test]
async fn a_retry_brings_what_had_no_room_and_counts_nothing_twice() {
    let running = Running::start_with(|config| config.limits.tenant_traces_max = 2).await;
    let body = request_of(3).encode_to_vec();
    let send = async |body: &[u8]| {
        let answer = post(
            running.http,
            "/v1/traces",
            &[("content-type", PROTOBUF)],
            body.to_vec(),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        ExportTraceServiceResponse::decode(&answer.body[..])
            .unwrap()
            .partial_success
            .map_or(0, |partial| partial.rejected_spans)
    };
    assert_eq!(send(&body).await, 1);
    let (batch, hash) = running.sink.last();
    assert_ne!(hash, hash_of(&body));
    assert_eq!(hash, hash_of(&batch.body));
    running.stop().await;

    let body = request_of(1).encode_to_vec();
    let twice = body.len() as u64 * 2 - 1;
    let running = Running::start_with(|config| config.limits.trace_bytes_max = twice).await;
    let send = async || {
        let headers = [("content-type", PROTOBUF)];
        let answer = post(running.http, "/v1/traces", &headers, body.clone()).await;
        assert_eq!(answer.status, 200);
        answer.body.len()
    };
    for _ in 0..5 {
        // The whole request, as the sink has it: nothing of it is refused the second time.
        assert_eq!(send().await, 0);
        assert_eq!(running.sink.last().1, hash_of(&body));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_rate_holds_for_all_that_a_tenant_sends() {
    let running = Running::start_with(|config| {
        config.limits.tenant_bytes_per_second_max = 0;
    })
    .await;
    let body = request_of(1).encode_to_vec();
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        let headers = [("content-type", PROTOBUF)];
        let answer = post(running.http, path, &headers, body.clone()).await;
        assert_eq!(answer.status, 413, "{path}: {}", answer.text());
    }
    running.stop().await;
}

/// What there is no room for is refused before it is decoded, and counted; a retry of what is stored is not refused.
#[tokio::test]
async fn a_full_sink_is_asked_first() {
    let running = Running::start().await;
    let headers = [("content-type", PROTOBUF)];
    let send = async |body: Vec<u8>| post(running.http, "/v1/traces", &headers, body).await;
    let stored = request_of(3).encode_to_vec();
    assert_eq!(send(stored.clone()).await.status, 200);
    running.sink.refuse_with(Some(WriteError::Busy {
        limit: "limits.waiting_blocks_max",
        retry_after: Duration::from_secs(5),
    }));
    let refused = send(request_of(2).encode_to_vec()).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(send(stored).await.status, 200);
    let counted = running.metrics.refused_of_services();
    assert_eq!(
        counted.iter().map(|(_, n)| n).sum::<u64>(),
        2,
        "{counted:?}"
    );
    running.sink.refuse_with(None);
    assert_eq!(send(request_of(2).encode_to_vec()).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_rate_says_over_grpc_when_it_lets_pass() {
    let body = request_of(1).encode_to_vec();
    let n = body.len() as u64;
    let running = Running::start_with(|config| {
        config.limits.tenant_burst_bytes_max = n;
        // A request in ten seconds.
        config.limits.tenant_bytes_per_second_max = n / 10;
    })
    .await;
    running.export_traces(body.clone(), None).await.unwrap();
    let status = running.export_traces(body, None).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let hint = status.get_details_retry_info().unwrap();
    let delay = hint.retry_delay.unwrap();
    let expected = Duration::from_secs(8)..=Duration::from_secs(12);
    assert!(expected.contains(&delay), "{delay:?}");
    // What never passes has no hint.
    let large = request_of(5).encode_to_vec();
    let status = running.export_traces(large, None).await.unwrap_err();
    assert!(status.get_details_retry_info().is_none(), "{status:?}");
    running.stop().await;
}
