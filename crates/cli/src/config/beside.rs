//! Files that the configuration names, beside it: overrides and tokens.

use std::path::Path;

use super::Config;
use super::raw::{Findings, Place, Raw};
use super::yaml::{self, Node};

/// A file, by the key that names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    pub(super) key: &'static str,
    pub(super) path: fn(&Config) -> Option<&Path>,
}

/// Reads a file, if the configuration names it.
pub(super) fn read(
    file: Beside,
    config: &Config,
    raw: &Raw,
    findings: &mut Findings,
) -> Option<String> {
    let path = (file.path)(config)?;
    let read = std::fs::read_to_string(path).map_err(|error| {
        let name = raw.name_of(file.key);
        let message = format!("{name}: {} cannot be read: {error}; name a file that this process can read, or take the key out", path.display());
        findings.error(&raw.place_of(file.key), message);
    });
    read.ok()
}

/// Its content, unless it is no YAML, which is a finding.
pub(super) fn parse(path: &Path, text: &str, findings: &mut Findings) -> Option<Node> {
    let parsed = yaml::parse(text).map_err(|error| {
        let place = Place::file(path, error.line.unwrap_or(1));
        findings.error(&place, error.message);
    });
    parsed.ok()
}
