//! What a block consists of, and whether it is whole: for the command line.

use serde::Serialize;
use tracewell_model::source::QueryContext;

use super::error::BlockResult;
use super::meta::{BlockMeta, ColumnMeta, KeyMeta};
use super::read::BlockReader;
use super::schema::Table;
use crate::table::DictionaryBuilder;

/// `block inspect`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockInspection {
    pub id: String,
    pub level: u8,
    pub version: u32,
    pub spans: u64,
    pub traces: u64,
    pub groups: usize,
    /// Of all tables, indexes and filters included.
    pub bytes: u64,
    pub bytes_per_span: f64,
    pub tables: Vec<TableInspection>,
    pub attributes: Vec<AttributeInspection>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableInspection {
    pub name: &'static str,
    pub rows: u64,
    pub bytes: u64,
    pub footer_bytes: u64,
    pub filter_bytes: u64,
    pub columns: Vec<ColumnInspection>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnInspection {
    pub name: String,
    /// As stored, over all row groups.
    pub bytes: u64,
    pub uncompressed_bytes: u64,
    pub encodings: Vec<String>,
    pub compression: Vec<String>,
}

/// A key and type at one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttributeInspection {
    pub level: String,
    pub key: String,
    #[serde(rename = "type")]
    pub value_type: String,
    pub count: u64,
    pub distinct: u64,
    /// Of the values before encoding.
    pub value_bytes: u64,
    /// Its column, and the bytes that it takes; `None` where it lies in the attribute table.
    pub column: Option<String>,
    pub stored_bytes: Option<u64>,
    /// Where it lies in the attribute table: its share of that, by rows and bytes of values.
    pub stored_bytes_estimate: Option<u64>,
}

/// `block verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlockVerification {
    pub bytes: u64,
    pub spans: u64,
    /// What fails, each with its place.
    pub damage: Vec<String>,
}

/// What a row of the attribute table takes beside its value, in bytes of values.
const ROW_WEIGHT: u64 = 8;

// === impl BlockReader ===

impl BlockReader {
    pub async fn inspect(&self) -> BlockResult<BlockInspection> {
        let ctx = QueryContext::unlimited();
        let mut tables = Vec::new();
        for table in Table::ALL {
            tables.push(self.inspect_table(table, &ctx).await?);
        }
        let meta = self.meta();
        let attributes = attributes(meta, &tables);
        let bytes = meta.table_bytes();
        Ok(BlockInspection {
            id: meta.id.clone(),
            level: meta.level,
            version: meta.version,
            spans: meta.spans,
            traces: meta.traces,
            groups: meta.groups.len(),
            bytes,
            bytes_per_span: bytes as f64 / meta.spans.max(1) as f64,
            tables,
            attributes,
        })
    }

    async fn inspect_table(
        &self,
        table: Table,
        ctx: &QueryContext,
    ) -> BlockResult<TableInspection> {
        let reader = self.table(table);
        let metadata = reader.metadata(ctx).await?;
        let mut columns: Vec<ColumnInspection> = Vec::new();
        let mut filter_bytes = 0;
        for group in metadata.row_groups() {
            for (index, chunk) in group.columns().iter().enumerate() {
                if columns.len() <= index {
                    let name = chunk
                        .column_path()
                        .parts()
                        .first()
                        .cloned()
                        .unwrap_or_default();
                    columns.push(ColumnInspection {
                        name,
                        bytes: 0,
                        uncompressed_bytes: 0,
                        encodings: Vec::new(),
                        compression: Vec::new(),
                    });
                }
                let Some(column) = columns.get_mut(index) else {
                    continue;
                };
                column.bytes += chunk.compressed_size().unsigned_abs();
                column.uncompressed_bytes += chunk.uncompressed_size().unsigned_abs();
                filter_bytes += u64::from(chunk.bloom_filter_length().unwrap_or(0).unsigned_abs());
                let note = |names: &mut Vec<String>, name: String| {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                };
                for encoding in chunk.encodings() {
                    note(&mut column.encodings, encoding.to_string());
                }
                note(
                    &mut column.compression,
                    chunk.compression_codec().to_string(),
                );
            }
        }
        Ok(TableInspection {
            name: table.name(),
            rows: reader.meta.rows,
            bytes: reader.meta.bytes,
            footer_bytes: reader.meta.footer_bytes,
            filter_bytes,
            columns,
        })
    }

    /// Reads everything: every segment of every file, and, where those are whole, every group back
    /// into spans.
    pub async fn verify(&self) -> BlockVerification {
        let mut report = BlockVerification::default();
        let meta: &BlockMeta = self.meta();
        for table in Table::ALL {
            let reader = self.table(table);
            report.bytes += reader.meta.bytes;
            report
                .damage
                .extend(reader.verify().await.iter().map(ToString::to_string));
        }
        if !report.damage.is_empty() {
            return report;
        }
        let ctx = QueryContext::unlimited();
        for (group, entry) in meta.groups.iter().enumerate() {
            let mut dictionary = DictionaryBuilder::new();
            match self.read_group(group, None, &mut dictionary, &ctx).await {
                Ok(table) => report.spans += table.n_spans() as u64,
                Err(error) => report.damage.push(format!("group {}: {error}", entry.id)),
            }
        }
        report
    }
}

/// The keys of a block with what each takes in some tables.
fn attributes(meta: &BlockMeta, tables: &[TableInspection]) -> Vec<AttributeInspection> {
    let columns = || tables.iter().flat_map(|table| &table.columns);
    let stored = |name: &str| columns().find(|it| it.name == name).map(|it| it.bytes);
    let column_of = |key: &KeyMeta| {
        let same = |column: &&ColumnMeta| {
            column.level == key.level
                && column.key == key.key
                && column.value_type == key.value_type
        };
        let column = meta.columns.iter().find(same);
        column.map(|column| column.column.clone())
    };
    let weight = |key: &KeyMeta| {
        let rows = key.count.saturating_mul(ROW_WEIGHT);
        u128::from(rows.saturating_add(key.bytes))
    };
    let rest = meta.keys.iter().filter(|key| column_of(key).is_none());
    let rest_weight = rest.map(weight).sum::<u128>().max(1);
    let rest = tables
        .iter()
        .filter(|it| it.name == Table::Attributes.name());
    let rest_bytes: u64 = rest.flat_map(|it| &it.columns).map(|it| it.bytes).sum();
    let keys = meta.keys.iter().map(|key| {
        let column = column_of(key);
        let share = u128::from(rest_bytes) * weight(key) / rest_weight;
        AttributeInspection {
            level: key.level.clone(),
            key: key.key.clone(),
            value_type: key.value_type.clone(),
            count: key.count,
            distinct: key.distinct,
            value_bytes: key.bytes,
            stored_bytes: column.as_deref().and_then(stored),
            stored_bytes_estimate: match column {
                Some(_) => None,
                None => u64::try_from(share).ok(),
            },
            column,
        }
    });
    keys.collect()
}
