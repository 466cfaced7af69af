//! The distinct values of columns over units, for tag values.

use arrow_buffer::BooleanBuffer;
use hashbrown::HashSet;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::{KeyValueInfo, SourceResult};
use tracewell_model::{AttributeValue, Column, Value};

use super::reader::Reader;
use super::{Ask, Columns, LevelRows, PieceRows, Selection};

/// Collects values over several units and columns, up to a number of them.
#[derive(Debug)]
pub struct Distinct {
    n_max: usize,
    seen: HashSet<(Column, Scalar), foldhash::fast::RandomState>,
    pub values: Vec<KeyValueInfo>,
    /// True if there were more than `n_max`.
    pub truncated: bool,
}

/// A scalar that can be compared for identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scalar {
    String(String),
    Int(i64),
    /// The bits.
    Float(u64),
    Bool(bool),
}

impl Distinct {
    pub fn new(n_max: usize) -> Self {
        Self {
            n_max,
            seen: HashSet::default(),
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
        let scalar = match value {
            Value::String(text) => Scalar::String(text.to_owned()),
            Value::Int(value) | Value::Duration(value) => Scalar::Int(value),
            Value::Status(code) | Value::Kind(code) => Scalar::Int(i64::from(code)),
            Value::Float(value) => Scalar::Float(value.to_bits()),
            Value::Bool(value) => Scalar::Bool(value),
            Value::Array(items) => {
                for item in items {
                    if !matches!(item, AttributeValue::Array(_)) {
                        self.add(column, item.as_value());
                    }
                }
                return;
            }
            Value::Nil | Value::Opaque => return,
        };
        let key = (column.clone(), scalar);
        if self.seen.contains(&key) {
            return;
        }
        if self.values.len() >= self.n_max {
            self.truncated = true;
            return;
        }
        self.values.push(KeyValueInfo {
            column: column.clone(),
            value: key.1.clone().into_value(),
        });
        self.seen.insert(key);
    }
}

impl Scalar {
    fn into_value(self) -> AttributeValue {
        match self {
            Self::String(text) => AttributeValue::String(text),
            Self::Int(value) => AttributeValue::Int(value),
            Self::Float(bits) => AttributeValue::Double(f64::from_bits(bits)),
            Self::Bool(value) => AttributeValue::Bool(value),
        }
    }
}
