//! Files that the configuration names, beside it: overrides and tokens.

use std::path::Path;

use super::raw::{Findings, Place, Raw};
use super::yaml::{self, Node};

/// Reads the file that a key names.
pub(super) fn read(path: &Path, key: &str, raw: &Raw) -> Result<String, Findings> {
    std::fs::read_to_string(path).map_err(|error| {
        let mut findings = Findings::default();
        let name = raw.name_of(key);
        let message = format!("{name}: {} cannot be read: {error}", path.display());
        findings.error(&raw.place_of(key), message);
        findings
    })
}

/// Its content, unless it is no YAML, which is a finding.
pub(super) fn parse(path: &Path, text: &str, findings: &mut Findings) -> Option<Node> {
    let parsed = yaml::parse(text).map_err(|error| {
        let place = Place::file(path, error.line.unwrap_or(1));
        findings.error(&place, error.message);
    });
    parsed.ok()
}
