//! Configuration: from what was written to what the process runs with.
//!
//! Two steps. [`raw::Raw`] is exactly what was written, in whatever file or flag, each setting with
//! its place; [`Config`] is validated and ready. One table, [`keys::all`], holds every key with its
//! meaning, unit and default: it checks files, prints `--help`, answers `config explain` and writes
//! docs/guide/configuration.md. A file of Tempo's is translated into the same settings at the door
//! ([`tempo`]), so that nothing behind this module knows that it was one.

mod beside;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod guide;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod overrides;
pub(crate) mod raw;
pub(crate) mod reference;
pub(crate) mod tempo;
pub(crate) mod tokens;
pub(crate) mod values;
pub(crate) mod verdict;
pub(crate) mod yaml;

use std::path::PathBuf;
use std::time::Duration;

use tracewell_ingest::tls::{ClientAuth, TlsFiles};
use tracewell_model::Limits;

use raw::{Findings, Raw};
use values::{DiskShare, Endpoint, Secret, TlsListeners};

/// What the process runs with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) http: Http,
    pub(crate) storage: Storage,
    pub(crate) bucket: Bucket,
    pub(crate) retention: Retention,
    pub(crate) query: Query,
    pub(crate) log: Log,
    pub(crate) tenants: Tenants,
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listen {
    /// For every endpoint that names a port only.
    pub(crate) host: String,
    pub(crate) http: Endpoint,
    pub(crate) query_grpc: Endpoint,
    pub(crate) otlp_grpc: Endpoint,
    pub(crate) otlp_http: Endpoint,
}

/// The certificates of the listeners.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tls {
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) client_ca_file: Option<PathBuf>,
    /// By default required where somebody is named who may sign.
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) listeners: TlsListeners,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Http {
    /// Empty, or starting with a slash.
    pub(crate) prefix: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Storage {
    pub(crate) path: PathBuf,
    /// `path`/wal where it is not written.
    pub(crate) wal_path: Option<PathBuf>,
    /// `path` where it is not written.
    pub(crate) blocks_path: Option<PathBuf>,
    pub(crate) durability: Durability,
    pub(crate) max_block_duration: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// An ack waits until the record is on the disk.
    Sync,
    /// An ack waits until the operating system has the record.
    Os,
}

/// An object store, if one is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) kind: BucketKind,
    pub(crate) name: String,
    /// A path within the bucket; Tracewell's own folder lies below it.
    pub(crate) prefix: String,
    /// Empty: that of the provider.
    pub(crate) endpoint: String,
    pub(crate) insecure: bool,
    pub(crate) region: String,
    pub(crate) lookup: BucketLookup,
    /// Empty: what the surroundings of the process say.
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Secret,
    /// Client id of Azure's managed identity; empty: the only one there is.
    pub(crate) identity: String,
    pub(crate) ca_path: Option<PathBuf>,
    pub(crate) upload_after: Duration,
    pub(crate) replaced_kept: Duration,
    pub(crate) cache: DiskShare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketKind {
    None,
    S3,
    Gcs,
    Azure,
}

/// How a bucket is named in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BucketLookup {
    /// By host at Amazon, by path elsewhere.
    Auto,
    Dns,
    Path,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retention {
    pub(crate) age: Duration,
    pub(crate) disk: DiskShare,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    /// Whether old and new names of semantic conventions are one attribute.
    pub(crate) aliases: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Log {
    /// A filter such as `info` or `info,tracewell_store=debug`.
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Who shares the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tenants {
    /// Whether requests name a tenant.
    pub(crate) enabled: bool,
    /// Whether a question may name several.
    pub(crate) query_several: bool,
    /// A file with limits of single tenants.
    pub(crate) overrides_path: Option<PathBuf>,
    pub(crate) overrides_period: Duration,
    /// A file with a token for each tenant.
    pub(crate) tokens_path: Option<PathBuf>,
}

/// In the files of overrides and tokens: what is everybody's.
pub(crate) const EVERYBODY: &str = "*";

/// The head must hold some generations and the parts of the budget must stay usable.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// A block shorter than that is mostly overhead; one longer than that delays what a merge saves.
const BLOCK_DURATION: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Whole blocks go, and a block covers about a minute at least.
const RETENTION_AGE_MIN: Duration = Duration::from_secs(60);

/// What is uploaded every second is mostly requests; what waits for an hour is lost with the disk.
const UPLOAD_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Far longer than any query, and than a process is silent before it looks at the bucket again.
const REPLACED_KEPT_MIN: Duration = Duration::from_secs(3_600);

/// More often is of no use to people, and more rarely looks as if it were not read.
const OVERRIDES_PERIOD: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen {
                host: "127.0.0.1".to_owned(),
                http: Endpoint::Port(3200),
                query_grpc: Endpoint::Off,
                otlp_grpc: Endpoint::Port(4317),
                otlp_http: Endpoint::Port(4318),
            },
            tls: Tls {
                cert_file: None,
                key_file: None,
                client_ca_file: None,
                client_auth: None,
                listeners: TlsListeners::ALL,
            },
            http: Http {
                prefix: String::new(),
            },
            storage: Storage {
                path: default_data_dir(),
                wal_path: None,
                blocks_path: None,
                durability: Durability::Sync,
                max_block_duration: Duration::from_secs(120),
            },
            bucket: Bucket {
                kind: BucketKind::None,
                name: String::new(),
                prefix: String::new(),
                endpoint: String::new(),
                insecure: false,
                region: String::new(),
                lookup: BucketLookup::Auto,
                access_key: String::new(),
                secret_key: Secret::default(),
                session_token: Secret::default(),
                identity: String::new(),
                ca_path: None,
                upload_after: Duration::from_secs(300),
                replaced_kept: Duration::from_secs(3_600),
                cache: DiskShare::Percent(40),
            },
            retention: Retention {
                age: Duration::from_secs(14 * 86_400),
                disk: DiskShare::Percent(80),
            },
            query: Query { aliases: true },
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
            tenants: Tenants {
                enabled: false,
                query_several: true,
                overrides_path: None,
                overrides_period: Duration::from_secs(10),
                tokens_path: None,
            },
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Applies every setting in turn, the later over the earlier, and checks the whole. All that is
    /// wrong is found at once.
    pub(crate) fn from_raw(raw: &Raw) -> (Self, Findings) {
        let mut config = Self::default();
        let mut findings = Findings::default();
        // A key without a value is a key that is not set.
        let written = |setting: &&raw::Setting| setting.node.value != yaml::Value::Null;
        for setting in raw.settings.iter().filter(written) {
            match keys::find(&setting.key) {
                Some(key) => {
                    if let Err(message) = (key.apply)(&mut config, &setting.node) {
                        findings.error(&setting.place, format!("{}: {message}", setting.written()));
                    }
                }
                None => findings.error(&setting.place, keys::unknown(&setting.key)),
            }
        }
        const TENANT_QUERIES: &str = "limits.tenant_queries_max";
        if config.tenants.enabled && !raw.is_written(TENANT_QUERIES) {
            // The queries of one tenant shall not be the wait of all others.
            let half = (config.limits.queries_max / 2).max(1);
            config.limits.tenant_queries_max = half as u64;
        }
        const DISK: &str = "retention.disk";
        if config.bucket.kind != BucketKind::None && raw.is_written(DISK) {
            let message = format!(
                "{DISK} has no effect beside a bucket: blocks on the local disk wait to be uploaded and are never dropped \
                 for their bytes; bucket.cache is what pieces of the bucket may use, and new spans are refused below \
                 limits.disk_reserve_bytes"
            );
            findings.warning(&raw.place_of(DISK), message);
        }
        config.check(raw, &mut findings);
        config.check_tls(raw, &mut findings);
        (config, findings)
    }

    /// The certificates, where there are any.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.tls.cert_file.clone()?,
            key: self.tls.key_file.clone()?,
            client_ca: self.tls.client_ca_file.clone(),
            client_auth: self.tls.client_auth.unwrap_or_default(),
        })
    }

    pub(crate) fn wal_path(&self) -> PathBuf {
        let own = || self.storage.path.join("wal");
        self.storage.wal_path.clone().unwrap_or_else(own)
    }

    pub(crate) fn blocks_path(&self) -> PathBuf {
        let own = || self.storage.path.clone();
        self.storage.blocks_path.clone().unwrap_or_else(own)
    }

    fn check_tls(&self, raw: &Raw, findings: &mut Findings) {
        let mut require = requirement(raw, findings);
        require(
            self.tls.cert_file.is_some() == self.tls.key_file.is_some(),
            &["tls.cert_file", "tls.key_file"],
            "tls.cert_file and tls.key_file go together: a certificate is of no use without its private key".to_owned(),
        );
        require(
            self.tls.client_ca_file.is_none() || self.tls.cert_file.is_some(),
            &["tls.client_ca_file"],
            "clients show certificates over TLS alone: write tls.cert_file and tls.key_file too"
                .to_owned(),
        );
        require(
            self.tls.client_auth.is_none() || self.tls.client_ca_file.is_some(),
            &["tls.client_auth"],
            "it cannot be honoured without tls.client_ca_file, which says who may sign the certificates of clients"
                .to_owned(),
        );
        require(
            self.tls.listeners == TlsListeners::ALL || self.tls.cert_file.is_some(),
            &["tls.listeners"],
            "it cannot be honoured without a certificate: write tls.cert_file and tls.key_file too"
                .to_owned(),
        );
    }

    fn check(&self, raw: &Raw, findings: &mut Findings) {
        let mut require = requirement(raw, findings);
        require(
            self.limits.memory_bytes >= MEMORY_BYTES_MIN,
            &["limits.memory_bytes"],
            format!("at least {}", values::show_bytes(MEMORY_BYTES_MIN)),
        );
        require(
            self.limits.request_decoded_bytes_max <= self.limits.in_flight_bytes(),
            &["limits.request_decoded_bytes_max", "limits.memory_bytes"],
            format!(
                "an eighth of limits.memory_bytes ({}) is less than limits.request_decoded_bytes_max ({}): a \
                 request must fit into what requests in flight may use",
                values::show_bytes(self.limits.in_flight_bytes()),
                values::show_bytes(self.limits.request_decoded_bytes_max)
            ),
        );
        require(
            self.wal_path() != self.blocks_path(),
            &["storage.wal_path", "storage.blocks_path"],
            "the write-ahead log cannot lie in the folder of the blocks; name one below it, such as its wal".to_owned(),
        );
        require(
            BLOCK_DURATION.contains(&self.storage.max_block_duration),
            &["storage.max_block_duration"],
            "write 1s to 1h".to_owned(),
        );
        require(
            self.retention.age >= RETENTION_AGE_MIN,
            &["retention.age"],
            "write 1m or more".to_owned(),
        );
        require(
            self.bucket.kind == BucketKind::None || !self.bucket.name.is_empty(),
            &["bucket.kind"],
            "the name of the bucket is missing: bucket.name; in a file of Tempo's `bucket`, `bucket_name` or \
             `container_name` of the section"
                .to_owned(),
        );
        require(
            self.bucket.access_key.is_empty() == self.bucket.secret_key.is_empty()
                || self.bucket.kind == BucketKind::Azure,
            &["bucket.access_key", "bucket.secret_key"],
            "bucket.access_key and bucket.secret_key go together".to_owned(),
        );
        require(
            UPLOAD_AFTER.contains(&self.bucket.upload_after),
            &["bucket.upload_after"],
            "write 1s to 1h".to_owned(),
        );
        require(
            self.bucket.replaced_kept >= REPLACED_KEPT_MIN,
            &["bucket.replaced_kept"],
            "write 1h or more: other processes may read what is replaced".to_owned(),
        );
        require(
            OVERRIDES_PERIOD.contains(&self.tenants.overrides_period),
            &["tenants.overrides_period"],
            "write 1s to 1h".to_owned(),
        );
        require(
            self.http.prefix.is_empty() || self.http.prefix.starts_with('/'),
            &["http.prefix"],
            "write it with a slash at the start, such as /tempo".to_owned(),
        );
        drop(require);
        self.check_ports(raw, findings);
    }

    /// Two surfaces on one address would fail at bind, with a message about a foreign process.
    fn check_ports(&self, raw: &Raw, findings: &mut Findings) {
        let surfaces = [
            ("listen.http", &self.listen.http),
            ("listen.query_grpc", &self.listen.query_grpc),
            ("listen.otlp_grpc", &self.listen.otlp_grpc),
            ("listen.otlp_http", &self.listen.otlp_http),
        ];
        for (index, (key, endpoint)) in surfaces.iter().enumerate() {
            let address = endpoint.address(&self.listen.host);
            let twin = surfaces.iter().skip(index + 1).find(|(_, other)| {
                let other = other.address(&self.listen.host);
                other == address && address.as_ref().is_some_and(|(_, port)| *port != 0)
            });
            if let Some((other, _)) = twin {
                let (at, twin) = match raw.first_written(&[other, key]) {
                    Some(written) if written == *key => (key, other),
                    _ => (other, key),
                };
                let (name, twin) = (raw.name_of(at), raw.name_of(twin));
                findings.error(
                    &raw.place_of(at),
                    format!("{name}: the same address as {twin}; each surface needs its own"),
                );
            }
        }
    }
}

/// Where traces lie if nobody says: the state folder of the user, or of the system where there is
/// no user.
fn default_data_dir() -> PathBuf {
    let not_empty = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(state) = not_empty("XDG_STATE_HOME") {
        return PathBuf::from(state).join("tracewell");
    }
    match not_empty("HOME") {
        Some(home) => PathBuf::from(home).join(".local/state/tracewell"),
        None => PathBuf::from("/var/lib/tracewell"),
    }
}

/// Notes what does not hold, at the first key that was written: several where the value of another is as much to
/// blame.
fn requirement<'a>(
    raw: &'a Raw,
    findings: &'a mut Findings,
) -> impl FnMut(bool, &[&str], String) + 'a {
    move |holds, keys, message| {
        if !holds && let Some(key) = raw.first_written(keys) {
            let name = raw.name_of(key);
            findings.error(&raw.place_of(key), format!("{name}: {message}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let root = yaml::parse(text).unwrap();
        let (_, findings) = Config::from_raw(&Raw::from_file(Path::new("x"), &root));
        let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_share_of_the_disk_is_warned_of_beside_a_bucket() {
        for (bucket, n) in [("", 0), ("bucket: {kind: s3, name: b}\n", 1)] {
            let text = format!("{bucket}retention:\n  disk: 5GB\n");
            let root = yaml::parse(&text).unwrap();
            let (_, findings) = Config::from_raw(&Raw::from_file(Path::new("x"), &root));
            let warnings: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings.len(), n, "{warnings:?}");
            let says = "x:3: retention.disk has no effect beside a bucket";
            assert!(warnings.iter().all(|warning| warning.starts_with(says)));
        }
    }

    /// Nobody can mend a line called "defaults".
    #[test]
    fn what_a_default_does_not_go_with_is_to_blame() {
        check("bucket: {kind: s3}\n", &["x:1: bucket.kind: the name of"]);
        check(
            "bucket: {kind: s3, name: b}\nlimits:\n  memory_bytes: 80MB\n",
            &["x:3: limits.memory_bytes: an eighth of limits.memory_bytes (10MB) is less than"],
        );
        check(
            "limits:\n  memory_bytes: 300MB\n  request_decoded_bytes_max: 1GB\n",
            &["x:3: limits.request_decoded_bytes_max: an eighth of limits.memory_bytes"],
        );
        check(
            "bucket: {kind: s3, name: b,\n  secret_key: k}\n",
            &["x:2: bucket.secret_key: bucket.access_key and"],
        );
        check(
            "listen:\n  http: 4317\n",
            &["x:2: listen.http: the same address as listen.otlp_grpc"],
        );
    }
}
