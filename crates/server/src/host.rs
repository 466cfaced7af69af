//! What the server asks of the process around it. The binary implements it.

use futures::future::BoxFuture;

use crate::metrics::Samples;

/// The process, as the operational endpoints see it.
pub trait Host: Send + Sync + std::fmt::Debug {
    /// For `/ready`.
    fn readiness(&self) -> Readiness;

    /// Cuts the head and resolves when all that was acknowledged before lies in blocks.
    fn flush(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Begins an orderly stop and returns at once.
    fn shutdown(&self);

    /// The configuration as YAML, secrets masked.
    fn config(&self, mode: ConfigMode) -> Result<String, String>;

    /// For `/status/services`.
    fn services(&self) -> Vec<ServiceState>;

    /// For the status page, in order.
    fn status(&self) -> Vec<Section>;

    /// The file of overrides, where there is one.
    fn overrides(&self) -> Option<OverridesFile>;

    fn build(&self) -> BuildInfo;

    /// Adds what the store and the process count.
    fn measure(&self, samples: &mut Samples);
}

/// Whether requests are served well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Why the process is not ready; empty if it is.
    pub not_ready: Vec<String>,
    /// What is worth knowing and no reason against it, such as a port that was taken.
    pub warnings: Vec<String>,
}

/// Which configuration is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigMode {
    /// As it is in force.
    Full,
    Defaults,
    /// What differs from the defaults.
    Diff,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    pub name: String,
    /// `Running`, `Starting`, `Stopping`, `Failed`: Tempo's words.
    pub state: String,
}

/// Facts of one kind, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    pub name: &'static str,
    pub facts: Vec<Fact>,
}

/// A name in words and what is so named.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub name: String,
    pub value: FactValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FactValue {
    Text(String),
    Count(u64),
    Bytes(u64),
    Seconds(f64),
    /// Of what the name says, each second.
    PerSecond(f64),
    BytesPerSecond(f64),
    /// Several of one thing.
    Group(Vec<(&'static str, FactValue)>),
}

/// The file that says what single tenants may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverridesFile {
    pub path: String,
    /// Why its newest version is not in force.
    pub refused: Option<String>,
}

/// What was built, and from what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInfo {
    pub version: String,
    pub revision: String,
    pub branch: String,
    pub build_date: String,
    pub rust_version: String,
}

// === impl Section ===

impl Section {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            facts: Vec::new(),
        }
    }

    pub fn with(mut self, name: impl Into<String>, value: FactValue) -> Self {
        self.push(name, value);
        self
    }

    pub fn push(&mut self, name: impl Into<String>, value: FactValue) {
        self.facts.push(Fact {
            name: name.into(),
            value,
        });
    }
}
