//! Attribute values: owned as OpenTelemetry defines them, and borrowed as a query compares them.

/// An OTLP `AnyValue`, every kind of it. Source: opentelemetry-proto `common.proto`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AttributeValue {
    /// An `AnyValue` in which no value is set. A query treats it as absent.
    #[default]
    Empty,
    String(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<AttributeValue>),
    KvList(Vec<KeyValue>),
}

/// A key and its value. Keys may repeat within a list; order and duplicates are kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyValue {
    pub key: String,
    pub value: AttributeValue,
}

/// The type of an attribute as blocks and shapes name it. The codes are part of the block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AttributeType {
    Empty = 0,
    String = 1,
    Bool = 2,
    Int = 3,
    Double = 4,
    Bytes = 5,
    /// An array that is not [`AttributeType::Strings`]: other elements, mixed, or empty.
    Array = 6,
    KvList = 7,
    /// A non-empty array of strings only.
    Strings = 8,
}

/// A value as TraceQL sees it, borrowed from wherever it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Absent, or an attribute without a value.
    Nil,
    String(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP status code: 0 unset, 1 ok, 2 error.
    Status(i32),
    /// OTLP span kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    Kind(i32),
    /// An array attribute; comparisons look at its elements.
    Array(&'a [AttributeValue]),
    /// Bytes, key-value lists: stored and returned, not comparable.
    Opaque,
}

// === impl AttributeValue ===

impl AttributeValue {
    pub fn attribute_type(&self) -> AttributeType {
        match self {
            Self::Empty => AttributeType::Empty,
            Self::String(_) => AttributeType::String,
            Self::Bool(_) => AttributeType::Bool,
            Self::Int(_) => AttributeType::Int,
            Self::Double(_) => AttributeType::Double,
            Self::Bytes(_) => AttributeType::Bytes,
            Self::Array(items) if is_strings(items) => AttributeType::Strings,
            Self::Array(_) => AttributeType::Array,
            Self::KvList(_) => AttributeType::KvList,
        }
    }

    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Empty => Value::Nil,
            Self::String(text) => Value::String(text),
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Float(*value),
            Self::Array(items) => Value::Array(items),
            Self::Bytes(_) | Self::KvList(_) => Value::Opaque,
        }
    }
}

fn is_strings(items: &[AttributeValue]) -> bool {
    !items.is_empty()
        && items
            .iter()
            .all(|item| matches!(item, AttributeValue::String(_)))
}

// === impl AttributeType ===

impl AttributeType {
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::String,
        Self::Bool,
        Self::Int,
        Self::Double,
        Self::Bytes,
        Self::Array,
        Self::KvList,
        Self::Strings,
    ];

    /// The type behind a stored code, if this version knows it.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::String => "string",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::Array => "array",
            Self::KvList => "kvlist",
            Self::Strings => "strings",
        }
    }
}

// === impl Value ===

impl Value<'_> {
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }
}
