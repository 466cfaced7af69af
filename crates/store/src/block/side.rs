//! The columns of the tables of resources, scopes and shapes.

use std::sync::Arc;

use tracewell_model::{AttributeValue, KeyValue};

use super::chunk::{Cells, Values};
use super::coder::{all, hashes, some};
use super::schema::{ColumnSpec, Kind, Owner, promoted_column};
use super::shape::Shape;
use crate::table::{ResourceEntry, ScopeEntry};

/// The first attribute of each key.
pub(super) fn firsts(list: &[KeyValue]) -> impl Iterator<Item = &KeyValue> {
    let mut seen = hashbrown::HashSet::<&str, foldhash::fast::RandomState>::default();
    list.iter()
        .filter(move |attribute| seen.insert(&attribute.key))
}

pub(super) fn resource_cells<'a>(
    resources: &'a [Arc<ResourceEntry>],
    canonical: &'a [Vec<u8>],
    columns: &[ColumnSpec],
) -> Vec<Cells<'a>> {
    let n = resources.len();
    let service = |entry: &'a Arc<ResourceEntry>| {
        Some(entry.resource.service_name()).filter(|name| !name.is_empty())
    };
    let mut cells = vec![
        all(
            n,
            Values::Fixed(resources.iter().flat_map(|entry| entry.hash.0).collect()),
        ),
        bytes_cells(canonical.iter().map(|bytes| Some(bytes.as_slice()))),
        bytes_cells(
            resources
                .iter()
                .map(|entry| service(entry).map(str::as_bytes)),
        ),
        required(bytes_cells(
            resources
                .iter()
                .map(|entry| Some(entry.resource.schema_url.as_bytes())),
        )),
        all(
            n,
            Values::Int32(
                resources
                    .iter()
                    .map(|entry| entry.resource.dropped_attributes_count as i32)
                    .collect(),
            ),
        ),
    ];
    let fixed = cells.len();
    let lists: Vec<&[KeyValue]> = resources
        .iter()
        .map(|entry| &*entry.resource.attributes)
        .collect();
    cells.extend(
        columns
            .iter()
            .skip(fixed)
            .map(|column| attribute_cells("resource", column, &lists)),
    );
    cells.iter_mut().take(2).for_each(|cells| cells.rows = None);
    cells
}

pub(super) fn scope_cells<'a>(
    scopes: &'a [Arc<ScopeEntry>],
    canonical: &'a [Vec<u8>],
    columns: &[ColumnSpec],
) -> Vec<Cells<'a>> {
    let n = scopes.len();
    let text = |text: &dyn Fn(&'a ScopeEntry) -> &'a str| {
        required(bytes_cells(
            scopes.iter().map(|entry| Some(text(entry).as_bytes())),
        ))
    };
    let mut cells = vec![
        all(
            n,
            Values::Fixed(scopes.iter().flat_map(|entry| entry.hash.0).collect()),
        ),
        required(bytes_cells(
            canonical.iter().map(|bytes| Some(bytes.as_slice())),
        )),
        text(&|entry| &entry.scope.name),
        text(&|entry| &entry.scope.version),
        text(&|entry| &entry.scope.schema_url),
        all(
            n,
            Values::Int32(
                scopes
                    .iter()
                    .map(|entry| entry.scope.dropped_attributes_count as i32)
                    .collect(),
            ),
        ),
    ];
    let fixed = cells.len();
    let lists: Vec<&[KeyValue]> = scopes
        .iter()
        .map(|entry| &*entry.scope.attributes)
        .collect();
    cells.extend(
        columns
            .iter()
            .skip(fixed)
            .map(|column| attribute_cells("scope", column, &lists)),
    );
    cells
}

pub(super) fn shape_cells<'a>(shapes: &[(Owner, &'a Shape, u64)]) -> Vec<Cells<'a>> {
    let entries = || {
        shapes.iter().flat_map(|(owner, shape, n)| {
            let position = shape.entries.iter().enumerate();
            position.map(move |(position, entry)| (*owner, *shape, position, entry, *n))
        })
    };
    let n = entries().count();
    let codes: Vec<u32> = shapes
        .iter()
        .enumerate()
        .flat_map(|(code, (_, shape, _))| std::iter::repeat_n(code as u32, shape.entries.len()))
        .collect();
    vec![
        all(
            n,
            hashes(&codes, |at| {
                shapes.get(at).map(|(_, shape, _)| shape.hash.0.as_slice())
            }),
        ),
        required(bytes_cells(
            entries().map(|(owner, ..)| Some(owner.name().as_bytes())),
        )),
        all(
            n,
            Values::Int32(
                entries()
                    .map(|(_, _, position, ..)| position as i32)
                    .collect(),
            ),
        ),
        required(bytes_cells(
            entries().map(|(_, _, _, entry, _)| Some(entry.key.as_bytes())),
        )),
        required(bytes_cells(entries().map(|(_, _, _, entry, _)| {
            Some(entry.value_type.name().as_bytes())
        }))),
        all(
            n,
            Values::Int64(entries().map(|(.., n)| n as i64).collect()),
        ),
    ]
}

fn required(mut cells: Cells<'_>) -> Cells<'_> {
    cells.rows = None;
    cells
}

fn bytes_cells<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Cells<'a> {
    let mut found = hashbrown::HashMap::<&[u8], u32, foldhash::fast::RandomState>::default();
    let (mut rows, mut codes, mut entries) = (Vec::new(), Vec::new(), Vec::<&[u8]>::new());
    let mut n = 0;
    for value in values {
        if let Some(value) = value {
            let code = *found.entry(value).or_insert_with(|| {
                entries.push(value);
                entries.len() as u32 - 1
            });
            rows.push(n as u32);
            codes.push(code);
        }
        n += 1;
    }
    some(n, rows, Values::Coded { codes, entries })
}

/// One promoted column: the first occurrences that have its name and type.
fn attribute_cells<'a>(prefix: &str, column: &ColumnSpec, lists: &[&'a [KeyValue]]) -> Cells<'a> {
    let named = |attribute: &&KeyValue| {
        // The name is made of the key and the type, so both agree where it does.
        column
            .name
            .get(prefix.len() + 1..)
            .is_some_and(|name| name.starts_with(&*attribute.key))
            && promoted_column(prefix, &attribute.key, attribute.value.attribute_type())
                .is_some_and(|found| found.name == column.name)
    };
    let values: Vec<Option<&'a AttributeValue>> = lists
        .iter()
        .map(|list| firsts(list).find(named).map(|attribute| &attribute.value))
        .collect();
    let n = values.len();
    let present = values
        .iter()
        .enumerate()
        .filter_map(|(row, value)| Some((row as u32, (*value)?)));
    let (rows, values): (Vec<u32>, Vec<&'a AttributeValue>) = present.unzip();
    let values = values.into_iter();
    match column.kind {
        Kind::Int64 => some(n, rows, Values::Int64(values.filter_map(int).collect())),
        Kind::Double => some(n, rows, Values::Double(values.filter_map(double).collect())),
        Kind::Bool => some(n, rows, Values::Bool(values.filter_map(boolean).collect())),
        Kind::TextList => {
            let (mut ends, mut texts) = (Vec::new(), Vec::new());
            for value in values {
                if let AttributeValue::Array(items) = value {
                    texts.extend(items.iter().filter_map(text));
                }
                ends.push(texts.len() as u32);
            }
            some(
                n,
                rows,
                Values::TextList {
                    ends,
                    values: texts,
                },
            )
        }
        _ => {
            let mut cells = bytes_cells(values.map(text));
            (cells.n_rows, cells.rows) = (n, Some(rows));
            cells
        }
    }
}

fn text(value: &AttributeValue) -> Option<&[u8]> {
    match value {
        AttributeValue::String(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn int(value: &AttributeValue) -> Option<i64> {
    match value {
        AttributeValue::Int(value) => Some(*value),
        _ => None,
    }
}

fn double(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::Double(value) => Some(*value),
        _ => None,
    }
}

fn boolean(value: &AttributeValue) -> Option<bool> {
    match value {
        AttributeValue::Bool(value) => Some(*value),
        _ => None,
    }
}
