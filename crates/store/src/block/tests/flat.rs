//! Columns read by this program beside the same columns read by the parquet crate.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::filter::filter;
use arrow_select::take::take;
use tracewell_testkit::Random;

use super::*;
use crate::block::delta;
use crate::block::flat::ColumnValues;
use crate::block::schema::Table;

/// Strings for codes: which code stands for which string is not what is compared.
fn plain(array: &ArrayRef) -> ArrayRef {
    let DataType::Dictionary(_, _) = array.data_type() else {
        return Arc::clone(array);
    };
    let array = array.as_any_dictionary();
    take(array.values(), array.keys(), None).unwrap()
}

/// Checks values that lie close together beside an array that has them in their rows.
fn assert_same(values: &ColumnValues, array: &ArrayRef, what: &str) {
    let valid = |nulls: Option<&NullBuffer>, n_rows: usize| match nulls {
        Some(nulls) => nulls.inner().clone(),
        None => BooleanBuffer::new_set(n_rows),
    };
    let in_rows = valid(array.logical_nulls().as_ref(), array.len());
    let close = filter(array, &BooleanArray::new(in_rows.clone(), None)).unwrap();
    match values {
        ColumnValues::Texts { codes, entries } => {
            assert_eq!(valid(codes.nulls.as_ref(), codes.n_rows), in_rows, "{what}");
            let codes = UInt32Array::from(codes.values.clone());
            assert_eq!(
                take(entries, &codes, None).unwrap().as_ref(),
                close.as_ref(),
                "{what}"
            );
        }
        ColumnValues::Ints(words) | ColumnValues::Doubles(words) => {
            assert_eq!(valid(words.nulls.as_ref(), words.n_rows), in_rows, "{what}");
            let bits: Vec<i64> = match close.data_type() {
                DataType::Float64 => {
                    let doubles = close.as_primitive::<Float64Type>().values().iter();
                    doubles.map(|double| double.to_bits() as i64).collect()
                }
                _ => close.as_primitive::<Int64Type>().values().to_vec(),
            };
            assert_eq!(words.values, bits, "{what}");
        }
        ColumnValues::Array(values) => assert_eq!(&plain(values), array, "{what}"),
    }
}

#[tokio::test]
async fn flat_columns_are_what_the_parquet_crate_reads() {
    let ctx = QueryContext::unlimited();
    let (mut n_flat, mut n_nulls, mut n_packed) = (0, 0, 0);
    let mut types = BTreeSet::new();
    for (seed, level, n) in [(0, 0, 900), (1, 1, 900), (2, 2, 30_000), (3, 1, 1)] {
        let store = memory();
        write(&store, ID, level, &random_spans(seed, n)).await;
        let block = open(&store, ID).await;
        for table in Table::ALL {
            let reader = block.table(table);
            let footer = reader.footer(&ctx).await.unwrap();
            for row_group in 0..footer.metadata.num_row_groups() {
                let schema = footer.metadata.file_metadata().schema_descr();
                let fields = schema.root_schema().get_fields();
                let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
                let read = reader.flat_columns(&footer, row_group, &names, &ctx);
                let flat = read.await.unwrap();
                for (field, array) in flat.fields.iter().zip(&flat.arrays) {
                    let what = format!("{table:?} {} at level {level}", field.name());
                    let names = [field.name().as_str()];
                    let other = reader.decode_any(&footer, row_group, &names, None, &ctx);
                    let other = other.await.unwrap();
                    assert_eq!(field.as_ref(), other.schema_ref().field(0), "{what}");
                    assert_eq!(&plain(array), &plain(other.column(0)), "{what}");
                    n_flat += 1;
                    n_nulls += usize::from(array.null_count() > 0);
                    types.insert(array.data_type().to_string());
                }
                let values = reader.column_values(row_group, &names, &ctx).await.unwrap();
                assert_eq!(values.len(), names.len());
                for (name, values) in names.iter().zip(&values) {
                    let one = [*name];
                    let other = reader.decode_any(&footer, row_group, &one, None, &ctx);
                    let other = plain(other.await.unwrap().column(0));
                    let what = format!("{table:?} {name} at level {level}");
                    assert_same(values, &other, &what);
                    n_packed += usize::from(!matches!(values, ColumnValues::Array(_)));
                }
                // What is left: strings that are not coded, bytes, booleans, lists.
                let is_left = |name: &&str| {
                    let place = footer.place(name).unwrap();
                    let chunk = footer
                        .metadata
                        .row_group(row_group)
                        .column(place.chunks.start);
                    chunk.column_type() == parquet::basic::Type::BYTE_ARRAY
                        || chunk.column_type() == parquet::basic::Type::BOOLEAN
                        || chunk.column_descr().max_rep_level() > 0
                };
                assert!(flat.others.iter().all(is_left), "{:?}", flat.others);
            }
        }
    }
    assert!(n_packed > 100, "{n_packed}");
    assert!(
        n_flat > 300 && n_nulls > 50,
        "{n_flat} columns, {n_nulls} with nulls"
    );
    assert_eq!(types.len(), 8, "{types:?}");
}

#[test]
fn differences_cut_short_or_altered_are_refused_or_of_the_stated_length() {
    let mut random = Random::new(20_261_201);
    for n in 0..2_000 {
        let bits = random.below(65) as u32;
        let n_values = random.below(400);
        let values: Vec<i64> = (0..n_values)
            .map(|_| random.bits().checked_shr(64 - bits).unwrap_or(0) as i64)
            .collect();
        let mut bytes = Vec::new();
        delta::encode(&values, &mut bytes);
        let mut back = Vec::<i64>::new();
        assert_eq!(delta::decode(&bytes, n_values, &mut back), Some(()), "{n}");
        assert_eq!(back, values, "{n}");
        for wrong in [n_values + 1, n_values.wrapping_sub(1)] {
            assert_eq!(delta::decode::<i64>(&bytes, wrong, &mut Vec::new()), None);
        }
        let cut = bytes.get(..random.below(bytes.len())).unwrap();
        assert_eq!(delta::decode::<i64>(cut, n_values, &mut Vec::new()), None);
        let at = random.below(bytes.len());
        *bytes.get_mut(at).unwrap() ^= 1 << random.below(8);
        let mut altered = Vec::<i32>::new();
        if delta::decode(&bytes, n_values, &mut altered).is_some() {
            assert_eq!(altered.len(), n_values);
        }
    }
}
