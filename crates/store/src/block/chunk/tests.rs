//! Chunks read back by the parquet crate.

use std::sync::Arc;

use parquet::basic::Repetition;
use parquet::column::reader::ColumnReader;
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{SchemaDescriptor, Type};
use tracewell_testkit::Random;

use super::*;

const STYLE: Style = Style {
    codec: Codec::None,
    dictionary_max: 0,
    compress_ids: false,
    integers: Integers::ByData,
    bloom: None,
};

/// A column of integers that may be null.
fn schema(physical_type: PhysicalType, unsigned: bool) -> Arc<Type> {
    let bit_width = match physical_type {
        PhysicalType::INT32 => 32,
        _ => 64,
    };
    let logical = unsigned.then(|| LogicalType::integer(bit_width, false));
    let column = Type::primitive_type_builder("column", physical_type)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build();
    let fields = vec![Arc::new(column.unwrap())];
    Arc::new(
        Type::group_type_builder("rows")
            .with_fields(fields)
            .build()
            .unwrap(),
    )
}

fn file(schema: &Arc<Type>, cells: &Cells<'_>, style: Style) -> SerializedFileReader<Bytes> {
    let descriptor = SchemaDescriptor::new(Arc::clone(schema));
    let chunk = Chunk::encode(&descriptor.column(0), cells, style).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::clone(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    group.append_column(&chunk.bytes, chunk.close).unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    SerializedFileReader::new(Bytes::from(bytes)).unwrap()
}

/// The values that are there, and the definition levels of all rows.
fn read<T: DataType>(
    file: &SerializedFileReader<Bytes>,
    n_rows: usize,
    typed: impl Fn(ColumnReader) -> parquet::column::reader::ColumnReaderImpl<T>,
) -> (Vec<T::T>, Vec<i16>) {
    let mut reader = typed(file.get_row_group(0).unwrap().get_column_reader(0).unwrap());
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while levels.len() < n_rows {
        let left = n_rows - levels.len();
        let (n, _, _) = reader
            .read_records(left, Some(&mut levels), None, &mut values)
            .unwrap();
        assert!(n > 0);
    }
    (values, levels)
}

/// Values of a range of bits, as columns have them: near each other, constant in stretches, extreme.
fn values(random: &mut Random, n: usize) -> Vec<i64> {
    let mut values = Vec::with_capacity(n);
    let bits = random.below(65) as u32;
    let mut value = random.bits() as i64;
    while values.len() < n {
        if random.percent(60) {
            let change = random.bits().checked_shr(64 - bits).unwrap_or(0);
            value = value.wrapping_add(change as i64);
        } else if random.percent(5) {
            value = *random.pick(&[i64::MIN, -1, 0, 1, i64::MAX]);
        }
        let stretch = 1 + random.below(40);
        values.extend(std::iter::repeat_n(value, stretch.min(n - values.len())));
    }
    values
}

#[test]
fn integers_of_any_range_come_back_in_both_encodings_with_their_bounds() {
    let mut random = Random::new(20_261_130);
    let mut encodings = std::collections::BTreeSet::new();
    for n in 0..300 {
        let n_rows = *random.pick(&[0, 1, 31, 129, 1_000, 40_000]) + random.below(70);
        if n_rows == 0 {
            continue;
        }
        let share = *random.pick(&[0, 1, 50, 99, 100]);
        let rows: Vec<u32> = (0..n_rows as u32)
            .filter(|_| random.percent(share))
            .collect();
        let values = values(&mut random, rows.len());
        let style = Style {
            integers: *random.pick(&[Integers::Delta, Integers::ByData]),
            ..STYLE
        };
        let unsigned = random.percent(50);
        let mut levels = vec![0; n_rows];
        rows.iter().for_each(|row| levels[*row as usize] = 1);
        let what = format!("{n}: {} of {n_rows} rows", rows.len());
        let cells = |values| Cells {
            n_rows,
            rows: Some(rows.clone()),
            values,
        };

        let of = schema(PhysicalType::INT64, unsigned);
        let long = file(&of, &cells(Values::Int64(values.clone())), style);
        let read_back = read::<Int64Type>(&long, n_rows, |reader| match reader {
            ColumnReader::Int64ColumnReader(reader) => reader,
            _ => panic!("{what}"),
        });
        assert_eq!(read_back, (values.clone(), levels.clone()), "{what}");
        let chunk = long.metadata().row_group(0).column(0).clone();
        encodings.extend(chunk.encodings());
        let Some(Statistics::Int64(bounds)) = chunk.statistics() else {
            panic!("{what}");
        };
        let key = |value: &i64| if unsigned { value.flipped() } else { *value };
        let (min, max) = (
            values.iter().copied().min_by_key(key),
            values.iter().copied().max_by_key(key),
        );
        assert_eq!(
            (bounds.min_opt().copied(), bounds.max_opt().copied()),
            (min, max),
            "{what}"
        );
        assert_eq!(
            bounds.null_count_opt(),
            Some((n_rows - rows.len()) as u64),
            "{what}"
        );

        let short: Vec<i32> = values.iter().map(|value| *value as i32).collect();
        let of = schema(PhysicalType::INT32, unsigned);
        let file = file(&of, &cells(Values::Int32(short.clone())), style);
        let read_back = read::<Int32Type>(&file, n_rows, |reader| match reader {
            ColumnReader::Int32ColumnReader(reader) => reader,
            _ => panic!("{what}"),
        });
        assert_eq!(read_back, (short, levels), "{what}");
    }
    let expected = [
        Encoding::RLE,
        Encoding::DELTA_BINARY_PACKED,
        Encoding::RLE_DICTIONARY,
        Encoding::PLAIN,
    ];
    assert_eq!(encodings, expected.into_iter().collect());
}

#[test]
fn differences_of_another_writer_are_read() {
    let mut random = Random::new(20_261_202);
    for n in 0..100 {
        let n_values = 1 + random.below(3_000);
        let values = values(&mut random, n_values);
        let of = schema(PhysicalType::INT64, false);
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BINARY_PACKED);
        let properties = Arc::new(properties.build());
        let mut writer = SerializedFileWriter::new(Vec::new(), Arc::clone(&of), properties);
        let mut group = writer.as_mut().unwrap().next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let levels = vec![1; n_values];
        let typed = column.typed::<Int64Type>();
        typed.write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        let bytes = writer.unwrap().into_inner().unwrap();
        let file = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
        let mut pages = file
            .get_row_group(0)
            .unwrap()
            .get_column_page_reader(0)
            .unwrap();
        let mut back: Vec<i64> = Vec::new();
        while let Some(page) = pages.get_next_page().unwrap() {
            let Page::DataPage {
                buf,
                num_values,
                encoding,
                ..
            } = page
            else {
                panic!("{n}: {page:?}");
            };
            assert_eq!(encoding, Encoding::DELTA_BINARY_PACKED);
            let n_levels = u32::from_le_bytes(buf[..4].try_into().unwrap()) as usize;
            let read = delta::decode(&buf[4 + n_levels..], num_values as usize, &mut back);
            assert_eq!(read, Some(()), "{n}");
        }
        assert_eq!(back, values, "{n}");
    }
}
