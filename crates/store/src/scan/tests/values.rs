//! How much of the values of a column a source holds, whichever source it is.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, KeyWhat, QueryContext, QueryMemory, SpanSource,
};
use tracewell_model::{Column, Filter, Intrinsic, Span, TenantId, TimeRange, TraceId};

use super::random;

const N_VALUES: u64 = 100;
const VALUE_BYTES: usize = 1_000;

/// A hundred names of 1,000 bytes, each of three spans.
pub(crate) fn spans() -> Vec<Span> {
    let span = |n: u64| Span {
        trace_id: TraceId([1; 16]),
        span_id: random::span_id(n + 1),
        name: format!("{:0>VALUE_BYTES$}", n % N_VALUES),
        start_unix_nano: n,
        ..Span::default()
    };
    (0..3 * N_VALUES).map(span).collect()
}

/// Asks a source that holds [`spans`].
pub(crate) async fn check_limits(source: &dyn SpanSource) {
    let ask = async |text_bytes_max: usize, memory: &Arc<QueryMemory>| -> KeyAnswer {
        let query = KeyQuery {
            tenant: TenantId::single(),
            window: TimeRange::ALL,
            what: KeyWhat::Values(vec![Column::Intrinsic(Intrinsic::Name)]),
            filter: Filter::Constant(true),
            n_max: 10_000,
            text_bytes_max,
        };
        let ctx = QueryContext::new(CancellationToken::new(), u64::MAX, Arc::clone(memory));
        let answer = source.keys(&query, ctx.clone()).await.unwrap();
        let text_bytes = (answer.values.len() * VALUE_BYTES) as u64;
        // What is held is counted, each value once.
        let held_bytes = memory.held_bytes();
        assert!(held_bytes > text_bytes && held_bytes < text_bytes / 10 * 12);
        ctx.release(0);
        answer
    };
    let memory = QueryMemory::new(u64::MAX);
    let all = ask(100_000, &memory).await;
    assert_eq!((all.values.len(), all.truncated), (100, false));
    let few = ask(99_999, &memory).await;
    assert_eq!((few.values.len(), few.truncated), (99, true));
    let few = ask(30_500, &memory).await;
    assert_eq!((few.values.len(), few.truncated), (30, true));
    // The last one lies beyond the limit, as the last span of a trace does.
    let few = ask(usize::MAX, &QueryMemory::new(20_000)).await;
    assert!(few.truncated && (15..=20).contains(&few.values.len()));
    assert_eq!(memory.held_bytes(), 0);
}
