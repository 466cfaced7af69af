//! A batch of the head as a unit that filters can be evaluated over.
//!
//! Numbers become Arrow arrays by a copy. Text is tested here, once per distinct string of the
//! generation and query ([`Memo`]): most strings occur in many rows and batches.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, UInt64Array};
use arrow_array::{BooleanArray, DictionaryArray, Float64Array, StringArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::source::SourceResult;
use tracewell_model::span::duration_nano;
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeScope, AttributeValue, Column, KeyValue, Predicate, Value};

use super::generation::Batch;
use super::snapshot::GenerationSnapshot;
use super::traces::is_root;
use crate::scan::{Ask, Columns, LevelRows, Piece, PieceRows, Selection, Values};
use crate::table::{Runs, STATUS_ABSENT, StringCode};

/// What one scan has found out about strings of the generation.
#[derive(Debug, Default)]
pub(super) struct Memo {
    predicates: Mutex<Vec<(Predicate, Tested)>>,
    keys: Mutex<HashMap<Arc<str>, Option<StringCode>, foldhash::fast::RandomState>>,
}

/// Which strings satisfy a predicate.
#[derive(Debug)]
enum Tested {
    /// This one, if it is here at all.
    Only(Option<StringCode>),
    /// Per code: not asked yet, no, yes.
    Each(Vec<u8>),
}

const UNKNOWN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

pub(super) struct BatchColumns<'a> {
    snapshot: &'a GenerationSnapshot,
    batch: &'a Batch,
    memo: &'a Memo,
}

impl<'a> BatchColumns<'a> {
    pub(super) fn new(snapshot: &'a GenerationSnapshot, batch: &'a Batch, memo: &'a Memo) -> Self {
        Self {
            snapshot,
            batch,
            memo,
        }
    }

    fn pieces(&self, ask: Ask<'_>) -> SourceResult<Vec<Piece>> {
        match ask.column {
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Span => {
                    let rows = self.selected_spans(ask.within);
                    self.attribute(&ask, key, &self.batch.table.spans.attributes, rows)
                }
                AttributeScope::Event => {
                    let rows = self.selected_items(&self.batch.table.spans.events, ask.within);
                    self.attribute(&ask, key, &self.batch.table.events.attributes, rows)
                }
                AttributeScope::Link => {
                    let rows = self.selected_items(&self.batch.table.spans.links, ask.within);
                    self.attribute(&ask, key, &self.batch.table.links.attributes, rows)
                }
                AttributeScope::Resource => Ok(self.of_resources(key)),
                AttributeScope::Instrumentation => Ok(self.of_scopes(|scope| {
                    first_value(&scope.attributes, key)
                        .cloned()
                        .unwrap_or_default()
                })),
            },
            Column::Intrinsic(intrinsic) => Ok(self.intrinsic(&ask, *intrinsic)),
            Column::OfParent(_) => Ok(Vec::new()),
        }
    }

    fn intrinsic(&self, ask: &Ask<'_>, intrinsic: Intrinsic) -> Vec<Piece> {
        let table = &self.batch.table;
        let spans = &table.spans;
        let text = |text: &str| AttributeValue::String(text.to_owned());
        match intrinsic {
            Intrinsic::Name => vec![self.dense_text(ask, &spans.name)],
            Intrinsic::StatusMessage => vec![self.dense_text(ask, &spans.status_message)],
            Intrinsic::EventName => vec![self.dense_text(ask, &table.events.name)],
            Intrinsic::Duration => {
                let times = spans.start_unix_nano.iter().zip(&spans.end_unix_nano);
                let durations = times.map(|(start, end)| duration_nano(*start, *end));
                vec![dense(Int64Array::from_iter_values(durations))]
            }
            Intrinsic::Start => vec![dense(UInt64Array::from(spans.start_unix_nano.clone()))],
            Intrinsic::Status => {
                let codes = spans.status_code.iter();
                let codes = codes.map(|code| if *code == STATUS_ABSENT { 0 } else { *code });
                vec![dense(Int32Array::from_iter_values(codes))]
            }
            Intrinsic::Kind => vec![dense(Int32Array::from(spans.kind.clone()))],
            Intrinsic::SpanId => vec![ids(&spans.span_id, |id| &id.0, None)],
            Intrinsic::ParentId => {
                let present = (0..spans.span_id.len()).map(|row| !is_root(table, row));
                let nulls = NullBuffer::from_iter(present);
                vec![ids(&spans.parent_span_id, |id| &id.0, Some(nulls))]
            }
            Intrinsic::TraceId => vec![ids(&spans.trace_id, |id| &id.0, None)],
            Intrinsic::LinkTraceId => vec![ids(&table.links.trace_id, |id| &id.0, None)],
            Intrinsic::LinkSpanId => vec![ids(&table.links.span_id, |id| &id.0, None)],
            Intrinsic::EventTimeSinceStart => vec![dense(self.event_times())],
            Intrinsic::TraceDuration | Intrinsic::RootName | Intrinsic::RootService => {
                self.of_traces(intrinsic, ask.within)
            }
            Intrinsic::InstrumentationName => self.of_scopes(|scope| text(&scope.name)),
            Intrinsic::InstrumentationVersion => self.of_scopes(|scope| text(&scope.version)),
            Intrinsic::ChildCount
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Vec::new(),
        }
    }

    fn event_times(&self) -> Int64Array {
        let table = &self.batch.table;
        let mut times = vec![0i64; table.events.len()];
        for (row, start) in table.spans.start_unix_nano.iter().enumerate() {
            for event in table.spans.events.get(row) {
                if let (Some(time), Some(at)) =
                    (times.get_mut(event), table.events.time_unix_nano.get(event))
                {
                    let since = i128::from(*at) - i128::from(*start);
                    *time = since.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                }
            }
        }
        Int64Array::from(times)
    }

    fn selected_spans(&self, within: &Selection) -> Vec<u32> {
        let mut rows = Vec::with_capacity(within.n_selected());
        within.for_each(|row| rows.push(row as u32));
        rows
    }

    fn selected_items(&self, runs: &Runs, within: &Selection) -> Vec<u32> {
        let mut rows = Vec::new();
        within.for_each(|row| rows.extend(runs.get(row).map(|item| item as u32)));
        rows
    }

    fn of_resources(&self, key: &str) -> Vec<Piece> {
        let dictionary = &self.snapshot.dictionary;
        let rows = distinct(&self.batch.table.spans.resource, dictionary.resources.len());
        let values = rows.iter().map(|row| {
            let entry = dictionary.resources.get(*row as usize);
            entry
                .and_then(|entry| first_value(&entry.resource.attributes, key))
                .cloned()
                .unwrap_or_default()
        });
        let values = Values::Owned(values.collect());
        vec![Piece::sparse(rows, values)]
    }

    fn of_scopes(&self, value: impl Fn(&tracewell_model::Scope) -> AttributeValue) -> Vec<Piece> {
        let dictionary = &self.snapshot.dictionary;
        let rows = distinct(&self.batch.table.spans.scope, dictionary.scopes.len());
        let values = rows.iter().map(|row| {
            let entry = dictionary.scopes.get(*row as usize);
            entry.map(|entry| value(&entry.scope)).unwrap_or_default()
        });
        let values = Values::Owned(values.collect());
        vec![Piece::sparse(rows, values)]
    }

    fn of_traces(&self, intrinsic: Intrinsic, within: &Selection) -> Vec<Piece> {
        let table = self.snapshot.trace_table();
        let mut selected = vec![false; table.id.len()];
        within.for_each(|row| {
            let trace = self.batch.trace.get(row).copied().unwrap_or(u32::MAX);
            if let Some(selected) = selected.get_mut(trace as usize) {
                *selected = true;
            }
        });
        let rows: Vec<u32> = (0u32..)
            .zip(&selected)
            .filter_map(|(row, selected)| selected.then_some(row))
            .collect();
        if intrinsic == Intrinsic::TraceDuration {
            let durations = rows.iter().map(|row| table.duration(*row as usize));
            let array = Arc::new(Int64Array::from_iter_values(durations));
            return vec![Piece::sparse(rows, Values::Array(array))];
        }
        let value = |trace: u32| {
            let root = table.root.get(trace as usize).copied().flatten()?;
            let spans = &self.snapshot.batches.get(root.table as usize)?.table.spans;
            let row = root.row as usize;
            let dictionary = &self.snapshot.dictionary;
            let text = if intrinsic == Intrinsic::RootName {
                dictionary.strings.text(*spans.name.get(row)?)
            } else {
                let resource = *spans.resource.get(row)? as usize;
                dictionary.resources.get(resource)?.resource.service_name()
            };
            Some(AttributeValue::String(text.to_owned()))
        };
        let values = rows.iter().map(|row| value(*row).unwrap_or_default());
        let values = Values::Owned(values.collect());
        vec![Piece::sparse(rows, values)]
    }

    /// The first value of a key in the runs of the given rows, by type.
    fn attribute(
        &self,
        ask: &Ask<'_>,
        key: &Arc<str>,
        runs: &Runs,
        rows: Vec<u32>,
    ) -> SourceResult<Vec<Piece>> {
        let Some(key) = self.memo.key(self.snapshot, key) else {
            return Ok(Vec::new());
        };
        let attributes = &self.batch.table.attributes;
        let mut found = Found::default();
        for row in rows {
            let run = runs.get(row as usize);
            let keys = attributes.key.get(run.clone()).unwrap_or_default();
            let Some(at) = keys.iter().position(|other| *other == key) else {
                continue;
            };
            let at = run.start + at;
            let (Some(value_type), Some(value)) =
                (attributes.value_type.get(at), attributes.value.get(at))
            else {
                continue;
            };
            match value_type {
                AttributeType::Empty => {}
                AttributeType::String => {
                    found.strings.0.push(row);
                    found.strings.1.push(StringCode(*value as u32));
                }
                AttributeType::Int => {
                    found.ints.0.push(row);
                    found.ints.1.push(*value as i64);
                }
                AttributeType::Double => {
                    found.doubles.0.push(row);
                    found.doubles.1.push(f64::from_bits(*value));
                }
                AttributeType::Bool => {
                    found.bools.0.push(row);
                    found.bools.1.push(*value != 0);
                }
                AttributeType::Array | AttributeType::Strings => {
                    let value = self
                        .batch
                        .table
                        .attribute_value(&self.snapshot.dictionary, at)
                        .map_err(|error| self.snapshot.damaged(&error))?;
                    found.arrays.0.push(row);
                    found.arrays.1.push(value);
                }
                AttributeType::Bytes | AttributeType::KvList => found.opaque.push(row),
            }
        }
        Ok(self.typed(ask, found))
    }

    fn typed(&self, ask: &Ask<'_>, found: Found) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut add = |rows: Vec<u32>, values: Values| {
            if !rows.is_empty() {
                pieces.push(Piece::sparse(rows, values));
            }
        };
        let (rows, codes) = found.strings;
        if !rows.is_empty() {
            add(rows, self.text(ask, &codes));
        }
        let (rows, ints) = found.ints;
        add(rows, Values::Array(Arc::new(Int64Array::from(ints))));
        let (rows, doubles) = found.doubles;
        add(rows, Values::Array(Arc::new(Float64Array::from(doubles))));
        let (rows, bools) = found.bools;
        add(rows, Values::Array(Arc::new(BooleanArray::from(bools))));
        let (rows, arrays) = found.arrays;
        add(rows, Values::Owned(arrays));
        let n = found.opaque.len();
        add(found.opaque, Values::Opaque(n));
        pieces
    }

    fn dense_text(&self, ask: &Ask<'_>, codes: &[StringCode]) -> Piece {
        Piece {
            rows: PieceRows::Dense,
            values: self.text(ask, codes),
        }
    }

    fn text(&self, ask: &Ask<'_>, codes: &[StringCode]) -> Values {
        match ask.predicate {
            Some(predicate) => Values::Evaluated(self.memo.test(self.snapshot, predicate, codes)),
            None => Values::Array(self.dictionary_of(codes)),
        }
    }

    /// Texts by number, each distinct one once.
    fn dictionary_of(&self, codes: &[StringCode]) -> ArrayRef {
        let strings = &self.snapshot.dictionary.strings;
        let mut numbers: HashMap<StringCode, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut texts: Vec<&str> = Vec::new();
        let keys = codes.iter().map(|code| {
            *numbers.entry(*code).or_insert_with(|| {
                texts.push(strings.text(*code));
                texts.len() as u32 - 1
            })
        });
        let keys = UInt32Array::from_iter_values(keys);
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        // Every key is below the number of texts.
        Arc::new(DictionaryArray::new(keys, texts))
    }

    fn level_rows(&self, level: ColumnLevel) -> LevelRows {
        let table = &self.batch.table;
        let dictionary = &self.snapshot.dictionary;
        match level {
            ColumnLevel::Span | ColumnLevel::Tree => LevelRows::Spans,
            ColumnLevel::Resource => shared(&table.spans.resource, dictionary.resources.len()),
            ColumnLevel::Instrumentation => shared(&table.spans.scope, dictionary.scopes.len()),
            ColumnLevel::Trace => shared(&self.batch.trace, self.snapshot.trace_table().id.len()),
            ColumnLevel::Event => owned(&table.spans.events, table.events.len()),
            ColumnLevel::Link => owned(&table.spans.links, table.links.len()),
        }
    }
}

impl Columns for BatchColumns<'_> {
    fn n_spans(&self) -> usize {
        self.batch.table.n_spans()
    }

    fn level(&self, level: ColumnLevel) -> BoxFuture<'_, SourceResult<LevelRows>> {
        ready(Ok(self.level_rows(level))).boxed()
    }

    fn column<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, SourceResult<Vec<Piece>>> {
        ready(self.pieces(ask)).boxed()
    }
}

/// Values of one key: rows and values per type.
#[derive(Default)]
struct Found {
    strings: (Vec<u32>, Vec<StringCode>),
    ints: (Vec<u32>, Vec<i64>),
    doubles: (Vec<u32>, Vec<f64>),
    bools: (Vec<u32>, Vec<bool>),
    arrays: (Vec<u32>, Vec<AttributeValue>),
    opaque: Vec<u32>,
}

// === impl Memo ===

impl Memo {
    fn key(&self, snapshot: &GenerationSnapshot, key: &Arc<str>) -> Option<StringCode> {
        let mut keys = self.keys.lock();
        *keys
            .entry(Arc::clone(key))
            .or_insert_with(|| snapshot.core.string_code(key.as_bytes()))
    }

    fn test(
        &self,
        snapshot: &GenerationSnapshot,
        predicate: &Predicate,
        codes: &[StringCode],
    ) -> BooleanBuffer {
        let mut predicates = self.predicates.lock();
        let known = predicates.iter().position(|(known, _)| known == predicate);
        let known = known.unwrap_or_else(|| {
            let tested = Tested::new(snapshot, predicate);
            predicates.push((predicate.clone(), tested));
            predicates.len() - 1
        });
        let Some((_, tested)) = predicates.get_mut(known) else {
            return BooleanBuffer::new_unset(codes.len());
        };
        match tested {
            Tested::Only(None) => BooleanBuffer::new_unset(codes.len()),
            Tested::Only(Some(only)) => {
                BooleanBuffer::collect_bool(codes.len(), |i| codes.get(i) == Some(only))
            }
            Tested::Each(states) => BooleanBuffer::collect_bool(codes.len(), |i| {
                codes.get(i).is_some_and(|code| {
                    let Some(state) = states.get_mut(code.0 as usize) else {
                        return false;
                    };
                    if *state == UNKNOWN {
                        let text = snapshot.dictionary.strings.text(*code);
                        let yes = predicate.matches(Value::String(text));
                        *state = if yes { YES } else { NO };
                    }
                    *state == YES
                })
            }),
        }
    }
}

impl Tested {
    fn new(snapshot: &GenerationSnapshot, predicate: &Predicate) -> Self {
        match predicate.equal_string() {
            Some(text) => Self::Only(snapshot.core.string_code(text.as_bytes())),
            None => Self::Each(vec![UNKNOWN; snapshot.dictionary.strings.n_strings()]),
        }
    }
}

/// The value that a query sees: the first of its key.
pub(super) fn first_value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AttributeValue> {
    attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .map(|attribute| &attribute.value)
}

fn dense(array: impl arrow_array::Array + 'static) -> Piece {
    Piece::dense(Arc::new(array))
}

fn ids<T>(ids: &[T], bytes: impl Fn(&T) -> &[u8], nulls: Option<NullBuffer>) -> Piece {
    let size = ids.first().map_or(8, |id| bytes(id).len());
    let mut values = Vec::with_capacity(ids.len() * size);
    for id in ids {
        values.extend_from_slice(bytes(id));
    }
    let array = FixedSizeBinaryArray::new(size as i32, Buffer::from(values), nulls);
    let array: ArrayRef = Arc::new(array);
    Piece::dense(array)
}

fn shared(rows: &[u32], n: usize) -> LevelRows {
    LevelRows::Shared {
        n,
        rows: ScalarBuffer::from(rows.to_vec()),
    }
}

/// The owner of each item; items lie in the order of their spans.
fn owned(runs: &Runs, n_items: usize) -> LevelRows {
    let mut owners = Vec::with_capacity(n_items);
    for (span, n) in runs.lens.iter().enumerate() {
        owners.extend(std::iter::repeat_n(span as u32, *n as usize));
    }
    debug_assert_eq!(owners.len(), n_items, "every item has one owner");
    LevelRows::Owned {
        owners: ScalarBuffer::from(owners),
    }
}

/// The distinct entries of a column, ascending.
fn distinct(column: &[u32], n: usize) -> Vec<u32> {
    let mut used = vec![false; n];
    for index in column {
        if let Some(used) = used.get_mut(*index as usize) {
            *used = true;
        }
    }
    (0u32..)
        .zip(&used)
        .filter_map(|(index, used)| used.then_some(index))
        .collect()
}
