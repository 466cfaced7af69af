//! Where what lies in the files of a block, by name.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::Harm;

/// The magic bytes in front of a Parquet file, and the length and the magic behind it.
const HEAD_BYTES: u64 = 4;
const TAIL_BYTES: u64 = 8;

/// One page, index, filter, footer or small file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Id of the block as text.
    pub(super) block: String,
    pub(super) file: String,
    /// Seen where a trial prints its place.
    #[expect(dead_code, reason = "printed")]
    column: String,
    page: &'static str,
    pub(super) range: Range<u64>,
}

pub(super) fn places_of(path: &Path, block: &str, bytes: Vec<u8>) -> Vec<Place> {
    let file = path.file_name().unwrap().to_str().unwrap();
    let place = |column: &str, page, range| Place {
        path: path.to_owned(),
        block: block.to_owned(),
        file: file.to_owned(),
        column: column.to_owned(),
        page,
        range,
    };
    let len = bytes.len() as u64;
    if !file.ends_with(".parquet") {
        return vec![place("", "content", 0..len)];
    }
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(&Bytes::from(bytes.clone()))
        .unwrap();
    let tail = len - TAIL_BYTES;
    let footer = bytes[tail as usize..][..4].try_into().unwrap();
    let footer = u64::from(u32::from_le_bytes(footer));
    let mut places = vec![
        place("", "head", 0..HEAD_BYTES),
        place("", "footer", tail - footer..tail),
        place("", "tail", tail..len),
    ];
    for (column, page, range) in pages(&metadata) {
        places.push(place(&column, page, range));
    }
    places.retain(|place| !place.range.is_empty());
    places
}

/// Column, kind and range of everything that belongs to a column of a row group.
fn pages(metadata: &ParquetMetaData) -> Vec<(String, &'static str, Range<u64>)> {
    let mut found = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for (index, chunk) in group.columns().iter().enumerate() {
            let column = chunk.column_path().string();
            let mut add = |kind, start: Option<i64>, len: Option<i64>| {
                if let (Some(start), Some(len)) = (start, len) {
                    let start = start.unsigned_abs();
                    found.push((column.clone(), kind, start..start + len.unsigned_abs()));
                }
            };
            let offset_index = metadata.offset_index().unwrap();
            let pages = &offset_index[number][index].page_locations;
            let first = pages.first().map(|page| page.offset);
            let dictionary = chunk.dictionary_page_offset();
            let dictionary_len = dictionary.zip(first).map(|(from, to)| to - from);
            add("dictionary page", dictionary, dictionary_len);
            for page in pages {
                let len = i64::from(page.compressed_page_size);
                add("data page", Some(page.offset), Some(len));
            }
            let filter_len = chunk.bloom_filter_length().map(i64::from);
            add("filter", chunk.bloom_filter_offset(), filter_len);
            let len = chunk.column_index_length().map(i64::from);
            add("column index", chunk.column_index_offset(), len);
            let len = chunk.offset_index_length().map(i64::from);
            add("offset index", chunk.offset_index_offset(), len);
        }
    }
    found
}

// === impl Place ===

impl Place {
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The table and what kind of page it is.
    pub(super) fn kind(&self) -> String {
        format!("{}, {}", self.file, self.page)
    }

    /// The text says which file it is, and where in it.
    pub(super) fn check_named(&self, text: &str, harm: Harm, what: &str) {
        assert!(text.contains(&self.file), "{what}: {text}");
        let Harm::Flip { bit } = harm else {
            return;
        };
        // The sum of the meta stands on its first line, which has none.
        let Some((_, rest)) = text.split_once(" at byte ") else {
            assert_eq!(self.file, "meta.json", "{what}: {text}");
            return;
        };
        let (from, rest) = rest.split_once(", ").unwrap();
        let (len, _) = rest.split_once(' ').unwrap();
        let (from, len): (u64, u64) = (from.parse().unwrap(), len.parse().unwrap());
        assert!((from..from + len).contains(&(bit / 8)), "{what}: {text}");
    }
}
