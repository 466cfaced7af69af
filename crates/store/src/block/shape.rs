//! Shapes: the distinct lists of (key, type) of spans, events and links.

use std::sync::Arc;

use tracewell_model::ContentHash;
use tracewell_model::value::AttributeType;

/// One distinct list; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub hash: ContentHash,
    pub entries: Vec<ShapeEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeEntry {
    pub key: Arc<str>,
    pub value_type: AttributeType,
    /// True for the first entry of its key in the list.
    pub first: bool,
}

// === impl Shape ===

impl Shape {
    pub(super) fn new(entries: impl IntoIterator<Item = (Arc<str>, AttributeType)>) -> Self {
        let mut seen = hashbrown::HashSet::<Arc<str>, foldhash::fast::RandomState>::default();
        let mut content = Vec::new();
        let entries = entries.into_iter().map(|(key, value_type)| {
            content.extend_from_slice(&(key.len() as u32).to_le_bytes());
            content.extend_from_slice(key.as_bytes());
            content.push(value_type.code());
            ShapeEntry {
                first: seen.insert(Arc::clone(&key)),
                key,
                value_type,
            }
        });
        let entries = entries.collect();
        Self {
            hash: ContentHash::of(&content),
            entries,
        }
    }
}
