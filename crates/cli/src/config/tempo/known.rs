//! Every key that a Tempo takes, 2.x or 3.x, and the flags that stand for them.
//!
//! The tree is `keys.yaml`. It tells a typing error from a key that is newer than the list, and a
//! flag that is on without a value from one that needs one. What becomes of a key it does not say.

use std::sync::OnceLock;

use tracewell_query::syntax::distance;

use crate::config::yaml::{self, Node, Value};

const TREE: &str = include_str!("keys.yaml");

/// Flags whose name is not that of their key with dashes.
const FLAGS: &[(&str, &str)] = &[
    ("auth.enabled", "auth_enabled"),
    ("multitenancy.enabled", "multitenancy_enabled"),
    ("search.enabled", "search_enabled"),
    ("metrics-generator.enabled", "metrics_generator_enabled"),
    ("log.level", "server.log_level"),
    ("log.format", "server.log_format"),
    ("reporting.enabled", "usage_report.reporting_enabled"),
    ("memberlist.host-port", "memberlist.join_members"),
    ("memberlist.join", "memberlist.join_members"),
    ("storage.trace.gcs.bucket", "storage.trace.gcs.bucket_name"),
    (
        "storage.trace.azure.endpoint",
        "storage.trace.azure.endpoint_suffix",
    ),
    (
        "distributor.log-received-spans.include-attributes",
        "distributor.log_received_spans.include_all_attributes",
    ),
    (
        "distributor.log-discarded-spans.include-attributes",
        "distributor.log_discarded_spans.include_all_attributes",
    ),
    (
        "distributor.rate-limit-strategy",
        "overrides.defaults.ingestion.rate_strategy",
    ),
    (
        "distributor.ingestion-rate-limit-bytes",
        "overrides.defaults.ingestion.rate_limit_bytes",
    ),
    (
        "distributor.ingestion-burst-size-bytes",
        "overrides.defaults.ingestion.burst_size_bytes",
    ),
    (
        "ingester.max-traces-per-user",
        "overrides.defaults.ingestion.max_traces_per_user",
    ),
    (
        "ingester.max-global-traces-per-user",
        "overrides.defaults.ingestion.max_global_traces_per_user",
    ),
    (
        "ingester.max-bytes-per-trace",
        "overrides.defaults.global.max_bytes_per_trace",
    ),
    (
        "querier.max-bytes-per-tag-values-query",
        "overrides.defaults.read.max_bytes_per_tag_values_query",
    ),
    (
        "querier.max-blocks-per-tag-values-query",
        "overrides.defaults.read.max_blocks_per_tag_values_query",
    ),
    (
        "config.per-user-override-config",
        "overrides.per_tenant_override_config",
    ),
    (
        "config.per-user-override-period",
        "overrides.per_tenant_override_period",
    ),
    (
        "config.enable-legacy-overrides",
        "overrides.enable_legacy_overrides",
    ),
];
/// Flags that say where the configuration is and what to do with it, see `legacy_flags`.
const LOADER: [&str; 7] = [
    "config.file",
    "config.verify",
    "config.expand-env",
    "verify-config",
    "health",
    "health.url",
    "version",
];
/// Flags that have no key, with whether they are switches.
const KEYLESS: &[(&str, bool)] = &[("mem-ballast-size-mbs", false)];
/// Sections whose keys `bucket` knows.
const STORES: [&str; 3] = [
    "storage.trace.s3.",
    "storage.trace.gcs.",
    "storage.trace.azure.",
];
/// The switches among those.
const STORE_SWITCHES: [&str; 8] = [
    "enable_dual_stack",
    "forcepathstyle",
    "insecure",
    "native_aws_auth_enabled",
    "signature_v2",
    "tls_insecure_skip_verify",
    "use_federated_token",
    "use_managed_identity",
];
/// Written so differently, a key is not the one that was meant.
const EDITS_MAX: usize = 3;
/// A last part as long as this says which key was meant, wherever it was put.
const TELLING_NAME_MIN: usize = 9;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    Value,
    List,
    /// Anything, keys of its own included.
    Any,
}

/// What a flag stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The key in a file.
    pub(crate) key: String,
    pub(crate) is_switch: bool,
}

/// Every leaf with its path, in the order of the tree.
fn leaves() -> &'static [(String, Kind)] {
    static LEAVES: OnceLock<Vec<(String, Kind)>> = OnceLock::new();
    LEAVES.get_or_init(|| {
        let mut leaves = Vec::new();
        if let Ok(tree) = yaml::parse(TREE) {
            collect("", &tree, &mut leaves);
        }
        leaves
    })
}

fn collect(prefix: &str, node: &Node, leaves: &mut Vec<(String, Kind)>) {
    let kind = match &node.value {
        Value::Map(entries) => {
            for (key, child) in entries {
                collect(&joined(prefix, &key.name), child, leaves);
            }
            return;
        }
        Value::Text(kind) if kind == "switch" => Kind::Switch,
        Value::Text(kind) if kind == "list" => Kind::List,
        Value::Text(kind) if kind == "value" => Kind::Value,
        _ => Kind::Any,
    };
    leaves.push((prefix.to_owned(), kind));
}

/// Every leaf's path.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    leaves().iter().map(|(leaf, _)| leaf.as_str())
}

/// What a leaf holds, if it is one.
pub(super) fn kind(path: &str) -> Option<Kind> {
    let leaf = leaves().iter().find(|(leaf, _)| leaf == path);
    leaf.map(|(_, kind)| *kind)
}

/// The first key below a section, as an example of what lies there.
pub(super) fn first_below(path: &str) -> Option<&'static str> {
    let below = format!("{path}.");
    let mut paths = leaves().iter().map(|(leaf, _)| leaf.as_str());
    paths.find(|leaf| leaf.starts_with(&below))
}

/// The path of a key in a section.
pub(super) fn joined(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}.{name}"),
    }
}

/// True for a leaf, for a section, and for what lies below a section that takes anything.
pub(super) fn is_known(path: &str) -> bool {
    kind(path).is_some()
        || first_below(path).is_some()
        || ancestors(path).any(|above| kind(above) == Some(Kind::Any))
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.')
        .filter_map(|(dot, _)| path.get(..dot))
}

/// Keys at the root of a file, those that a file of ours has too left out.
pub(super) fn is_root(name: &str) -> bool {
    name != "storage" && is_known(name)
}

/// The key that was meant, if it is clear which: one that differs by a few letters, or one of the
/// same name in another section.
pub(super) fn nearest(path: &str) -> Option<String> {
    let mut candidates: Vec<&str> = leaves().iter().map(|(leaf, _)| leaf.as_str()).collect();
    let sections: Vec<&str> = candidates.iter().flat_map(|leaf| ancestors(leaf)).collect();
    candidates.extend(sections);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let name = last(path);
    let written = candidates
        .iter()
        .map(|known| (distance(path, known), *known));
    let few = EDITS_MAX.min(name.len().div_ceil(3));
    let typed = written.min().filter(|(edits, _)| *edits <= few);
    let moved = || {
        let same = candidates.iter().filter(|known| last(known) == name);
        let near = same.map(|known| (distance(path, known), *known)).min();
        near.filter(|_| name.len() >= TELLING_NAME_MIN)
    };
    typed.or_else(moved).map(|(_, known)| known.to_owned())
}

/// True for two keys of different sections at the root, where the first one's is known: that section may
/// have got a key that others have had before.
pub(super) fn may_be_newer(path: &str, near: &str) -> bool {
    let root = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    is_known(&root(path)) && root(path) != root(near)
}

/// What a flag such as `server.http-listen-port` stands for.
pub(crate) fn flag(name: &str) -> Option<Flag> {
    if let Some((name, is_switch)) = KEYLESS.iter().find(|(known, _)| *known == name) {
        return Some(Flag {
            key: (*name).to_owned(),
            is_switch: *is_switch,
        });
    }
    let renamed = FLAGS.iter().find(|(known, _)| *known == name);
    let key = match renamed {
        Some((_, key)) => (*key).to_owned(),
        // Go's flags write dashes where the file has underscores.
        None => name.replace('-', "_"),
    };
    let in_store = STORES.iter().find_map(|store| key.strip_prefix(store));
    let is_switch = match (kind(&key), in_store) {
        (_, Some(name)) => STORE_SWITCHES.contains(&name),
        (None | Some(Kind::Any), None) => return None,
        (Some(kind), None) => kind == Kind::Switch,
    };
    Some(Flag { key, is_switch })
}

/// The flag that was meant.
pub(super) fn nearest_flag(name: &str) -> Option<String> {
    let named = FLAGS.iter().map(|(flag, _)| *flag).chain(LOADER);
    let few = EDITS_MAX.min(name.len().div_ceil(3));
    let near = named
        .map(|flag| (distance(name, flag), flag))
        .min()
        .filter(|(edits, _)| *edits <= few);
    match near {
        Some((_, flag)) => Some(flag.to_owned()),
        None => nearest(&name.replace('-', "_")).map(|key| key.replace('_', "-")),
    }
}

/// True for a flag that has no key in a file and no meaning here.
pub(super) fn is_keyless(name: &str) -> bool {
    KEYLESS.iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read_and_its_shared_parts_are_everywhere() {
        assert!(leaves().len() > 500, "{}", leaves().len());
        for path in [
            "server.http_listen_port",
            "compactor.compaction.block_retention",
            "backend_worker.compaction.block_retention",
            "live_store.ring.kvstore.etcd.tls_enabled",
            "overrides.defaults.metrics_generator.processor.span_metrics.dimensions",
            "distributor.receivers.otlp.protocols.grpc",
            "memberlist",
        ] {
            assert!(is_known(path), "{path}");
        }
        for path in ["servr", "server.http_listen", "storage.trace.local.pth"] {
            assert!(!is_known(path), "{path}");
        }
        assert!(is_root("live_store") && !is_root("storage") && !is_root("retention"));
    }

    #[test]
    fn the_key_that_was_meant() {
        for (written, meant) in [
            ("compactr", Some("compactor")),
            ("server.http_listn_port", Some("server.http_listen_port")),
            ("http_listen_port", Some("server.http_listen_port")),
            (
                "compaction.block_retention",
                Some("compactor.compaction.block_retention"),
            ),
            ("server.something_new", None),
            ("brand_new_section", None),
            ("ingester.wal", None),
        ] {
            assert_eq!(nearest(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn flags_stand_for_keys() {
        for (name, key, is_switch) in [
            ("server.http-listen-port", "server.http_listen_port", false),
            ("auth.enabled", "auth_enabled", true),
            ("target", "target", false),
            (
                "query-frontend.mcp-server.enabled",
                "query_frontend.mcp_server.enabled",
                true,
            ),
            (
                "storage.trace.s3.access_key",
                "storage.trace.s3.access_key",
                false,
            ),
            (
                "storage.trace.s3.insecure",
                "storage.trace.s3.insecure",
                true,
            ),
            ("log.level", "server.log_level", false),
            ("mem-ballast-size-mbs", "mem-ballast-size-mbs", false),
        ] {
            let expected = Flag {
                key: key.to_owned(),
                is_switch,
            };
            assert_eq!(flag(name), Some(expected), "{name}");
        }
        for (name, meant) in [
            ("server.http-listen-prt", Some("server.http-listen-port")),
            ("auth.enable", Some("auth.enabled")),
            ("config.flie", Some("config.file")),
            ("no.such-thing", None),
        ] {
            assert_eq!(flag(name), None, "{name}");
            assert_eq!(nearest_flag(name).as_deref(), meant, "{name}");
        }
        for (_, key) in FLAGS {
            assert!(is_known(key), "{key}");
        }
    }
}
