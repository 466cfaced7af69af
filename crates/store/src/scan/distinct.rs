//! The distinct values of columns over units, for tag values.

use std::hash::BuildHasher;

use arrow_buffer::BooleanBuffer;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::{KeyQuery, KeyValueInfo, QueryContext, SourceResult};
use tracewell_model::{AttributeValue, Column, Value};

use super::reader::Reader;
use super::{Ask, Columns, LevelRows, PieceRows, Selection};

/// Collects values over several units and columns, as many as the query asks for and as the memory of
/// queries has room for.
#[derive(Debug)]
pub struct Distinct {
    ctx: QueryContext,
    n_max: usize,
    text_bytes_max: usize,
    text_bytes: usize,
    hasher: RandomState,
    /// Where in `values` each of them lies.
    places: HashTable<u32>,
    pub values: Vec<KeyValueInfo>,
    /// True once there was one more than may be: nothing further is taken.
    pub truncated: bool,
}

/// A scalar that can be compared for identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scalar<'a> {
    String(&'a str),
    Int(i64),
    /// The bits.
    Float(u64),
    Bool(bool),
}

impl Distinct {
    pub fn new(query: &KeyQuery, ctx: &QueryContext) -> Self {
        Self {
            ctx: ctx.clone(),
            n_max: query.n_max,
            text_bytes_max: query.text_bytes_max,
            text_bytes: 0,
            hasher: RandomState::default(),
            places: HashTable::new(),
            values: Vec::new(),
            truncated: false,
        }
    }

    /// Adds what the selected spans of a unit have in a column; a list of items counts with its span.
    pub async fn collect(
        &mut self,
        unit: &dyn Columns,
        column: &Column,
        within: &Selection,
    ) -> SourceResult<()> {
        if self.truncated {
            return Ok(());
        }
        let ask = Ask {
            column,
            within,
            predicate: None,
            presence: true,
        };
        let pieces = unit.column(ask).await?;
        if pieces.is_empty() {
            return Ok(());
        }
        let rows = match unit.level(column.level()).await? {
            LevelRows::Spans => within.clone(),
            LevelRows::Shared { n, rows } => {
                let mut used = vec![false; n];
                within.for_each(|span| {
                    let row = rows.get(span).copied().unwrap_or(u32::MAX);
                    if let Some(used) = used.get_mut(row as usize) {
                        *used = true;
                    }
                });
                Selection::of(BooleanBuffer::from(used))
            }
            LevelRows::Owned { owners } => {
                Selection::of(BooleanBuffer::collect_bool(owners.len(), |row| {
                    owners
                        .get(row)
                        .is_some_and(|span| within.contains(*span as usize))
                }))
            }
        };
        let dense = pieces
            .iter()
            .any(|piece| matches!(piece.rows, PieceRows::Dense));
        let reader = Reader::new(&pieces, ArrayKind::of(column));
        if dense {
            rows.for_each(|row| self.add(column, reader.value(row)));
            return Ok(());
        }
        for piece in &pieces {
            if let PieceRows::Sparse(present) = &piece.rows {
                for row in present.iter().map(|row| *row as usize) {
                    if rows.contains(row) {
                        self.add(column, reader.value(row));
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, column: &Column, value: Value<'_>) {
        if self.truncated {
            return;
        }
        if let Value::Array(items) = value {
            for item in items {
                if !matches!(item, AttributeValue::Array(_)) {
                    self.add(column, item.as_value());
                }
            }
            return;
        }
        let Some(scalar) = Scalar::of(value) else {
            return;
        };
        let hash = self.hasher.hash_one((column, scalar));
        let is_same = |place: &u32| {
            self.values.get(*place as usize).is_some_and(|known| {
                known.column == *column && Scalar::of(known.value.as_value()) == Some(scalar)
            })
        };
        if self.places.find(hash, is_same).is_some() {
            return;
        }
        let text_bytes = self.text_bytes + scalar.text_bytes();
        let is_more = self.values.len() >= self.n_max || text_bytes > self.text_bytes_max;
        if is_more || self.ctx.is_full() {
            self.truncated = true;
            return;
        }
        self.text_bytes = text_bytes;
        let own_bytes = size_of::<KeyValueInfo>() + size_of::<u32>();
        self.ctx
            .hold_bytes((own_bytes + scalar.text_bytes()) as u64);
        let (values, hasher) = (&self.values, &self.hasher);
        let hash_of = |place: &u32| {
            let known = values.get(*place as usize)?;
            Some(hasher.hash_one((&known.column, Scalar::of(known.value.as_value())?)))
        };
        let place = values.len() as u32;
        self.places
            .insert_unique(hash, place, |place| hash_of(place).unwrap_or(hash));
        self.values.push(KeyValueInfo {
            column: column.clone(),
            value: scalar.to_value(),
        });
    }
}

impl<'a> Scalar<'a> {
    fn of(value: Value<'a>) -> Option<Self> {
        Some(match value {
            Value::String(text) => Self::String(text),
            Value::Int(value) | Value::Duration(value) => Self::Int(value),
            Value::Status(code) | Value::Kind(code) => Self::Int(i64::from(code)),
            Value::Float(value) => Self::Float(value.to_bits()),
            Value::Bool(value) => Self::Bool(value),
            Value::Array(_) | Value::Nil | Value::Opaque => return None,
        })
    }

    fn text_bytes(self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Int(_) | Self::Float(_) | Self::Bool(_) => 0,
        }
    }

    fn to_value(self) -> AttributeValue {
        match self {
            Self::String(text) => AttributeValue::String(text.to_owned()),
            Self::Int(value) => AttributeValue::Int(value),
            Self::Float(bits) => AttributeValue::Double(f64::from_bits(bits)),
            Self::Bool(value) => AttributeValue::Bool(value),
        }
    }
}
