//! TLS in a Tempo file: of its API, and of the receivers that are the Collector's. Tracewell has one certificate for
//! all of its ports; a file that names several is refused.

use super::protection::{is_off, says_nothing};
use super::{Translation, at};
use crate::config::raw::Place;
use crate::config::yaml::{Node, Value};

/// What one listener is given.
struct Written {
    /// As `tls.listeners` names it.
    listener: &'static str,
    origin: String,
    place: Place,
    keys: Keys,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Keys {
    cert_file: Option<String>,
    key_file: Option<String>,
    client_ca_file: Option<String>,
    client_auth: Option<&'static str>,
}

const API: &str = "server.http_tls_config";
/// Of the Collector's: when files are read again, which Tracewell does by itself.
const TUNING: [&str; 3] = [
    "reload_interval",
    "client_ca_file_reload",
    "include_system_ca_certs_pool",
];
const FILES: &str =
    "certificates and keys are read from files: name them with cert_file and key_file";
const VERIFIES_NOTHING: &str = "it asks for certificates and verifies none; write RequireAndVerifyClientCert or VerifyClientCertIfGiven";
const NO_SUCH: &str = "Tracewell does not know how to; take it out";

/// `receivers` are the OTLP protocols that are built: path, listener, options.
pub(super) fn translate(
    translation: &mut Translation<'_>,
    root: &Node,
    receivers: &[(String, &'static str, &Node)],
) {
    let mut all = Vec::new();
    if let Some(node) = at(root, API).filter(|node| !is_off(&node.value)) {
        all.push((API.to_owned(), "http", node, false));
    }
    for (origin, listener, options) in receivers {
        if let Some(node) = options.get("tls").filter(|node| !is_off(&node.value)) {
            all.push((format!("{origin}.tls"), *listener, node, true));
        }
    }
    let mut written: Vec<Written> = Vec::new();
    for (origin, listener, node, is_collector) in all {
        let place = translation.place(&origin, node.line);
        let keys = keys(translation, &origin, node, is_collector);
        if keys == Keys::default() {
            continue;
        }
        if let Some(first) = written.first()
            && first.keys != keys
        {
            let message = format!(
                "{origin} cannot be honoured: Tracewell has one certificate for all its ports, and {} says another",
                first.origin
            );
            translation.findings.error(&place, message);
            continue;
        }
        written.push(Written {
            listener,
            origin,
            place,
            keys,
        });
    }
    let Some(first) = written.first() else {
        return;
    };
    let listeners: Vec<&str> = written.iter().map(|it| it.listener).collect();
    let Keys {
        cert_file,
        key_file,
        client_ca_file,
        client_auth,
    } = first.keys.clone();
    for (key, value) in [
        ("tls.cert_file", cert_file),
        ("tls.key_file", key_file),
        ("tls.client_ca_file", client_ca_file),
        ("tls.client_auth", client_auth.map(str::to_owned)),
        ("tls.listeners", Some(listeners.join(","))),
    ] {
        if let Some(value) = value {
            translation.set_text(key, value, &first.origin, first.place.clone());
        }
    }
}

fn keys(translation: &mut Translation<'_>, origin: &str, node: &Node, is_collector: bool) -> Keys {
    let mut keys = Keys::default();
    let mut policy = None;
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    for (key, value) in entries {
        if says_nothing(&value.value) {
            continue;
        }
        let text = value.value.plain();
        let refused = match key.name.as_str() {
            "cert_file" => {
                keys.cert_file = Some(text);
                continue;
            }
            "key_file" => {
                keys.key_file = Some(text);
                continue;
            }
            "client_ca_file" => {
                keys.client_ca_file = Some(text);
                continue;
            }
            "client_auth_type" if !is_collector => {
                match text.as_str() {
                    "NoClientCert" => policy = Some(None),
                    "VerifyClientCertIfGiven" => policy = Some(Some("optional")),
                    "RequireAndVerifyClientCert" => policy = Some(Some("required")),
                    _ => refuse(translation, origin, key.line, &key.name, VERIFIES_NOTHING),
                }
                continue;
            }
            "min_version" if ["1.0", "1.1", "1.2"].contains(&text.as_str()) => continue,
            name if is_collector && TUNING.contains(&name) => continue,
            "cert" | "key" | "client_ca" | "cert_pem" | "key_pem" => FILES,
            _ if is_off(&value.value) => continue,
            _ => NO_SUCH,
        };
        refuse(translation, origin, key.line, &key.name, refused);
    }
    match (is_collector, policy) {
        // The Collector asks whoever it can verify.
        (true, _) if keys.client_ca_file.is_some() => keys.client_auth = Some("required"),
        (false, Some(None)) => keys.client_ca_file = None,
        (false, Some(policy)) => keys.client_auth = policy,
        (false, None) if keys.client_ca_file.is_some() => {
            let why = "it says nothing without client_auth_type, to a Tempo either";
            refuse(translation, origin, node.line, "client_ca_file", why);
        }
        _ => {}
    }
    keys
}

fn refuse(translation: &mut Translation<'_>, origin: &str, line: u64, key: &str, why: &str) {
    let path = format!("{origin}.{key}");
    let place = translation.place(&path, line);
    let message = format!("{path} cannot be honoured: {why}");
    translation.findings.error(&place, message);
}
