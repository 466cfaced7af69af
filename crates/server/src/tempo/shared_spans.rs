//! Zipkin's shared spans, made two: a view at read time, nothing of it is stored.
//!
//! In Zipkin's model the client's and the server's half of a call may share one span id. Trees and
//! waterfalls need ids that are unique, so the server's half gets a new one below the client's, and
//! what named the shared id as its parent hangs below the server.

use std::collections::{HashMap, HashSet};

use tracewell_model::{SpanId, Trace};

const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;

/// Gives every server span that shares its id with a client span an id of its own. Returns how
/// many spans were changed.
pub(crate) fn separate(trace: &mut Trace) -> usize {
    let clients: HashSet<SpanId> = trace
        .spans
        .iter()
        .filter(|span| span.kind == KIND_CLIENT)
        .map(|span| span.span_id)
        .collect();
    let shared: Vec<bool> = trace
        .spans
        .iter()
        .map(|span| span.kind == KIND_SERVER && clients.contains(&span.span_id))
        .collect();
    if !shared.contains(&true) {
        return 0;
    }
    let mut used: HashSet<SpanId> = trace.spans.iter().map(|span| span.span_id).collect();
    let mut next = 1u64;
    let mut new_ids: HashMap<SpanId, SpanId> = HashMap::new();
    for (span, _) in trace.spans.iter_mut().zip(&shared).filter(|(_, is)| **is) {
        // It ends: at most as many numbers are taken as there are spans.
        while !used.insert(SpanId(next.to_be_bytes())) {
            next += 1;
        }
        let new_id = SpanId(next.to_be_bytes());
        new_ids.insert(span.span_id, new_id);
        span.parent_span_id = Some(span.span_id);
        span.span_id = new_id;
    }
    let mut n_changed = 0;
    for (span, is_shared) in trace.spans.iter_mut().zip(shared) {
        if is_shared {
            n_changed += 1;
        } else if let Some(new_id) = span.parent_span_id.and_then(|parent| new_ids.get(&parent)) {
            span.parent_span_id = Some(*new_id);
            n_changed += 1;
        }
    }
    n_changed
}

#[cfg(test)]
mod tests {
    use tracewell_model::Span;

    use super::*;

    fn span(id: u64, parent: Option<u64>, kind: i32) -> Span {
        Span {
            span_id: SpanId(id.to_be_bytes()),
            parent_span_id: parent.map(|id| SpanId(id.to_be_bytes())),
            kind,
            ..Span::default()
        }
    }

    fn ids(trace: &Trace) -> Vec<(u64, Option<u64>)> {
        let number = |id: SpanId| u64::from_be_bytes(id.0);
        trace
            .spans
            .iter()
            .map(|span| (number(span.span_id), span.parent_span_id.map(number)))
            .collect()
    }

    #[test]
    fn the_servers_half_hangs_below_the_clients() {
        let mut trace = Trace {
            spans: vec![
                span(100, None, KIND_CLIENT),
                span(100, None, KIND_SERVER),
                span(1, Some(100), 1),
                span(7, Some(1), KIND_CLIENT),
                span(7, Some(1), KIND_SERVER),
            ],
            ..Trace::default()
        };
        assert_eq!(separate(&mut trace), 3);
        let expected = [
            (100, None),
            (2, Some(100)),
            (1, Some(2)),
            (7, Some(1)),
            (3, Some(7)),
        ];
        assert_eq!(ids(&trace), expected);
    }

    #[test]
    fn other_traces_stay_as_they_are() {
        let mut trace = Trace {
            spans: vec![
                span(1, None, KIND_SERVER),
                span(2, Some(1), KIND_CLIENT),
                span(2, Some(1), 1),
            ],
            ..Trace::default()
        };
        let before = trace.clone();
        assert_eq!(separate(&mut trace), 0);
        assert_eq!(trace, before);
    }
}
