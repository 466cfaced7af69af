//! What was written, setting by setting, each with its place; and what was found wrong with it.

use std::fmt;
use std::path::Path;

use super::keys::Unit;
use super::yaml::{Node, Value};

/// Settings in the order in which they hold: files first, flags after them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Raw {
    pub(crate) settings: Vec<Setting>,
}

/// A key and what was written for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) node: Node,
    /// The key as it was written, where that is one of Tempo's.
    pub(crate) origin: Option<String>,
    pub(crate) place: Place,
}

/// Where something was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Place {
    #[default]
    Defaults,
    File {
        path: String,
        line: u64,
    },
    Flag(String),
}

/// What is wrong with a configuration, all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) message: String,
}

// === impl Raw ===

impl Raw {
    /// Every leaf of a file of our own as a setting.
    pub(crate) fn from_file(path: &Path, root: &Node) -> Self {
        let mut raw = Self::default();
        raw.collect(path, "", root);
        raw
    }

    fn collect(&mut self, path: &Path, prefix: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, child) in entries {
            let name = match prefix {
                "" => key.name.clone(),
                prefix => format!("{prefix}.{}", key.name),
            };
            let is_group = matches!(child.value, Value::Map(_) | Value::Null);
            if is_group && super::keys::is_group(&name) {
                self.collect(path, &name, child);
            } else {
                self.settings.push(Setting {
                    key: name,
                    node: child.clone(),
                    origin: None,
                    place: Place::file(path, key.line),
                });
            }
        }
    }

    /// `--set key=value`, or a flag of its own that stands for a key.
    pub(crate) fn set(&mut self, flag: &str, key: &str, value: &str) {
        let unit = super::keys::find(key).map(|key| key.unit);
        let node = match unit {
            // A folder may be called 2026, and a host 10.
            Some(Unit::Text | Unit::Secret | Unit::Path) => Node {
                line: 0,
                value: Value::Text(value.to_owned()),
            },
            _ => Node::from_argument(value),
        };
        self.settings.push(Setting {
            key: key.to_owned(),
            node,
            origin: None,
            place: Place::Flag(flag.to_owned()),
        });
    }

    /// Where the value that holds for a key was written.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.holding(key)
            .map(|setting| setting.place.clone())
            .unwrap_or_default()
    }

    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.holding(key).is_some()
    }

    /// Of keys that do not go together, the first that somebody wrote; the first of all where nobody
    /// wrote any.
    pub(crate) fn first_written<'a>(&self, keys: &[&'a str]) -> Option<&'a str> {
        let written = keys.iter().find(|key| self.holding(key).is_some());
        written.or(keys.first()).copied()
    }

    /// The key whose value holds, as whoever wrote it knows it.
    pub(crate) fn name_of<'a>(&'a self, key: &'a str) -> &'a str {
        self.holding(key).map_or(key, Setting::written)
    }

    fn holding(&self, key: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .rev()
            .find(|setting| setting.key == key)
    }
}

// === impl Setting ===

impl Setting {
    /// The key as whoever wrote it knows it.
    pub(crate) fn written(&self) -> &str {
        self.origin.as_deref().unwrap_or(&self.key)
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn file(path: &Path, line: u64) -> Self {
        Self::File {
            path: path.display().to_string(),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

// === impl Findings ===

impl Findings {
    pub(crate) fn error(&mut self, place: &Place, message: String) {
        self.errors.push(Finding {
            place: place.clone(),
            message,
        });
    }

    pub(crate) fn warning(&mut self, place: &Place, message: String) {
        self.warnings.push(Finding {
            place: place.clone(),
            message,
        });
    }

    /// In the order of the file. Flags come first.
    pub(crate) fn sort(&mut self) {
        let line = |finding: &Finding| match finding.place {
            Place::File { line, .. } => line,
            Place::Defaults | Place::Flag(_) => 0,
        };
        self.errors.sort_by_key(line);
        self.warnings.sort_by_key(line);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }
}

impl fmt::Display for Findings {
    /// A line each: warnings first, so that what ends the process is read last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        Ok(())
    }
}

// === impl Finding ===

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
