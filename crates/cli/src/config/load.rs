//! From arguments to a configuration: reads the file, recognises Tempo's, puts flags on top.

use std::path::PathBuf;

use super::raw::{Findings, Place, Raw};
use super::{Config, tempo, yaml};

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    /// `--set key=value`.
    pub(crate) settings: Vec<String>,
    /// Flags that stand for a key: flag, key, value.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
    /// Flags of Tempo's, without the dash and with underscores: `server.http_listen_port`.
    pub(crate) tempo_flags: Vec<(String, String)>,
    /// Whether `${NAME}` in the file is replaced.
    pub(crate) expand_env: bool,
}

/// A configuration with what is to be said about it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) raw: Raw,
    pub(crate) findings: Findings,
}

// === impl Source ===

impl Source {
    /// Never fails: what is wrong with a file or flag is among the findings.
    pub(crate) fn load(&self) -> Loaded {
        let mut findings = Findings::default();
        let mut raw = match &self.file {
            Some(path) => self.read(path, &mut findings),
            None if self.tempo_flags.is_empty() => Raw::default(),
            None => {
                let empty = yaml::Node::empty();
                let (raw, more) = tempo::translate(&PathBuf::new(), empty, &self.tempo_flags);
                findings.extend(more);
                raw
            }
        };
        for setting in &self.settings {
            match setting.split_once('=') {
                Some((key, value)) => raw.set(&format!("--set {setting}"), key.trim(), value),
                None => findings.error(
                    &Place::Flag(format!("--set {setting}")),
                    "expected KEY=VALUE, such as --set retention.age=72h".to_owned(),
                ),
            }
        }
        for (flag, key, value) in &self.flags {
            raw.set(flag, key, value);
        }
        let (config, more) = Config::from_raw(&raw);
        findings.extend(more);
        Loaded {
            config,
            raw,
            findings,
        }
    }

    fn read(&self, path: &PathBuf, findings: &mut Findings) -> Raw {
        let whole = Place::Flag(path.display().to_string());
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let expanded = read.and_then(|text| {
            if self.expand_env {
                tempo::expand(&text, &|name| std::env::var(name).ok())
            } else {
                Ok(text)
            }
        });
        let root = match expanded.and_then(|text| yaml::parse(&text)) {
            Ok(root) => root,
            Err(error) => {
                findings.error(&whole, error);
                return Raw::default();
            }
        };
        if tempo::is_tempo(&root) || !self.tempo_flags.is_empty() {
            let (raw, more) = tempo::translate(path, root, &self.tempo_flags);
            findings.extend(more);
            raw
        } else if matches!(root.value, yaml::Value::Map(_)) {
            Raw::from_file(path, &root)
        } else {
            findings.error(
                &whole,
                format!("expected keys and values, found {}", root.value),
            );
            Raw::default()
        }
    }
}
