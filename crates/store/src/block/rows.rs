//! Numbers of rows as ranges and selections, and what the page index says of them.

use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::file::selection;

/// Ascending numbers as ranges.
pub(super) fn consecutive(numbers: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == *number => last.end += 1,
            _ => ranges.push(*number..*number + 1),
        }
    }
    ranges
}

pub(super) fn numbers_selected(numbers: &[u32]) -> RowSelection {
    let numbers: Vec<usize> = numbers.iter().map(|number| *number as usize).collect();
    let n_rows = numbers.last().map_or(0, |last| last + 1);
    selection(&consecutive(&numbers), n_rows)
}

/// The selected rows, in order.
pub(super) fn places_of(selection: &RowSelection) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    for selector in selection.iter() {
        if !selector.skip {
            places.extend(at..at + selector.row_count);
        }
        at += selector.row_count;
    }
    places
}

/// False only if no row of the page is one of these (ascending).
pub(super) fn page_has(bounds: &ColumnIndexMetaData, page: usize, rows: &[u32]) -> bool {
    let ColumnIndexMetaData::INT32(bounds) = bounds else {
        return true;
    };
    match (bounds.min_value(page), bounds.max_value(page)) {
        (Some(min), Some(max)) => {
            let first = rows.partition_point(|row| (*row as i32) < *min);
            rows.get(first).is_some_and(|row| *row as i32 <= *max)
        }
        _ => true,
    }
}

pub(super) fn page_has_text(bounds: &ColumnIndexMetaData, page: usize, text: &[u8]) -> bool {
    let ColumnIndexMetaData::BYTE_ARRAY(bounds) = bounds else {
        return true;
    };
    match (bounds.min_value(page), bounds.max_value(page)) {
        (Some(min), Some(max)) => min <= text && text <= max,
        _ => true,
    }
}
