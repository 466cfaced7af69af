//! Limits of single tenants: a file beside the configuration, read at the start and again while the
//! server runs.
//!
//! Below `overrides`, each tenant has an entry, and `"*"` has what holds for all of them. An entry holds
//! keys of [`TENANT_KEYS`], written without `limits.`, and [`AGE`]; or limits in the forms of Tempo's own file. What it
//! does not say it inherits, key by key: from `"*"`, then from the configuration. What a key means and how
//! it is written the table of keys says, as everywhere.

use std::collections::BTreeMap;
use std::path::Path;

use tracewell_ingest::tenants::TenantLimits;
use tracewell_model::limits::TENANT_KEYS;
use tracewell_model::{RetentionAges, TenantId};

use super::beside::{self, Beside};
use super::raw::{Findings, Place, Raw, Setting};
use super::yaml::{self, Node, Value};
use super::{Config, EVERYBODY, RETENTION_AGE_MIN, keys, tempo};

pub(super) const FILE: Beside = Beside {
    key: "tenants.overrides_path",
    path: |config| config.tenants.overrides_path.as_deref(),
};

/// How long the traces of a tenant are kept.
const AGE: &str = "retention.age";

/// The limits of everybody, by what that file says, if there is one.
pub(super) fn load(config: &Config, text: Option<&str>, findings: &mut Findings) -> TenantLimits {
    let Some((path, text)) = (FILE.path)(config).zip(text) else {
        return TenantLimits {
            retention: config.retention.age.into(),
            ..TenantLimits::from(config.limits.clone())
        };
    };
    let (limits, more) = parse(config, path, text);
    findings.extend(more);
    limits
}

/// All that is wrong is found at once; the limits are of use only where nothing is.
pub(crate) fn parse(config: &Config, path: &Path, text: &str) -> (TenantLimits, Findings) {
    let mut file = File {
        path,
        findings: Findings::default(),
    };
    let entries = file.entries(text);
    let (everybody, single): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|(_, name, _)| name == EVERYBODY);
    let mut others = config.clone();
    for (_, name, entry) in &everybody {
        file.apply(&mut others, name, entry);
    }
    let mut named = BTreeMap::new();
    let mut ages = RetentionAges::from(others.retention.age);
    for (line, name, entry) in &single {
        let place = Place::file(path, *line);
        match TenantId::new(name) {
            Ok(id) => {
                let mut own = others.clone();
                file.apply(&mut own, name, entry);
                if own.retention.age != others.retention.age {
                    ages.named.insert(id.clone(), own.retention.age);
                }
                named.insert(id, own.limits);
            }
            Err(error) => file.findings.error(&place, format!("overrides: {error}")),
        }
    }
    file.findings.sort();
    let limits = TenantLimits {
        others: others.limits,
        named,
        retention: ages,
    };
    (limits, file.findings)
}

struct File<'a> {
    path: &'a Path,
    findings: Findings,
}

// === impl File ===

impl File<'_> {
    /// Line, name and content of each entry.
    fn entries(&mut self, text: &str) -> Vec<(u64, String, Node)> {
        let Some(root) = beside::parse(self.path, text, &mut self.findings) else {
            return Vec::new();
        };
        let sections = match root.value {
            Value::Map(sections) => sections,
            // An empty file has no overrides.
            Value::Null => return Vec::new(),
            other => {
                let place = Place::file(self.path, root.line.max(1));
                let message =
                    format!("expected `overrides:` with an entry for each tenant, found {other}");
                self.findings.error(&place, message);
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (key, section) in sections {
            let place = Place::file(self.path, key.line);
            match (key.name.as_str(), section.value) {
                ("overrides", Value::Map(entries)) => found.extend(
                    entries
                        .into_iter()
                        .map(|(key, entry)| (key.line, key.name, entry)),
                ),
                ("overrides", Value::Null) => {}
                ("overrides", other) => {
                    let message =
                        format!("overrides: expected an entry for each tenant, found {other}");
                    self.findings.error(&place, message);
                }
                (name, _) => {
                    let message = format!("unknown key {name}; did you mean overrides?");
                    self.findings.error(&place, message);
                }
            }
        }
        found
    }

    /// What an entry says, over what holds without it.
    fn apply(&mut self, config: &mut Config, tenant: &str, entry: &Node) {
        let (own, foreign) = match &entry.value {
            Value::Map(entries) => {
                let is_own = |name: &str| {
                    TENANT_KEYS.contains(&limit(name).as_str()) || name.starts_with("retention.")
                };
                flat(entries).partition(|(key, _)| is_own(&key.name))
            }
            Value::Null => (Vec::new(), Vec::new()),
            other => {
                let place = Place::file(self.path, entry.line);
                let message = format!("overrides.{tenant}: expected limits, found {other}");
                self.findings.error(&place, message);
                return;
            }
        };
        let mut settings = self.foreign(tenant, foreign);
        settings.extend(own.into_iter().map(|(key, node)| Setting {
            origin: Some(format!("overrides.{tenant}.{}", key.name)),
            key: match key.name.starts_with("retention.") {
                true => key.name,
                false => limit(&key.name),
            },
            place: Place::file(self.path, key.line),
            node,
        }));
        for setting in &settings {
            self.set(config, setting);
        }
    }

    /// Limits as Tempo writes them, in either of its forms.
    fn foreign(&mut self, tenant: &str, entries: Vec<(yaml::Key, Node)>) -> Vec<Setting> {
        let known: Vec<_> = entries
            .into_iter()
            .filter(|(key, node)| {
                let is_known = tempo::is_limit(&key.name);
                if !is_known {
                    let limits = TENANT_KEYS.iter();
                    let names = limits
                        .filter_map(|key| key.strip_prefix("limits."))
                        .chain([AGE]);
                    let remedy = match keys::nearest(&key.name, names) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "the guide lists what a tenant may have (docs/guide/tenants.md)"
                            .to_owned(),
                    };
                    let message =
                        format!("overrides.{tenant}: unknown limit {}; {remedy}", key.name);
                    let line = if key.line == 0 { node.line } else { key.line };
                    self.findings.error(&Place::file(self.path, line), message);
                }
                is_known
            })
            .collect();
        let (raw, findings): (Raw, Findings) = tempo::translate_limits(self.path, known);
        let renamed = |mut finding: super::raw::Finding| {
            let own = format!("overrides.{tenant}");
            finding.message = finding.message.replace("overrides.defaults", &own);
            finding
        };
        let Findings { errors, warnings } = findings;
        self.findings.errors.extend(errors.into_iter().map(renamed));
        self.findings
            .warnings
            .extend(warnings.into_iter().map(renamed));
        let mut settings = raw.settings;
        let own = format!("overrides.{tenant}");
        for origin in settings.iter_mut().filter_map(|it| it.origin.as_mut()) {
            *origin = origin.replace("overrides.defaults", &own);
        }
        settings
    }

    fn set(&mut self, config: &mut Config, setting: &Setting) {
        let written = setting.written();
        if setting.node.value == Value::Null {
            return; // A key without a value is a key that is not set.
        }
        let Some(key) = keys::find(&setting.key) else {
            let message = format!("{written}: unknown key; did you mean {AGE}?");
            self.findings.error(&setting.place, message);
            return;
        };
        if key.name != AGE && !TENANT_KEYS.contains(&key.name) {
            let message = format!(
                "{written} has no effect: {} holds for all tenants",
                setting.key
            );
            self.findings.warning(&setting.place, message);
            return;
        }
        let applied = (key.apply)(config, &setting.node);
        let checked = applied.and_then(|()| match config.retention.age < RETENTION_AGE_MIN {
            true => Err("write 1m or more".to_owned()),
            false => Ok(()),
        });
        if let Err(message) = checked {
            self.findings
                .error(&setting.place, format!("{written}: {message}"));
        }
    }
}

/// The entries, with those below `retention` as `retention.age`: it may be written as in the configuration.
fn flat(entries: &[(yaml::Key, Node)]) -> impl Iterator<Item = (yaml::Key, Node)> {
    entries.iter().flat_map(|(key, node)| match &node.value {
        Value::Map(below) if key.name == "retention" => {
            let named = |(child, node): &(yaml::Key, Node)| {
                let name = format!("{}.{}", key.name, child.name);
                let line = child.line;
                (yaml::Key { line, name }, node.clone())
            };
            below.iter().map(named).collect()
        }
        _ => vec![(key.clone(), node.clone())],
    })
}

fn limit(name: &str) -> String {
    format!("limits.{name}")
}

#[cfg(test)]
mod tests {
    use tracewell_model::Limits;

    use super::*;

    fn parsed(text: &str) -> (TenantLimits, Findings) {
        let mut config = Config::default();
        config.limits.tenant_bytes_per_second_max = 1_000;
        config.limits.request_spans_max = 77;
        parse(&config, Path::new("overrides.yaml"), text)
    }

    fn of<'a>(limits: &'a TenantLimits, tenant: &str) -> &'a Limits {
        let id = TenantId::new(tenant).unwrap();
        limits.named.get(&id).unwrap_or(&limits.others)
    }

    const BOTH_FORMS: &str = "\
overrides:
  ours:
    tenant_burst_bytes_max: 2MB
  nested:
    ingestion:
      rate_limit_bytes: 5000
  flat:
    ingestion_burst_size_bytes: 3000
  off:
    tenant_bytes_per_second_max: off
    query_ms_max: 5s
  nothing:
  '*':
    attribute_value_bytes_max: 1KiB
";

    #[test]
    fn what_an_entry_does_not_say_it_inherits_key_by_key() {
        let (limits, findings) = parsed(BOTH_FORMS);
        assert!(findings.errors.is_empty(), "{findings}");
        let rate = |tenant| of(&limits, tenant).tenant_bytes_per_second_max;
        let burst = |tenant| of(&limits, tenant).tenant_burst_bytes_max;
        let default_burst = Limits::default().tenant_burst_bytes_max;
        assert_eq!((rate("ours"), burst("ours")), (1_000, 2_000_000));
        assert_eq!((rate("nested"), burst("nested")), (5_000, default_burst));
        assert_eq!((rate("flat"), burst("flat")), (1_000, 3_000));
        assert_eq!(rate("off"), Limits::NONE);
        assert_eq!(of(&limits, "off").query_ms_max, 5_000);
        for tenant in ["ours", "nested", "flat", "off", "nothing", "not-named"] {
            let limits = of(&limits, tenant);
            assert_eq!(limits.attribute_value_bytes_max, 1 << 10, "{tenant}: of *");
            assert_eq!(
                limits.request_spans_max, 77,
                "{tenant}: of the configuration"
            );
        }
    }

    #[test]
    fn a_tenant_may_have_its_traces_kept_for_an_age_of_its_own() {
        let text = "\
overrides:
  ours: { retention.age: 90d }
  as-in-the-configuration:
    retention:
      age: 48h
  nested: { compaction: { block_retention: 72h } }
  flat: { block_retention: 1h }
  zero: { block_retention: 0 }
  nothing:
  '*':
    block_retention: 24h
";
        let (limits, findings) = parsed(text);
        let all = findings.to_string();
        assert!(all.is_empty(), "{all}");
        for (tenant, hours) in [
            ("ours", 90 * 24),
            ("as-in-the-configuration", 48),
            ("nested", 72),
            ("flat", 1),
            ("zero", 24),
            ("nothing", 24),
            ("not-named", 24),
        ] {
            let age = limits.retention.of(&TenantId::new(tenant).unwrap());
            assert_eq!(age.as_secs(), hours * 3_600, "{tenant}");
        }
        assert_eq!(limits.retention.longest().as_secs(), 90 * 86_400);
        let (limits, _) = parsed("overrides:\n  a: { request_spans_max: 5 }\n");
        assert_eq!(limits.retention, Config::default().retention.age.into());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, words) in [
            (
                "overrides:\n  a:\n    tenant_bytes_per_secnd_max: 1\n",
                3,
                "did you mean tenant_bytes_per_second_max?",
            ),
            (
                "overrides:\n  a:\n    tenant_bytes_per_second_max: much\n",
                3,
                "overrides.a.tenant_bytes_per_second_max",
            ),
            (
                "overrides:\n  a:\n    ingestion:\n      rate_limit_byte: 1\n",
                4,
                "overrides.a.ingestion.rate_limit_bytes?",
            ),
            (
                "overrides:\n  a/b:\n    request_spans_max: 1\n",
                2,
                "not allowed",
            ),
            ("overrides:\n  a: 5\n", 2, "expected limits"),
            (
                "overrides:\n  a:\n    retention:\n      age: 5s\n",
                4,
                "overrides.a.retention.age: write 1m or more",
            ),
            (
                "overrides:\n  a:\n    compaction:\n      block_retention: 5s\n",
                4,
                "overrides.a.compaction.block_retention: write 1m or more",
            ),
            (
                "overrides:\n  a:\n    retention.ages: 5h\n",
                3,
                "did you mean retention.age?",
            ),
            ("overridez:\n  a:\n", 1, "did you mean overrides?"),
            ("overrides:\n  a:\n  a:\n", 3, "a"),
            ("overrides: [\n", 1, ""),
            ("- a\n", 1, "expected `overrides:`"),
        ] {
            let (_, findings) = parsed(text);
            assert_eq!(findings.errors.len(), 1, "{text}: {findings}");
            let error = findings.errors[0].to_string();
            let place = format!("overrides.yaml:{line}: ");
            assert!(
                error.starts_with(&place) || words.is_empty(),
                "{text}: {error}"
            );
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_has_no_effect_for_one_tenant_is_warned_of() {
        let text = "overrides:\n  a:\n    retention.disk: 5GB\n    metrics_generator_processors: [span-metrics]\n";
        let (_, findings) = parsed(text);
        assert!(findings.errors.is_empty(), "{findings}");
        let warnings = findings.to_string();
        for words in [
            "retention.disk holds for all tenants",
            "metrics from spans are not built yet",
        ] {
            assert!(warnings.contains(words), "{warnings}");
        }
        let (limits, findings) = parsed("");
        assert!(
            findings.errors.is_empty() && limits.named.is_empty(),
            "{findings}"
        );
    }

    #[test]
    fn every_key_of_a_tenant_is_a_key() {
        for key in TENANT_KEYS {
            assert!(keys::find(key).is_some(), "{key}");
        }
    }
}
