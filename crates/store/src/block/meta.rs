//! `meta.json`: what a block holds, so that it can be planned with before a table is opened.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracewell_model::{TenantId, TraceId};

use super::error::{BlockError, BlockResult};
use super::schema::{FORMAT, META_FILE, Owner, Table, VERSION};
use crate::manifest::BlockId;

/// 64 MiB: a block of 1,000 groups has about 1 MB.
pub const META_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockMeta {
    pub format: String,
    pub version: u32,
    pub version_needed: u32,
    pub id: String,
    pub level: u8,
    pub writer: String,
    pub created_unix_nano: u64,
    pub tenant: Option<String>,
    pub spans: u64,
    pub traces: u64,
    pub span_start_min: u64,
    pub span_start_max: u64,
    pub trace_start_min: u64,
    pub trace_start_max: u64,
    pub end_max: u64,
    pub arrival_min: u64,
    pub arrival_max: u64,
    pub tables: Vec<TableMeta>,
    pub checksums: FileMeta,
    pub shared: SharedMeta,
    pub groups: Vec<GroupMeta>,
    pub columns: Vec<ColumnMeta>,
    pub keys: Vec<KeyMeta>,
    #[serde(default)]
    pub keys_truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMeta {
    pub name: String,
    pub file: String,
    pub bytes: u64,
    /// Page indexes and footer: from there to the end of the file.
    pub footer_bytes: u64,
    pub rows: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    pub bytes: u64,
    pub crc32c: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMeta {
    pub bytes: u64,
    pub crc32c: String,
    /// `null` where every trace may be shared.
    pub count: Option<u64>,
    /// Ids (hex) of traces that lie in several groups of the block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMeta {
    pub id: String,
    pub spans: u64,
    pub traces: u64,
    pub span_start_min: u64,
    pub span_start_max: u64,
    pub trace_start_min: u64,
    pub trace_start_max: u64,
    pub row_groups: RowGroups,
    #[serde(default)]
    pub lacking: Vec<String>,
    pub tenants: Vec<String>,
}

/// The number of the group's row group in each table, where it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroups {
    pub spans: Option<u32>,
    pub traces: Option<u32>,
    pub events: Option<u32>,
    pub links: Option<u32>,
    pub attributes: Option<u32>,
    #[serde(default)]
    pub shapes: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnMeta {
    pub level: String,
    pub key: String,
    #[serde(rename = "type")]
    pub value_type: String,
    pub column: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMeta {
    pub level: String,
    pub key: String,
    #[serde(rename = "type")]
    pub value_type: String,
    pub count: u64,
    pub first: u64,
    pub distinct: u64,
    pub bytes: u64,
}

// === impl BlockMeta ===

impl BlockMeta {
    /// The bytes of the file, checksum line included.
    pub fn encode(&self) -> BlockResult<Bytes> {
        let json = serde_json::to_string(self)
            .map_err(|error| BlockError::malformed(META_FILE, error.to_string()))?;
        // The object opens on the line of the checksum: what follows is all members.
        let members = json.strip_prefix('{').unwrap_or(&json);
        let crc = crc32c::crc32c(members.as_bytes());
        Ok(Bytes::from(format!(
            "{{\"crc32c\":\"{crc:08x}\",\n{members}"
        )))
    }

    pub fn decode(bytes: &[u8]) -> BlockResult<Self> {
        let malformed = |reason: &str| BlockError::malformed(META_FILE, reason);
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| malformed("no checksum line"))?;
        let (head, members) = bytes.split_at_checked(end + 1).unwrap_or_default();
        let expected = std::str::from_utf8(head)
            .ok()
            .and_then(|head| head.strip_prefix("{\"crc32c\":\""))
            .and_then(|head| head.get(..8))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| malformed("no checksum on the first line"))?;
        let seen = crc32c::crc32c(members);
        if seen != expected {
            return Err(BlockError::Damaged {
                path: META_FILE.to_owned(),
                offset: head.len() as u64,
                len: members.len() as u64,
                expected,
                seen,
            });
        }
        // What a newer version needs is read first: its other members may be of any form.
        #[derive(Deserialize)]
        struct Needed {
            format: String,
            version_needed: u32,
        }
        let parse = |error: serde_json::Error| malformed(&error.to_string());
        let needed: Needed = serde_json::from_slice(bytes).map_err(parse)?;
        if needed.format != FORMAT {
            return Err(malformed("not the description of a block"));
        }
        if needed.version_needed > VERSION {
            return Err(BlockError::Version {
                needed: needed.version_needed,
                known: VERSION,
            });
        }
        serde_json::from_slice(bytes).map_err(parse)
    }

    pub fn block_id(&self) -> BlockResult<BlockId> {
        parse_id(&self.id)
            .map(BlockId)
            .ok_or_else(|| BlockError::malformed(META_FILE, "id is not 32 hex digits"))
    }

    pub fn tenant_id(&self) -> BlockResult<Option<TenantId>> {
        self.tenant
            .as_deref()
            .map(TenantId::new)
            .transpose()
            .map_err(|error| BlockError::malformed(META_FILE, error.to_string()))
    }

    /// The traces that lie in several groups of the block.
    pub fn split_traces(&self) -> BlockResult<Vec<TraceId>> {
        let parse = |hex: &String| {
            let id = parse_id(hex).map(TraceId);
            id.ok_or_else(|| BlockError::malformed(META_FILE, "a split trace is not 32 hex digits"))
        };
        self.shared.split.iter().map(parse).collect()
    }

    pub fn table(&self, table: Table) -> Option<&TableMeta> {
        self.tables.iter().find(|entry| entry.name == table.name())
    }

    /// Bytes of all tables together.
    pub fn table_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}

// === impl GroupMeta ===

impl GroupMeta {
    pub fn group_id(&self) -> BlockResult<[u8; 16]> {
        parse_id(&self.id)
            .ok_or_else(|| BlockError::malformed(META_FILE, "group id is not 32 hex digits"))
    }

    pub fn row_group(&self, table: Table) -> Option<usize> {
        let number = match table {
            Table::Spans => self.row_groups.spans,
            Table::Traces => self.row_groups.traces,
            Table::Events => self.row_groups.events,
            Table::Links => self.row_groups.links,
            Table::Attributes => self.row_groups.attributes,
            Table::Shapes => self.row_groups.shapes,
            Table::Resources | Table::Scopes => None,
        };
        number.map(|number| number as usize)
    }

    pub(super) fn set_row_group(&mut self, table: Table, number: u32) {
        let place = match table {
            Table::Spans => &mut self.row_groups.spans,
            Table::Traces => &mut self.row_groups.traces,
            Table::Events => &mut self.row_groups.events,
            Table::Links => &mut self.row_groups.links,
            Table::Attributes => &mut self.row_groups.attributes,
            Table::Shapes => &mut self.row_groups.shapes,
            Table::Resources | Table::Scopes => return,
        };
        *place = Some(number);
    }
}

// === impl ColumnMeta ===

impl ColumnMeta {
    pub fn owner(&self) -> Option<Owner> {
        Owner::from_name(&self.level)
    }
}

fn parse_id(hex: &str) -> Option<[u8; 16]> {
    if hex.len() != 32 {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
}
