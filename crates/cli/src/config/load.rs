//! From arguments to a configuration: reads the file, recognises Tempo's, puts flags on top.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use tracewell_ingest::TenantLimits;
use tracewell_ingest::tls::Tls;
use tracewell_ingest::tokens::Tokens;

use super::raw::{Findings, Place, Raw};
use super::{Config, beside, overrides, tempo, tokens, yaml};
use crate::objects::Requests;

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    /// `--set key=value`.
    pub(crate) settings: Vec<String>,
    /// Flags that stand for a key: flag, key, value.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
    /// Flags of Tempo's as they were typed, without the dash: `server.http-listen-port`.
    pub(crate) tempo_flags: Vec<(String, String)>,
    /// Whether `${NAME}` in the file is replaced.
    pub(crate) expand_env: bool,
}

/// A configuration with what is to be said about it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The limits of everybody, as they hold at the start.
    pub(crate) tenant_limits: TenantLimits,
    /// The file that they come from, as it was read.
    pub(crate) overrides_text: Option<String>,
    /// The tokens that there are at the start.
    pub(crate) tokens: Option<Tokens>,
    pub(crate) tokens_text: Option<String>,
    /// The client of the bucket, where there is one that can be made.
    pub(crate) objects: Option<Arc<dyn ObjectStore>>,
    /// What that client asked.
    pub(crate) bucket_requests: Requests,
    /// The certificates, where there are any that are of use.
    pub(crate) tls: Option<Arc<Tls>>,
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
            None => self.of_flags(&mut findings),
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
        let overrides_text = beside::read(overrides::FILE, &config, &raw, &mut findings);
        let tenant_limits = overrides::load(&config, overrides_text.as_deref(), &mut findings);
        let tokens_text = beside::read(tokens::FILE, &config, &raw, &mut findings);
        let tokens = tokens::load(&config, tokens_text.as_deref(), &mut findings);
        let tls = match config.tls_files().map(Tls::load).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                const KEY: &str = "tls.cert_file";
                let message = format!("{}: {error}", raw.name_of(KEY));
                findings.error(&raw.place_of(KEY), message);
                None
            }
        };
        let bucket_requests = Requests::default();
        let objects = match findings.errors.is_empty() {
            true => objects(&config, bucket_requests.clone(), (&raw, &mut findings)),
            // Of a broken configuration more would be said to be wrong than is.
            false => None,
        };
        Loaded {
            config,
            tenant_limits,
            overrides_text,
            tokens,
            tokens_text,
            objects,
            bucket_requests,
            tls,
            raw,
            findings,
        }
    }

    fn read(&self, path: &PathBuf, findings: &mut Findings) -> Raw {
        let whole = Place::Flag(path.display().to_string());
        let read = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("the file cannot be read: {error}");
            yaml::Error::from(message)
        });
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
                let place = error.line.map(|line| Place::file(path, line));
                findings.error(&place.unwrap_or(whole), error.message);
                return Raw::default();
            }
        };
        if tempo::is_tempo(&root) {
            let (raw, more) = tempo::translate(tempo::Written {
                file: Some((path, root)),
                flags: &self.tempo_flags,
                host_is_chosen: self.host_is_chosen(),
            });
            findings.extend(more);
            raw
        } else if matches!(root.value, yaml::Value::Map(_)) {
            let mut raw = Raw::from_file(path, &root);
            raw.settings.extend(self.of_flags(findings).settings);
            raw
        } else {
            findings.error(
                &whole,
                format!("expected keys and values, found {}", root.value),
            );
            Raw::default()
        }
    }

    /// Flags of Tempo's without a file of Tempo's.
    fn of_flags(&self, findings: &mut Findings) -> Raw {
        let (raw, more) = tempo::translate(tempo::Written {
            file: None,
            flags: &self.tempo_flags,
            host_is_chosen: self.host_is_chosen(),
        });
        findings.extend(more);
        raw
    }

    fn host_is_chosen(&self) -> bool {
        let by_flag = self.flags.iter().any(|(_, key, _)| *key == "listen.host");
        let by_setting = self.settings.iter().any(|setting| {
            let key = setting.split('=').next().unwrap_or_default();
            key.trim() == "listen.host"
        });
        by_flag || by_setting
    }
}

fn objects(
    config: &Config,
    requests: Requests,
    (raw, findings): (&Raw, &mut Findings),
) -> Option<Arc<dyn ObjectStore>> {
    let client = crate::objects::client_of(&config.bucket, requests);
    client.unwrap_or_else(|error| {
        const KEY: &str = "bucket.kind";
        let message = format!("{}: {error:#}", raw.name_of(KEY));
        findings.error(&raw.place_of(KEY), message);
        None
    })
}
