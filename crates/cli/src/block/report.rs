//! What `tracewell block` found, as text.

use tracewell_store::block::inspect::{AttributeInspection, TableInspection};
use tracewell_store::block::{BlockInspection, BlockVerification};

use super::place::Place;
use crate::search;

/// What can be done about damage: a block is immutable, so that any whole copy of it will do.
pub(super) const MENDING: &str = "\
to mend it, stop the server and put back this folder from a backup; without one, its \
other files stay readable with any Parquet reader, see docs/format/block.md";

pub(super) fn inspection(block: &BlockInspection) -> String {
    let mut text = format!(
        "block {}, format version {}, level {}\n{} spans, {} traces, {} groups, {} bytes, {:.1} bytes per span\n",
        block.id,
        block.version,
        block.level,
        block.spans,
        block.traces,
        block.groups,
        block.bytes,
        block.bytes_per_span
    );
    text.push_str("\nTables\n");
    text.push_str(&search::table(&tables(block)));
    text.push_str("\nColumns\n");
    text.push_str(&search::table(&columns(block)));
    text.push_str("\nAttributes\n");
    text.push_str(&search::table(&attributes(block)));
    text
}

pub(super) fn verification(found: &BlockVerification, place: &Place) -> String {
    let folder = place.folder();
    let folder = folder.display();
    if found.damage.is_empty() {
        return format!(
            "{folder}: whole, {} bytes and {} spans read\n",
            found.bytes, found.spans
        );
    }
    let places = match found.damage.len() {
        1 => "1 place".to_owned(),
        n => format!("{n} places"),
    };
    let mut text = format!("{folder}: damaged in {places}\n");
    for damage in &found.damage {
        text.push_str(&format!("  {damage}\n"));
    }
    text
}

fn tables(block: &BlockInspection) -> Vec<[String; 6]> {
    let mut rows = vec![[
        "table".to_owned(),
        number("rows"),
        number("bytes"),
        number("footer"),
        number("filters"),
        number("share"),
    ]];
    rows.extend(block.tables.iter().map(|table| {
        [
            table.name.to_owned(),
            number(table.rows),
            number(table.bytes),
            number(table.footer_bytes),
            number(table.filter_bytes),
            number(share(table.bytes, block.bytes)),
        ]
    }));
    rows
}

fn columns(block: &BlockInspection) -> Vec<[String; 7]> {
    let mut rows = vec![[
        "column".to_owned(),
        number("bytes"),
        number("share"),
        number("per span"),
        number("unpacked"),
        "compression".to_owned(),
        "encodings".to_owned(),
    ]];
    rows.extend(
        block
            .tables
            .iter()
            .flat_map(|table| columns_of(table, block)),
    );
    rows
}

/// The largest first: that is what one looks for.
fn columns_of(table: &TableInspection, block: &BlockInspection) -> Vec<[String; 7]> {
    let mut columns: Vec<_> = table.columns.iter().collect();
    columns.sort_by_key(|column| std::cmp::Reverse(column.bytes));
    let rows = columns.into_iter().map(|column| {
        [
            format!("{}.{}", table.name, column.name),
            number(column.bytes),
            number(share(column.bytes, block.bytes)),
            number(per_span(column.bytes, block)),
            number(column.uncompressed_bytes),
            column.compression.join(" "),
            column.encodings.join(" "),
        ]
    });
    rows.collect()
}

fn attributes(block: &BlockInspection) -> Vec<[String; 8]> {
    let mut rows = vec![[
        "attribute".to_owned(),
        "type".to_owned(),
        number("count"),
        number("distinct"),
        number("values"),
        number("stored"),
        number("per span"),
        "column".to_owned(),
    ]];
    let mut attributes: Vec<&AttributeInspection> = block.attributes.iter().collect();
    attributes.sort_by_key(|attribute| {
        std::cmp::Reverse((stored_bytes(attribute), attribute.value_bytes))
    });
    rows.extend(attributes.into_iter().map(|attribute| {
        let stored = stored_bytes(attribute);
        // An estimate is marked.
        let mark = match attribute.stored_bytes_estimate {
            Some(_) => "~",
            None => "",
        };
        [
            format!("{}.{}", attribute.level, attribute.key),
            attribute.value_type.clone(),
            number(attribute.count),
            number(attribute.distinct),
            number(attribute.value_bytes),
            number(format!("{mark}{stored}")),
            number(format!("{mark}{}", per_span(stored, block))),
            attribute
                .column
                .clone()
                .unwrap_or_else(|| "(attributes)".to_owned()),
        ]
    }));
    rows
}

fn stored_bytes(attribute: &AttributeInspection) -> u64 {
    let estimate = attribute.stored_bytes_estimate;
    attribute.stored_bytes.or(estimate).unwrap_or_default()
}

/// Numbers and their headings end below one another.
fn number(value: impl ToString) -> String {
    format!("{:>10}", value.to_string())
}

fn share(bytes: u64, of: u64) -> String {
    format!("{:.1}%", bytes as f64 * 100.0 / of.max(1) as f64)
}

fn per_span(bytes: u64, block: &BlockInspection) -> String {
    format!("{:.2}", bytes as f64 / block.spans.max(1) as f64)
}
