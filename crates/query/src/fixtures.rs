//! Test data: random traces that share few names and values, random queries about them, and a
//! source that holds plain spans.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{FixedSizeBinaryArray, RecordBatch, UInt64Array};
use arrow_buffer::BooleanBuffer;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tracewell_model::clock::TimeRange;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyAnswer, KeyInfo, KeyQuery, KeyValueInfo, KeyWhat, LeafBatch, LeafQuery, LeafTrace,
    QueryContext, Snapshot, Snapshots, SourceError, SourceResult, SourceSummary, SpanSource,
    TraceRoot, TraceRow,
};
use tracewell_model::values::Numbers;
use tracewell_model::{
    AttributeScope, AttributeValue, Clock, Column, ColumnValues, Event, Filter, KeyValue, Link,
    Resource, Scope, Span, SpanId, Status, TenantId, Trace, TraceId, Value,
};

use crate::row::TraceFacts;

pub(crate) fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

pub(crate) fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value,
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, AttributeValue::String(value.to_owned()))
}

#[derive(Debug)]
pub(crate) struct StillClock;

impl Clock for StillClock {
    fn now_unix_nano(&self) -> u64 {
        1_000_000
    }

    fn monotonic_nano(&self) -> u64 {
        0
    }
}

// === random traces ===

const KEYS: [&str; 10] = [
    "a",
    "a",
    "a",
    "b",
    "b",
    "http.method",
    "http.request.method",
    "net.peer.name",
    "server.address",
    "http.host",
];

fn value(rng: &mut SmallRng) -> AttributeValue {
    use AttributeValue as V;
    let string =
        |rng: &mut SmallRng| V::String((*["x", "y", "xy", "x:1"].choose(rng).unwrap()).to_owned());
    match rng.random_range(0..20) {
        0..6 => string(rng),
        6..11 => V::Int(rng.random_range(0..3)),
        11..13 => V::Double(*[0.5, 1.0, 2.0].choose(rng).unwrap()),
        13..15 => V::Bool(rng.random()),
        15 => V::Empty,
        16 => V::Bytes(vec![1]),
        17 => V::Array(Vec::new()),
        18 => V::Array(vec![string(rng), string(rng)]),
        _ => V::Array(vec![V::Int(rng.random_range(0..3)), string(rng)]),
    }
}

fn attributes(rng: &mut SmallRng, keys: &[&str], n_max: usize) -> Vec<KeyValue> {
    (0..rng.random_range(0..=n_max))
        .map(|_| attribute(keys.choose(rng).unwrap(), value(rng)))
        .collect()
}

pub(crate) fn trace_id(n: u64) -> TraceId {
    TraceId((u128::from(n) << 64 | u128::from(n)).to_be_bytes())
}

/// Traces of one to eight spans, whose starts lie within a few thousand nanoseconds.
pub(crate) fn traces(rng: &mut SmallRng, n: u64) -> Vec<Trace> {
    let resources: Vec<Arc<Resource>> = ["shop", "cart", ""]
        .iter()
        .map(|service| {
            let mut all = vec![text("service.name", service)];
            all.extend(attributes(rng, &["a", "deployment.environment"], 2));
            Arc::new(Resource {
                present: true,
                attributes: all,
                ..Resource::default()
            })
        })
        .collect();
    let scope = Arc::new(Scope {
        present: true,
        name: "lib".to_owned(),
        version: "1".to_owned(),
        attributes: vec![text("a", "x")],
        ..Scope::default()
    });
    (1..=n)
        .map(|number| {
            let base = rng.random_range(1_000..4_000);
            let n_spans = rng.random_range(1..=8);
            let spans = (0..n_spans)
                .map(|index| Span {
                    resource: Arc::clone(resources.choose(rng).unwrap()),
                    scope: if rng.random_bool(0.2) {
                        Arc::clone(&scope)
                    } else {
                        Arc::default()
                    },
                    ..span(rng, trace_id(number), base, index)
                })
                .collect();
            let mut trace = Trace {
                trace_id: trace_id(number),
                spans,
            };
            trace.deduplicate();
            trace
        })
        .collect()
}

fn span(rng: &mut SmallRng, id: TraceId, base: u64, index: u64) -> Span {
    let start = base + rng.random_range(0..500);
    let end = (start + rng.random_range(0..200)).saturating_sub(20);
    Span {
        trace_id: id,
        span_id: SpanId((index + 1).to_be_bytes()),
        parent_span_id: match rng.random_range(0..4) {
            0 => None,
            1 => Some(SpanId([0; 8])),
            _ => Some(SpanId(rng.random_range(1..9u64).to_be_bytes())),
        },
        name: (*["GET /", "send", ""].choose(rng).unwrap()).to_owned(),
        kind: rng.random_range(0..6),
        start_unix_nano: start,
        end_unix_nano: end,
        attributes: attributes(rng, &KEYS, 4),
        events: (0..rng.random_range(0..3))
            .map(|_| Event {
                time_unix_nano: base + rng.random_range(0..600),
                name: (*["exception", "retry"].choose(rng).unwrap()).to_owned(),
                attributes: attributes(rng, &["a", "b"], 2),
                dropped_attributes_count: 0,
            })
            .collect(),
        links: (0..rng.random_range(0..3))
            .map(|_| Link {
                trace_id: trace_id(rng.random_range(1..4)),
                attributes: attributes(rng, &["a", "b"], 2),
                ..Link::default()
            })
            .collect(),
        status: rng.random_bool(0.6).then(|| Status {
            code: rng.random_range(0..3),
            message: (*["", "x"].choose(rng).unwrap()).to_owned(),
        }),
        ..Span::default()
    }
}

// === random queries ===

/// Texts of which most mean something.
pub(crate) fn query(rng: &mut SmallRng) -> String {
    match rng.random_range(0..10) {
        0..6 => filter(rng),
        6 => format!("{} || {}", filter(rng), filter(rng)),
        7 | 8 => format!("{} && {}", filter(rng), filter(rng)),
        _ => format!("({} || {}) && {}", filter(rng), filter(rng), filter(rng)),
    }
}

pub(crate) fn filter(rng: &mut SmallRng) -> String {
    if rng.random_bool(0.03) {
        return "{ }".to_owned();
    }
    let depth = rng.random_range(0..4);
    format!("{{ {} }}", condition(rng, depth))
}

fn condition(rng: &mut SmallRng, depth: u32) -> String {
    if depth > 0 {
        let (a, b) = (condition(rng, depth - 1), condition(rng, depth - 1));
        return match rng.random_range(0..7) {
            0..3 => format!("({a}) && ({b})"),
            3..6 => format!("({a}) || ({b})"),
            _ => format!("!({a})"),
        };
    }
    let name = name(rng);
    let op = *["=", "!=", "<", "<=", ">", ">="].choose(rng).unwrap();
    match rng.random_range(0..16) {
        0..5 => format!("{name} {op} {}", constant(rng)),
        5 => format!("{} {op} {name}", constant(rng)),
        6 | 7 => {
            let pattern = *["x", "x.*", ".", "x|GET.*|exc.*"].choose(rng).unwrap();
            let op = *["=~", "!~"].choose(rng).unwrap();
            format!("{name} {op} \"{pattern}\"")
        }
        8 => format!("{name} = nil"),
        9 => format!("{name} != nil"),
        10 => name,
        11 => format!("!{name}"),
        12 => format!("{name} {op} {}", self::name(rng)),
        13 => {
            let arithmetic = *["+", "-", "*", "/", "%", "^"].choose(rng).unwrap();
            format!(
                "{name} {arithmetic} {} {op} {}",
                self::name(rng),
                constant(rng)
            )
        }
        14 => {
            let status = *["ok", "error", "unset"].choose(rng).unwrap();
            format!("status {} {status}", ["=", "!="].choose(rng).unwrap())
        }
        _ => {
            let kind = *["server", "client", "internal"].choose(rng).unwrap();
            format!("kind {} {kind}", ["=", "!="].choose(rng).unwrap())
        }
    }
}

fn name(rng: &mut SmallRng) -> String {
    let scope = *[
        "span.",
        "span.",
        "span.",
        "resource.",
        "event.",
        "event.",
        "link.",
        ".",
        "instrumentation.",
    ]
    .choose(rng)
    .unwrap();
    match rng.random_range(0..10) {
        0..7 => format!("{scope}{}", ["a", "b", "a"].choose(rng).unwrap()),
        7 => format!("span.{}", KEYS.choose(rng).unwrap()),
        _ => (*[
            "name",
            "duration",
            "statusMessage",
            "traceDuration",
            "rootName",
            "rootServiceName",
            "span:id",
            "span:parentID",
            "trace:id",
            "event:name",
            "event:timeSinceStart",
            "link:traceID",
            "instrumentation:name",
            "resource.service.name",
            "resource.deployment.environment.name",
        ]
        .choose(rng)
        .unwrap())
        .to_owned(),
    }
}

fn constant(rng: &mut SmallRng) -> String {
    (*[
        "\"x\"",
        "\"x\"",
        "\"y\"",
        "1",
        "1",
        "true",
        "\"GET /\"",
        "\"shop\"",
        "\"exception\"",
        "\"00000000000000010000000000000001\"",
        "0",
        "1",
        "2",
        "-1",
        "1.5",
        "100ns",
        "300ns",
        "true",
        "false",
        "\"0000000000000002\"",
    ]
    .choose(rng)
    .unwrap())
    .to_owned()
}

// === a source of plain spans ===

#[derive(Debug)]
pub(crate) struct PlainSource {
    summary: SourceSummary,
    traces: BTreeMap<TraceId, Vec<Span>>,
    /// Traces that may lie elsewhere too.
    shared: BTreeSet<TraceId>,
    /// Traces per batch.
    n_batch: usize,
    /// Fails with this after so many batches, and at every other call.
    pub(crate) broken_after: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct PlainSnapshots(pub(crate) Snapshot);

impl Snapshots for PlainSnapshots {
    fn pin(&self) -> Snapshot {
        self.0.clone()
    }
}

impl PlainSource {
    pub(crate) fn new(
        name: &str,
        spans: Vec<Span>,
        shared: BTreeSet<TraceId>,
        n_batch: usize,
    ) -> Self {
        let starts = || spans.iter().map(|span| span.start_unix_nano);
        let (min, max) = (starts().min().unwrap_or(0), starts().max().unwrap_or(0));
        let n_spans = spans.len() as u64;
        let mut traces: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
        for span in spans {
            traces.entry(span.trace_id).or_default().push(span);
        }
        let trace_start_max = traces.values().map(|spans| start(spans)).max().unwrap_or(0);
        Self {
            summary: SourceSummary {
                name: name.to_owned(),
                tenant: None,
                span_start_min: min,
                span_start_max: max,
                trace_start_max,
                n_spans,
                n_traces: traces.len() as u64,
                bytes: n_spans * 100,
            },
            traces,
            shared,
            n_batch,
            broken_after: None,
        }
    }

    pub(crate) fn shared_traces(&self) -> BTreeSet<TraceId> {
        self.shared.clone()
    }

    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.traces.values().flatten()
    }

    fn check(&self) -> SourceResult<()> {
        match self.broken_after {
            Some(0) => Err(self.damage()),
            _ => Ok(()),
        }
    }

    fn damage(&self) -> SourceError {
        SourceError::Damaged {
            source_name: self.summary.name.clone(),
            reason: "a page does not fit its checksum".to_owned(),
        }
    }

    fn batches(&self, query: &LeafQuery) -> Vec<LeafBatch> {
        let mut taking_part: Vec<(TraceId, &Vec<Span>)> = self
            .traces
            .iter()
            .filter(|(id, spans)| match &query.only {
                Some(only) => only.binary_search(id).is_ok(),
                None => {
                    let is_asked = query.also.contains(**id) || id.0[15].is_multiple_of(3);
                    in_window(spans, query.window) || (self.shared.contains(*id) && is_asked)
                }
            })
            .map(|(id, spans)| (*id, spans))
            .collect();
        taking_part.sort_by_key(|(id, spans)| (Reverse(start(spans)), *id));
        let chunks: Vec<_> = taking_part.chunks(self.n_batch).collect();
        chunks
            .iter()
            .enumerate()
            .map(|(index, chunk)| {
                let unread = chunks.get(index + 1).map(|next| start(next[0].1));
                self.batch(query, chunk, unread)
            })
            .collect()
    }

    fn batch(
        &self,
        query: &LeafQuery,
        chunk: &[(TraceId, &Vec<Span>)],
        unread_start_max: Option<u64>,
    ) -> LeafBatch {
        let mut shared = Vec::new();
        let mut rows: Vec<&Span> = Vec::new();
        let mut bits: Vec<Vec<bool>> = vec![Vec::new(); query.filters.len()];
        let mut cells: Vec<Vec<AttributeValue>> = vec![Vec::new(); query.columns.len()];
        let mut traces = Vec::new();
        for (id, spans) in chunk {
            let from = rows.len() as u32;
            let facts = TraceFacts::of(spans);
            let is_shared = query.only.is_none() && self.shared.contains(id);
            let filters = match &query.fragment_filters {
                Some(filters) if is_shared => filters,
                _ => &query.filters,
            };
            for row in facts.rows() {
                let hits: Vec<bool> = filters.iter().map(|f| row.matches(f)).collect();
                if hits.contains(&true) {
                    rows.push(&spans[row.index()]);
                    for (bits, hit) in bits.iter_mut().zip(hits) {
                        bits.push(hit);
                    }
                    for (cells, column) in cells.iter_mut().zip(query.columns.iter()) {
                        cells.push(cell(row.held(column).value()));
                    }
                }
            }
            let has_match = rows.len() as u32 > from;
            let asks_columns = query.only.is_none() && !query.columns.is_empty();
            let repeats = asks_columns && repeats_a_span(&rows[from as usize..]);
            if (is_shared || repeats) && has_match {
                shared.push(*id);
            }
            if has_match {
                traces.push(LeafTrace {
                    trace_id: *id,
                    from,
                    to: rows.len() as u32,
                    start_unix_nano: start(spans),
                    in_window: in_window(spans, query.window),
                });
            }
        }
        LeafBatch {
            spans: columns(&rows),
            bits: bits.into_iter().map(BooleanBuffer::from).collect(),
            columns: cells
                .into_iter()
                .zip(query.columns.iter())
                .map(|(cells, column)| column_values(cells, column))
                .collect(),
            traces,
            shared,
            unread_start_max,
        }
    }

    fn row(id: TraceId, spans: &[Span]) -> TraceRow {
        let facts = TraceFacts::of(spans);
        TraceRow {
            trace_id: id,
            start_unix_nano: facts.start_unix_nano,
            end_unix_nano: spans.iter().map(|span| span.end_unix_nano).max().unwrap(),
            root: facts.root.map(|root| TraceRoot {
                start_unix_nano: root.start_unix_nano,
                span_id: root.span_id,
                service: root.resource.service_name().to_owned(),
                name: root.name.clone(),
            }),
            n_spans: spans.len() as u64,
            n_errors: 0,
        }
    }

    fn key_answer(&self, query: &KeyQuery, ctx: &QueryContext) -> KeyAnswer {
        let mut answer = KeyAnswer::default();
        for spans in self.traces.values() {
            let facts = TraceFacts::of(spans);
            for row in facts.rows() {
                let span = row.span();
                if !query.window.contains(span.start_unix_nano) || !row.matches(&query.filter) {
                    continue;
                }
                match &query.what {
                    KeyWhat::Keys(scopes) => {
                        for (scope, key) in keys(span) {
                            if scopes.contains(&scope) {
                                answer.keys.push(KeyInfo {
                                    scope,
                                    key: key.key.clone(),
                                    value_type: key.value.attribute_type(),
                                    n: 1,
                                });
                            }
                        }
                    }
                    KeyWhat::Values(columns) => {
                        let found = columns.iter().flat_map(|column| values(span, column));
                        for info in found {
                            if ctx.is_full() {
                                answer.truncated = true;
                                continue;
                            }
                            ctx.hold_bytes(size_of::<KeyValueInfo>() as u64);
                            answer.values.push(info);
                        }
                    }
                }
            }
        }
        answer
    }
}

fn keys(span: &Span) -> Vec<(AttributeScope, &KeyValue)> {
    let mut all: Vec<(AttributeScope, &KeyValue)> = Vec::new();
    all.extend(span.attributes.iter().map(|k| (AttributeScope::Span, k)));
    all.extend(
        span.resource
            .attributes
            .iter()
            .map(|k| (AttributeScope::Resource, k)),
    );
    for event in &span.events {
        all.extend(event.attributes.iter().map(|k| (AttributeScope::Event, k)));
    }
    all
}

fn values(span: &Span, column: &Column) -> Vec<KeyValueInfo> {
    let found: Vec<AttributeValue> = match column {
        Column::Attribute { scope, key } => keys(span)
            .into_iter()
            .filter(|(of, known)| of == scope && *known.key == **key)
            .map(|(_, known)| known.value.clone())
            .collect(),
        Column::Intrinsic(_) | Column::OfParent(_) => {
            vec![AttributeValue::String(span.name.clone())]
        }
    };
    found
        .into_iter()
        .map(|value| KeyValueInfo {
            column: column.clone(),
            value,
        })
        .collect()
}

fn cell(value: Value<'_>) -> AttributeValue {
    match value {
        Value::Nil => AttributeValue::Empty,
        Value::String(text) => AttributeValue::String(text.to_owned()),
        Value::Int(value) | Value::Duration(value) => AttributeValue::Int(value),
        Value::Status(code) | Value::Kind(code) => AttributeValue::Int(code.into()),
        Value::Float(value) => AttributeValue::Double(value),
        Value::Bool(value) => AttributeValue::Bool(value),
        Value::Array(items) => AttributeValue::Array(items.to_vec()),
        Value::Opaque => AttributeValue::Bytes(Vec::new()),
    }
}

fn column_values(cells: Vec<AttributeValue>, column: &Column) -> ColumnValues {
    let kind = ArrayKind::of(column);
    let int = |cell: &AttributeValue| match cell {
        AttributeValue::Int(value) => Some(*value),
        _ => None,
    };
    match cells.iter().map(int).collect::<Option<Vec<i64>>>() {
        Some(values) => ColumnValues::ints(
            kind,
            Numbers {
                values,
                present: None,
            },
        ),
        None => ColumnValues::coded(kind, (0..cells.len() as u32).collect(), cells),
    }
}

fn start(spans: &[Span]) -> u64 {
    spans.iter().map(|span| span.start_unix_nano).min().unwrap()
}

/// True if two of these may be one span that was sent twice.
fn repeats_a_span(spans: &[&Span]) -> bool {
    let places: BTreeSet<(u64, SpanId)> = spans
        .iter()
        .map(|span| (span.start_unix_nano, span.span_id))
        .collect();
    places.len() < spans.len()
}

pub(crate) fn in_window(spans: &[Span], window: TimeRange) -> bool {
    spans
        .iter()
        .any(|span| window.contains(span.start_unix_nano))
}

fn columns(rows: &[&Span]) -> RecordBatch {
    let ids = |ids: Vec<Vec<u8>>, size| {
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids.into_iter().map(Some), size)
            .unwrap()
    };
    RecordBatch::try_from_iter([
        (
            "trace_id",
            Arc::new(ids(
                rows.iter().map(|s| s.trace_id.0.to_vec()).collect(),
                16,
            )) as _,
        ),
        (
            "span_id",
            Arc::new(ids(rows.iter().map(|s| s.span_id.0.to_vec()).collect(), 8)) as _,
        ),
        (
            "start_unix_nano",
            Arc::new(UInt64Array::from_iter_values(
                rows.iter().map(|s| s.start_unix_nano),
            )) as _,
        ),
    ])
    .unwrap()
}

impl SpanSource for PlainSource {
    fn summary(&self) -> &SourceSummary {
        &self.summary
    }

    fn leaves(
        &self,
        query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        let mut batches: Vec<SourceResult<LeafBatch>> =
            self.batches(&query).into_iter().map(Ok).collect();
        if let Some(n) = self.broken_after {
            batches.truncate(n);
            batches.push(Err(self.damage()));
        }
        futures::stream::iter(batches)
            .map(move |batch| ctx.read_bytes(1_000).and(batch))
            .boxed()
    }

    fn traces<'a>(
        &'a self,
        _: &'a TenantId,
        ids: &'a [TraceId],
        _: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        assert!(ids.is_sorted());
        let rows = self.check().map(|()| {
            ids.iter()
                .filter_map(|id| Some(Self::row(*id, self.traces.get(id)?)))
                .collect()
        });
        async { rows }.boxed()
    }

    fn fetch<'a>(
        &'a self,
        _: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        assert!(ids.is_sorted());
        let traces = self.check().map(|()| {
            ids.iter()
                .filter_map(|id| {
                    Some(Trace {
                        trace_id: *id,
                        spans: held(self.traces.get(id)?, &ctx),
                    })
                })
                .collect()
        });
        async { traces }.boxed()
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        let answer = self.check().map(|()| self.key_answer(query, &ctx));
        async { answer }.boxed()
    }

    fn may_contain(&self, _: &TenantId, id: TraceId) -> bool {
        // Some false positives, as a filter has.
        self.traces.contains_key(&id) || id.0[15].is_multiple_of(5)
    }

    fn shared_ids(&self) -> Arc<SharedIds> {
        let mut ids: SharedIds = self.shared.iter().copied().collect();
        if self.n_batch == 1 {
            ids.set_all();
        }
        Arc::new(ids)
    }
}

/// Spreads traces over sources at random: some whole, some in fragments, some spans twice.
pub(crate) fn spread(rng: &mut SmallRng, traces: &[Trace], n_sources: usize) -> Vec<PlainSource> {
    let mut parts: Vec<Vec<Span>> = vec![Vec::new(); n_sources];
    for trace in traces {
        let home = rng.random_range(0..n_sources);
        let is_split = rng.random_bool(0.5);
        for span in &trace.spans {
            let place = if is_split {
                rng.random_range(0..n_sources)
            } else {
                home
            };
            parts[place].push(span.clone());
            if rng.random_bool(0.1) {
                let again = if is_split {
                    rng.random_range(0..n_sources)
                } else {
                    home
                };
                parts[again].push(span.clone());
            }
        }
    }
    let holders = |id: TraceId| {
        parts
            .iter()
            .filter(|spans| spans.iter().any(|span| span.trace_id == id))
            .count()
    };
    let mut shared: BTreeSet<TraceId> = traces
        .iter()
        .map(|trace| trace.trace_id)
        .filter(|id| holders(*id) > 1)
        .collect();
    // False positives are harmless.
    shared.extend(
        traces
            .iter()
            .map(|trace| trace.trace_id)
            .filter(|_| rng.random_bool(0.1)),
    );
    parts
        .into_iter()
        .enumerate()
        .map(|(index, spans)| {
            let n_batch = rng.random_range(1..6);
            PlainSource::new(&format!("source {index}"), spans, shared.clone(), n_batch)
        })
        .collect()
}

pub(crate) fn snapshots(sources: Vec<PlainSource>) -> Arc<PlainSnapshots> {
    Arc::new(PlainSnapshots(Snapshot {
        sources: sources
            .into_iter()
            .map(|source| Arc::new(source) as Arc<dyn SpanSource>)
            .collect(),
        missing: Vec::new(),
    }))
}

/// For tests of filters alone.
pub(crate) fn matches(filter: &Filter, spans: &[Span], index: usize) -> bool {
    let facts = TraceFacts::of(spans);
    facts.row(index).unwrap().matches(filter)
}

/// As many spans as the context has room for.
fn held(spans: &[Span], ctx: &QueryContext) -> Vec<Span> {
    let mut held = Vec::new();
    for span in spans {
        if ctx.is_full() {
            ctx.leave_out(1);
            continue;
        }
        ctx.hold(span);
        held.push(span.clone());
    }
    held
}
