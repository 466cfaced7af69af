//! What checking a configuration comes to: the text that is printed, and whether it passes.

use std::fmt;

use super::load::Loaded;
use super::raw::Findings;

/// The outcome of `--verify`, `-config.verify`, `-verify-config` and `tracewell config verify`.
#[derive(Debug)]
pub(crate) struct Verdict<'a> {
    findings: &'a Findings,
    /// Whether a warning is an error.
    strict: bool,
}

// === impl Verdict ===

impl<'a> Verdict<'a> {
    pub(crate) fn of(loaded: &'a Loaded, strict: bool) -> Self {
        Self {
            findings: &loaded.findings,
            strict,
        }
    }

    pub(crate) fn passes(&self) -> bool {
        let Findings { errors, warnings } = self.findings;
        errors.is_empty() && (warnings.is_empty() || !self.strict)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { errors, warnings } = self.findings;
        write!(f, "{}", self.findings)?;
        let counted = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let n_warnings = counted(warnings.len(), "warning");
        if !errors.is_empty() {
            let n_errors = counted(errors.len(), "error");
            writeln!(
                f,
                "the configuration has {n_errors} and {n_warnings}; no server starts from it"
            )
        } else if warnings.is_empty() {
            writeln!(
                f,
                "the configuration is valid; a server would start from it"
            )
        } else if self.strict {
            writeln!(
                f,
                "the configuration has {n_warnings}; a server would start from it, --strict takes none"
            )
        } else {
            writeln!(
                f,
                "the configuration is valid, with {n_warnings}; a server would start from it"
            )
        }
    }
}
