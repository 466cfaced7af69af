//! Values of the attribute table: those of the wanted keys and owners alone.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tracewell_model::source::QueryContext;
use tracewell_model::value::AttributeType;

use super::arrays::{Texts, named};
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::BlockReader;
use super::rows::{consecutive, page_has, page_has_text, places_of};
use super::schema::{Owner, Table};
use crate::table::DictionaryBuilder;

/// The attribute rows that are wanted, grouped by level and key.
#[derive(Default)]
pub(super) struct Rest {
    runs: Vec<Run>,
    run_of: HashMap<(Owner, Arc<str>), Cursor, RandomState>,
    pub(super) rows: Vec<u32>,
    pub(super) types: Vec<AttributeType>,
    pub(super) values: Vec<u64>,
}

/// The values of one key, read from the first to the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(usize);

/// Rows of one key that are still to be read.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: usize,
    to: usize,
}

impl Rest {
    pub(super) fn cursor(&self, owner: Owner, key: &Arc<str>) -> Option<Cursor> {
        self.run_of.get(&(owner, Arc::clone(key))).copied()
    }

    /// The next value that this owner has of a key; owners come in ascending order.
    pub(super) fn next(&mut self, cursor: Cursor, number: u32) -> Option<u64> {
        let run = self.runs.get_mut(cursor.0)?;
        while run.at < run.to {
            let row = *self.rows.get(run.at)?;
            if row > number {
                return None;
            }
            run.at += 1;
            if row == number {
                return self.values.get(run.at - 1).copied();
            }
        }
        None
    }
}

/// Reads the rows of the attribute table of these keys that belong to these owners.
pub(super) async fn read_rest_rows(
    reader: &BlockReader,
    row_group: usize,
    keys: &[(Owner, Arc<str>)],
    owners: &[(Owner, &[u32])],
    dictionary: &mut DictionaryBuilder,
    ctx: &QueryContext,
) -> BlockResult<Rest> {
    let table = reader.table(Table::Attributes);
    let n_rows = table.n_rows(row_group, ctx).await?;
    let mut has_key = |bounds: &ColumnIndexMetaData, page: usize| {
        keys.iter()
            .any(|(_, key)| page_has_text(bounds, page, key.as_bytes()))
    };
    let by_key = table.pages(row_group, "key", ctx, &mut has_key).await?;
    let mut has_row = |bounds: &ColumnIndexMetaData, page: usize| {
        owners.iter().any(|(_, rows)| page_has(bounds, page, rows))
    };
    let by_row = table.pages(row_group, "row", ctx, &mut has_row).await?;
    let near = selection(&by_key, n_rows).intersection(&selection(&by_row, n_rows));
    let places = places_of(&near);
    let batch = table
        .columns(row_group, &["level", "key", "row"], Some(near), ctx)
        .await?;
    let (levels, texts) = (Texts::of(&batch, "level")?, Texts::of(&batch, "key")?);
    let rows = named(&batch, "row")?.as_primitive::<Int32Type>();
    // A sender may have made each key up: a list would be searched once for each of its keys.
    let by_name = keys.iter().map(|key| ((key.0, &*key.1), key));
    let wanted: HashMap<(Owner, &str), &(Owner, Arc<str>), RandomState> = by_name.collect();
    let mut rest = Rest::default();
    let mut kept = Vec::new();
    let mut last: Option<(Owner, Arc<str>)> = None;
    for (at, place) in places.into_iter().enumerate().take(batch.num_rows()) {
        let (Some(owner), Some(key)) = (levels.get(at).and_then(Owner::from_name), texts.get(at))
        else {
            continue;
        };
        let row = rows.value(at) as u32;
        let of_owner = owners.iter().find(|(level, _)| *level == owner);
        if of_owner.is_none_or(|(_, rows)| rows.binary_search(&row).is_err()) {
            continue;
        }
        if last
            .as_ref()
            .is_none_or(|(level, name)| *level != owner || &**name != key)
        {
            let Some(found) = wanted.get(&(owner, key)) else {
                continue;
            };
            let found = (*found).clone();
            let (at, to) = (kept.len(), kept.len());
            rest.run_of.insert(found.clone(), Cursor(rest.runs.len()));
            rest.runs.push(Run { at, to });
            last = Some(found);
        }
        kept.push(place);
        rest.rows.push(row);
        if let Some(run) = rest.runs.last_mut() {
            run.to = kept.len();
        }
    }
    if !kept.is_empty() {
        let select = selection(&consecutive(&kept), n_rows);
        let names = ["type", "string", "int", "double", "bool", "bytes"];
        let batch = table.columns(row_group, &names, Some(select), ctx).await?;
        (rest.types, rest.values) = rest_values(&batch, dictionary)?;
    }
    Ok(rest)
}

fn rest_values(
    batch: &RecordBatch,
    dictionary: &mut DictionaryBuilder,
) -> BlockResult<(Vec<AttributeType>, Vec<u64>)> {
    let types = Texts::of(batch, "type")?;
    let strings = Texts::of(batch, "string")?;
    let ints = named(batch, "int")?.as_primitive::<Int64Type>();
    let doubles = named(batch, "double")?.as_primitive::<Float64Type>();
    let bools = named(batch, "bool")?.as_boolean();
    let bytes = named(batch, "bytes")?.as_binary::<i32>();
    let (mut found, mut values) = (Vec::new(), Vec::new());
    for row in 0..batch.num_rows() {
        let name = types.get(row).unwrap_or_default();
        let value_type = AttributeType::ALL
            .into_iter()
            .find(|value_type| value_type.name() == name);
        let unknown = || BlockError::malformed("attributes", "type of a value is unknown");
        let value_type = value_type.ok_or_else(unknown)?;
        found.push(value_type);
        values.push(match value_type {
            AttributeType::String => {
                let text = strings.get(row).unwrap_or_default();
                u64::from(dictionary.strings.intern(text.as_bytes()).0)
            }
            AttributeType::Int => ints.value(row) as u64,
            AttributeType::Double => doubles.value(row).to_bits(),
            AttributeType::Bool => u64::from(bools.value(row)),
            AttributeType::Empty => 0,
            _ => u64::from(dictionary.strings.intern(bytes.value(row)).0),
        });
    }
    Ok((found, values))
}
