//! Old and new semantic-convention names of one attribute.
//!
//! Source: the OpenTelemetry semantic conventions 1.44 schema files and their migration guides.
//! A query for either name finds both; where a span carries both, the newer name's value counts.

use crate::column::AttributeScope;

/// Values of an old attribute and what the new one calls them; other values are the same.
#[derive(Debug, PartialEq, Eq)]
pub struct ValueMap(pub &'static [(&'static str, &'static str)]);

/// One old name of an attribute.
#[derive(Debug)]
pub struct Alias {
    pub scope: AttributeScope,
    pub old: &'static str,
    pub new: &'static str,
    pub values: Option<&'static ValueMap>,
}

impl ValueMap {
    pub fn apply<'a>(&self, old: &'a str) -> &'a str {
        self.0
            .iter()
            .find(|(from, _)| *from == old)
            .map_or(old, |(_, to)| to)
    }
}

/// The table is filled by the query room's issue; see reference in docs/guide.
pub static ALIASES: &[Alias] = &[];
