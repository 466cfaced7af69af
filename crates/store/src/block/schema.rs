//! The names, types and order of everything that lies in a block, and the naming contract of
//! promoted attribute columns. The prose is docs/format/block.md; a test keeps the two equal.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::errors::Result as ParquetResult;
use parquet::schema::types::Type;
use tracewell_model::ContentHash;
use tracewell_model::value::AttributeType;

/// The version that this code writes; it reads every version up to it.
pub const VERSION: u32 = 1;
/// `format` in meta.json.
pub const FORMAT: &str = "tracewell-block";
/// Promoted columns of one block, over spans, events and links.
pub const PROMOTED_COLUMNS_MAX: usize = 200;
/// Promoted columns of resources, and as many of scopes.
pub const RESOURCE_COLUMNS_MAX: usize = 200;
/// Bytes of a key that can be promoted.
pub const PROMOTED_KEY_BYTES_MAX: usize = 128;
/// One owner in so many must have a key for it to be promoted.
pub const PROMOTED_ONE_IN: u64 = 200;
/// Bytes of a data page before compression.
pub const PAGE_BYTES: usize = 32 << 10;
/// Keys listed in meta.json.
pub const KEYS_LISTED_MAX: usize = 10_000;

pub const META_FILE: &str = "meta.json";
pub const CHECKSUMS_FILE: &str = "checksums";
pub const SHARED_FILE: &str = "shared";

/// A table of a block: one Parquet file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Spans,
    Traces,
    Events,
    Links,
    Attributes,
    Resources,
    Scopes,
    Shapes,
}

/// Whose attributes: the levels that promoted columns and the attribute table know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    // In the order in which the attribute table is sorted: by name.
    Event,
    Link,
    Span,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Text,
    Bytes,
    Id16,
    Id8,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Double,
    Bool,
    TextList,
    Int32List,
}

/// A column as the schema of a table names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    pub name: Arc<str>,
    pub kind: Kind,
    pub nullable: bool,
}

/// A promoted attribute: a column of one key and type at one level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PromotedKey {
    pub owner: Owner,
    pub key: Arc<str>,
    pub value_type: AttributeType,
}

// === impl Table ===

impl Table {
    pub const ALL: [Self; 8] = [
        Self::Spans,
        Self::Traces,
        Self::Events,
        Self::Links,
        Self::Attributes,
        Self::Resources,
        Self::Scopes,
        Self::Shapes,
    ];
    /// The tables whose row groups answer to the groups one to one.
    pub const GROUPED: [Self; 6] = [
        Self::Spans,
        Self::Traces,
        Self::Events,
        Self::Links,
        Self::Attributes,
        Self::Shapes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Traces => "traces",
            Self::Events => "events",
            Self::Links => "links",
            Self::Attributes => "attributes",
            Self::Resources => "resources",
            Self::Scopes => "scopes",
            Self::Shapes => "shapes",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    pub fn file(self) -> String {
        format!("{}.parquet", self.name())
    }

    /// The columns that every block of this version has, in order; promoted ones follow.
    pub fn columns(self) -> Vec<ColumnSpec> {
        let required = |name, kind| ColumnSpec::new(name, kind, false);
        let nullable = |name, kind| ColumnSpec::new(name, kind, true);
        match self {
            Self::Spans => vec![
                required("tenant", Kind::Text),
                required("group", Kind::Id16),
                required("row", Kind::Int32),
                required("trace_id", Kind::Id16),
                required("span_id", Kind::Id8),
                nullable("parent_index", Kind::Int32),
                nullable("parent_span_id", Kind::Id8),
                required("start_unix_nano", Kind::UInt64),
                required("duration_nano", Kind::Int64),
                nullable("end_unix_nano", Kind::UInt64),
                required("name", Kind::Text),
                nullable("service_name", Kind::Text),
                required("kind", Kind::Int32),
                nullable("status_code", Kind::Int32),
                nullable("status_message", Kind::Text),
                nullable("trace_state", Kind::Text),
                required("flags", Kind::UInt32),
                required("dropped_attributes", Kind::UInt32),
                required("dropped_events", Kind::UInt32),
                required("dropped_links", Kind::UInt32),
                required("resource", Kind::Id16),
                required("scope", Kind::Id16),
                nullable("shape", Kind::Id16),
            ],
            Self::Traces => vec![
                required("tenant", Kind::Text),
                required("trace_id", Kind::Id16),
                required("start_unix_nano", Kind::UInt64),
                required("end_unix_nano", Kind::UInt64),
                nullable("root_span_id", Kind::Id8),
                nullable("root_start_unix_nano", Kind::UInt64),
                nullable("root_service", Kind::Text),
                nullable("root_name", Kind::Text),
                required("span_count", Kind::Int32),
                required("error_count", Kind::Int32),
                required("services", Kind::TextList),
                required("service_spans", Kind::Int32List),
                required("service_errors", Kind::Int32List),
                required("group", Kind::Id16),
                required("first_row", Kind::Int32),
                required("row_count", Kind::Int32),
            ],
            Self::Events => vec![
                required("group", Kind::Id16),
                required("row", Kind::Int32),
                required("event", Kind::Int32),
                required("time_unix_nano", Kind::UInt64),
                required("name", Kind::Text),
                required("dropped_attributes", Kind::UInt32),
                nullable("shape", Kind::Id16),
            ],
            Self::Links => vec![
                required("group", Kind::Id16),
                required("row", Kind::Int32),
                required("link", Kind::Int32),
                required("trace_id", Kind::Id16),
                required("span_id", Kind::Id8),
                nullable("trace_state", Kind::Text),
                required("flags", Kind::UInt32),
                required("dropped_attributes", Kind::UInt32),
                nullable("shape", Kind::Id16),
            ],
            _ => self.side_columns(),
        }
    }

    fn side_columns(self) -> Vec<ColumnSpec> {
        let required = |name, kind| ColumnSpec::new(name, kind, false);
        let nullable = |name, kind| ColumnSpec::new(name, kind, true);
        match self {
            Self::Attributes => vec![
                required("group", Kind::Id16),
                required("level", Kind::Text),
                required("key", Kind::Text),
                required("row", Kind::Int32),
                required("type", Kind::Text),
                nullable("string", Kind::Text),
                nullable("int", Kind::Int64),
                nullable("double", Kind::Double),
                nullable("bool", Kind::Bool),
                nullable("bytes", Kind::Bytes),
            ],
            Self::Resources => vec![
                required("resource", Kind::Id16),
                required("canonical", Kind::Bytes),
                nullable("service_name", Kind::Text),
                required("schema_url", Kind::Text),
                required("dropped_attributes", Kind::UInt32),
            ],
            Self::Scopes => vec![
                required("scope", Kind::Id16),
                required("canonical", Kind::Bytes),
                required("name", Kind::Text),
                required("version", Kind::Text),
                required("schema_url", Kind::Text),
                required("dropped_attributes", Kind::UInt32),
            ],
            _ => vec![
                required("shape", Kind::Id16),
                required("level", Kind::Text),
                required("position", Kind::Int32),
                required("key", Kind::Text),
                required("type", Kind::Text),
                required("owners", Kind::Int64),
            ],
        }
    }
}

// === impl Owner ===

impl Owner {
    pub const ALL: [Self; 3] = [Self::Event, Self::Link, Self::Span];

    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Link => "link",
            Self::Span => "span",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|owner| owner.name() == name)
    }

    pub fn table(self) -> Table {
        match self {
            Self::Event => Table::Events,
            Self::Link => Table::Links,
            Self::Span => Table::Spans,
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

// === impl PromotedKey ===

impl PromotedKey {
    /// The column, if the key can have one.
    pub fn column(&self) -> Option<ColumnSpec> {
        promoted_column(self.owner.name(), &self.key, self.value_type)
    }
}

/// The column `<prefix>.<key>` of a key and type, if they can have one.
pub fn promoted_column(prefix: &str, key: &str, value_type: AttributeType) -> Option<ColumnSpec> {
    let kind = promoted_kind(value_type)?;
    let name = column_name(prefix, key, value_type)?;
    Some(ColumnSpec::new(&name, kind, true))
}

/// What a column of a type holds; `None` for types that live in the attribute table alone.
pub fn promoted_kind(value_type: AttributeType) -> Option<Kind> {
    match value_type {
        AttributeType::String => Some(Kind::Text),
        AttributeType::Int => Some(Kind::Int64),
        AttributeType::Double => Some(Kind::Double),
        AttributeType::Bool => Some(Kind::Bool),
        AttributeType::Strings => Some(Kind::TextList),
        AttributeType::Empty
        | AttributeType::Bytes
        | AttributeType::Array
        | AttributeType::KvList => None,
    }
}

fn column_name(prefix: &str, key: &str, value_type: AttributeType) -> Option<String> {
    let printable = |c: char| matches!(c, ' '..='~') || (!c.is_ascii() && c.is_alphanumeric());
    if key.is_empty() || key.len() > PROMOTED_KEY_BYTES_MAX || !key.chars().all(printable) {
        return None;
    }
    let mut name = format!("{prefix}.{key}");
    if needs_hash(key) {
        let hash = ContentHash::of(key.as_bytes()).to_string();
        name.push('~');
        name.push_str(hash.get(..8).unwrap_or_default());
    }
    match value_type {
        AttributeType::String => {}
        other => {
            name.push(':');
            name.push_str(other.name());
        }
    }
    Some(name)
}

/// True for a key that readers could take for another: one with capital letters, as they ignore
/// case, and one that looks like a decorated name.
fn needs_hash(key: &str) -> bool {
    key.chars()
        .any(|c| c == ':' || c == '~' || c.to_lowercase().ne(std::iter::once(c)))
}

// === impl ColumnSpec ===

impl ColumnSpec {
    pub fn new(name: &str, kind: Kind, nullable: bool) -> Self {
        Self {
            name: Arc::from(name),
            kind,
            nullable,
        }
    }

    /// The Parquet type of the column.
    pub fn parquet_type(&self) -> ParquetResult<Type> {
        let repetition = if self.nullable {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        };
        match self.kind {
            Kind::TextList | Kind::Int32List => {
                let element = if self.kind == Kind::TextList {
                    leaf_type("element", Kind::Text, Repetition::REQUIRED)?
                } else {
                    leaf_type("element", Kind::Int32, Repetition::REQUIRED)?
                };
                let list = Type::group_type_builder("list")
                    .with_repetition(Repetition::REPEATED)
                    .with_fields(vec![Arc::new(element)])
                    .build()?;
                Type::group_type_builder(&self.name)
                    .with_repetition(repetition)
                    .with_logical_type(Some(LogicalType::List))
                    .with_fields(vec![Arc::new(list)])
                    .build()
            }
            kind => leaf_type(&self.name, kind, repetition),
        }
    }

    /// The Arrow field that a reader makes of it. `dictionary` asks for codes in place of strings.
    pub fn arrow_field(&self, dictionary: bool) -> Field {
        let element = |data_type| Arc::new(Field::new("element", data_type, false));
        let data_type = match self.kind {
            Kind::Text if dictionary => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Id16 => DataType::FixedSizeBinary(16),
            Kind::Id8 => DataType::FixedSizeBinary(8),
            Kind::Int32 => DataType::Int32,
            Kind::UInt32 => DataType::UInt32,
            Kind::Int64 => DataType::Int64,
            Kind::UInt64 => DataType::UInt64,
            Kind::Double => DataType::Float64,
            Kind::Bool => DataType::Boolean,
            Kind::TextList => DataType::List(element(DataType::Utf8)),
            Kind::Int32List => DataType::List(element(DataType::Int32)),
        };
        Field::new(&*self.name, data_type, self.nullable)
    }
}

fn leaf_type(name: &str, kind: Kind, repetition: Repetition) -> ParquetResult<Type> {
    let unsigned = |bit_width| Some(LogicalType::integer(bit_width, false));
    let (physical, logical, length) = match kind {
        Kind::Text | Kind::TextList => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String), 0),
        Kind::Bytes => (PhysicalType::BYTE_ARRAY, None, 0),
        Kind::Id16 => (PhysicalType::FIXED_LEN_BYTE_ARRAY, None, 16),
        Kind::Id8 => (PhysicalType::FIXED_LEN_BYTE_ARRAY, None, 8),
        Kind::Int32 | Kind::Int32List => (PhysicalType::INT32, None, 0),
        Kind::UInt32 => (PhysicalType::INT32, unsigned(32), 0),
        Kind::Int64 => (PhysicalType::INT64, None, 0),
        Kind::UInt64 => (PhysicalType::INT64, unsigned(64), 0),
        Kind::Double => (PhysicalType::DOUBLE, None, 0),
        Kind::Bool => (PhysicalType::BOOLEAN, None, 0),
    };
    Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_length(length)
        .build()
}

/// The Parquet schema of a file with these columns.
pub fn parquet_schema(columns: &[ColumnSpec]) -> ParquetResult<Type> {
    let fields = columns
        .iter()
        .map(|column| column.parquet_type().map(Arc::new))
        .collect::<ParquetResult<Vec<_>>>()?;
    Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
}

/// The Arrow schema of a file with these columns; strings as codes where `dictionary` says so.
pub fn arrow_schema(columns: &[ColumnSpec], dictionary: impl Fn(&ColumnSpec) -> bool) -> Schema {
    Schema::new(
        columns
            .iter()
            .map(|column| column.arrow_field(dictionary(column)))
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        let name = |key: &str, value_type| {
            promoted_column("span", key, value_type).map(|column| column.name.to_string())
        };
        use AttributeType::{Bool, Bytes, Double, Int, String, Strings};
        let check = |key, value_type, expected: &str| {
            assert_eq!(name(key, value_type).as_deref(), Some(expected), "{key}");
        };
        check("http.method", String, "span.http.method");
        check("http.status_code", Int, "span.http.status_code:int");
        check("ratio", Double, "span.ratio:double");
        check("cached", Bool, "span.cached:bool");
        check("tags", Strings, "span.tags:strings");
        check("größe", String, "span.größe");
        let hashed = |key: &str, end: &str| {
            let hash = ContentHash::of(key.as_bytes()).to_string();
            format!("span.{key}~{}{end}", &hash[..8])
        };
        check("userId", Int, &hashed("userId", ":int"));
        check("Größe", String, &hashed("Größe", ""));
        check("a:int", String, &hashed("a:int", ""));
        check("a~0011aabb", String, &hashed("a~0011aabb", ""));
        assert_eq!(name("a", Bytes), None);
        assert_eq!(name("", String), None);
        assert_eq!(name("a\nb", String), None);
        assert_eq!(name("a\u{200b}b", String), None);
        assert_eq!(name(&"x".repeat(129), String), None);
    }

    #[test]
    fn the_documentation_names_every_column() {
        let text = include_str!("../../../../docs/format/block.md");
        for table in Table::ALL {
            for column in table.columns() {
                assert!(
                    text.contains(&format!("`{}`", column.name)),
                    "docs/format/block.md does not name {}.{}",
                    table.name(),
                    column.name
                );
            }
            assert!(parquet_schema(&table.columns()).is_ok());
        }
    }
}
