//! One question to both sides, and what is compared of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Limits, Span, SpanId, TenantId, TimeRange, Trace, TraceId};
use tracewell_query::request::{
    Caller, SearchQuery, SearchRequest, SearchResponse, Spanset, TraceRequest,
};
use tracewell_query::{Aliases, Around, Engine};
use tracewell_testkit::oracle::value::Datum;
use tracewell_testkit::oracle::{FoundSpanset, Question};
use tracewell_testkit::random::random_query;
use tracewell_testkit::{Oracle, Random};

use super::data::DataSet;

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) text: String,
    pub(super) aliases: Aliases,
    pub(super) window: TimeRange,
    pub(super) limit: usize,
    pub(super) spans_max: usize,
}

/// All of one answer that both sides know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    trace_id: TraceId,
    start_unix_nano: u64,
    duration_nano: u64,
    root: Option<(String, String)>,
    spansets: Vec<Set>,
    /// Service, spans, errors.
    services: Vec<(String, u64, u64)>,
}

/// One spanset of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    matched: u64,
    shown: Vec<SpanId>,
    /// What was split by and compared: its text, and the value as text.
    attributes: Vec<(String, String)>,
}

/// What the oracle says.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) lines: Vec<Line>,
    /// False if nothing or everything that takes part matches, whatever the limit.
    pub(super) tells: bool,
}

pub(super) fn random_case(random: &mut Random, oracle: &Oracle, spans: &[&Span]) -> Case {
    Case {
        text: random_query(random, spans),
        aliases: if random.percent(80) {
            Aliases::Resolve
        } else {
            Aliases::Off
        },
        window: window(random, oracle),
        limit: *random.pick(&[1, 2, 3, 5, 20, 1_000]),
        spans_max: *random.pick(&[0, 1, 3, 1_000]),
    }
}

/// Everything, or from the start of one span to the start of another: it cuts through traces, and
/// spans start on its bounds.
fn window(random: &mut Random, oracle: &Oracle) -> TimeRange {
    if random.percent(40) {
        return TimeRange::ALL;
    }
    let starts: Vec<u64> = oracle
        .traces()
        .flat_map(|trace| trace.spans.iter().map(|span| span.start_unix_nano))
        .collect();
    let (a, b) = (*random.pick(&starts), *random.pick(&starts));
    let nudge = random.number(2);
    TimeRange {
        start: a.min(b),
        end: a.max(b).saturating_add(nudge),
    }
}

pub(super) fn expected(oracle: &Oracle, case: &Case) -> Expected {
    let question = Question {
        window: case.window,
        limit: usize::MAX,
        aliases: case.aliases,
    };
    let mut found = oracle.search(&case.text, question).unwrap();
    let tells = !found.is_empty() && found.len() < oracle.n_in_window(case.window);
    found.truncate(case.limit);
    let wanted: Vec<TraceId> = found.iter().map(|found| found.trace_id).collect();
    let traces: BTreeMap<TraceId, &Trace> = oracle
        .traces()
        .filter(|trace| wanted.contains(&trace.trace_id))
        .map(|trace| (trace.trace_id, trace))
        .collect();
    let lines = found.into_iter().map(|found| Line {
        trace_id: found.trace_id,
        start_unix_nano: found.start_unix_nano,
        duration_nano: found.duration_nano,
        root: found.root,
        spansets: found
            .spansets
            .into_iter()
            .map(|set| set_of(set, case.spans_max))
            .collect(),
        services: services(traces[&found.trace_id]),
    });
    Expected {
        lines: lines.collect(),
        tells,
    }
}

fn set_of(set: FoundSpanset, spans_max: usize) -> Set {
    let attributes = set.attributes.into_iter();
    Set {
        matched: set.matched.len() as u64,
        shown: set.matched.into_iter().take(spans_max).collect(),
        attributes: attributes
            .map(|(key, value)| (key, value.shown()))
            .collect(),
    }
}

fn services(trace: &Trace) -> Vec<(String, u64, u64)> {
    let mut services: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for span in &trace.spans {
        let counts = services.entry(span.resource.service_name()).or_default();
        counts.0 += 1;
        counts.1 += u64::from(span.status_code() == 2);
    }
    services
        .into_iter()
        .map(|(name, (spans, errors))| (name.to_owned(), spans, errors))
        .collect()
}

pub(super) fn request(case: &Case) -> SearchRequest {
    SearchRequest {
        caller: caller(case.aliases),
        query: SearchQuery::TraceQl(case.text.clone()),
        window: case.window,
        limit: case.limit,
        spans_per_spanset: case.spans_max,
        found: None,
    }
}

pub(super) fn caller(aliases: Aliases) -> Caller {
    Caller {
        query_ms_max: None,
        tenant: TenantId::single(),
        cancel: CancellationToken::new(),
        aliases,
    }
}

pub(super) fn engine(data: &DataSet, snapshots: Arc<dyn Snapshots>) -> Engine {
    engine_within(data, snapshots, Limits::default())
}

pub(super) fn engine_within(
    data: &DataSet,
    snapshots: Arc<dyn Snapshots>,
    limits: Limits,
) -> Engine {
    let clock: Arc<dyn Clock> = Arc::clone(&data.clock) as Arc<dyn Clock>;
    Engine::new(snapshots, limits, clock)
}

/// The lines of an answer; an answer that says that it is partial is no answer.
pub(super) fn lines(response: SearchResponse) -> Result<Vec<Line>, String> {
    if !response.partial.is_empty() {
        return Err(format!("partial: {:?}", response.partial));
    }
    let lines = response.traces.into_iter().map(|trace| Line {
        trace_id: trace.trace_id,
        start_unix_nano: trace.start_unix_nano,
        duration_nano: trace.duration_nano,
        root: trace.root.map(|root| (root.service, root.name)),
        spansets: trace.spansets.into_iter().map(answered).collect(),
        services: trace
            .services
            .into_iter()
            .map(|service| (service.service, service.n_spans, service.n_errors))
            .collect(),
    });
    Ok(lines.collect())
}

fn answered(set: Spanset) -> Set {
    let attributes = set.attributes.into_iter();
    Set {
        matched: set.matched,
        shown: set.spans.iter().map(|span| span.span_id).collect(),
        attributes: attributes
            .map(|attribute| (attribute.key, Datum::from(&attribute.value).shown()))
            .collect(),
    }
}

/// What is wrong with an answer, if anything.
pub(super) fn difference(expected: &Expected, found: &Result<Vec<Line>, String>) -> Option<String> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return Some(error.clone()),
    };
    if *found == expected.lines {
        return None;
    }
    let n = expected.lines.len().max(found.len());
    (0..n).find_map(|index| {
        let (a, b) = (expected.lines.get(index), found.get(index));
        (a != b).then(|| format!("line {index}: the oracle says {a:?}, the engine {b:?}"))
    })
}

/// Every trace by its id, each span once and as it was sent.
pub(super) async fn check_traces_by_id(data: &DataSet, what: &str) {
    let engine = engine(data, data.snapshots());
    for trace in data.oracle.traces() {
        let request = TraceRequest {
            caller: caller(Aliases::Resolve),
            trace_id: trace.trace_id,
            window: TimeRange::ALL,
            filter: None,
            around: Around::default(),
        };
        let found = engine.trace_by_id(request).await.unwrap();
        assert!(found.partial.is_empty(), "{what}: {:?}", found.partial);
        assert!(
            found.trace.as_ref() == Some(trace),
            "{what}: trace {} does not come back as it was sent",
            trace.trace_id
        );
    }
}
