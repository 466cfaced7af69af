//! The table of keys: the one place where a key has a name, a meaning, a unit and a default.

mod limits;

use tracewell_ingest::tls::ClientAuth;
use tracewell_model::Limits;
use tracewell_query::syntax::distance;

use super::values::{self, TlsListeners, show_bytes, show_duration};
use super::yaml::{Node, Value};
use super::{BucketKind, BucketLookup, Config, Durability, LogFormat};

/// One key.
#[derive(Debug)]
pub(crate) struct KeySpec {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) doc: &'static str,
    pub(crate) apply: fn(&mut Config, &Node) -> Result<(), String>,
    pub(crate) show: fn(&Config) -> String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Endpoint,
    Path,
    Text,
    Secret,
    Size,
    SizeOrOff,
    Count,
    CountOrOff,
    Duration,
    Milliseconds,
    Switch,
    DiskShare,
    Choice(&'static [&'static str]),
}

/// Every group with its meaning, in the order of the reference page.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    (
        "listen",
        "Where Tracewell listens. An endpoint is a port on `listen.host`, a whole address such as `0.0.0.0:4317`, or `off`. Port 0 is any free port.",
    ),
    (
        "tls",
        "Encrypted connections, and clients that show who they are; see [TLS and tokens](security.md).",
    ),
    ("http", "The query API."),
    ("storage", "Where traces lie and when they are safe."),
    (
        "bucket",
        "An object store that blocks go to: S3 and what speaks it, Google Cloud Storage, Azure. Everything is written to the local disk first, and goes on while the bucket is away.",
    ),
    (
        "retention",
        "How long traces are kept. Whole blocks go, the oldest first, by whichever limit bites first.",
    ),
    ("query", "How questions are understood."),
    ("log", "The process's own log, on standard error."),
    (
        "tenants",
        "Several teams on one server, each with data of its own; see [Tenants](tenants.md).",
    ),
    (
        "limits",
        "What one request, one query and the whole process may use. A limit that bites is counted in `tracewell_limit_hits_total` under its key. Only `attribute_depth_max` (no lists and maps), `disk_reserve_bytes` (no reserve), `tenant_bytes_per_second_max` and `trace_bytes_max` (nothing is taken) can be 0.",
    ),
];

/// Every key, in the order of the reference page.
pub(crate) fn all() -> impl Iterator<Item = &'static KeySpec> {
    KEYS.iter().chain(limits::KEYS)
}

const CLIENT_AUTH: &[&str] = &["auto", "required", "optional"];

/// All but the limits.
const KEYS: &[KeySpec] = &[
    KeySpec {
        name: "listen.host",
        unit: Unit::Text,
        doc: "The host of every endpoint that names a port only. Loopback unless you say otherwise: before you write 0.0.0.0, see [TLS and tokens](security.md). The flag `--listen-host` sets it too.",
        apply: |config, node| store(&mut config.listen.host, values::text(node)),
        show: |config| config.listen.host.clone(),
    },
    KeySpec {
        name: "listen.http",
        unit: Unit::Endpoint,
        doc: "Tempo's HTTP API, `/metrics`, `/ready` and `/status`.",
        apply: |config, node| store(&mut config.listen.http, values::endpoint(node)),
        show: |config| config.listen.http.to_string(),
    },
    KeySpec {
        name: "listen.query_grpc",
        unit: Unit::Endpoint,
        doc: "A port of its own for `tempopb.StreamingQuerier`, 9095 in Tempo. Off, because `listen.http` answers it too, and there Grafana looks for it.",
        apply: |config, node| store(&mut config.listen.query_grpc, values::endpoint(node)),
        show: |config| config.listen.query_grpc.to_string(),
    },
    KeySpec {
        name: "listen.otlp_grpc",
        unit: Unit::Endpoint,
        doc: "OpenTelemetry over gRPC.",
        apply: |config, node| store(&mut config.listen.otlp_grpc, values::endpoint(node)),
        show: |config| config.listen.otlp_grpc.to_string(),
    },
    KeySpec {
        name: "listen.otlp_http",
        unit: Unit::Endpoint,
        doc: "OpenTelemetry over HTTP, protobuf and JSON, at `/v1/traces`.",
        apply: |config, node| store(&mut config.listen.otlp_http, values::endpoint(node)),
        show: |config| config.listen.otlp_http.to_string(),
    },
    KeySpec {
        name: "tls.cert_file",
        unit: Unit::Path,
        doc: "The server's certificate and those between it and a root, in PEM form. With it the listeners speak TLS and nothing else. The files are looked at every 10 seconds: new ones hold for new connections; broken ones are refused, and the log says why.",
        apply: |config, node| store(&mut config.tls.cert_file, path(node).map(Some)),
        show: |config| show_path(config.tls.cert_file.as_deref()),
    },
    KeySpec {
        name: "tls.key_file",
        unit: Unit::Path,
        doc: "The private key of the certificate, in PEM form.",
        apply: |config, node| store(&mut config.tls.key_file, path(node).map(Some)),
        show: |config| show_path(config.tls.key_file.as_deref()),
    },
    KeySpec {
        name: "tls.client_ca_file",
        unit: Unit::Path,
        doc: "Who may sign the certificates of clients, in PEM form. Without it clients show none.",
        apply: |config, node| store(&mut config.tls.client_ca_file, path(node).map(Some)),
        show: |config| show_path(config.tls.client_ca_file.as_deref()),
    },
    KeySpec {
        name: "tls.client_auth",
        unit: Unit::Choice(CLIENT_AUTH),
        doc: "Whether clients must show a certificate that `tls.client_ca_file` answers for. `optional` lets in who shows none; `auto` is `required` where there is such a file.",
        apply: |config, node| {
            config.tls.client_auth = match choice(node, CLIENT_AUTH)? {
                "optional" => Some(ClientAuth::IfGiven),
                "required" => Some(ClientAuth::Required),
                _ => None,
            };
            Ok(())
        },
        show: |config| match config.tls.client_auth {
            None => "auto".to_owned(),
            Some(ClientAuth::IfGiven) => "optional".to_owned(),
            Some(ClientAuth::Required) => "required".to_owned(),
        },
    },
    KeySpec {
        name: "tls.listeners",
        unit: Unit::Text,
        doc: "The listeners that speak TLS: `all`, or some of `http`, `otlp_grpc` and `otlp_http` with commas between them.",
        apply: |config, node| store(&mut config.tls.listeners, TlsListeners::parse(node)),
        show: |config| config.tls.listeners.to_string(),
    },
    KeySpec {
        name: "http.prefix",
        unit: Unit::Text,
        doc: "A path before every `/api/...` path, such as `/tempo`, for a proxy that does not strip it.",
        apply: |config, node| {
            let prefix = match &node.value {
                Value::Text(text) => text.trim_end_matches('/').to_owned(),
                Value::Null => String::new(),
                other => return Err(format!("expected a path, found {other}")),
            };
            config.http.prefix = prefix;
            Ok(())
        },
        show: |config| config.http.prefix.clone(),
    },
    KeySpec {
        name: "storage.path",
        unit: Unit::Path,
        doc: "The folder of everything that Tracewell keeps: write-ahead log, blocks, manifests. Losing it loses the traces. By default `$XDG_STATE_HOME/tracewell`, else `~/.local/state/tracewell`, else `/var/lib/tracewell`. The flag `--data-dir` sets it too.",
        apply: |config, node| store(&mut config.storage.path, path(node)),
        show: |config| config.storage.path.display().to_string(),
    },
    KeySpec {
        name: "storage.wal_path",
        unit: Unit::Path,
        doc: "The folder of the write-ahead log, where it shall lie on another disk than `storage.path`. By default `wal` in `storage.path`. `limits.disk_reserve_bytes` holds for its volume too.",
        apply: |config, node| store(&mut config.storage.wal_path, path(node).map(Some)),
        show: |config| show_path(config.storage.wal_path.as_deref()),
    },
    KeySpec {
        name: "storage.blocks_path",
        unit: Unit::Path,
        doc: "The folder of blocks and manifests. By default `storage.path`. Its volume is what `retention.disk` is about.",
        apply: |config, node| store(&mut config.storage.blocks_path, path(node).map(Some)),
        show: |config| show_path(config.storage.blocks_path.as_deref()),
    },
    KeySpec {
        name: "storage.durability",
        unit: Unit::Choice(&["sync", "os"]),
        doc: "When a request is acknowledged. `sync`: when its spans are on the disk; nothing that was acknowledged is lost by a crash or a power cut. `os`: when the operating system has them; a power cut loses the last seconds.",
        apply: |config, node| {
            config.storage.durability = match choice(node, &["sync", "os"])? {
                "os" => Durability::Os,
                _ => Durability::Sync,
            };
            Ok(())
        },
        show: |config| match config.storage.durability {
            Durability::Sync => "sync".to_owned(),
            Durability::Os => "os".to_owned(),
        },
    },
    KeySpec {
        name: "storage.max_block_duration",
        unit: Unit::Duration,
        doc: "How long spans stay in memory at most before they are written as a block. Spans are durable and searchable before that.",
        apply: |config, node| {
            store(
                &mut config.storage.max_block_duration,
                values::duration(node),
            )
        },
        show: |config| show_duration(config.storage.max_block_duration),
    },
    KeySpec {
        name: "bucket.kind",
        unit: Unit::Choice(&["none", "s3", "gcs", "azure"]),
        doc: "The kind of object store that blocks go to. `none`: the local disk is all there is.",
        apply: |config, node| {
            config.bucket.kind = match choice(node, &["none", "s3", "gcs", "azure"])? {
                "s3" => BucketKind::S3,
                "gcs" => BucketKind::Gcs,
                "azure" => BucketKind::Azure,
                _ => BucketKind::None,
            };
            Ok(())
        },
        show: |config| {
            let kind = match config.bucket.kind {
                BucketKind::None => "none",
                BucketKind::S3 => "s3",
                BucketKind::Gcs => "gcs",
                BucketKind::Azure => "azure",
            };
            kind.to_owned()
        },
    },
    KeySpec {
        name: "bucket.name",
        unit: Unit::Text,
        doc: "The bucket; Azure's container. It must exist.",
        apply: |config, node| store(&mut config.bucket.name, values::text(node)),
        show: |config| config.bucket.name.clone(),
    },
    KeySpec {
        name: "bucket.prefix",
        unit: Unit::Text,
        doc: "A path within the bucket. Tracewell keeps to the folder `tracewell` below it and leaves everything else alone.",
        apply: |config, node| store(&mut config.bucket.prefix, values::text_or_none(node)),
        show: |config| config.bucket.prefix.clone(),
    },
    KeySpec {
        name: "bucket.endpoint",
        unit: Unit::Text,
        doc: "Host and port, or URL, of an object store that is not the provider's own. Without a scheme it is `https`, unless `bucket.insecure`. Of Azure's other clouds the suffix will do, such as `blob.core.usgovcloudapi.net`.",
        apply: |config, node| store(&mut config.bucket.endpoint, values::text_or_none(node)),
        show: |config| config.bucket.endpoint.clone(),
    },
    KeySpec {
        name: "bucket.insecure",
        unit: Unit::Switch,
        doc: "An endpoint without a scheme is `http`: keys and traces go over the network as they are.",
        apply: |config, node| store(&mut config.bucket.insecure, values::switch(node)),
        show: |config| config.bucket.insecure.to_string(),
    },
    KeySpec {
        name: "bucket.region",
        unit: Unit::Text,
        doc: "Of an S3 bucket. By default what the endpoint says, else `AWS_REGION`, else us-east-1.",
        apply: |config, node| store(&mut config.bucket.region, values::text_or_none(node)),
        show: |config| config.bucket.region.clone(),
    },
    KeySpec {
        name: "bucket.lookup",
        unit: Unit::Choice(&["auto", "dns", "path"]),
        doc: "How an S3 bucket is named in a URL: in the host, as Amazon wants it (`dns`), or in the path, as most others do. `auto` goes by the endpoint.",
        apply: |config, node| {
            config.bucket.lookup = match choice(node, &["auto", "dns", "path"])? {
                "dns" => BucketLookup::Dns,
                "path" => BucketLookup::Path,
                _ => BucketLookup::Auto,
            };
            Ok(())
        },
        show: |config| {
            let lookup = match config.bucket.lookup {
                BucketLookup::Auto => "auto",
                BucketLookup::Dns => "dns",
                BucketLookup::Path => "path",
            };
            lookup.to_owned()
        },
    },
    KeySpec {
        name: "bucket.access_key",
        unit: Unit::Text,
        doc: "Access key of S3, or storage account of Azure. Without keys the usual chain holds: environment, web identity, container and instance metadata; of Google what `GOOGLE_APPLICATION_CREDENTIALS` names.",
        apply: |config, node| store(&mut config.bucket.access_key, values::text_or_none(node)),
        show: |config| config.bucket.access_key.clone(),
    },
    KeySpec {
        name: "bucket.secret_key",
        unit: Unit::Secret,
        doc: "Secret key of S3, or access key of Azure's account. Never printed; `--expand-env` takes it from the environment.",
        apply: |config, node| store(&mut config.bucket.secret_key, values::secret(node)),
        show: |config| config.bucket.secret_key.to_string(),
    },
    KeySpec {
        name: "bucket.session_token",
        unit: Unit::Secret,
        doc: "Session token that belongs to temporary keys of S3.",
        apply: |config, node| store(&mut config.bucket.session_token, values::secret(node)),
        show: |config| config.bucket.session_token.to_string(),
    },
    KeySpec {
        name: "bucket.identity",
        unit: Unit::Text,
        doc: "Azure: client id of the managed identity to sign in as, where a machine has several.",
        apply: |config, node| store(&mut config.bucket.identity, values::text_or_none(node)),
        show: |config| config.bucket.identity.clone(),
    },
    KeySpec {
        name: "bucket.ca_path",
        unit: Unit::Path,
        doc: "A file of PEM certificates that are trusted beside the usual ones.",
        apply: |config, node| store(&mut config.bucket.ca_path, path(node).map(Some)),
        show: |config| show_path(config.bucket.ca_path.as_deref()),
    },
    KeySpec {
        name: "bucket.upload_after",
        unit: Unit::Duration,
        doc: "Spans lie in the bucket that long after their ack; until then a lost disk loses them.",
        apply: |config, node| store(&mut config.bucket.upload_after, values::duration(node)),
        show: |config| show_duration(config.bucket.upload_after),
    },
    KeySpec {
        name: "bucket.replaced_kept",
        unit: Unit::Duration,
        doc: "How long the objects of merged and expired blocks stay: another process may read them.",
        apply: |config, node| store(&mut config.bucket.replaced_kept, values::duration(node)),
        show: |config| show_duration(config.bucket.replaced_kept),
    },
    KeySpec {
        name: "bucket.cache",
        unit: Unit::DiskShare,
        doc: "What pieces of the bucket's blocks may use of the local disk: a size, or a share of the volume. They make room when the volume is full.",
        apply: |config, node| store(&mut config.bucket.cache, values::disk_share(node)),
        show: |config| config.bucket.cache.to_string(),
    },
    KeySpec {
        name: "retention.age",
        unit: Unit::Duration,
        doc: "Traces are kept that long after they arrived, and go within a day of it; later where the clock was set or the server was off meanwhile.",
        apply: |config, node| store(&mut config.retention.age, values::duration(node)),
        show: |config| show_duration(config.retention.age),
    },
    KeySpec {
        name: "retention.disk",
        unit: Unit::DiskShare,
        doc: "What blocks and the log beside them may use: a size, or a share of the volume of the blocks; beyond it the oldest blocks go. What others keep on the volume makes a share smaller. A sixteenth is left to blocks in any case. Without effect beside a bucket: what waits to be uploaded is never dropped (`limits.disk_reserve_bytes` bounds it), and `bucket.cache` is what pieces of the bucket may use.",
        apply: |config, node| store(&mut config.retention.disk, values::disk_share(node)),
        show: |config| config.retention.disk.to_string(),
    },
    KeySpec {
        name: "query.aliases",
        unit: Unit::Switch,
        doc: "Old and new names of OpenTelemetry's semantic conventions are one attribute to a query: `span.http.method` finds `http.request.method` too.",
        apply: |config, node| store(&mut config.query.aliases, values::switch(node)),
        show: |config| config.query.aliases.to_string(),
    },
    KeySpec {
        name: "log.level",
        unit: Unit::Text,
        doc: "error, warn, info, debug or trace; or a filter such as `info,tracewell_store=debug`.",
        apply: |config, node| store(&mut config.log.level, values::log_filter(node)),
        show: |config| config.log.level.clone(),
    },
    KeySpec {
        name: "log.format",
        unit: Unit::Choice(&["text", "json"]),
        doc: "Lines for people, or one JSON object a line for machines.",
        apply: |config, node| {
            config.log.format = match choice(node, &["text", "json"])? {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            };
            Ok(())
        },
        show: |config| match config.log.format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
    },
    KeySpec {
        name: "tenants.enabled",
        unit: Unit::Switch,
        doc: "Every request names its tenant in the header `X-Scope-OrgID`, and one that does not is answered 401; a query sees what its tenant sent and nothing else. Without it everything belongs to the tenant `single-tenant`, and the header means nothing. The header says who asks and proves nothing: put something in front that sets it.",
        apply: |config, node| store(&mut config.tenants.enabled, values::switch(node)),
        show: |config| config.tenants.enabled.to_string(),
    },
    KeySpec {
        name: "tenants.query_several",
        unit: Unit::Switch,
        doc: "Whether a question may name several tenants, as `X-Scope-OrgID: a|b`: each is asked by itself, 32 at most, and a trace that several have spans of is one in the answer.",
        apply: |config, node| store(&mut config.tenants.query_several, values::switch(node)),
        show: |config| config.tenants.query_several.to_string(),
    },
    KeySpec {
        name: "tenants.overrides_path",
        unit: Unit::Path,
        doc: "A file with limits of single tenants, Tracewell's own or Tempo's, which is read again while the server runs. What it does not say of a tenant holds as in `limits`.",
        apply: |config, node| store(&mut config.tenants.overrides_path, path(node).map(Some)),
        show: |config| show_path(config.tenants.overrides_path.as_deref()),
    },
    KeySpec {
        name: "tenants.overrides_period",
        unit: Unit::Duration,
        doc: "How often that file and the one of tokens are looked at. A version with an error is refused, and the limits that held go on holding.",
        apply: |config, node| store(&mut config.tenants.overrides_period, values::duration(node)),
        show: |config| show_duration(config.tenants.overrides_period),
    },
    KeySpec {
        name: "tenants.tokens_path",
        unit: Unit::Path,
        doc: "A file with a bearer token for each tenant, which is read again while the server runs; see [TLS and tokens](security.md). With it every request that brings or asks for spans must show one.",
        apply: |config, node| store(&mut config.tenants.tokens_path, path(node).map(Some)),
        show: |config| show_path(config.tenants.tokens_path.as_deref()),
    },
];

/// A suggestion must share this much with what was written.
const SUGGESTION_DISTANCE_MAX: usize = 6;

pub(crate) fn find(name: &str) -> Option<&'static KeySpec> {
    all().find(|key| key.name == name)
}

/// True for a name under which keys lie, such as `limits`.
pub(crate) fn is_group(name: &str) -> bool {
    GROUPS.iter().any(|(group, _)| *group == name)
}

/// The message for a key that there is not.
pub(crate) fn unknown(name: &str) -> String {
    let names = all().map(|key| key.name);
    match nearest(name, names.chain(GROUPS.iter().map(|(group, _)| *group))) {
        Some(near) => format!("unknown key {name}; did you mean {near}?"),
        None => format!("unknown key {name}; `tracewell config print` lists all keys"),
    }
}

/// The name that needs the fewest edits, if they are few.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    names
        .map(|candidate| {
            // The right key in the wrong group is as near as a typing error.
            let whole = distance(name, candidate);
            let moved = distance(&last(name), &last(candidate)) + 2;
            (whole.min(moved), candidate)
        })
        .min()
        .filter(|(edits, _)| *edits <= SUGGESTION_DISTANCE_MAX.min(name.len() / 2 + 1))
        .map(|(_, candidate)| candidate)
}

fn store<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn path(node: &Node) -> Result<std::path::PathBuf, String> {
    values::text(node).map(Into::into)
}

fn show_path(path: Option<&std::path::Path>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn show_or_off(value: u64, show: impl Fn(u64) -> String) -> String {
    match value {
        Limits::NONE => "off".to_owned(),
        value => show(value),
    }
}

fn choice(node: &Node, choices: &'static [&'static str]) -> Result<&'static str, String> {
    let Value::Text(text) = &node.value else {
        return Err(format!(
            "expected {}, found {}",
            choices.join(" or "),
            node.value
        ));
    };
    choices
        .iter()
        .find(|choice| *choice == text)
        .copied()
        .ok_or_else(|| format!("expected {}, found {text:?}", choices.join(" or ")))
}

fn at_least<T: PartialOrd + std::fmt::Display>(min: T, value: T) -> Result<T, String> {
    match value < min {
        true => Err(format!("at least {min}")),
        false => Ok(value),
    }
}

fn fit<T, U: TryInto<T>>(value: U) -> Result<T, String> {
    value.try_into().map_err(|_| "too large".to_owned())
}

fn widen(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

// === impl Unit ===

impl Unit {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Endpoint => "endpoint".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Secret => "secret".to_owned(),
            Self::Size => "size".to_owned(),
            Self::SizeOrOff => "size or off".to_owned(),
            Self::Count => "number".to_owned(),
            Self::CountOrOff => "number or off".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Milliseconds => "milliseconds".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::DiskShare => "size or share".to_owned(),
            Self::Choice(choices) => choices.join(" or "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_key(name: &str) -> bool {
        all().any(|key| key.name == name)
    }

    #[test]
    fn every_limit_is_a_key_and_every_refusal_names_one() {
        for (key, _) in tracewell_model::Limits::default().values() {
            assert!(is_key(key), "{key}");
        }
        let limits = all().filter(|key| key.name.starts_with("limits."));
        let n_limits = tracewell_model::Limits::default().values().len();
        assert_eq!(limits.count(), n_limits);
        for refusing in tracewell_model::limits::REFUSALS {
            assert!(is_key(refusing.key), "{refusing:?}");
            assert!(refusing.text.contains(refusing.key), "{refusing:?}");
        }
        let fixed = ["query_conditions", "query_tags"];
        for limit in tracewell_query::QueryLimit::ALL {
            let name = limit.name();
            assert!(is_key(name) || fixed.contains(&name), "{name}");
        }
    }

    /// A server without connections, time or attributes starts and then takes or answers nothing.
    #[test]
    fn no_limit_is_zero_but_where_that_has_a_sense() {
        use super::super::raw::Raw;
        for (key, _) in tracewell_model::Limits::default().values() {
            let check = |value: &str| {
                let mut raw = Raw::default();
                raw.set("--set", key, value);
                Config::from_raw(&raw).1.to_string()
            };
            let expected = match key {
                "limits.attribute_depth_max"
                | "limits.disk_reserve_bytes"
                | "limits.tenant_bytes_per_second_max"
                | "limits.trace_bytes_max" => String::new(),
                "limits.memory_bytes" => format!("error: --set: {key}: at least 64MiB\n"),
                "limits.tenant_queries_max" | "limits.tenant_traces_max" => format!(
                    "error: --set: {key}: expected a number above 0, found 0, or off for no limit\n"
                ),
                _ => format!("error: --set: {key}: at least 1\n"),
            };
            let found = check("0");
            match key {
                "limits.memory_bytes" => assert!(found.contains(&expected), "{found}"),
                _ => assert_eq!(found, expected),
            }
        }
        for (queries, written, expected) in [
            ("16", None, 8),
            ("1", None, 1),
            ("16", Some("3"), 3),
            ("16", Some("off"), tracewell_model::Limits::NONE),
        ] {
            let mut raw = Raw::default();
            raw.set("--set", "tenants.enabled", "true");
            raw.set("--set", "limits.queries_max", queries);
            if let Some(written) = written {
                raw.set("--set", "limits.tenant_queries_max", written);
            }
            let (config, _) = Config::from_raw(&raw);
            assert_eq!(config.limits.tenant_queries_max, expected, "{written:?}");
        }
        let mut raw = Raw::default();
        raw.set("--set", "limits.query_ms_max", "900us");
        let (_, findings) = Config::from_raw(&raw);
        assert!(
            findings.to_string().ends_with(": at least 1\n"),
            "{findings}"
        );
    }

    /// Whatever a message of the program calls `limits.something` can be looked up.
    #[test]
    fn no_message_names_a_limit_that_is_no_key() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap();
        let mut waiting = vec![crates.to_path_buf()];
        let mut n_named = 0;
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for name in names_in_texts(&text) {
                        assert!(is_key(&name), "{}: {name}", path.display());
                        n_named += 1;
                    }
                }
            }
        }
        assert!(n_named > 50, "only {n_named} names were found");
    }

    /// Names behind `limits.` or `query.` in quotes; not where code goes on from a field.
    fn names_in_texts(source: &str) -> Vec<String> {
        let mut names = Vec::new();
        for line in source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for text in line.split('"').skip(1).step_by(2) {
                let words =
                    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
                let named = words.filter(|word| word.starts_with("limits.") && word.len() > 7);
                names.extend(named.map(|word| word.trim_end_matches('.').to_owned()));
            }
        }
        names
    }
}
