//! `Filter` -> one bit per span of a unit.
//!
//! Conditions are evaluated one after the other, cheap columns first, each only within the rows that
//! can still change the result; the bits outside of those are meaningless until the caller masks them.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, ScalarBuffer};
use futures::FutureExt;
use futures::future::BoxFuture;
use tracewell_model::column::ColumnLevel;
use tracewell_model::filter::Compute;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::SourceResult;
use tracewell_model::{Column, Filter, Leaf, Level, Predicate, Value};

use super::reader::Reader;
use super::{Ask, Columns, LevelRows, Piece, PieceRows, Selection, Values};

/// One bit per span of the unit: set where the span is selected and the filter is true for it.
pub async fn evaluate(
    unit: &dyn Columns,
    filter: &Filter,
    within: &Selection,
) -> SourceResult<BooleanBuffer> {
    if within.is_empty() {
        return Ok(BooleanBuffer::new_unset(within.n_rows()));
    }
    let frame = Frame::Spans;
    let bits = Evaluation { unit }.tree(filter, &frame, within).await?;
    Ok(within.mask(bits))
}

struct Evaluation<'u> {
    unit: &'u dyn Columns,
}

/// Which rows a tree is evaluated over.
enum Frame {
    Spans,
    /// Spans, with every column of the level absent.
    SpansWithout(Level),
    /// Events or links; `owners[row]` is the span.
    Items {
        level: Level,
        owners: ScalarBuffer<u32>,
    },
}

impl<'u> Evaluation<'u> {
    /// Bits over the rows of the frame, meaningful within `within`, which is over the same rows.
    fn tree<'a>(
        &'a self,
        filter: &'a Filter,
        frame: &'a Frame,
        within: &'a Selection,
    ) -> BoxFuture<'a, SourceResult<BooleanBuffer>> {
        async move {
            match filter {
                Filter::Constant(value) => Ok(constant(*value, within.n_rows())),
                Filter::And(inner) => self.and(inner, frame, within).await,
                Filter::Or(inner) => self.or(inner, frame, within).await,
                Filter::Not(inner) => Ok(!&self.tree(inner, frame, within).await?),
                Filter::Leaf(leaf) => self.leaf(leaf, frame, within).await,
                Filter::Compute(compute) => self.compute(compute, frame, within).await,
                Filter::Each { level, filter } => self.each(*level, filter, frame, within).await,
            }
        }
        .boxed()
    }

    async fn and(
        &self,
        inner: &[Filter],
        frame: &Frame,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        let mut left = within.clone();
        for filter in self.ordered(inner) {
            if left.is_empty() {
                break;
            }
            let bits = self.tree(filter, frame, &left).await?;
            left = Selection::of(left.mask(bits));
        }
        Ok(left.to_bits())
    }

    async fn or(
        &self,
        inner: &[Filter],
        frame: &Frame,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        let mut matched = BooleanBuffer::new_unset(within.n_rows());
        for filter in self.ordered(inner) {
            let open = within.without(&matched);
            if open.is_empty() {
                break;
            }
            let bits = open.mask(self.tree(filter, frame, &open).await?);
            matched = &matched | &bits;
        }
        Ok(matched)
    }

    fn ordered<'a>(&self, filters: &'a [Filter]) -> Vec<&'a Filter> {
        let mut ordered: Vec<&Filter> = filters.iter().collect();
        ordered.sort_by_cached_key(|filter| self.cost(filter));
        ordered
    }

    fn cost(&self, filter: &Filter) -> u32 {
        let mut cost = 0u32;
        filter.for_each_column(&mut |column| {
            cost = cost.saturating_add(self.unit.cost(column));
        });
        match filter {
            Filter::Compute(_) => cost.saturating_mul(4),
            _ => cost,
        }
    }

    async fn leaf(
        &self,
        leaf: &Leaf,
        frame: &Frame,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        match (item_level(&leaf.column), frame) {
            (None, Frame::Spans | Frame::SpansWithout(_)) => self.span_leaf(leaf, within).await,
            (None, Frame::Items { owners, .. }) => {
                let spans = self.owners_of(owners, within);
                let bits = self.span_leaf(leaf, &spans).await?;
                Ok(spread(&bits, owners))
            }
            (Some(level), Frame::SpansWithout(without)) if level == *without => {
                Ok(constant(leaf.when_absent, within.n_rows()))
            }
            (
                Some(level),
                Frame::Items {
                    level: here,
                    owners,
                },
            ) if level == *here => {
                let spans = self.owners_of(owners, within);
                let pieces = self.pieces(leaf, &spans).await?;
                Ok(leaf_bits(leaf, &pieces, owners.len()))
            }
            // A condition on an item outside of any `Each` for it: one item will do.
            (Some(level), _) => {
                let alone = Filter::Leaf(leaf.clone());
                self.each(level, &alone, frame, within).await
            }
        }
    }

    /// A leaf on a column of the span or above it, over spans.
    async fn span_leaf(&self, leaf: &Leaf, within: &Selection) -> SourceResult<BooleanBuffer> {
        if let Some(bits) = self.unit.span_bits(leaf, within).await? {
            return Ok(bits);
        }
        let pieces = self.pieces(leaf, within).await?;
        if pieces.is_empty() {
            return Ok(constant(leaf.when_absent, within.n_rows()));
        }
        match self.unit.level(leaf.column.level()).await? {
            LevelRows::Spans => Ok(leaf_bits(leaf, &pieces, within.n_rows())),
            LevelRows::Shared { n, rows } => Ok(spread(&leaf_bits(leaf, &pieces, n), &rows)),
            LevelRows::Owned { .. } => Ok(constant(false, within.n_rows())),
        }
    }

    async fn pieces(&self, leaf: &Leaf, within: &Selection) -> SourceResult<Vec<Piece>> {
        let ask = Ask {
            column: &leaf.column,
            within,
            predicate: Some(&leaf.predicate),
            presence: leaf.when_absent,
        };
        self.unit.column(ask).await
    }

    async fn each(
        &self,
        level: Level,
        inner: &Filter,
        frame: &Frame,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        match frame {
            Frame::Items { owners, .. } => {
                let spans = self.owners_of(owners, within);
                let bits = self.each_of_spans(level, inner, &spans).await?;
                Ok(spread(&bits, owners))
            }
            Frame::Spans | Frame::SpansWithout(_) => self.each_of_spans(level, inner, within).await,
        }
    }

    async fn each_of_spans(
        &self,
        level: Level,
        inner: &Filter,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        let column_level = match level {
            Level::Event => ColumnLevel::Event,
            Level::Link => ColumnLevel::Link,
        };
        let LevelRows::Owned { owners } = self.unit.level(column_level).await? else {
            return Ok(constant(false, within.n_rows()));
        };
        let all = Selection::all(owners.len());
        let n_spans = within.n_rows();
        let items = match within.bits() {
            None => all,
            Some(bits) => Selection::of(spread(bits, &owners)),
        };
        let with_items = owner_bits(&owners, n_spans, |_| true);
        let mut matched = BooleanBuffer::new_unset(n_spans);
        if !items.is_empty() {
            let frame = Frame::Items {
                level,
                owners: owners.clone(),
            };
            let bits = items.mask(self.tree(inner, &frame, &items).await?);
            matched = owner_bits(&owners, n_spans, |row| bits.value(row));
        }
        let bare = within.without(&with_items);
        if !bare.is_empty() {
            let frame = Frame::SpansWithout(level);
            let bits = bare.mask(self.tree(inner, &frame, &bare).await?);
            matched = &matched | &bits;
        }
        Ok(matched)
    }

    async fn compute(
        &self,
        compute: &Compute,
        frame: &Frame,
        within: &Selection,
    ) -> SourceResult<BooleanBuffer> {
        // As with a leaf: an item's column outside of its `Each` means one item.
        let stranger = compute.columns.iter().find_map(|column| {
            let level = item_level(column)?;
            match frame {
                Frame::Spans => Some(level),
                Frame::SpansWithout(_) | Frame::Items { .. } => None,
            }
        });
        if let Some(level) = stranger {
            let alone = Filter::Compute(compute.clone());
            return self.each_boxed(level, &alone, within).await;
        }
        let spans = match frame {
            Frame::Items { owners, .. } => self.owners_of(owners, within),
            _ => within.clone(),
        };
        let mut operands = Vec::with_capacity(compute.columns.len());
        for column in compute.columns.iter() {
            operands.push(self.operand(column, frame, &spans).await?);
        }
        let mut values = vec![Value::Nil; operands.len()];
        let mut bits = BooleanBufferBuilder::new(within.n_rows());
        bits.append_n(within.n_rows(), false);
        within.for_each(|row| {
            for (value, operand) in values.iter_mut().zip(&operands) {
                *value = operand.value(row, frame);
            }
            if compute.test.test(&values) {
                bits.set_bit(row, true);
            }
        });
        Ok(bits.finish())
    }

    fn each_boxed<'a>(
        &'a self,
        level: Level,
        inner: &'a Filter,
        within: &'a Selection,
    ) -> BoxFuture<'a, SourceResult<BooleanBuffer>> {
        self.each_of_spans(level, inner, within).boxed()
    }

    async fn operand(
        &self,
        column: &Column,
        frame: &Frame,
        spans: &Selection,
    ) -> SourceResult<Operand> {
        let here = match frame {
            Frame::Items { level, .. } => Some(*level),
            _ => None,
        };
        let level = item_level(column);
        if level.is_some() && level != here {
            return Ok(Operand::Absent);
        }
        let ask = Ask {
            column,
            within: spans,
            predicate: None,
            presence: true,
        };
        let pieces = self.unit.column(ask).await?;
        if pieces.is_empty() {
            return Ok(Operand::Absent);
        }
        let reader = Reader::new(&pieces, ArrayKind::of(column));
        if level.is_some() {
            return Ok(Operand::OfItem(reader));
        }
        Ok(match self.unit.level(column.level()).await? {
            LevelRows::Shared { rows, .. } => Operand::Shared(reader, rows),
            _ => Operand::OfSpan(reader),
        })
    }

    /// The spans that own a selected item.
    fn owners_of(&self, owners: &[u32], items: &Selection) -> Selection {
        let n_spans = self.unit.n_spans();
        Selection::of(owner_bits(owners, n_spans, |row| items.contains(row)))
    }
}

/// One column of a `Compute`.
enum Operand {
    Absent,
    OfSpan(Reader),
    Shared(Reader, ScalarBuffer<u32>),
    OfItem(Reader),
}

impl Operand {
    fn value(&self, row: usize, frame: &Frame) -> Value<'_> {
        let span = || match frame {
            Frame::Items { owners, .. } => {
                owners.get(row).map_or(usize::MAX, |span| *span as usize)
            }
            _ => row,
        };
        match self {
            Self::Absent => Value::Nil,
            Self::OfSpan(reader) => reader.value(span()),
            Self::OfItem(reader) => reader.value(row),
            Self::Shared(reader, rows) => rows
                .get(span())
                .map_or(Value::Nil, |row| reader.value(*row as usize)),
        }
    }
}

/// The list that a column belongs to, if it belongs to one.
fn item_level(column: &Column) -> Option<Level> {
    match column.level() {
        ColumnLevel::Event => Some(Level::Event),
        ColumnLevel::Link => Some(Level::Link),
        _ => None,
    }
}

fn constant(value: bool, n: usize) -> BooleanBuffer {
    if value {
        BooleanBuffer::new_set(n)
    } else {
        BooleanBuffer::new_unset(n)
    }
}

/// `bits[rows[i]]` for every `i`.
fn spread(bits: &BooleanBuffer, rows: &[u32]) -> BooleanBuffer {
    if !bits.has_true() {
        return BooleanBuffer::new_unset(rows.len());
    }
    if !bits.has_false() {
        return BooleanBuffer::new_set(rows.len());
    }
    BooleanBuffer::collect_bool(rows.len(), |i| {
        rows.get(i)
            .is_some_and(|row| (*row as usize) < bits.len() && bits.value(*row as usize))
    })
}

/// Sets the bit of every owner that has an item for which `keep` is true.
fn owner_bits(owners: &[u32], n_spans: usize, keep: impl Fn(usize) -> bool) -> BooleanBuffer {
    let mut bits = BooleanBufferBuilder::new(n_spans);
    bits.append_n(n_spans, false);
    for (row, owner) in owners.iter().enumerate() {
        let owner = *owner as usize;
        if owner < n_spans && keep(row) {
            bits.set_bit(owner, true);
        }
    }
    bits.finish()
}

/// One bit per row of the leaf's level.
fn leaf_bits(leaf: &Leaf, pieces: &[Piece], n_rows: usize) -> BooleanBuffer {
    let mut matched: Option<BooleanBuffer> = None;
    let mut present: Option<BooleanBuffer> = None;
    for piece in pieces {
        let bits = placed(matches(leaf, &piece.values), &piece.rows, n_rows);
        matched = Some(matched.map_or_else(|| bits.clone(), |all| &all | &bits));
        if leaf.when_absent {
            let bits = placed(presence(&piece.values), &piece.rows, n_rows);
            present = Some(present.map_or_else(|| bits.clone(), |all| &all | &bits));
        }
    }
    let matched = matched.unwrap_or_else(|| BooleanBuffer::new_unset(n_rows));
    if !leaf.when_absent {
        return matched;
    }
    match present {
        None => BooleanBuffer::new_set(n_rows),
        Some(present) => &matched | &!&present,
    }
}

/// Bits over the values of a piece as bits over the rows of the level.
fn placed(bits: BooleanBuffer, rows: &PieceRows, n_rows: usize) -> BooleanBuffer {
    match rows {
        PieceRows::Dense => {
            debug_assert_eq!(bits.len(), n_rows, "a dense piece has a value per row");
            bits
        }
        PieceRows::Sparse(rows) => {
            let mut placed = BooleanBufferBuilder::new(n_rows);
            placed.append_n(n_rows, false);
            for i in bits.set_indices() {
                if let Some(row) = rows.get(i).filter(|row| (**row as usize) < n_rows) {
                    placed.set_bit(*row as usize, true);
                }
            }
            placed.finish()
        }
    }
}

fn matches(leaf: &Leaf, values: &Values) -> BooleanBuffer {
    match values {
        Values::Array(array) => leaf.predicate.evaluate(array, leaf.array_kind()),
        Values::Owned(values) => BooleanBuffer::collect_bool(values.len(), |i| {
            values
                .get(i)
                .is_some_and(|value| leaf.predicate.matches(value.as_value()))
        }),
        Values::Opaque(n) => constant(leaf.predicate.matches(Value::Opaque), *n),
        Values::Evaluated(bits) => bits.clone(),
    }
}

fn presence(values: &Values) -> BooleanBuffer {
    match values {
        Values::Array(array) => Predicate::Exists.evaluate(array, ArrayKind::Plain),
        Values::Owned(values) => BooleanBuffer::collect_bool(values.len(), |i| {
            values
                .get(i)
                .is_some_and(|value| !value.as_value().is_nil())
        }),
        Values::Opaque(n) => constant(true, *n),
        Values::Evaluated(bits) => constant(true, bits.len()),
    }
}
