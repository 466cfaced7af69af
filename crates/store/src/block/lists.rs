//! The attribute lists of a group's owners, put together from promoted columns and the attribute table.
//!
//! The shape of an owner says which keys it has and in which order. In every column the values of
//! owners follow each other, so that each column is read from its beginning to its end, once.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parquet::arrow::arrow_reader::RowSelection;
use tracewell_model::ContentHash;
use tracewell_model::source::QueryContext;
use tracewell_model::value::AttributeType;

use super::arrays::{Texts, named};
use super::error::{BlockError, BlockResult};
use super::flat::ColumnValues;
use super::read::{BlockReader, id16};
use super::rest::{Cursor, Rest, read_rest_rows};
use super::schema::{Owner, PromotedKey};
use super::shape::Shapes;
use super::value::message_of_strings;
use crate::table::{AttributeRows, DictionaryBuilder, Interner, Runs, StringCode};

/// How many promoted columns of a whole group are held as they are read at a time: of a group of
/// 131,072 spans each takes up to a megabyte.
const COLUMNS_AT_ONCE: usize = 8;

/// Owners of one level that are read.
pub(super) struct Level {
    pub(super) owner: Owner,
    pub(super) shapes: OwnerShapes,
    /// Number of each within its group, ascending.
    pub(super) numbers: Vec<u32>,
}

/// The shape of each owner.
pub(super) struct OwnerShapes {
    pub(super) distinct: Vec<ContentHash>,
    /// Index in `distinct`, [`NO_SHAPE`] where there are no attributes.
    of: Vec<u32>,
}

const NO_SHAPE: u32 = u32::MAX;

/// Reads the attribute lists of the owners of one group.
pub(super) struct Lists<'a> {
    reader: &'a BlockReader,
    group: usize,
    shapes: &'a Shapes,
    ctx: &'a QueryContext,
    rest: Rest,
}

/// One attribute of a shape: what it is, and where its value lies.
struct Step {
    key: StringCode,
    value_type: AttributeType,
    from: Source,
}

enum Source {
    /// An empty value has none.
    Nothing,
    /// Index in the promoted columns of the level.
    Column(usize),
    Rest(Cursor),
}

/// Where an entry of a shape lies in the group.
enum Place {
    Nothing,
    Column(usize),
    Rest,
}

/// The values of a promoted column, as [`AttributeRows`] hold them.
#[derive(Default)]
struct Column {
    n_rows: usize,
    /// `None` where no row is null.
    valid: Option<NullBuffer>,
    /// Those of the rows that are not null.
    values: Values,
    next: usize,
}

enum Values {
    Codes(Vec<StringCode>),
    Words(Vec<u64>),
}

// === impl OwnerShapes ===

impl OwnerShapes {
    pub(super) fn of(batch: &RecordBatch) -> BlockResult<Self> {
        let hashes = named(batch, "shape")?.as_fixed_size_binary();
        let mut distinct = Vec::new();
        let mut numbers = HashMap::<ContentHash, u32, FixedState>::default();
        let mut of = Vec::with_capacity(batch.num_rows());
        let mut last: Option<(ContentHash, u32)> = None;
        for row in 0..hashes.len() {
            if hashes.is_null(row) {
                of.push(NO_SHAPE);
                continue;
            }
            let hash = ContentHash(id16(hashes.value(row)));
            let number = match last {
                Some((last, number)) if last == hash => number,
                _ => *numbers.entry(hash).or_insert_with(|| {
                    distinct.push(hash);
                    distinct.len() as u32 - 1
                }),
            };
            last = Some((hash, number));
            of.push(number);
        }
        Ok(Self { distinct, of })
    }
}

// === impl Lists ===

impl<'a> Lists<'a> {
    pub(super) fn new(
        reader: &'a BlockReader,
        group: usize,
        shapes: &'a Shapes,
        ctx: &'a QueryContext,
    ) -> Self {
        Self {
            reader,
            group,
            shapes,
            ctx,
            rest: Rest::default(),
        }
    }

    /// Reads the rows of the attribute table that these owners have; to be called first.
    pub(super) async fn read_rest(
        &mut self,
        levels: &[Level],
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<()> {
        let group = self.reader.group(self.group)?;
        let Some(row_group) = group.row_group(super::schema::Table::Attributes) else {
            return Ok(());
        };
        let mut keys: Vec<(Owner, Arc<str>)> = Vec::new();
        for level in levels {
            let promoted = self.reader.promoted(self.group, level.owner)?;
            for hash in &level.shapes.distinct {
                let places = self.places(&promoted, *hash)?.into_iter();
                let rest = places.filter(|(_, _, place)| matches!(place, Place::Rest));
                keys.extend(rest.map(|(key, _, _)| (level.owner, key)));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            let owners: Vec<(Owner, &[u32])> = levels
                .iter()
                .map(|level| (level.owner, level.numbers.as_slice()))
                .collect();
            self.rest =
                read_rest_rows(self.reader, row_group, &keys, &owners, dictionary, self.ctx)
                    .await?;
        }
        Ok(())
    }

    /// Where each entry of a shape lies in this group, which has these columns for its level.
    fn places(
        &self,
        promoted: &[(PromotedKey, String)],
        hash: ContentHash,
    ) -> BlockResult<Vec<(Arc<str>, AttributeType, Place)>> {
        let shape = self.shapes.by_hash.get(&hash);
        let shape = shape.ok_or_else(|| {
            BlockError::malformed("shapes", format!("shape {hash} is not listed"))
        })?;
        let entries = shape.entries.iter().map(|entry| {
            let column = promoted
                .iter()
                .position(|(key, _)| key.key == entry.key && key.value_type == entry.value_type);
            let place = match column {
                _ if entry.value_type == AttributeType::Empty => Place::Nothing,
                Some(column) if entry.first => Place::Column(column),
                _ => Place::Rest,
            };
            (Arc::clone(&entry.key), entry.value_type, place)
        });
        Ok(entries.collect())
    }

    /// The steps of each distinct shape of a level.
    fn recipes(
        &self,
        level: &Level,
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<Vec<Vec<Step>>> {
        let promoted = self.reader.promoted(self.group, level.owner)?;
        let mut recipes = Vec::with_capacity(level.shapes.distinct.len());
        for hash in &level.shapes.distinct {
            let mut steps = Vec::new();
            for (key, value_type, place) in self.places(&promoted, *hash)? {
                let from = match place {
                    Place::Nothing => Source::Nothing,
                    Place::Column(column) => Source::Column(column),
                    Place::Rest => {
                        let cursor = self.rest.cursor(level.owner, &key);
                        Source::Rest(cursor.ok_or_else(lacks)?)
                    }
                };
                steps.push(Step {
                    key: dictionary.strings.intern(key.as_bytes()),
                    value_type,
                    from,
                });
            }
            recipes.push(steps);
        }
        Ok(recipes)
    }

    /// The lists of the owners of one level, in order.
    pub(super) async fn lists(
        &mut self,
        level: &Level,
        select: Option<RowSelection>,
        dictionary: &mut DictionaryBuilder,
        out: &mut AttributeRows,
    ) -> BlockResult<Runs> {
        let recipes = self.recipes(level, dictionary)?;
        let mut columns = self.columns(level, &recipes, select, dictionary).await?;
        let recipe = |shape: &u32| recipes.get(*shape as usize).map_or(0, Vec::len);
        out.reserve(level.shapes.of.iter().map(recipe).sum());
        let mut runs = Runs::default();
        for (at, (shape, number)) in level.shapes.of.iter().zip(&level.numbers).enumerate() {
            let start = out.len() as u32;
            let steps = recipes.get(*shape as usize);
            for step in steps.into_iter().flatten() {
                let value = match step.from {
                    Source::Nothing => Some(0),
                    Source::Column(column) => {
                        columns.get_mut(column).and_then(|column| column.next(at))
                    }
                    Source::Rest(cursor) => self.rest.next(cursor, *number),
                };
                out.push(step.key, step.value_type, value.ok_or_else(lacks)?);
            }
            runs.push(start, out.len() as u32 - start);
        }
        if columns.iter().any(|column| !column.is_at_end()) {
            return Err(BlockError::malformed(
                "attributes",
                "have a value that no shape names",
            ));
        }
        Ok(runs)
    }

    /// The promoted columns of a level; those that no shape names stay empty.
    async fn columns(
        &self,
        level: &Level,
        recipes: &[Vec<Step>],
        select: Option<RowSelection>,
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<Vec<Column>> {
        let promoted = self.reader.promoted(self.group, level.owner)?;
        let mut columns: Vec<Column> = promoted.iter().map(|_| Column::default()).collect();
        let mut used = vec![false; promoted.len()];
        for step in recipes.iter().flatten() {
            if let Source::Column(column) = step.from
                && let Some(used) = used.get_mut(column)
            {
                *used = true;
            }
        }
        let used: Vec<usize> = (0..promoted.len())
            .filter(|column| used.get(*column) == Some(&true))
            .collect();
        // Few rows are read at once: each read of a file takes its time.
        let at_once = match select {
            None => COLUMNS_AT_ONCE,
            Some(_) => used.len().max(1),
        };
        for some in used.chunks(at_once) {
            let some = some
                .iter()
                .filter_map(|at| promoted.get(*at).map(|of| (*at, of)));
            let names: Vec<&str> = some.clone().map(|(_, (_, name))| name.as_str()).collect();
            let values = self.values(level.owner, &names, select.clone()).await?;
            for ((at, (key, _)), values) in some.zip(values) {
                if let Some(column) = columns.get_mut(at) {
                    *column = Column::of(values, key.value_type, dictionary)?;
                }
            }
        }
        Ok(columns)
    }

    /// The values of columns of a level, in the order of their names.
    async fn values(
        &self,
        owner: Owner,
        names: &[&str],
        select: Option<RowSelection>,
    ) -> BlockResult<Vec<ColumnValues>> {
        let table = owner.table();
        if select.is_none() {
            let row_group = self.reader.group(self.group)?.row_group(table);
            let row_group = row_group.ok_or_else(lacks)?;
            let reader = self.reader.table(table);
            return reader.column_values(row_group, names, self.ctx).await;
        }
        let read = self
            .reader
            .columns(self.group, table, names, select, self.ctx);
        let batch = read.await?.ok_or_else(lacks)?;
        let arrays = names.iter().map(|name| named(&batch, name));
        arrays
            .map(|array| Ok(ColumnValues::Array(Arc::clone(array?))))
            .collect()
    }
}

fn lacks() -> BlockError {
    BlockError::malformed("attributes", "lack a value that a shape names")
}

// === impl Column ===

impl Column {
    fn of(
        values: ColumnValues,
        value_type: AttributeType,
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<Self> {
        let (n_rows, valid, values) = match (values, value_type) {
            (ColumnValues::Texts { codes, entries }, AttributeType::String) => {
                let keys = codes.values.iter().copied();
                let values = codes_of_keys(&mut dictionary.strings, &entries, keys)?;
                (codes.n_rows, codes.nulls, Values::Codes(values))
            }
            (ColumnValues::Ints(words), AttributeType::Int)
            | (ColumnValues::Doubles(words), AttributeType::Double) => {
                let values = words.values.into_iter().map(|word| word as u64);
                (words.n_rows, words.nulls, Values::Words(values.collect()))
            }
            (ColumnValues::Array(array), _) => {
                return Self::of_array(&array, value_type, dictionary);
            }
            (_, _) => {
                let reason = format!("is not of {}", value_type.name());
                return Err(BlockError::malformed("a promoted column", reason));
            }
        };
        Ok(Self {
            n_rows,
            valid,
            values,
            next: 0,
        })
    }

    fn of_array(
        array: &ArrayRef,
        value_type: AttributeType,
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<Self> {
        let wrong = || {
            let found = format!("is of type {}", array.data_type());
            BlockError::malformed("a promoted column", found)
        };
        let strings = &mut dictionary.strings;
        let values = match (value_type, array.data_type()) {
            (AttributeType::String, _) => {
                Values::Codes(codes_of_valid(strings, &Texts::new(array)?)?)
            }
            (AttributeType::Int, DataType::Int64) => {
                let values = array.as_primitive::<Int64Type>();
                let words = valid(values.values(), values.nulls());
                Values::Words(words.map(|value| value as u64).collect())
            }
            (AttributeType::Double, DataType::Float64) => {
                let values = array.as_primitive::<Float64Type>();
                let words = valid(values.values(), values.nulls());
                Values::Words(words.map(f64::to_bits).collect())
            }
            (AttributeType::Bool, DataType::Boolean) => {
                let values = array.as_boolean().iter().flatten();
                Values::Words(values.map(u64::from).collect())
            }
            (AttributeType::Strings, DataType::List(_)) => {
                let lists = array.as_list::<i32>().iter().flatten();
                let codes = lists.map(|list| {
                    let texts = list.as_string_opt::<i32>().ok_or_else(wrong)?;
                    let message = message_of_strings(texts.iter().map(Option::unwrap_or_default));
                    Ok(strings.intern(&message))
                });
                Values::Codes(codes.collect::<BlockResult<_>>()?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self {
            n_rows: array.len(),
            valid: array.logical_nulls(),
            values,
            next: 0,
        })
    }

    /// The value of a row; rows come in ascending order, and none is asked for twice.
    fn next(&mut self, row: usize) -> Option<u64> {
        let is_null = |valid: &NullBuffer| valid.is_null(row);
        if row >= self.n_rows || self.valid.as_ref().is_some_and(is_null) {
            return None;
        }
        let value = match &self.values {
            Values::Codes(codes) => u64::from(codes.get(self.next)?.0),
            Values::Words(words) => *words.get(self.next)?,
        };
        self.next += 1;
        Some(value)
    }

    fn is_at_end(&self) -> bool {
        self.next
            == match &self.values {
                Values::Codes(codes) => codes.len(),
                Values::Words(words) => words.len(),
            }
    }
}

impl Default for Values {
    fn default() -> Self {
        Self::Words(Vec::new())
    }
}

/// The values of the rows that are not null. Most rows of most promoted columns are.
fn valid<T: Copy>(values: &[T], nulls: Option<&NullBuffer>) -> impl Iterator<Item = T> {
    let all = nulls.is_none().then_some(0..values.len());
    let slices = nulls.into_iter().flat_map(NullBuffer::valid_slices);
    let slices = all.into_iter().chain(slices.map(|(from, to)| from..to));
    slices.flat_map(|slice| values.get(slice).unwrap_or_default().iter().copied())
}

/// The codes of the texts that are not null.
fn codes_of_valid(strings: &mut Interner, texts: &Texts) -> BlockResult<Vec<StringCode>> {
    let (keys, entries) = match texts {
        Texts::Codes(keys, entries) => (keys, entries),
        Texts::Plain(texts) => {
            let texts = texts.iter().flatten();
            return Ok(texts.map(|text| strings.intern(text.as_bytes())).collect());
        }
    };
    // A key below zero becomes one beyond the entries.
    let keys = valid(keys.values(), keys.nulls()).map(|key| key as u32);
    codes_of_keys(strings, entries, keys)
}

/// The codes of keys, each the number of an entry.
fn codes_of_keys(
    strings: &mut Interner,
    entries: &StringArray,
    keys: impl Iterator<Item = u32>,
) -> BlockResult<Vec<StringCode>> {
    let mut known = Known::of(entries);
    let mut codes = Vec::with_capacity(keys.size_hint().0);
    for key in keys {
        codes.push(known.code(strings, key).ok_or_else(lacks)?);
    }
    Ok(codes)
}

/// The codes of the entries of a dictionary, of which a few rows use a few.
struct Known<'a> {
    entries: &'a StringArray,
    codes: Vec<Option<StringCode>>,
}

impl<'a> Known<'a> {
    fn of(entries: &'a StringArray) -> Self {
        let codes = vec![None; entries.len()];
        Self { entries, codes }
    }

    fn code(&mut self, strings: &mut Interner, key: u32) -> Option<StringCode> {
        let key = key as usize;
        let intern = || strings.intern(self.entries.value(key).as_bytes());
        Some(*self.codes.get_mut(key)?.get_or_insert_with(intern))
    }
}

/// The codes of a column's texts.
pub(super) fn codes<'a>(
    strings: &'a mut Interner,
    texts: &'a Texts,
    n: usize,
) -> impl Iterator<Item = Option<StringCode>> + use<'a> {
    let mut known = match texts {
        Texts::Codes(_, entries) => Some(Known::of(entries)),
        Texts::Plain(_) => None,
    };
    (0..n).map(move |row| {
        let (Texts::Codes(keys, _), Some(known)) = (texts, &mut known) else {
            return texts.get(row).map(|text| strings.intern(text.as_bytes()));
        };
        let key = keys.is_valid(row).then(|| keys.value(row))?;
        known.code(strings, key as u32)
    })
}

#[cfg(test)]
mod tests {
    use super::super::flat::Packed;
    use super::*;

    #[test]
    fn a_column_of_another_type_than_its_key_is_refused() {
        let packed = || Packed {
            n_rows: 1,
            nulls: None,
            values: vec![1],
        };
        let of = |values, value_type| Column::of(values, value_type, &mut DictionaryBuilder::new());
        assert!(of(ColumnValues::Ints(packed()), AttributeType::Int).is_ok());
        assert!(of(ColumnValues::Doubles(packed()), AttributeType::Double).is_ok());
        assert!(of(ColumnValues::Ints(packed()), AttributeType::Double).is_err());
        assert!(of(ColumnValues::Doubles(packed()), AttributeType::Int).is_err());
        assert!(of(ColumnValues::Ints(packed()), AttributeType::String).is_err());
    }
}
