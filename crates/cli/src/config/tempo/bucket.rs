//! `storage.trace.{s3,gcs,azure}`: the bucket that a Tempo keeps its blocks in. Tracewell's own lie beside
//! them, below a folder of its own.

use super::Translation;
use super::actions::Action;
use super::protection::is_off;
use crate::config::yaml::{Node, Value};

const TUNING: &str = "the client of the object store sizes and repeats requests by itself";
const LIFECYCLE: &str = "Tracewell's objects have no tags, metadata or storage class; a rule of the bucket's can set \
                         the class by their prefix";
const SSE: &str = "encryption is not asked for request by request; let the bucket encrypt by default and take the \
                   key out";
const CLIENT_TLS: &str = "client certificates for an object store are not built yet; take the key out where the store asks for none";

const S3: &[(&str, Action)] = &[
    ("bucket", Action::Same("bucket.name")),
    ("prefix", Action::Same("bucket.prefix")),
    ("endpoint", Action::Same("bucket.endpoint")),
    ("region", Action::Same("bucket.region")),
    ("access_key", Action::Same("bucket.access_key")),
    ("secret_key", Action::Same("bucket.secret_key")),
    ("session_token", Action::Same("bucket.session_token")),
    ("insecure", Action::Same("bucket.insecure")),
    (
        "forcepathstyle",
        Action::Convert("bucket.lookup", path_style),
    ),
    (
        "bucket_lookup_type",
        Action::Convert("bucket.lookup", lookup),
    ),
    ("native_aws_auth_enabled", Action::Silent),
    ("tls_ca_path", Action::Same("bucket.ca_path")),
    (
        "tls_insecure_skip_verify",
        Action::Only(
            &["false"],
            "certificates are verified; name the one to trust in tls_ca_path",
        ),
    ),
    (
        "tls_min_version",
        Action::Only(&["VersionTLS12"], "TLS 1.2 and 1.3 are spoken"),
    ),
    (
        "tls_cipher_suites",
        Action::Refuse("the safe ones of TLS 1.2 and 1.3 are spoken; take the key out"),
    ),
    (
        "tls_server_name",
        Action::Refuse("the name in the certificate must be that of the endpoint"),
    ),
    ("tls_cert_path", Action::Refuse(CLIENT_TLS)),
    ("tls_key_path", Action::Refuse(CLIENT_TLS)),
    (
        "signature_v2",
        Action::Only(&["false"], "requests are signed as version 4"),
    ),
    ("sse", Action::Refuse(SSE)),
    ("tags", Action::NoEffect(LIFECYCLE)),
    ("metadata", Action::NoEffect(LIFECYCLE)),
    ("storage_class", Action::NoEffect(LIFECYCLE)),
    ("part_size", Action::NoEffect(TUNING)),
    ("hedge_requests_at", Action::NoEffect(TUNING)),
    ("hedge_requests_up_to", Action::NoEffect(TUNING)),
    ("retry_max_attempts", Action::NoEffect(TUNING)),
    ("retry_backoff_initial", Action::NoEffect(TUNING)),
    ("retry_backoff_max", Action::NoEffect(TUNING)),
    ("list_blocks_concurrency", Action::NoEffect(TUNING)),
    (
        "enable_dual_stack",
        Action::NoEffect("write the dual-stack endpoint as the endpoint"),
    ),
    (
        "checksum_type",
        Action::NoEffect("every put carries a SHA-256"),
    ),
];

const GCS: &[(&str, Action)] = &[
    ("bucket_name", Action::Same("bucket.name")),
    ("prefix", Action::Same("bucket.prefix")),
    ("endpoint", Action::Same("bucket.endpoint")),
    ("insecure", Action::Same("bucket.insecure")),
    ("chunk_buffer_size", Action::NoEffect(TUNING)),
    ("hedge_requests_at", Action::NoEffect(TUNING)),
    ("hedge_requests_up_to", Action::NoEffect(TUNING)),
    ("list_blocks_concurrency", Action::NoEffect(TUNING)),
    ("max_retries", Action::NoEffect(TUNING)),
    ("object_cache_control", Action::NoEffect(LIFECYCLE)),
    ("object_metadata", Action::NoEffect(LIFECYCLE)),
];

const AZURE: &[(&str, Action)] = &[
    ("container_name", Action::Same("bucket.name")),
    ("prefix", Action::Same("bucket.prefix")),
    ("storage_account_name", Action::Same("bucket.access_key")),
    ("storage_account_key", Action::Same("bucket.secret_key")),
    ("endpoint_suffix", Action::Elsewhere),
    ("use_managed_identity", Action::Silent),
    ("use_federated_token", Action::Silent),
    ("user_assigned_id", Action::Same("bucket.identity")),
    ("max_buffers", Action::NoEffect(TUNING)),
    ("buffer_size", Action::NoEffect(TUNING)),
    ("hedge_requests_at", Action::NoEffect(TUNING)),
    ("hedge_requests_up_to", Action::NoEffect(TUNING)),
];

/// Every section with its keys.
const SECTIONS: &[(&str, &[(&str, Action)])] = &[("s3", S3), ("gcs", GCS), ("azure", AZURE)];

pub(super) fn translate(translation: &mut Translation<'_>, root: &Node) {
    let trace = root.get("storage").and_then(|node| node.get("trace"));
    let Some(trace) = trace else {
        return;
    };
    let backend = match trace.get("backend").map(|node| &node.value) {
        Some(Value::Text(backend)) => backend.as_str(),
        _ => "local",
    };
    for (section, keys) in SECTIONS {
        let Some(node) = trace.get(section) else {
            continue;
        };
        if *section == backend {
            if *section == "azure" {
                azure_endpoint(translation, node);
            }
            translate_section(translation, section, keys, node);
        } else if !is_off(&node.value) {
            let name = format!("storage.trace.{section}");
            let place = translation.place(&name, node.line);
            let message = format!("{name} has no effect: storage.trace.backend is {backend}");
            translation.findings.warning(&place, message);
        }
    }
}

fn translate_section(
    translation: &mut Translation<'_>,
    section: &str,
    keys: &[(&str, Action)],
    node: &Node,
) {
    let Value::Map(entries) = &node.value else {
        return;
    };
    for (key, child) in entries {
        let name = format!("storage.trace.{section}.{}", key.name);
        let place = translation.place(&name, key.line);
        let known = keys.iter().find(|(known, _)| *known == key.name);
        let Some((_, action)) = known else {
            let near =
                crate::config::keys::nearest(&key.name, keys.iter().map(|(known, _)| *known));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            let message = format!("unknown key {name}{hint}");
            translation.findings.error(&place, message);
            continue;
        };
        // Nothing written is the default.
        if matches!(&child.value, Value::Null) || child.value == Value::Text(String::new()) {
            continue;
        }
        translation.apply(*action, &name, child, place);
    }
}

/// What follows the account in a host of Azure's. Of anything else, an emulator's, a Tempo makes
/// `http://SUFFIX/ACCOUNT`.
fn azure_endpoint(translation: &mut Translation<'_>, section: &Node) {
    let written = |key: &str| {
        let text = section.get(key).map(|node| node.value.plain());
        text.filter(|text| !text.is_empty())
    };
    let (Some(suffix), Some(node)) = (written("endpoint_suffix"), section.get("endpoint_suffix"))
    else {
        return;
    };
    const KEY: &str = "storage.trace.azure.endpoint_suffix";
    let place = translation.place(KEY, node.line);
    let endpoint = match (suffix.starts_with("blob."), written("storage_account_name")) {
        (true, _) => suffix,
        (false, Some(account)) => format!("http://{suffix}/{account}"),
        (false, None) => {
            let message = format!(
                "{KEY}: {suffix} is of an emulator, whose URL ends with the account: write storage_account_name"
            );
            translation.findings.error(&place, message);
            return;
        }
    };
    translation.set_text("bucket.endpoint", endpoint, KEY, place);
}

fn path_style(node: &Node) -> Result<Node, String> {
    let lookup = match crate::config::values::switch(node)? {
        true => "path",
        false => "auto",
    };
    Ok(Node {
        line: node.line,
        value: Value::Text(lookup.to_owned()),
    })
}

/// Tempo numbers them, or names them as minio-go does.
fn lookup(node: &Node) -> Result<Node, String> {
    let lookup = match &node.value {
        Value::Int(0) => "auto",
        Value::Int(1) => "dns",
        Value::Int(2) => "path",
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "auto" => "auto",
            "dns" | "virtual-hosted" => "dns",
            "path" => "path",
            _ => return Err(format!("expected auto, dns or path, found {text:?}")),
        },
        other => return Err(format!("expected auto, dns or path, found {other}")),
    };
    Ok(Node {
        line: node.line,
        value: Value::Text(lookup.to_owned()),
    })
}
