//! A configuration file of Tempo's (2.x, 3.x), translated into settings of our own.
//!
//! The table [`KEYS`] says for every key of Tempo's what becomes of it: it is taken over, it has no
//! meaning here (a warning with its line), or it would change what the server does or whom it lets
//! in and cannot be honoured (the start is refused). Receivers are read by [`receivers`]. Keys that
//! are in neither are warnings, unless they look as if they protected something.

mod bucket;
mod environment;
mod receivers;

use std::path::Path;

use super::keys::nearest;
use super::raw::{Findings, Place, Raw, Setting};
use super::yaml::{Key, Node, Value};

pub(crate) use environment::expand;

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Action {
    /// It is this key of ours, written in the same way.
    Same(&'static str),
    /// It is this key of ours after a conversion of its value.
    Convert(&'static str, fn(&Node) -> Result<Node, String>),
    /// It says what is so anyway.
    Silent,
    /// It has no effect, and this is why.
    NoEffect(&'static str),
    /// Only this value can be honoured.
    Only(&'static [&'static str], &'static str),
    /// It cannot be honoured, and the start is refused.
    Refuse(&'static str),
    /// It is read elsewhere.
    Elsewhere,
}

/// Root keys of Tempo's that are not ours.
const ROOTS: &[&str] = &[
    "auth_enabled",
    "backend_scheduler",
    "backend_worker",
    "block_builder",
    "cache",
    "compactor",
    "distributor",
    "http_api_prefix",
    "ingest",
    "ingester",
    "ingester_client",
    "live_store",
    "live_store_client",
    "memberlist",
    "metrics_generator",
    "metrics_generator_client",
    "multitenancy_enabled",
    "overrides",
    "querier",
    "query_frontend",
    "server",
    "shutdown_delay",
    "stream_over_http_enabled",
    "target",
    "usage_report",
    "enable_go_runtime_metrics",
    "use_otel_tracer",
    "search_enabled",
    "metrics_generator_enabled",
];
/// A key with one of these in its path may protect something.
const PROTECTIVE: &[&str] = &[
    "tls",
    "auth",
    "cert",
    "token",
    "password",
    "tenan",
    "secret",
    "client_ca",
];

const TUNING: &str = "Tracewell sizes this by itself, see limits.memory_bytes";
const ONE_PROCESS: &str = "Tracewell is one process and has no ring";
const SLO: &str = "tracewell_queries_within_slo_total counts queries within five seconds; another bound cannot be \
                   set";
const SIGN_ON: &str =
    "it protects, and it is not built yet; put a proxy that does it in front, and take the key out";
const PER_TENANT: &str = "overrides per tenant are not built yet, and what the file says of single tenants would not \
                          hold; take the key out, and set limits.* and retention.age, which hold for all";
const METRICS: &str = "metrics from spans are not built yet";

/// Every key of Tempo's that is known. A pattern that ends in `.*` is all below it; the longest wins.
const KEYS: &[(&str, Action)] = &[
    ("auth_enabled", Action::Only(&["false"], SIGN_ON)),
    ("multitenancy_enabled", Action::Only(&["false"], SIGN_ON)),
    (
        "target",
        Action::Only(
            &["all", "scalable-single-binary"],
            "Tracewell is one process that does everything; it cannot be a part of a cluster of Tempo's",
        ),
    ),
    ("http_api_prefix", Action::Same("http.prefix")),
    (
        "stream_over_http_enabled",
        Action::NoEffect("streaming over gRPC is not built yet"),
    ),
    (
        "shutdown_delay",
        Action::NoEffect("Tracewell stops within a second and loses nothing"),
    ),
    ("usage_report.*", Action::Silent),
    ("use_otel_tracer", Action::Silent),
    ("enable_go_runtime_metrics", Action::Silent),
    (
        "search_enabled",
        Action::Only(&["true"], "search cannot be switched off"),
    ),
    ("metrics_generator_enabled", Action::NoEffect(METRICS)),
    ("server.http_listen_port", Action::Elsewhere),
    ("server.http_listen_address", Action::Elsewhere),
    (
        "server.grpc_listen_port",
        Action::NoEffect("streaming over gRPC is not built yet"),
    ),
    (
        "server.grpc_listen_address",
        Action::NoEffect("streaming over gRPC is not built yet"),
    ),
    ("server.log_level", Action::Same("log.level")),
    (
        "server.log_format",
        Action::Convert("log.format", log_format),
    ),
    ("server.http_tls_config.*", Action::Refuse(SIGN_ON)),
    ("server.grpc_tls_config.*", Action::Refuse(SIGN_ON)),
    ("server.*", Action::NoEffect(TUNING)),
    ("distributor.receivers.*", Action::Elsewhere),
    ("distributor.ring.*", Action::NoEffect(ONE_PROCESS)),
    (
        "distributor.forwarders.*",
        Action::Refuse(
            "forwarding is not built yet, and spans would stop going where they go today",
        ),
    ),
    ("distributor.*", Action::NoEffect(TUNING)),
    (
        "ingester.max_block_duration",
        Action::Convert("storage.max_block_duration", block_duration),
    ),
    ("ingester.lifecycler.*", Action::NoEffect(ONE_PROCESS)),
    ("ingester.*", Action::NoEffect(TUNING)),
    ("ingester_client.*", Action::NoEffect(ONE_PROCESS)),
    (
        "live_store.max_block_duration",
        Action::Convert("storage.max_block_duration", block_duration),
    ),
    ("live_store.*", Action::NoEffect(TUNING)),
    ("live_store_client.*", Action::NoEffect(ONE_PROCESS)),
    ("block_builder.*", Action::NoEffect(ONE_PROCESS)),
    (
        "ingest.*",
        Action::NoEffect("Tracewell writes its own log and reads no Kafka yet"),
    ),
    ("memberlist.*", Action::NoEffect(ONE_PROCESS)),
    (
        "compactor.compaction.block_retention",
        Action::Convert("retention.age", block_retention),
    ),
    (
        "backend_worker.compaction.block_retention",
        Action::Convert("retention.age", block_retention),
    ),
    (
        "overrides.defaults.compaction.block_retention",
        Action::Convert("retention.age", block_retention),
    ),
    (
        "compactor.compaction.compacted_block_retention",
        Action::Convert("bucket.replaced_kept", replaced_kept),
    ),
    (
        "compactor.disabled",
        Action::Only(&["false"], "merging cannot be switched off"),
    ),
    ("compactor.*", Action::NoEffect(TUNING)),
    ("backend_worker.*", Action::NoEffect(TUNING)),
    ("backend_scheduler.*", Action::NoEffect(TUNING)),
    (
        "storage.trace.backend",
        Action::Convert("bucket.kind", bucket_kind),
    ),
    ("storage.trace.local.path", Action::Elsewhere),
    ("storage.trace.wal.path", Action::Elsewhere),
    ("storage.trace.s3.*", Action::Elsewhere),
    ("storage.trace.gcs.*", Action::Elsewhere),
    ("storage.trace.azure.*", Action::Elsewhere),
    ("storage.trace.*", Action::NoEffect(TUNING)),
    ("query_frontend.search.duration_slo", Action::NoEffect(SLO)),
    (
        "query_frontend.search.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.search.metadata_slo.*",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.trace_by_id.duration_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.trace_by_id.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    ("query_frontend.metrics.duration_slo", Action::NoEffect(SLO)),
    (
        "query_frontend.metrics.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.query_end_cutoff",
        Action::NoEffect("the newest spans are searchable at once"),
    ),
    (
        "query_frontend.mcp_server.enabled",
        Action::Only(&["false"], "the MCP server is not built yet"),
    ),
    ("query_frontend.*", Action::NoEffect(TUNING)),
    ("querier.*", Action::NoEffect(TUNING)),
    ("cache.*", Action::NoEffect(TUNING)),
    ("metrics_generator.*", Action::NoEffect(METRICS)),
    ("metrics_generator_client.*", Action::NoEffect(METRICS)),
    (
        "overrides.defaults.metrics_generator.*",
        Action::NoEffect(METRICS),
    ),
    (
        "overrides.defaults.ingestion.*",
        Action::NoEffect(
            "limits per tenant are not built yet; limits.* hold for the whole process",
        ),
    ),
    (
        "overrides.user_configurable_overrides.enabled",
        Action::Only(&["false"], "overrides by API are not built yet"),
    ),
    (
        "overrides.per_tenant_override_config",
        Action::Only(&[""], PER_TENANT),
    ),
    // How often that file is read.
    ("overrides.per_tenant_override_period", Action::Silent),
    (
        "overrides.*",
        Action::NoEffect(
            "limits per tenant are not built yet; limits.* hold for the whole process",
        ),
    ),
];

/// True if this can only be a file of Tempo's.
pub(crate) fn is_tempo(root: &Node) -> bool {
    let foreign = match &root.value {
        Value::Map(entries) => entries
            .iter()
            .any(|(key, _)| ROOTS.contains(&key.name.as_str())),
        _ => false,
    };
    foreign
        || root
            .get("storage")
            .is_some_and(|node| node.get("trace").is_some())
}

/// Translates a file. `flags` are Tempo's own, such as `server.http_listen_port`, with their values.
pub(crate) fn translate(
    path: &Path,
    mut root: Node,
    flags: &[(String, String)],
) -> (Raw, Findings) {
    for (name, value) in flags {
        insert(&mut root, name, Node::from_argument(value));
    }
    let mut translation = Translation {
        path,
        raw: Raw::default(),
        findings: Findings::default(),
    };
    translation.interfaces(&root);
    translation.listen(&root);
    translation.blocks(&root);
    bucket::translate(&mut translation, &root);
    receivers::translate(&mut translation, &root);
    translation.walk("", &root);
    (translation.raw, translation.findings)
}

/// Sets a leaf of the tree, with line 0, which stands for a flag.
fn insert(node: &mut Node, name: &str, leaf: Node) {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    if !matches!(node.value, Value::Map(_)) {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    let known = entries.iter().position(|(key, _)| key.name == first);
    let at = known.unwrap_or_else(|| {
        let key = Key {
            line: 0,
            name: first.to_owned(),
        };
        let empty = Node {
            line: 0,
            value: Value::Null,
        };
        entries.push((key, empty));
        entries.len() - 1
    });
    let Some((key, child)) = entries.get_mut(at) else {
        return;
    };
    if rest.is_empty() {
        key.line = 0;
        *child = leaf;
    } else {
        insert(child, rest, leaf);
    }
}

/// The settings and findings of one file, as they grow.
pub(super) struct Translation<'a> {
    path: &'a Path,
    raw: Raw,
    findings: Findings,
}

// === impl Translation ===

impl Translation<'_> {
    fn place(&self, name: &str, line: u64) -> Place {
        match line {
            0 => Place::Flag(format!("-{name}")),
            line => Place::file(self.path, line),
        }
    }

    fn set(&mut self, key: &str, node: Node, place: Place) {
        self.raw.settings.push(Setting {
            key: key.to_owned(),
            node,
            place,
        });
    }

    fn set_text(&mut self, key: &str, text: String, place: Place) {
        let node = Node {
            line: 0,
            value: Value::Text(text),
        };
        self.set(key, node, place);
    }

    /// Tempo 2.x binds every interface where no address is written.
    fn interfaces(&mut self, root: &Node) {
        let place = Place::file(self.path, root.line.max(1));
        self.set_text("listen.host", "0.0.0.0".to_owned(), place.clone());
        self.findings.warning(
            &place,
            "a Tempo file without addresses listens on all interfaces, and so does Tracewell; \
             --listen-host 127.0.0.1 keeps it local"
                .to_owned(),
        );
    }

    fn listen(&mut self, root: &Node) {
        let Some(server) = root.get("server") else {
            return;
        };
        let port = server.get("http_listen_port");
        let address = server.get("http_listen_address");
        let Some(line) = port.or(address).map(|node| node.line) else {
            return;
        };
        let port = port.map_or(Value::Int(3200), |node| node.value.clone());
        let place = self.place("server.http-listen-port", line);
        match address.map(|node| &node.value) {
            Some(Value::Text(host)) if !host.is_empty() => {
                self.set_text("listen.http", format!("{host}:{port}"), place);
            }
            _ => self.set("listen.http", Node { line, value: port }, place),
        }
    }

    /// Blocks lie in a folder of their own beside those of Tempo's, which stay as they are.
    fn blocks(&mut self, root: &Node) {
        let trace = root.get("storage").and_then(|node| node.get("trace"));
        let path_of = |section: &str| trace?.get(section)?.get("path");
        let (local, wal) = (path_of("local"), path_of("wal"));
        // With its blocks in a bucket a Tempo has one folder, that of its log: there young blocks and
        // pieces of the bucket's lie too.
        let is_in_bucket = trace
            .and_then(|trace| trace.get("backend"))
            .is_some_and(|node| node.value != Value::Text("local".to_owned()));
        let blocks = ["storage.path", "storage.blocks_path"];
        match (local, wal) {
            (None, Some(wal)) if is_in_bucket => self.folder("wal", wal, &blocks),
            _ => {
                let both = [
                    (local, "local", &blocks[..]),
                    (wal, "wal", &["storage.wal_path"]),
                ];
                for (node, section, keys) in both {
                    if let Some(node) = node {
                        self.folder(section, node, keys);
                    }
                }
            }
        }
    }

    /// Keys of ours take Tracewell's own folder below a path.
    fn folder(&mut self, section: &str, node: &Node, keys: &[&str]) {
        let name = format!("storage.trace.{section}.path");
        let place = self.place(&name, node.line);
        match own_folder(node) {
            Ok(folder) => {
                for key in keys {
                    self.set(key, folder.clone(), place.clone());
                }
            }
            Err(message) => self.findings.error(&place, format!("{name}: {message}")),
        }
    }

    fn walk(&mut self, prefix: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, child) in entries {
            let name = match prefix {
                "" => key.name.clone(),
                prefix => format!("{prefix}.{}", key.name),
            };
            match &child.value {
                Value::Map(_) if !matches!(action(&name), Some(Action::Elsewhere)) => {
                    self.walk(&name, child);
                }
                _ => self.leaf(&name, child, key.line),
            }
        }
    }

    fn leaf(&mut self, name: &str, node: &Node, line: u64) {
        let place = self.place(name, line);
        let guarded = PROTECTIVE.iter().any(|word| name.contains(word));
        match action(name) {
            // Nothing written is the default.
            Some(_) if node.value == Value::Null => {}
            Some(Action::NoEffect(_)) | None if guarded => self
                .findings
                .error(&place, format!("{name} cannot be honoured: {SIGN_ON}")),
            None => self.unknown(name, &place),
            Some(action) => self.apply(action, name, node, place),
        }
    }

    /// Does with a value what its key asks for.
    fn apply(&mut self, action: Action, name: &str, node: &Node, place: Place) {
        match action {
            Action::Silent | Action::Elsewhere => {}
            Action::Same(key) => self.set(key, node.clone(), place),
            Action::Convert(key, convert) => match convert(node) {
                Ok(node) => self.set(key, node, place),
                Err(message) => self.findings.error(&place, format!("{name}: {message}")),
            },
            Action::Only(values, why) => {
                let written = match &node.value {
                    Value::Text(text) => text.clone(),
                    other => other.to_string(),
                };
                if !values.contains(&written.as_str()) {
                    self.findings.error(
                        &place,
                        format!("{name}: {written} cannot be honoured: {why}"),
                    );
                }
            }
            Action::NoEffect(why) => {
                self.findings
                    .warning(&place, format!("{name} has no effect: {why}"));
            }
            Action::Refuse(why) => {
                self.findings
                    .error(&place, format!("{name} cannot be honoured: {why}"));
            }
        }
    }

    /// Tempo refuses unknown keys; here one that is nearly a known one is a typing error.
    fn unknown(&mut self, name: &str, place: &Place) {
        let known = KEYS
            .iter()
            .map(|(pattern, _)| *pattern)
            .filter(|pattern| !pattern.ends_with(".*"))
            .chain(ROOTS.iter().copied());
        match nearest(name, known) {
            Some(near) => self
                .findings
                .error(place, format!("unknown key {name}; did you mean {near}?")),
            None => self
                .findings
                .warning(place, format!("{name} is not known here and has no effect")),
        }
    }
}

/// What becomes of a key: that of the longest pattern that covers it.
fn action(name: &str) -> Option<Action> {
    KEYS.iter()
        .filter(|(pattern, _)| match pattern.strip_suffix(".*") {
            Some(prefix) => name
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
            None => *pattern == name,
        })
        .max_by_key(|(pattern, _)| pattern.len())
        .map(|(_, action)| *action)
}

fn bucket_kind(node: &Node) -> Result<Node, String> {
    let kind = match &node.value {
        Value::Text(text) if text == "local" => "none",
        Value::Text(text) if ["s3", "gcs", "azure"].contains(&text.as_str()) => text,
        other => return Err(format!("expected local, s3, gcs or azure, found {other}")),
    };
    Ok(Node {
        line: node.line,
        value: Value::Text(kind.to_owned()),
    })
}

fn log_format(node: &Node) -> Result<Node, String> {
    let ours = match &node.value {
        Value::Text(text) if text == "logfmt" => "text",
        Value::Text(text) if text == "json" => "json",
        other => return Err(format!("expected logfmt or json, found {other}")),
    };
    Ok(Node {
        line: node.line,
        value: Value::Text(ours.to_owned()),
    })
}

/// Tempo allows hours in memory; spans are as safe and as searchable here after one.
fn block_duration(node: &Node) -> Result<Node, String> {
    let hour = std::time::Duration::from_secs(3_600);
    let duration = super::values::duration(node)?.min(hour);
    Ok(Node {
        line: node.line,
        value: Value::Text(super::values::show_duration(duration)),
    })
}

/// Zero is how Tempo writes "what holds otherwise".
fn block_retention(node: &Node) -> Result<Node, String> {
    let is_zero = super::values::duration(node)?.is_zero();
    Ok(Node {
        line: node.line,
        value: match is_zero {
            true => Value::Null,
            false => node.value.clone(),
        },
    })
}

/// Several processes look at a bucket every few seconds here; less than this would hurry them.
fn replaced_kept(node: &Node) -> Result<Node, String> {
    let duration = super::values::duration(node)?;
    let duration = duration.max(super::REPLACED_KEPT_MIN);
    Ok(Node {
        line: node.line,
        value: Value::Text(super::values::show_duration(duration)),
    })
}

fn own_folder(node: &Node) -> Result<Node, String> {
    let path = super::values::text(node)?;
    let folder = Path::new(&path).join("tracewell");
    Ok(Node {
        line: node.line,
        value: Value::Text(folder.display().to_string()),
    })
}

#[cfg(test)]
mod tests;
