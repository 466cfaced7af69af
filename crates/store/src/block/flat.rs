//! Whole columns of a row group as arrays, straight from their pages.
//!
//! Flat columns of numbers, ids and codes in the encodings that this program writes: nearly all of a
//! block. Other types and encodings are left to the parquet crate, as are selections of rows. All bytes
//! were checked against their sums, and are still treated as if anybody could have written them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, Int32Array, PrimitiveArray, StringArray,
};
use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef};
use bytes::Bytes;
use tracewell_model::source::QueryContext;

use super::arrays::named;
use super::bits::{FlatChunk, entries_of};
use super::delta;
use super::error::{BlockError, BlockResult};
use super::file::{Footer, Keep, TableReader};
use super::page::{DELTA, PLAIN, Page, Value, decode_codes, plain};

/// Columns that were read, and the names of those that were not.
#[derive(Default)]
pub(super) struct FlatColumns<'n> {
    pub(super) fields: Vec<FieldRef>,
    pub(super) arrays: Vec<ArrayRef>,
    pub(super) others: Vec<&'n str>,
}

/// A value that may be delta-coded.
pub(super) trait Decode: Value {
    /// Appends values by their differences; `None` if the bytes are not that.
    fn of_deltas(bytes: &[u8], n: usize, out: &mut Vec<Self>) -> Option<()>;
}

/// A column by its rows that have a value: most rows of most attributes have none.
#[derive(Debug)]
pub(super) struct Packed<T> {
    pub(super) n_rows: usize,
    /// `None` where every row has a value.
    pub(super) nulls: Option<NullBuffer>,
    pub(super) values: Vec<T>,
}

/// A column that was read for its values alone.
#[derive(Debug)]
pub(super) enum ColumnValues {
    Texts {
        /// Each is the number of an entry.
        codes: Packed<u32>,
        entries: StringArray,
    },
    Ints(Packed<i64>),
    /// By their bits.
    Doubles(Packed<i64>),
    Array(ArrayRef),
}

/// The bytes of a chunk, and where in its file they begin.
type ChunkBytes<'a> = (&'a Bytes, u64);

/// A chunk that may be flat, and its place.
struct Candidate<'n> {
    name: &'n str,
    field: FieldRef,
    chunk: FlatChunk,
    bytes: Bytes,
    start: u64,
}

fn malformed(reason: &str) -> BlockError {
    BlockError::malformed("a column", reason)
}

fn not_of_arrow(error: ArrowError) -> BlockError {
    malformed(&error.to_string())
}

// === impl TableReader ===

impl TableReader {
    /// Reads those of the columns that are flat, all rows of them.
    pub(super) async fn flat_columns<'n>(
        &self,
        footer: &Footer,
        row_group: usize,
        names: &[&'n str],
        ctx: &QueryContext,
    ) -> BlockResult<FlatColumns<'n>> {
        let mut read = FlatColumns::default();
        let (candidates, others) = self.candidates(footer, row_group, names, ctx).await?;
        read.others = others;
        for candidate in candidates {
            ctx.check()?;
            match candidate.array()? {
                Some(array) => {
                    read.fields.push(candidate.field);
                    read.arrays.push(array);
                }
                None => read.others.push(candidate.name),
            }
        }
        Ok(read)
    }

    /// The values of all rows of columns, in the order of their names.
    pub(super) async fn column_values(
        &self,
        row_group: usize,
        names: &[&str],
        ctx: &QueryContext,
    ) -> BlockResult<Vec<ColumnValues>> {
        let footer = self.footer(ctx).await?;
        let (candidates, mut others) = self.candidates(&footer, row_group, names, ctx).await?;
        let mut read: Vec<(&str, ColumnValues)> = Vec::with_capacity(names.len());
        for candidate in candidates {
            ctx.check()?;
            match candidate.values()? {
                Some(values) => read.push((candidate.name, values)),
                None => others.push(candidate.name),
            }
        }
        if !others.is_empty() {
            let batch = self
                .decode_any(&footer, row_group, &others, None, ctx)
                .await?;
            for name in others {
                let array = Arc::clone(named(&batch, name)?);
                read.push((name, ColumnValues::Array(array)));
            }
        }
        read.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
        Ok(read.into_iter().map(|(_, values)| values).collect())
    }

    /// The chunks that look flat with their bytes, and the names of the others.
    async fn candidates<'n>(
        &self,
        footer: &Footer,
        row_group: usize,
        names: &[&'n str],
        ctx: &QueryContext,
    ) -> BlockResult<(Vec<Candidate<'n>>, Vec<&'n str>)> {
        let n_rows = self.n_rows(row_group, ctx).await?;
        let (mut found, mut places, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let field = footer.field(row_group, name);
            let chunk = FlatChunk::new(footer, row_group, name, n_rows);
            match field.zip(chunk.and_then(|chunk| Some((chunk.place()?, chunk)))) {
                Some((field, (place, chunk))) if is_known(field.data_type()) => {
                    found.push((*name, Arc::clone(field), chunk, place.start));
                    places.push(place);
                }
                _ => others.push(*name),
            }
        }
        let bytes = self.ranges(&places, Keep::No, ctx).await?.into_iter();
        let found = found.into_iter().zip(bytes);
        let candidates = found.map(|((name, field, chunk, start), bytes)| Candidate {
            name,
            field,
            chunk,
            bytes,
            start,
        });
        Ok((candidates.collect(), others))
    }
}

// === impl Candidate ===

impl Candidate<'_> {
    /// All rows; `None` if a page is in another form.
    fn array(&self) -> BlockResult<Option<ArrayRef>> {
        let (chunk, at) = (&self.chunk, (&self.bytes, self.start));
        Ok(match self.field.data_type() {
            DataType::Int32 => numbers::<i32, Int32Type>(chunk, at)?,
            DataType::UInt32 => numbers::<i32, UInt32Type>(chunk, at)?,
            DataType::Int64 => numbers::<i64, Int64Type>(chunk, at)?,
            DataType::UInt64 => numbers::<i64, UInt64Type>(chunk, at)?,
            DataType::Float64 => numbers::<i64, Float64Type>(chunk, at)?,
            DataType::FixedSizeBinary(8) => ids::<8>(chunk, at)?,
            DataType::FixedSizeBinary(16) => ids::<16>(chunk, at)?,
            DataType::Dictionary(_, _) => texts(chunk, at)?,
            _ => None,
        })
    }

    /// The same by the rows that have a value.
    fn values(&self) -> BlockResult<Option<ColumnValues>> {
        let (chunk, at) = (&self.chunk, (&self.bytes, self.start));
        Ok(match self.field.data_type() {
            DataType::Int64 => Packed::<i64>::read(chunk, at)?.map(ColumnValues::Ints),
            DataType::Float64 => Packed::<i64>::read(chunk, at)?.map(ColumnValues::Doubles),
            DataType::Dictionary(_, _) => {
                let read = coded(chunk, at)?;
                read.map(|(codes, entries)| ColumnValues::Texts { codes, entries })
            }
            _ => self.array()?.map(ColumnValues::Array),
        })
    }
}

fn is_known(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int32
            | DataType::UInt32
            | DataType::Int64
            | DataType::UInt64
            | DataType::Float64
            | DataType::FixedSizeBinary(8 | 16)
            | DataType::Dictionary(_, _)
    )
}

/// Numbers of a type that takes as many bytes as `T`.
fn numbers<T: Decode + ArrowNativeType, A: ArrowPrimitiveType>(
    chunk: &FlatChunk,
    at: ChunkBytes<'_>,
) -> BlockResult<Option<ArrayRef>> {
    let Some(column) = Packed::<T>::read(chunk, at)? else {
        return Ok(None);
    };
    let (values, nulls) = column.spread(T::default());
    let n_rows = values.len();
    let values = ScalarBuffer::<A::Native>::new(Buffer::from_vec(values), 0, n_rows);
    let array = PrimitiveArray::<A>::try_new(values, nulls).map_err(not_of_arrow)?;
    Ok(Some(Arc::new(array)))
}

fn ids<const N: usize>(chunk: &FlatChunk, at: ChunkBytes<'_>) -> BlockResult<Option<ArrayRef>> {
    let Some(column) = Packed::<[u8; N]>::read(chunk, at)? else {
        return Ok(None);
    };
    let (values, nulls) = column.spread([0; N]);
    let values = Buffer::from_vec(values.into_flattened());
    let array = FixedSizeBinaryArray::try_new(N as i32, values, nulls);
    Ok(Some(Arc::new(array.map_err(not_of_arrow)?)))
}

fn texts(chunk: &FlatChunk, at: ChunkBytes<'_>) -> BlockResult<Option<ArrayRef>> {
    let Some((codes, entries)) = coded(chunk, at)? else {
        return Ok(None);
    };
    let (codes, nulls) = codes.spread(0);
    let n_rows = codes.len();
    let codes = ScalarBuffer::<i32>::new(Buffer::from_vec(codes), 0, n_rows);
    let keys = Int32Array::try_new(codes, nulls).map_err(not_of_arrow)?;
    let array = DictionaryArray::try_new(keys, Arc::new(entries)).map_err(not_of_arrow)?;
    Ok(Some(Arc::new(array)))
}

/// Strings as codes, each below the number of entries, of a chunk whose pages are all of codes.
fn coded(chunk: &FlatChunk, at: ChunkBytes<'_>) -> BlockResult<Option<(Packed<u32>, StringArray)>> {
    let Some(page) = chunk.dictionary_page(at)? else {
        return Ok(None);
    };
    let entries = entries_of(chunk.meta()?, &page)?;
    let Some(entries) = entries
        .as_ref()
        .and_then(|entries| entries.as_string_opt::<i32>())
    else {
        return Ok(None);
    };
    let codes = Packed::of_pages(chunk, at, |page, bytes, n_values, codes| {
        if !page.is_of_codes() {
            return Ok(false);
        }
        decode_codes(bytes, n_values, codes)?;
        Ok(true)
    })?;
    let Some(codes) = codes else { return Ok(None) };
    let is_listed = |code: &u32| (*code as usize) < entries.len();
    match codes.values.iter().all(is_listed) {
        true => Ok(Some((codes, entries.clone()))),
        false => Err(beyond_dictionary()),
    }
}

fn beyond_dictionary() -> BlockError {
    malformed("has a code beyond its dictionary")
}

// === impl Packed ===

impl<T: Copy> Packed<T> {
    /// Has the values of each page appended; `None` if one says that its form is unknown to it.
    fn of_pages(
        chunk: &FlatChunk,
        at: ChunkBytes<'_>,
        mut append: impl FnMut(&Page, &[u8], usize, &mut Vec<T>) -> BlockResult<bool>,
    ) -> BlockResult<Option<Self>> {
        let is_optional = chunk.is_optional();
        let mut values = Vec::new();
        let mut valid = BooleanBufferBuilder::new(0);
        for (page, n_rows) in chunk.data_pages(at) {
            let page = page?;
            if !page.is_data() {
                return Ok(None);
            }
            if page.header.n_values != n_rows {
                return Err(malformed("has other rows than its index says"));
            }
            let (n_values, bytes) = page.values(is_optional, &mut valid)?;
            let n_before = values.len();
            values.reserve(n_values);
            if !append(&page, bytes, n_values, &mut values)? {
                return Ok(None);
            }
            if values.len() - n_before != n_values {
                return Err(malformed("has other values than it says"));
            }
        }
        let n_rows = chunk.n_rows();
        let n_stated = match is_optional {
            true => valid.len(),
            false => values.len(),
        };
        if n_stated != n_rows {
            return Err(malformed("has other rows than its table"));
        }
        let nulls = (values.len() < n_rows).then(|| NullBuffer::new(valid.finish()));
        Ok(Some(Self {
            n_rows,
            nulls,
            values,
        }))
    }

    /// A value for each row, `absent` where there is none.
    fn spread(self, absent: T) -> (Vec<T>, Option<NullBuffer>) {
        let Some(nulls) = self.nulls else {
            return (self.values, None);
        };
        let mut all = vec![absent; self.n_rows];
        let mut rest = self.values.as_slice();
        for (from, to) in nulls.valid_slices() {
            let places = all.get_mut(from..to);
            if let (Some(places), Some((here, behind))) = (places, rest.split_at_checked(to - from))
            {
                places.copy_from_slice(here);
                rest = behind;
            }
        }
        (all, Some(nulls))
    }
}

impl<T: Decode> Packed<T> {
    fn read(chunk: &FlatChunk, at: ChunkBytes<'_>) -> BlockResult<Option<Self>> {
        let fewer = || malformed("has fewer values than it says");
        let entries: Vec<T> = match chunk.dictionary_page(at)? {
            Some(page) => {
                let entries = plain(&page.bytes, page.header.n_values);
                entries.ok_or_else(fewer)?.collect()
            }
            None => Vec::new(),
        };
        let mut codes = Vec::new();
        Self::of_pages(chunk, at, |page, bytes, n_values, values| {
            match page.header.encoding {
                PLAIN => values.extend(plain::<T>(bytes, n_values).ok_or_else(fewer)?),
                DELTA => {
                    let read = T::of_deltas(bytes, n_values, values);
                    read.ok_or_else(|| malformed("has differences that are none"))?;
                }
                _ if page.is_of_codes() => {
                    codes.clear();
                    decode_codes(bytes, n_values, &mut codes)?;
                    for code in &codes {
                        let entry = entries.get(*code as usize);
                        values.push(*entry.ok_or_else(beyond_dictionary)?);
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

impl Decode for i32 {
    fn of_deltas(bytes: &[u8], n: usize, out: &mut Vec<Self>) -> Option<()> {
        delta::decode(bytes, n, out)
    }
}

impl Decode for i64 {
    fn of_deltas(bytes: &[u8], n: usize, out: &mut Vec<Self>) -> Option<()> {
        delta::decode(bytes, n, out)
    }
}

impl<const N: usize> Decode for [u8; N] {
    fn of_deltas(_: &[u8], _: usize, _: &mut Vec<Self>) -> Option<()> {
        None
    }
}
