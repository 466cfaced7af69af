//! Pieces of a column as the values of some spans of a unit.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::DataType;
use hashbrown::HashMap;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::SourceResult;
use tracewell_model::values::{NO_CODE, Numbers, SparseCodes};
use tracewell_model::{AttributeValue, Column, ColumnValues, Value};

use super::reader::Reader;
use super::{Ask, Columns, LevelRows, Piece, PieceRows, Selection, Values};

/// What less than one span in so many has is told of those alone.
const SPARSE_ONE_IN: usize = 16;

/// The values of a column in these spans (ascending) of a unit.
pub async fn values(
    unit: &dyn Columns,
    column: &Column,
    rows: &[u32],
) -> SourceResult<ColumnValues> {
    let within = selected(rows, unit.n_spans());
    let ask = Ask {
        column,
        within: &within,
        predicate: None,
        presence: true,
    };
    let pieces = unit.column(ask).await?;
    if pieces.is_empty() {
        return Ok(ColumnValues::nothing(rows.len()));
    }
    let kind = ArrayKind::of(column);
    match unit.level(column.level()).await? {
        LevelRows::Spans if n_held(&pieces).saturating_mul(SPARSE_ONE_IN) < rows.len() => {
            Ok(sparse(&pieces, rows, (kind, unit.n_spans())))
        }
        LevelRows::Spans => Ok(match of_one_type(&pieces, rows, kind) {
            Some(numbers) => numbers,
            None => {
                let (codes, values) = coded(&pieces, kind, unit.n_spans());
                ColumnValues::coded(kind, taken(&codes, rows), values)
            }
        }),
        LevelRows::Shared { n, rows: of_span } => {
            let (codes, values) = coded(&pieces, kind, n);
            let of_row = |row: &u32| {
                let at = of_span.get(*row as usize);
                at.and_then(|at| codes.get(*at as usize)).copied()
            };
            let codes = rows.iter().map(|row| of_row(row).unwrap_or(NO_CODE));
            Ok(ColumnValues::coded(kind, codes.collect(), values))
        }
        LevelRows::Owned { .. } => Ok(ColumnValues::nothing(rows.len())),
    }
}

fn selected(rows: &[u32], n_spans: usize) -> Selection {
    if rows.len() == n_spans {
        return Selection::all(n_spans);
    }
    let mut bits = BooleanBufferBuilder::new(n_spans);
    bits.append_n(n_spans, false);
    for row in rows.iter().filter(|row| (**row as usize) < n_spans) {
        bits.set_bit(*row as usize, true);
    }
    Selection::of(bits.finish())
}

fn taken(codes: &[u32], rows: &[u32]) -> Vec<u32> {
    if rows.len() == codes.len() {
        return codes.to_vec();
    }
    let code = |row: &u32| codes.get(*row as usize).copied().unwrap_or(NO_CODE);
    rows.iter().map(code).collect()
}

/// Values of all pieces, and perhaps some that are none.
fn n_held(pieces: &[Piece]) -> usize {
    let held = pieces.iter().map(|piece| match &piece.values {
        Values::Array(array) => array.len() - array.null_count(),
        Values::Owned(_) | Values::Opaque(_) | Values::Evaluated(_) => piece.values.len(),
    });
    held.sum()
}

fn sparse(pieces: &[Piece], rows: &[u32], (kind, n_spans): (ArrayKind, usize)) -> ColumnValues {
    let mut codes: Vec<(u32, u32)> = Vec::new();
    let values = for_each_code(pieces, kind, &mut |row, code| codes.push((row, code)));
    codes.sort_by_key(|(row, _)| *row);
    // Of several pieces, the last that has a row says what is in it.
    codes.dedup_by(|later, held| {
        let is_same = later.0 == held.0;
        if is_same {
            *held = *later;
        }
        is_same
    });
    let is_every = rows.len() == n_spans;
    let mut held = SparseCodes::default();
    for (row, code) in codes {
        let at = match is_every {
            true => ((row as usize) < n_spans).then_some(row),
            false => rows.binary_search(&row).ok().map(|at| at as u32),
        };
        if let Some(at) = at {
            held.rows.push(at);
            held.codes.push(code);
        }
    }
    ColumnValues::sparse(kind, rows.len(), held, values)
}

// === numbers ===

/// The numbers of a column that has no other values.
fn of_one_type(pieces: &[Piece], rows: &[u32], kind: ArrayKind) -> Option<ColumnValues> {
    let [piece] = pieces else {
        return None;
    };
    let Values::Array(array) = &piece.values else {
        return None;
    };
    let places = Places::of(&piece.rows, rows, array.len());
    Some(match array.data_type() {
        DataType::Int64 => {
            let array = array.as_primitive::<Int64Type>();
            ColumnValues::ints(kind, places.numbers(array, |value| value))
        }
        DataType::UInt64 => {
            let array = array.as_primitive::<UInt64Type>();
            let clamped = |value| i64::try_from(value).unwrap_or(i64::MAX);
            ColumnValues::ints(kind, places.numbers(array, clamped))
        }
        DataType::Int32 => {
            let array = array.as_primitive::<Int32Type>();
            ColumnValues::ints(kind, places.numbers(array, i64::from))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            ColumnValues::floats(places.numbers(array, |value| value))
        }
        _ => return None,
    })
}

/// Where the values of spans lie in an array.
enum Places {
    /// Span for span.
    Same,
    /// By place; `u32::MAX` for nowhere.
    At(Vec<u32>),
}

impl Places {
    fn of(piece: &PieceRows, rows: &[u32], n_values: usize) -> Self {
        match piece {
            PieceRows::Dense if rows.len() == n_values => Self::Same,
            PieceRows::Dense => Self::At(rows.to_vec()),
            PieceRows::Sparse(held) if **held == *rows => Self::Same,
            PieceRows::Sparse(held) => {
                let mut held = held.iter().enumerate().peekable();
                let place = |row: &u32| {
                    while held.next_if(|(_, at)| *at < row).is_some() {}
                    match held.peek() {
                        Some((place, at)) if *at == row => *place as u32,
                        _ => u32::MAX,
                    }
                };
                Self::At(rows.iter().map(place).collect())
            }
        }
    }

    fn numbers<T, N>(
        &self,
        array: &PrimitiveArray<T>,
        number: impl Fn(T::Native) -> N,
    ) -> Numbers<N>
    where
        T: arrow_array::ArrowPrimitiveType,
        N: Copy + Default,
    {
        let held = array.values();
        match self {
            Self::Same => Numbers {
                values: held.iter().map(|value| number(*value)).collect(),
                present: array.nulls().map(|nulls| nulls.inner().clone()),
            },
            Self::At(places) => {
                let value = |place: &u32| held.get(*place as usize).map(|value| number(*value));
                let is_there =
                    |place: u32| (place as usize) < array.len() && array.is_valid(place as usize);
                let of_place = |at: usize| places.get(at).is_some_and(|place| is_there(*place));
                let all = array.null_count() == 0 && places.iter().all(|at| is_there(*at));
                let present = || BooleanBuffer::collect_bool(places.len(), of_place);
                Numbers {
                    values: places
                        .iter()
                        .map(|at| value(at).unwrap_or_default())
                        .collect(),
                    present: (!all).then(present),
                }
            }
        }
    }
}

// === codes ===

/// A code for each row of the level, and what the codes stand for.
fn coded(pieces: &[Piece], kind: ArrayKind, n_rows: usize) -> (Vec<u32>, Vec<AttributeValue>) {
    let mut codes = vec![NO_CODE; n_rows];
    let values = for_each_code(pieces, kind, &mut |row, code| {
        if let Some(held) = codes.get_mut(row as usize) {
            *held = code;
        }
    });
    (codes, values)
}

/// Visits the rows that have a value with its code, piece by piece. Returns what the codes stand for.
fn for_each_code(
    pieces: &[Piece],
    kind: ArrayKind,
    visit: &mut dyn FnMut(u32, u32),
) -> Vec<AttributeValue> {
    let mut coder = Coder {
        kind,
        visit,
        values: Coded::default(),
    };
    for piece in pieces {
        match &piece.values {
            Values::Array(array) => match array.data_type() {
                DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                    let keys = array.as_dictionary::<Int32Type>().keys().iter();
                    let keys = keys.map(|key| key.and_then(|key| u32::try_from(key).ok()));
                    let texts = array.as_dictionary::<Int32Type>().values();
                    coder.of_dictionary(&piece.rows, keys, texts);
                }
                DataType::Dictionary(key, _) if **key == DataType::UInt32 => {
                    let keys = array.as_dictionary::<UInt32Type>().keys().iter();
                    let texts = array.as_dictionary::<UInt32Type>().values();
                    coder.of_dictionary(&piece.rows, keys, texts);
                }
                _ => coder.one_by_one(piece),
            },
            Values::Owned(_) | Values::Opaque(_) | Values::Evaluated(_) => coder.one_by_one(piece),
        }
    }
    coder.values.values
}

struct Coder<'v> {
    kind: ArrayKind,
    visit: &'v mut dyn FnMut(u32, u32),
    values: Coded,
}

impl Coder<'_> {
    fn of_dictionary(
        &mut self,
        rows: &PieceRows,
        keys: impl Iterator<Item = Option<u32>>,
        texts: &ArrayRef,
    ) {
        let Some(texts) = texts.as_string_opt::<i32>() else {
            return;
        };
        let mut of_key = vec![NO_CODE; texts.len()];
        for (at, key) in keys.enumerate() {
            let Some(key) = key.map(|key| key as usize) else {
                continue;
            };
            let Some(code) = of_key.get_mut(key) else {
                continue;
            };
            if *code == NO_CODE && texts.is_valid(key) {
                *code = self.values.push(Value::String(texts.value(key)));
            }
            let code = *code;
            self.set(rows, at, code);
        }
    }

    fn one_by_one(&mut self, piece: &Piece) {
        let alone = Piece {
            rows: PieceRows::Dense,
            values: piece.values.clone(),
        };
        let reader = Reader::new(&[alone], self.kind);
        for at in 0..piece.values.len() {
            let code = match reader.value(at) {
                Value::Nil => NO_CODE,
                value => self.values.push(value),
            };
            self.set(&piece.rows, at, code);
        }
    }

    fn set(&mut self, rows: &PieceRows, at: usize, code: u32) {
        if code == NO_CODE {
            return;
        }
        let row = match rows {
            PieceRows::Dense => Some(at as u32),
            PieceRows::Sparse(rows) => rows.get(at).copied(),
        };
        if let Some(row) = row {
            (self.visit)(row, code);
        }
    }
}

/// Values by code: texts and numbers once.
#[derive(Debug, Default)]
pub struct Coded {
    pub values: Vec<AttributeValue>,
    texts: HashMap<Box<str>, u32>,
    /// By type and bits.
    numbers: HashMap<(u8, u64), u32>,
}

impl Coded {
    /// The code of a value.
    pub fn push(&mut self, value: Value<'_>) -> u32 {
        let next = self.values.len() as u32;
        let (key, value) = match value {
            Value::Nil => return NO_CODE,
            Value::String(text) => return self.text(text, next),
            Value::Int(value) | Value::Duration(value) => {
                ((0, value as u64), AttributeValue::Int(value))
            }
            Value::Status(code) | Value::Kind(code) => {
                let code = i64::from(code);
                ((0, code as u64), AttributeValue::Int(code))
            }
            Value::Float(value) => ((1, value.to_bits()), AttributeValue::Double(value)),
            Value::Bool(value) => ((2, value.into()), AttributeValue::Bool(value)),
            Value::Opaque => ((3, 0), AttributeValue::Bytes(Vec::new())),
            Value::Array(items) => {
                self.values.push(AttributeValue::Array(items.to_vec()));
                return next;
            }
        };
        *self.numbers.entry(key).or_insert_with(|| {
            self.values.push(value);
            next
        })
    }

    fn text(&mut self, text: &str, next: u32) -> u32 {
        if let Some(code) = self.texts.get(text) {
            return *code;
        }
        self.values.push(AttributeValue::String(text.to_owned()));
        self.texts.insert(text.into(), next);
        next
    }
}
