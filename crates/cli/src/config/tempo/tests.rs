//! Files of Tempo's as people have them, in our own words.

use std::path::Path;
use std::time::Duration;

use tracewell_ingest::tls::ClientAuth;
use tracewell_model::Limits;

use super::*;
use crate::config::values::Endpoint;
use crate::config::yaml;
use crate::config::{BucketKind, BucketLookup, Config};

/// The same keys as the file that the how-to shows.
const HOW_TO: &str = include_str!("../../../../../tests/fixtures/tempo-2.yaml");

fn load(text: &str, flags: &[(&str, &str)]) -> (Config, Findings) {
    let flags: Vec<(String, String)> = flags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let root = yaml::parse(text).unwrap();
    assert!(is_tempo(&root) || text.is_empty(), "{text}");
    let (raw, mut findings) = translate(Written {
        file: Some((Path::new("tempo.yaml"), root)),
        flags: &flags,
        host_is_chosen: false,
    });
    let (config, more) = Config::from_raw(&raw);
    findings.extend(more);
    (config, findings)
}

fn texts(findings: &[super::super::raw::Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_file_of_the_how_to_starts_as_it_is() {
    let (config, findings) = load(HOW_TO, &[]);
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    assert_eq!(
        config.listen.http.address(&config.listen.host),
        Some(("0.0.0.0".to_owned(), 3200))
    );
    assert_eq!(config.listen.otlp_grpc.to_string(), "0.0.0.0:4317");
    assert_eq!(config.listen.otlp_http.to_string(), "0.0.0.0:4318");
    assert_eq!(config.retention.age, Duration::from_secs(168 * 3_600));
    assert_eq!(config.storage.max_block_duration, Duration::from_secs(300));
    assert_eq!(
        config.blocks_path(),
        Path::new("/tmp/tempo/blocks/tracewell")
    );
    assert_eq!(config.wal_path(), Path::new("/tmp/tempo/wal/tracewell"));
    let warnings = texts(&findings.warnings).join("\n");
    for part in [
        "receiver jaeger/thrift_http is not built yet; nothing listens on 0.0.0.0:14268",
        "receiver jaeger/grpc is not built yet; nothing listens on 0.0.0.0:14250",
        "receiver zipkin is not built yet; nothing listens on 0.0.0.0:9411",
        "query_frontend.search.duration_slo has no effect",
        "listens on all interfaces where no address is written",
    ] {
        assert!(warnings.contains(part), "{part} is not in\n{warnings}");
    }
    assert_eq!(findings.warnings.len(), 7, "{warnings}");
}

#[test]
fn certificates_hold_for_the_ports_that_name_them() {
    let tls = "{cert_file: /c, key_file: /k, client_ca_file: /ca, reload_interval: 1h, min_version: '1.2'}";
    let text = format!(
        "distributor:\n  receivers:\n    otlp:\n      protocols:\n        grpc: {{tls: {tls}}}\n        http:\n          tls: {tls}\n"
    );
    let (config, findings) = load(&text, &[]);
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    let files = config.tls_files().unwrap();
    assert_eq!(files.cert, Path::new("/c"));
    assert_eq!(files.client_ca.as_deref(), Some(Path::new("/ca")));
    assert_eq!(files.client_auth, ClientAuth::Required);
    assert_eq!(config.tls.listeners.to_string(), "otlp_grpc,otlp_http");

    let of = |policy: &str| {
        let text = format!(
            "server:\n  http_tls_config:\n    cert_file: /c\n    key_file: /k\n    client_ca_file: /ca\n    client_auth_type: {policy}\n"
        );
        let (config, findings) = load(&text, &[]);
        assert_eq!(texts(&findings.errors), Vec::<String>::new());
        assert_eq!(config.tls.listeners.to_string(), "http");
        let files = config.tls_files().unwrap();
        files.client_ca.map(|_| files.client_auth)
    };
    assert_eq!(of("NoClientCert"), None);
    assert_eq!(of("VerifyClientCertIfGiven"), Some(ClientAuth::IfGiven));
    assert_eq!(of("RequireAndVerifyClientCert"), Some(ClientAuth::Required));
}

/// Each text names a key that cannot be honoured, and starts no server.
fn start_nothing(rows: &[(&str, &str)]) {
    for (text, key) in rows {
        let (_, findings) = load(text, &[]);
        let errors = texts(&findings.errors).join("\n");
        assert!(
            errors.contains(key) && errors.contains("honoured"),
            "{text}: {errors}"
        );
    }
}

#[test]
fn certificates_are_honoured_or_refused() {
    start_nothing(&[
        (
            "server:\n  http_tls_config: {cert_file: /x, key_file: /y, client_ca_file: /z, client_auth_type: RequestClientCert}\n",
            "server.http_tls_config.client_auth_type",
        ),
        (
            "server:\n  http_tls_config: {cert_file: /x, key_file: /y, client_ca_file: /z}\n",
            "server.http_tls_config.client_ca_file",
        ),
        (
            "server:\n  http_tls_config: {cert_file: /x, key_file: /y, client_auth_type: RequireAndVerifyClientCert}\n",
            "server.http_tls_config",
        ),
        (
            "server:\n  http_tls_config: {client_auth_type: VerifyClientCertIfGiven}\n",
            "server.http_tls_config",
        ),
        (
            "server:\n  grpc_tls_config: {cert_file: /x, key_file: /y}\n",
            "server.grpc_tls_config.cert_file",
        ),
        (
            "distributor:\n  receivers:\n    otlp:\n      protocols:\n        grpc:\n          tls:\n            cert_pem: x\n",
            "grpc.tls.cert_pem",
        ),
        (
            "distributor:\n  receivers:\n    otlp:\n      protocols:\n        grpc: {tls: {cert_file: /x, key_file: /y, min_version: '1.3'}}\n",
            "grpc.tls.min_version",
        ),
        (
            "server:\n  http_tls_config: {cert_file: /a, key_file: /b}\ndistributor:\n  receivers:\n    otlp:\n      protocols:\n        grpc: {tls: {cert_file: /x, key_file: /y}}\n",
            "server.http_tls_config says another",
        ),
    ]);
}

#[test]
fn what_protects_is_never_ignored() {
    start_nothing(&[
        ("memberlist:\n  tls_enabled: on\n", "memberlist.tls_enabled"),
        (
            "memberlist:\n  tls_enabled: true\n",
            "memberlist.tls_enabled",
        ),
        ("server:\n  some_new_auth_thing: 1\n", "some_new_auth_thing"),
        (
            "storage:\n  trace:\n    backend: s3\n    s3:\n      bucket: b\n      sse:\n        type: SSE-S3\n",
            "storage.trace.s3.sse",
        ),
        (
            "storage:\n  trace:\n    backend: s3\n    s3:\n      bucket: b\n      tls_cert_path: /x\n",
            "storage.trace.s3.tls_cert_path",
        ),
        ("target: querier\n", "target"),
        (
            "metrics_generator:\n  storage:\n    remote_write:\n      - url: http://x\n        tls_config:\n          ca_file: /x\n",
            "tempo.yaml:5: metrics_generator.storage.remote_write[0].tls_config",
        ),
        (
            "cache:\n  caches:\n    - redis:\n        tls_enabled: true\n",
            "tempo.yaml:4: cache.caches[0].redis.tls_enabled",
        ),
        (
            "distributor:\n  receivers:\n    jaeger:\n      protocols:\n        grpc:\n          tls:\n            cert_file: /x\n",
            "tempo.yaml:6: distributor.receivers.jaeger.protocols.grpc.tls",
        ),
    ]);
    for text in [
        "multitenancy_enabled: false\ntarget: all\n",
        "target: scalable-single-binary\n",
        // As YAML had switches before 1.2.
        "multitenancy_enabled: no\nauth_enabled: Off\nmemberlist:\n  tls_enabled: no\n",
        // Credentials for what is not asked.
        "metrics_generator:\n  storage:\n    remote_write:\n      - basic_auth: {username: u, password: p}\n",
        "cache:\n  caches:\n    - redis: {tls_enabled: false, password: p}\n",
    ] {
        let (_, findings) = load(text, &[]);
        assert_eq!(texts(&findings.errors), Vec::<String>::new());
    }
}

/// A Tempo whose blocks lie in S3.
const S3: &str = include_str!("../../../../../tests/fixtures/tempo-2-s3.yaml");

#[test]
fn a_tempo_over_s3_keeps_its_bucket() {
    let expanded = expand(S3, &|name| match name {
        "S3_KEY" => Some("AKIA".to_owned()),
        "S3_SECRET" => Some("very secret".to_owned()),
        _ => None,
    });
    let (config, findings) = load(&expanded.unwrap(), &[]);
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    let bucket = &config.bucket;
    assert_eq!(bucket.kind, BucketKind::S3);
    assert_eq!((&*bucket.name, &*bucket.prefix), ("team-traces", "tempo"));
    assert_eq!(bucket.endpoint, "s3.amazonaws.com");
    assert_eq!((&*bucket.region, bucket.insecure), ("eu-central-1", false));
    assert_eq!(bucket.lookup, BucketLookup::Path);
    assert_eq!(bucket.access_key, "AKIA");
    assert_eq!(bucket.secret_key.reveal(), "very secret");
    assert_eq!(bucket.replaced_kept, Duration::from_secs(3_600));
    assert_eq!(config.retention.age, Duration::from_secs(72 * 3_600));
    // The one folder that the file names holds everything else.
    assert_eq!(config.storage.path, Path::new("/tmp/tempo/wal/tracewell"));
    assert_eq!(config.blocks_path(), config.storage.path);
    assert_eq!(config.wal_path(), Path::new("/tmp/tempo/wal/tracewell/wal"));
    let warnings = texts(&findings.warnings).join("\n");
    assert!(warnings.contains("storage.trace.s3.hedge_requests_at has no effect"));
    let printed = crate::config::reference::print(&config, &super::super::raw::Raw::default());
    assert!(printed.contains("********") && !printed.contains("very secret"));
}

#[test]
fn sections_of_other_stores_have_no_effect_and_typing_errors_are_named() {
    let (config, findings) = load(
        "storage:\n  trace:\n    backend: gcs\n    gcs:\n      bucket_name: b\n      prefx: x\n    s3:\n      bucket: c\n",
        &[],
    );
    assert_eq!(
        (config.bucket.kind, &*config.bucket.name),
        (BucketKind::Gcs, "b")
    );
    let errors = texts(&findings.errors).join("\n");
    assert!(
        errors.contains("unknown key storage.trace.gcs.prefx; did you mean prefix?"),
        "{errors}"
    );
    let warnings = texts(&findings.warnings).join("\n");
    assert!(warnings.contains("storage.trace.s3 has no effect: storage.trace.backend is gcs"));
    let (_, findings) = load("storage:\n  trace:\n    backend: s3\n", &[]);
    let errors = texts(&findings.errors).join("\n");
    assert!(
        errors.contains("bucket.name") && errors.contains("missing"),
        "{errors}"
    );
}

#[test]
fn a_retention_of_zero_is_what_holds_otherwise() {
    let default = Config::default().retention.age;
    for zero in ["0s", "0", "0h"] {
        for key in ["compactor", "backend_worker"] {
            let text = format!("{key}:\n  compaction:\n    block_retention: {zero}\n");
            let (config, findings) = load(&text, &[]);
            assert_eq!(texts(&findings.errors), Vec::<String>::new());
            assert_eq!(config.retention.age, default, "{text}");
        }
        let text = format!(
            "compactor:\n  compaction:\n    block_retention: 72h\n\
             overrides:\n  defaults:\n    compaction:\n      block_retention: {zero}\n"
        );
        let (config, findings) = load(&text, &[]);
        assert_eq!(texts(&findings.errors), Vec::<String>::new());
        assert_eq!(config.retention.age, Duration::from_secs(72 * 3_600));
    }
    let (_, findings) = load("compactor:\n  compaction:\n    block_retention: x\n", &[]);
    let errors = texts(&findings.errors).join("\n");
    assert!(errors.starts_with("tempo.yaml:3: compactor.compaction.block_retention: expected"));
}

/// A key that Tempo got since the list was written refuses no start, though others have its name.
#[test]
fn a_newer_key_of_a_known_section_is_no_error() {
    for (text, words) in [
        (
            "query_frontend: { trace_by_id: { span_pruning_enabled: true } }",
            "query_frontend.trace_by_id.span_pruning_enabled has no effect",
        ),
        (
            "querier: { span_pruning_enabled: true }",
            "querier.span_pruning_enabled is not known here and has no effect",
        ),
    ] {
        let (_, findings) = load(&format!("{text}\n"), &[]);
        assert!(findings.errors.is_empty(), "{findings}");
        let warnings = texts(&findings.warnings).join("\n");
        assert!(warnings.contains(words), "{text}: {warnings}");
    }
    let denied = "query_frontend: { url_deny_list: ['/api/search.*'] }\n";
    let (_, findings) = load(denied, &[]);
    let errors = texts(&findings.errors).join("\n");
    assert!(
        errors.contains("query_frontend.url_deny_list cannot be honoured: it protects"),
        "{errors}"
    );
    let (_, findings) = load("query_frontend: { url_deny_list: [] }\n", &[]);
    assert!(findings.errors.is_empty(), "{findings}");
}

/// A part that is not built is warned of wherever it is asked for; nothing that protects is lost with it.
#[test]
fn parts_that_are_not_built_yet_are_warned_of() {
    let text = "\
distributor:
  forwarders:
    - name: backup
      backend: otlpgrpc
      otlpgrpc: { endpoints: ['backup:4317'] }
overrides:
  defaults:
    forwarders: [backup]
  user_configurable_overrides:
    enabled: true
";
    let (_, findings) = load(text, &[]);
    assert!(findings.errors.is_empty(), "{findings}");
    let warnings = texts(&findings.warnings).join("\n");
    for words in [
        "tempo.yaml:2: distributor.forwarders has no effect: forwarding is not built yet",
        "backup:4317",
        "tempo.yaml:8: overrides.defaults.forwarders has no effect: forwarding is not built yet",
        "tempo.yaml:10: overrides.user_configurable_overrides.enabled has no effect: overrides by API are not built",
    ] {
        assert!(warnings.contains(words), "{words} is not in\n{warnings}");
    }
}

#[test]
fn the_other_clouds_and_identities_of_azure_are_honoured() {
    let of = |more: &str| {
        let text = format!(
            "storage:\n  trace:\n    backend: azure\n    azure:\n      container_name: traces\n{more}"
        );
        load(&text, &[])
    };
    let account = "      storage_account_name: mine\n";
    for (suffix, endpoint) in [
        ("blob.core.usgovcloudapi.net", "blob.core.usgovcloudapi.net"),
        ("azurite:10000", "http://azurite:10000/mine"),
    ] {
        let (config, findings) = of(&format!("{account}      endpoint_suffix: {suffix}\n"));
        assert!(findings.errors.is_empty(), "{findings}");
        assert_eq!(config.bucket.endpoint, endpoint);
    }
    let (config, findings) = of(&format!("{account}      user_assigned_id: an-id\n"));
    assert!(findings.errors.is_empty(), "{findings}");
    assert_eq!(config.bucket.identity, "an-id");
    let (_, findings) = of("      endpoint_suffix: azurite:10000\n");
    let errors = texts(&findings.errors).join("\n");
    assert!(errors.contains("tempo.yaml:6: ") && errors.contains("write storage_account_name"));
}

/// What a Tempo limits of queries is honoured where the same is limited here, and else told apart from it.
#[test]
fn limits_of_queries_are_taken_or_it_is_said_what_holds() {
    let (config, findings) = load("query_frontend:\n  api_timeout: 5m\n", &[]);
    assert!(findings.errors.is_empty(), "{findings}");
    assert_eq!(config.limits.query_ms_max, 300_000);
    let (config, _) = load("query_frontend:\n  api_timeout: 0s\n", &[]);
    let default = Config::default().limits.query_ms_max;
    assert_eq!(config.limits.query_ms_max, default);
    for (text, words) in [
        (
            "query_frontend: { search: { max_duration: 168h } }",
            "any stretch of time",
        ),
        (
            "overrides: { defaults: { read: { max_search_duration: 24h } } }",
            "any stretch of time",
        ),
        (
            "query_frontend: { search: { default_result_limit: 50 } }",
            "20 traces",
        ),
        (
            "query_frontend: { max_outstanding_per_tenant: 100 }",
            "limits.tenant_queries_max",
        ),
        (
            "querier: { search: { query_timeout: 10s } }",
            "query_frontend.api_timeout",
        ),
    ] {
        let (_, findings) = load(&format!("{text}\n"), &[]);
        assert!(findings.errors.is_empty(), "{findings}");
        let warnings = texts(&findings.warnings).join("\n");
        assert!(warnings.contains(words), "{text}: {warnings}");
    }
    for silent in [
        "query_frontend: { search: { default_result_limit: 20, max_duration: 0s } }",
        "overrides: { defaults: { read: { max_search_duration: 0s } } }",
    ] {
        let (_, findings) = load(&format!("{silent}\n"), &[]);
        let all = findings.to_string();
        let section = silent.split(':').next().unwrap();
        assert!(!all.contains(section), "{silent}: {all}");
    }
}

/// Each of the two switches it on, and the other one cannot undo it.
#[test]
fn tenants_are_switched_on_by_either_key() {
    for (text, on) in [
        ("multitenancy_enabled: true\n", true),
        ("auth_enabled: yes\n", true),
        ("multitenancy_enabled: true\nauth_enabled: false\n", true),
        ("auth_enabled: true\nmultitenancy_enabled: false\n", true),
        ("multitenancy_enabled: false\nauth_enabled: off\n", false),
        ("target: all\n", false),
    ] {
        let (config, findings) = load(text, &[]);
        assert!(findings.errors.is_empty(), "{text}: {findings}");
        assert_eq!(config.tenants.enabled, on, "{text}");
    }
    let (_, findings) = load("multitenancy_enabled: perhaps\n", &[]);
    assert_eq!(findings.errors.len(), 1, "{findings}");
}

#[test]
fn limits_and_the_file_of_overrides_are_taken_over() {
    let text = "overrides:\n  defaults:\n    ingestion:\n      rate_limit_bytes: 5000000\n      \
                burst_size_bytes: 10000000\n      rate_strategy: global\n  \
                per_tenant_override_config: /conf/overrides.yaml\n  per_tenant_override_period: 30s\n";
    let (config, findings) = load(text, &[]);
    assert!(findings.errors.is_empty(), "{findings}");
    assert_eq!(config.limits.tenant_bytes_per_second_max, 5_000_000);
    assert_eq!(config.limits.tenant_burst_bytes_max, 10_000_000);
    let tenants = &config.tenants;
    assert_eq!(
        tenants.overrides_path.as_deref(),
        Some(Path::new("/conf/overrides.yaml"))
    );
    assert_eq!(tenants.overrides_period.as_secs(), 30);
    let (config, _) = load("overrides:\n  per_tenant_override_config: ''\n", &[]);
    assert_eq!(config.tenants.overrides_path, None);
}

#[test]
fn receivers_that_are_not_named_do_not_listen() {
    let (config, _) = load(
        "distributor:\n  receivers:\n    otlp:\n      protocols:\n        http:\n",
        &[],
    );
    assert_eq!(config.listen.otlp_grpc, Endpoint::Off);
    assert_eq!(config.listen.otlp_http, Endpoint::Port(4318));
    assert_eq!(config.listen.host, "0.0.0.0");
    let (config, _) = load("distributor:\n  receivers:\n    zipkin:\n", &[]);
    assert_eq!(config.listen.otlp_http, Endpoint::Off);
    let (config, findings) = load("distributor:\n  receivers:\n    otlp:\n", &[]);
    assert_eq!(config.listen.otlp_grpc, Endpoint::Port(4317));
    assert!(findings.errors.is_empty());
}

#[test]
fn a_typing_error_names_the_nearest_key_and_the_line() {
    let (_, findings) = load(
        "server:\n  http_listen_port: 3200\ncompactr:\n  compaction:\n    block_retention: 1h\n",
        &[],
    );
    let errors = texts(&findings.errors);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("tempo.yaml:3: unknown key compactr; did you mean compactor?"),
        "{errors:?}"
    );
}

#[test]
fn flags_win_over_the_file_and_name_themselves() {
    let (config, findings) = load(
        "server:\n  http_listen_port: 3200\n",
        &[
            ("server.http-listen-port", "3201"),
            ("storage.trace.local.path", "/data"),
        ],
    );
    assert_eq!(config.listen.http, Endpoint::Port(3201));
    assert_eq!(config.blocks_path(), Path::new("/data/tracewell"));
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    let (_, findings) = load("target: all\n", &[("target", "querier")]);
    assert!(
        texts(&findings.errors)[0].starts_with("-target"),
        "{findings:?}"
    );
}

#[test]
fn flags_that_are_unknown_are_refused_and_those_without_effect_are_warned_of() {
    let text = "target: all\n";
    let (_, findings) = load(text, &[("server.http-listen-prt", "1"), ("no.such", "")]);
    let errors = texts(&findings.errors);
    assert_eq!(
        errors,
        [
            "-server.http-listen-prt: unknown flag; did you mean -server.http-listen-port?",
            "-no.such: unknown flag; it is no flag of Tempo's that is known here; take it out, or see \
             `tracewell --help`",
        ]
    );
    let (config, findings) = load(
        text,
        &[
            ("mem-ballast-size-mbs", "1024"),
            ("memberlist.bind-port", "7946"),
            ("log.level", "debug"),
            ("compactor.compaction.block-retention", "48h"),
            ("ingester.max-bytes-per-trace", "1"),
            ("ingester.max-traces-per-user", "0"),
            ("querier.max-bytes-per-tag-values-query", "1"),
        ],
    );
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.retention.age, Duration::from_secs(48 * 3_600));
    assert_eq!(config.limits.trace_bytes_max, 1);
    assert_eq!(
        config.limits.tenant_traces_max,
        Limits::NONE,
        "0 is no limit"
    );
    let warnings = texts(&findings.warnings).join("\n");
    for part in [
        "-mem-ballast-size-mbs: no effect: memory is bounded by",
        "-memberlist.bind-port: memberlist has no effect",
        "bind_port 7946",
        "-querier.max-bytes-per-tag-values-query: overrides.defaults.read.max_bytes_per_tag_values_query has no effect",
    ] {
        assert!(warnings.contains(part), "{part} is not in\n{warnings}");
    }
}

#[test]
fn flags_alone_and_flags_over_a_file_of_our_own() {
    let source = crate::config::load::Source {
        tempo_flags: vec![("server.http-listen-port".to_owned(), "3201".to_owned())],
        ..Default::default()
    };
    let loaded = source.load();
    assert_eq!(loaded.config.listen.http, Endpoint::Port(3201));
    // Without a file of Tempo's nothing listens for others.
    assert_eq!(loaded.config.listen.host, "127.0.0.1");
    let folder = std::env::temp_dir().join(format!("tracewell-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("own.yaml");
    std::fs::write(&file, "retention:\n  age: 72h\n").unwrap();
    let source = crate::config::load::Source {
        file: Some(file),
        ..source
    };
    let loaded = source.load();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(texts(&loaded.findings.errors), Vec::<String>::new());
    assert_eq!(loaded.config.retention.age, Duration::from_secs(72 * 3_600));
    assert_eq!(loaded.config.listen.http, Endpoint::Port(3201));
}

#[test]
fn a_file_that_leaves_nothing_open_has_no_warnings() {
    let receivers = "distributor:\n  receivers:\n    otlp:\n      protocols:\n        grpc:\n          \
                     endpoint: 0.0.0.0:4317\n        http:\n          endpoint: 0.0.0.0:4318\n";
    let server = "server:\n  http_listen_address: 0.0.0.0\n  http_listen_port: 3200\n";
    let (_, findings) = load(&format!("{server}{receivers}"), &[]);
    assert_eq!(findings.to_string(), "");
    let (_, findings) = load(receivers, &[]);
    assert_eq!(findings.warnings.len(), 2, "{findings}");
}

#[test]
fn address_and_port_of_the_api_however_they_are_written() {
    for (text, expected) in [
        ("http_listen_port: 3201", ("0.0.0.0", 3201)),
        ("http_listen_port: '3201'", ("0.0.0.0", 3201)),
        ("http_listen_address: ''", ("0.0.0.0", 3200)),
        ("http_listen_address: 10.0.0.7", ("10.0.0.7", 3200)),
        (
            "{http_listen_address: '::', http_listen_port: '3201'}",
            ("::", 3201),
        ),
        (
            "{http_listen_address: localhost, http_listen_port: }",
            ("localhost", 3200),
        ),
    ] {
        let (config, findings) = load(&format!("server:\n  {text}\n"), &[]);
        assert_eq!(texts(&findings.errors), Vec::<String>::new(), "{text}");
        let address = config.listen.http.address(&config.listen.host);
        let (host, port) = address.unwrap();
        assert_eq!((&*host, port), expected, "{text}");
    }
}

/// Tempo keeps `wal` and `traces` in names of their own below one folder, too.
#[test]
fn one_folder_for_blocks_and_log_is_no_clash() {
    let text = "storage:\n  trace:\n    local:\n      path: /data/\n    wal:\n      path: /data\n";
    let (config, findings) = load(text, &[]);
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    assert_eq!(config.blocks_path(), Path::new("/data/tracewell"));
    assert_eq!(config.wal_path(), Path::new("/data/tracewell/wal"));
    let mut raw = super::super::raw::Raw::default();
    raw.set("--set", "storage.path", "/data");
    raw.set("--set", "storage.wal_path", "/data/");
    let errors = texts(&Config::from_raw(&raw).1.errors);
    assert!(
        errors.len() == 1 && errors[0].contains("storage.wal_path: the write-ahead log cannot"),
        "{errors:?}"
    );
}

#[test]
fn a_tempo_3_receives_on_loopback_unless_a_host_is_chosen() {
    let text = "live_store: {}\ndistributor: {receivers: {otlp: }}\n";
    let of = |host_is_chosen| {
        let (raw, _) = translate(Written {
            file: Some((Path::new("tempo.yaml"), yaml::parse(text).unwrap())),
            flags: &[],
            host_is_chosen,
        });
        Config::from_raw(&raw).0.listen
    };
    assert_eq!(of(false).otlp_grpc.to_string(), "127.0.0.1:4317");
    assert_eq!(
        of(false).http.address(&of(false).host).unwrap().0,
        "0.0.0.0"
    );
    assert_eq!(of(true).otlp_grpc, Endpoint::Port(4317));
}

/// A key that may be newer than the list of keys does not keep a server from starting.
#[test]
fn a_key_that_is_like_no_other_is_a_warning() {
    let (_, findings) = load(
        "server:\n  brand_new_thing: 1\nwhatever_comes: {a: 1}\n",
        &[],
    );
    assert_eq!(texts(&findings.errors), Vec::<String>::new());
    let warnings = findings.to_string();
    assert!(warnings.contains("tempo.yaml:2: server.brand_new_thing is not known here"));
    assert!(warnings.contains("tempo.yaml:3: whatever_comes is not known here"));
}
