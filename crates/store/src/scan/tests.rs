use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::types::{ArrowDictionaryKeyType, Int32Type, UInt32Type};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, StringArray, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::source::SourceResult;
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeValue, Column, Filter, Span, TraceId, Value};

use super::*;
use naive::Place;

pub(crate) mod naive;
pub(crate) mod random;
pub(crate) mod values;

/// Spans that offer their columns in every form that the contract allows, chosen by chance.
struct Unit {
    spans: Vec<Span>,
    rng: Mutex<StdRng>,
}

impl Unit {
    fn trace(&self, id: TraceId) -> Vec<Span> {
        let of_trace = self.spans.iter().filter(|span| span.trace_id == id);
        of_trace.cloned().collect()
    }

    /// The span of each row of a level: any that shares it, or the owner.
    fn level_spans(&self, level: ColumnLevel) -> (Vec<usize>, LevelRows) {
        let n = self.spans.len();
        let shared = |same: &dyn Fn(&Span, &Span) -> bool| {
            let mut firsts: Vec<usize> = Vec::new();
            let mut rows = Vec::new();
            for span in &self.spans {
                let known = firsts
                    .iter()
                    .position(|first| same(&self.spans[*first], span));
                rows.push(known.unwrap_or(firsts.len()) as u32);
                if known.is_none() {
                    firsts.push(rows.len() - 1);
                }
            }
            let rows = ScalarBuffer::from(rows);
            (
                firsts.clone(),
                LevelRows::Shared {
                    n: firsts.len(),
                    rows,
                },
            )
        };
        let owned = |count: &dyn Fn(&Span) -> usize| {
            let owners: Vec<usize> = (0..n)
                .flat_map(|row| std::iter::repeat_n(row, count(&self.spans[row])))
                .collect();
            let rows: Vec<u32> = owners.iter().map(|owner| *owner as u32).collect();
            (
                owners,
                LevelRows::Owned {
                    owners: rows.into(),
                },
            )
        };
        match level {
            ColumnLevel::Span | ColumnLevel::Tree => ((0..n).collect(), LevelRows::Spans),
            ColumnLevel::Resource => shared(&|a, b| Arc::ptr_eq(&a.resource, &b.resource)),
            ColumnLevel::Instrumentation => shared(&|a, b| Arc::ptr_eq(&a.scope, &b.scope)),
            ColumnLevel::Trace => shared(&|a, b| a.trace_id == b.trace_id),
            ColumnLevel::Event => owned(&|span| span.events.len()),
            ColumnLevel::Link => owned(&|span| span.links.len()),
        }
    }

    fn pieces(&self, ask: Ask<'_>) -> Vec<Piece> {
        let level = ask.column.level();
        let (spans, _) = self.level_spans(level);
        let mut rng = self.rng.lock();
        let mut items = 0;
        let mut owner = usize::MAX;
        let mut values: Vec<AttributeValue> = Vec::new();
        for row in &spans {
            items = if *row == owner { items + 1 } else { 0 };
            owner = *row;
            let span = &self.spans[*row];
            let trace = self.trace(span.trace_id);
            let mut place = Place::new(span, &trace);
            match level {
                ColumnLevel::Event => place.event = Some(Some(&span.events[items])),
                ColumnLevel::Link => place.link = Some(Some(&span.links[items])),
                _ => {}
            }
            values.push(place.value(ask.column, owned));
            // What is outside of the selection is nobody's business.
            let per_span = !matches!(
                level,
                ColumnLevel::Resource | ColumnLevel::Instrumentation | ColumnLevel::Trace
            );
            if per_span && !ask.within.contains(*row) && rng.random() {
                *values.last_mut().unwrap() = AttributeValue::Empty;
            }
        }
        match ask.column {
            Column::Intrinsic(intrinsic) => match fixed(*intrinsic, &values) {
                Some(array) => vec![Piece::dense(array)],
                None => packed(&values, ask, &mut rng),
            },
            Column::Attribute { .. } | Column::OfParent(_) => packed(&values, ask, &mut rng),
        }
    }
}

fn owned(value: Value<'_>) -> AttributeValue {
    match value {
        Value::Nil => AttributeValue::Empty,
        Value::String(text) => AttributeValue::String(text.to_owned()),
        Value::Int(value) | Value::Duration(value) => AttributeValue::Int(value),
        Value::Float(value) => AttributeValue::Double(value),
        Value::Bool(value) => AttributeValue::Bool(value),
        Value::Status(code) | Value::Kind(code) => AttributeValue::Int(i64::from(code)),
        Value::Array(items) => AttributeValue::Array(items.to_vec()),
        Value::Opaque => AttributeValue::Bytes(Vec::new()),
    }
}

fn int(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::Int(value) => Some(*value),
        _ => None,
    }
}

fn string(value: &AttributeValue) -> Option<&str> {
    match value {
        AttributeValue::String(text) => Some(text),
        _ => None,
    }
}

/// Intrinsics that are no text.
fn fixed(intrinsic: Intrinsic, values: &[AttributeValue]) -> Option<ArrayRef> {
    let ints = values.iter().map(int);
    let id = |size: usize| {
        let ids = values.iter().map(|value| {
            let text = format!("{:0>1$}", string(value)?, size * 2);
            let id = TraceId::from_hex(&text).unwrap();
            Some(id.0[16 - size..].to_vec())
        });
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, size as i32).unwrap()
    };
    Some(match intrinsic {
        Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => {
            Arc::new(Int64Array::from_iter(ints))
        }
        Intrinsic::Start => Arc::new(UInt64Array::from_iter(ints.map(|i| i.map(|i| i as u64)))),
        Intrinsic::Status | Intrinsic::Kind => {
            Arc::new(Int32Array::from_iter(ints.map(|i| i.map(|i| i as i32))))
        }
        Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId => Arc::new(id(8)),
        Intrinsic::TraceId | Intrinsic::LinkTraceId => Arc::new(id(16)),
        _ => return None,
    })
}

fn dictionary<K: ArrowDictionaryKeyType>(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(DictionaryArray::<K>::from_iter(values.iter().copied()))
}

/// Values by type, each type in a form chosen by chance.
fn packed(values: &[AttributeValue], ask: Ask<'_>, rng: &mut StdRng) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut used = vec![false; values.len()];
    let mut take = |keep: &dyn Fn(&AttributeValue) -> bool| -> Vec<u32> {
        (0u32..)
            .zip(values)
            .filter(|(row, value)| {
                let fits = !used[*row as usize] && keep(value);
                used[*row as usize] |= fits;
                fits
            })
            .map(|(row, _)| row)
            .collect()
    };
    if rng.random() {
        take(&|value| string(value).is_some());
        let texts: Vec<Option<&str>> = values.iter().map(string).collect();
        pieces.push(Piece::dense(match rng.random_range(0..3) {
            0 => Arc::new(StringArray::from(texts)),
            1 => dictionary::<Int32Type>(&texts),
            _ => dictionary::<UInt32Type>(&texts),
        }));
    }
    if rng.random() {
        take(&|value| int(value).is_some());
        pieces.push(Piece::dense(Arc::new(Int64Array::from_iter(
            values.iter().map(int),
        ))));
    }
    if rng.random() {
        let doubles = |value: &AttributeValue| match value {
            AttributeValue::Double(value) => Some(*value),
            _ => None,
        };
        let rows = take(&|value| doubles(value).is_some());
        let array = rows.iter().map(|row| doubles(&values[*row as usize]));
        let array = Arc::new(Float64Array::from_iter(array));
        pieces.push(Piece::sparse(rows, Values::Array(array)));
    }
    if rng.random() {
        let bools = values.iter().map(|value| match value {
            AttributeValue::Bool(value) => Some(*value),
            _ => None,
        });
        pieces.push(Piece::dense(Arc::new(BooleanArray::from_iter(bools))));
        take(&|value| matches!(value, AttributeValue::Bool(_)));
    }
    if rng.random() {
        pieces.push(string_lists(values));
        take(&is_strings);
    }
    let rows = take(&|value| matches!(value, AttributeValue::Bytes(_)));
    let n = rows.len();
    pieces.push(Piece::sparse(rows, Values::Opaque(n)));
    let rows = take(&|value| !value.as_value().is_nil());
    pieces.push(rest(rows, values, ask, rng.random()));
    pieces
}

/// The values of some rows, tested by the unit itself or not.
fn rest(mut rows: Vec<u32>, values: &[AttributeValue], ask: Ask<'_>, evaluated: bool) -> Piece {
    let value = |row: &u32| &values[*row as usize];
    let Some(predicate) = ask.predicate.filter(|_| evaluated) else {
        let values = rows.iter().map(|row| value(row).clone()).collect();
        return Piece::sparse(rows, Values::Owned(values));
    };
    let matches = |row: &u32| predicate.matches(value(row).as_value());
    if !ask.presence {
        rows.retain(matches);
    }
    let bits = BooleanBuffer::from_iter(rows.iter().map(matches));
    Piece::sparse(rows, Values::Evaluated(bits))
}

/// A dense column of the lists of strings.
fn string_lists(values: &[AttributeValue]) -> Piece {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for value in values {
        if let AttributeValue::Array(items) = value
            && is_strings(value)
        {
            for item in items {
                lists.values().append_value(string(item).unwrap());
            }
            lists.append(true);
        } else {
            lists.append(false);
        }
    }
    Piece::dense(Arc::new(lists.finish()))
}

fn is_strings(value: &AttributeValue) -> bool {
    value.attribute_type() == AttributeType::Strings
}

impl Columns for Unit {
    fn n_spans(&self) -> usize {
        self.spans.len()
    }

    fn level(&self, level: ColumnLevel) -> BoxFuture<'_, SourceResult<LevelRows>> {
        ready(Ok(self.level_spans(level).1)).boxed()
    }

    fn column<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, SourceResult<Vec<Piece>>> {
        ready(Ok(self.pieces(ask))).boxed()
    }
}

fn check(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let n = rng.random_range(1..40);
    let n_traces = rng.random_range(1..10);
    let unit = Unit {
        spans: random::spans(&mut rng, n, n_traces),
        rng: Mutex::new(StdRng::seed_from_u64(seed ^ 1)),
    };
    let mut n_telling = 0;
    for _ in 0..20 {
        let filter: Filter = random::filter(&mut rng, 3, None);
        let within = match rng.random_range(0..3) {
            0 => Selection::of((0..n).map(|_| rng.random::<bool>()).collect()),
            _ => Selection::all(n),
        };
        let bits = evaluate(&unit, &filter, &within)
            .now_or_never()
            .unwrap()
            .unwrap();
        let expected: BooleanBuffer = unit
            .spans
            .iter()
            .enumerate()
            .map(|(row, span)| {
                let trace = unit.trace(span.trace_id);
                within.contains(row) && Place::new(span, &trace).holds(&filter)
            })
            .collect();
        assert_eq!(bits, expected, "seed {seed}, filter {filter:#?}");
        let n_true = bits.count_set_bits();
        n_telling += usize::from(n_true > 0 && n_true < n);
    }
    n_telling
}

#[test]
fn the_evaluator_agrees_with_a_naive_one() {
    let n_seeds = 400;
    let n_telling: usize = (0..n_seeds).map(check).sum();
    // A result that is neither empty nor everything says something.
    assert!(
        n_telling * 4 > n_seeds as usize * 20,
        "{n_telling} telling results"
    );
}

#[test]
fn runs_with_a_set_bit_are_hit() {
    let runs = [0..2, 2..3, 3..6, 9..12];
    let hits = |rows: &[usize]| {
        let bits = BooleanBuffer::collect_bool(12, |row| rows.contains(&row));
        hit_runs(runs.iter().cloned(), &bits)
    };
    assert!(hits(&[]).is_empty());
    assert_eq!(hits(&[1, 3, 5]), [0, 2]);
    assert_eq!(hits(&[2, 7, 8, 11]), [1, 3]);
    assert!(hits(&[6, 7]).is_empty());
    let rows: Vec<usize> = (0..12).collect();
    assert_eq!(hits(&rows), [0, 1, 2, 3]);
}

#[test]
fn a_leaf_batch_has_the_spans_with_a_bit_in_runs_of_traces() {
    let unit = {
        let mut rng = StdRng::seed_from_u64(7);
        let mut spans = random::spans(&mut rng, 30, 5);
        spans.sort_by_key(|span| (span.trace_id, span.start_unix_nano, span.span_id));
        spans
    };
    let fixed = |ids: Vec<Vec<u8>>, size| {
        let ids = ids.into_iter().map(Some);
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, size).unwrap()
    };
    let kept: Vec<usize> = (0..30).filter(|row| row % 3 == 0 || row % 5 == 0).collect();
    let matching = || kept.iter().map(|row| &unit[*row]);
    let columns = RunColumns {
        trace_id: fixed(matching().map(|s| s.trace_id.0.to_vec()).collect(), 16),
        span_id: fixed(matching().map(|s| s.span_id.0.to_vec()).collect(), 8),
        start_unix_nano: matching()
            .map(|s| s.start_unix_nano)
            .collect::<Vec<_>>()
            .into(),
    };
    let mut runs: Vec<TraceRun> = Vec::new();
    for (row, span) in (0u32..).zip(&unit) {
        match runs.last_mut().filter(|run| run.trace_id == span.trace_id) {
            Some(run) => run.to = row + 1,
            None => runs.push(TraceRun {
                trace_id: span.trace_id,
                from: row,
                to: row + 1,
                start_unix_nano: span.start_unix_nano,
                in_window: true,
            }),
        }
    }
    let bits: [BooleanBuffer; 2] = [
        (0..30).map(|row| row % 3 == 0).collect(),
        (0..30).map(|row| row % 5 == 0).collect(),
    ];
    let batch = assemble(
        (Some(&columns), Vec::new()),
        &runs,
        &bits,
        Vec::new(),
        Some(9),
    )
    .unwrap();
    assert_eq!(batch.spans.num_rows(), kept.len());
    assert_eq!(batch.unread_start_max, Some(9));
    for (i, row) in kept.iter().enumerate() {
        assert_eq!(batch.bits[0].value(i), row % 3 == 0);
        assert_eq!(batch.bits[1].value(i), row % 5 == 0);
        let traces = batch.traces.iter();
        let mut of = traces.filter(|t| (t.from as usize..t.to as usize).contains(&i));
        assert_eq!(of.next().unwrap().trace_id, unit[*row].trace_id);
        assert!(of.next().is_none());
    }
    let nothing: [BooleanBuffer; 1] = [BooleanBuffer::new_unset(30)];
    let batch = assemble((None, Vec::new()), &runs, &nothing, Vec::new(), None).unwrap();
    assert_eq!((batch.spans.num_rows(), batch.traces.len()), (0, 0));
}
