//! Filters over columns: what a head batch and a row group of a block must offer so that one
//! evaluator scans both.
//!
//! A *unit* is some spans with what belongs to them: one batch of the head, one row group of a block.
//! It implements [`Columns`]: for each [`Column`] of a filter it yields [`Piece`]s, Arrow arrays over
//! the rows of the column's level. [`evaluate()`] turns a `Filter` and those pieces into one bit per
//! span; [`hit_runs`] and [`assemble()`] turn bits into a `LeafBatch` where the spans of a trace lie in
//! a run, and [`values()`] says what a column has in some of the spans.
//!
//! It reads no files, decides no budgets and knows no comparison rules: those are the units', the
//! query context's and `tracewell_model::Predicate`'s.

mod assemble;
mod distinct;
mod evaluate;
mod names;
mod reader;
mod selection;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use futures::FutureExt;
use futures::future::BoxFuture;
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::source::SourceResult;
use tracewell_model::{AttributeValue, Column, Leaf, Predicate};

pub use assemble::{RunColumns, TraceRun, assemble, hit_runs, leaf_batch, union};
pub use distinct::Distinct;
pub use evaluate::evaluate;
pub use names::Names;
pub use selection::Selection;
pub use values::{Coded, values};

/// One unit of data, as a filter sees it.
///
/// # Hidden contract
/// - *First occurrence*: where an owner repeats a key, a query sees its first value and no other. If
///   that first one is empty the attribute is absent. So each row of a level is present in at most
///   one piece of a column, once.
/// - Absent is: null in a dense piece, or not in the rows of a sparse piece.
/// - Values are what a query means, not what was sent: duration is `model::span::duration_nano`,
///   status is 0 where none was sent, the parent of a root is absent (also the zero id), root name
///   and service are absent for a trace without a root span. Texts that every span, scope or event
///   has (names, versions, status message) are present though empty.
/// - Arrow types: those that `Predicate::evaluate` knows, with the meaning `ArrayKind::of(column)`.
pub trait Columns: Send + Sync {
    /// Rows of the unit: every resulting bitmap has this length.
    fn n_spans(&self) -> usize;

    /// How the rows of a level relate to the spans. Asked once per level and filter at most.
    fn level(&self, level: ColumnLevel) -> BoxFuture<'_, SourceResult<LevelRows>>;

    /// The values of a column. An unknown key has no pieces.
    fn column<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, SourceResult<Vec<Piece>>>;

    /// The bits of a condition on a column of the span or above it, meaningful within the selection,
    /// where the unit has a shorter way to them than values; `None` where it has none.
    fn span_bits<'a>(
        &'a self,
        _leaf: &'a Leaf,
        _within: &'a Selection,
    ) -> BoxFuture<'a, SourceResult<Option<BooleanBuffer>>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// What the column costs to read, in any unit: cheap conditions are evaluated first. Override it
    /// where more is known, for example that a key does not occur.
    fn cost(&self, column: &Column) -> u32 {
        typical_cost(column)
    }
}

/// What is wanted of a column.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub column: &'a Column,
    /// Spans outside of it are of no interest: their values may be left out or be anything.
    pub within: &'a Selection,
    /// The condition that the values are for, if there is a single one. A unit may then answer with
    /// [`Values::Evaluated`], and, unless `presence` is set, leave out what cannot match.
    pub predicate: Option<&'a Predicate>,
    /// True if it matters which rows are present although they do not match.
    pub presence: bool,
}

/// How the rows of a level relate to the spans of the unit.
#[derive(Debug, Clone)]
pub enum LevelRows {
    /// Row for row: [`ColumnLevel::Span`].
    Spans,
    /// Resources, scopes, traces: several spans share a row; `rows[span]` is the row of the level.
    Shared { n: usize, rows: ScalarBuffer<u32> },
    /// Events, links: `owners[row]` is the span, ascending.
    Owned { owners: ScalarBuffer<u32> },
}

/// Some values of a column and the rows of its level that they belong to.
#[derive(Debug, Clone)]
pub struct Piece {
    pub rows: PieceRows,
    pub values: Values,
}

#[derive(Debug, Clone)]
pub enum PieceRows {
    /// One value per row of the level.
    Dense,
    /// Value `i` belongs to row `rows[i]`; strictly ascending.
    Sparse(ScalarBuffer<u32>),
}

#[derive(Debug, Clone)]
pub enum Values {
    /// One Arrow type; null is absent.
    Array(ArrayRef),
    /// Arrays of the attribute kind and whatever else has no Arrow type; `Empty` is absent.
    Owned(Vec<AttributeValue>),
    /// So many values that are present and that no comparison knows: bytes, key-value lists.
    Opaque(usize),
    /// So many present values to which the unit has applied [`Ask::predicate`] itself.
    Evaluated(BooleanBuffer),
}

/// The cost of a column where the unit knows nothing better: columns that are evaluated once per
/// distinct entity, then fixed columns from narrow to wide, then attributes, then other tables.
pub fn typical_cost(column: &Column) -> u32 {
    match column.level() {
        ColumnLevel::Resource | ColumnLevel::Instrumentation => 1,
        ColumnLevel::Trace => 2,
        ColumnLevel::Span => match column {
            Column::Intrinsic(Intrinsic::Status | Intrinsic::Kind) => 3,
            Column::Intrinsic(Intrinsic::Duration | Intrinsic::Start | Intrinsic::Name) => 4,
            Column::Intrinsic(_) => 6,
            Column::Attribute { .. } | Column::OfParent(_) => 8,
        },
        ColumnLevel::Event | ColumnLevel::Link | ColumnLevel::Tree => 16,
    }
}

// === impl Piece ===

impl Piece {
    pub fn dense(array: ArrayRef) -> Self {
        Self {
            rows: PieceRows::Dense,
            values: Values::Array(array),
        }
    }

    pub fn sparse(rows: impl Into<ScalarBuffer<u32>>, values: Values) -> Self {
        Self {
            rows: PieceRows::Sparse(rows.into()),
            values,
        }
    }
}

// === impl Values ===

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Array(array) => array.len(),
            Self::Owned(values) => values.len(),
            Self::Opaque(n) => *n,
            Self::Evaluated(bits) => bits.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
