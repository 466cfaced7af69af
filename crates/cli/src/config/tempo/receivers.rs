//! `distributor.receivers`: the part of a Tempo file that is the OpenTelemetry Collector's own.

use super::actions::{self, SIGN_ON};
use super::protection::{first_transport, is_off, protects};
use super::{Translation, at, is_tempo_3};
use crate::config::keys::nearest;
use crate::config::values::{Endpoint, parse_endpoint};
use crate::config::yaml::{Key, Node, Value};

const RECEIVERS: &str = "distributor.receivers";

/// Receivers of Tempo's that Tracewell does not have, and where they listen if nobody says.
const NOT_BUILT: &[(&str, &[(&str, &str)])] = &[
    (
        "jaeger",
        &[
            ("thrift_http", "14268"),
            ("grpc", "14250"),
            ("thrift_binary", "6832/udp"),
            ("thrift_compact", "6831/udp"),
        ],
    ),
    ("zipkin", &[("", "9411")]),
    ("kafka", &[]),
    ("opencensus", &[("", "55678")]),
];

/// Protocols of OTLP: name, key of ours, port.
const OTLP: [(&str, &str, u16); 2] = [
    ("grpc", "listen.otlp_grpc", 4317),
    ("http", "listen.otlp_http", 4318),
];
/// Options of a protocol that only say how its server is tuned.
const TUNING: [&str; 16] = [
    "compression_algorithms",
    "idle_timeout",
    "include_metadata",
    "keepalive",
    "logs_url_path",
    "max_concurrent_streams",
    "metrics_url_path",
    "profiles_url_path",
    "read_buffer_size",
    "read_header_timeout",
    "read_timeout",
    "response_headers",
    "middlewares",
    "write_buffer_size",
    "write_timeout",
    "keep_alives_enabled",
];

/// A protocol that is built: its path, its listener as `tls.listeners` names it, its options.
pub(super) type Built<'n> = (String, &'static str, &'n Node);

pub(super) fn translate<'n>(translation: &mut Translation<'_>, root: &'n Node) -> Vec<Built<'n>> {
    let mut protocols = Vec::new();
    let Some(receivers) = at(root, RECEIVERS) else {
        return protocols;
    };
    let entries = match &receivers.value {
        Value::Map(entries) => entries,
        Value::Null => return protocols,
        other => {
            let place = translation.place(RECEIVERS, receivers.line);
            let message =
                format!("{RECEIVERS}: expected receivers by name, such as `otlp:`, found {other}");
            translation.findings.error(&place, message);
            return protocols;
        }
    };
    // `otlp` and `otlp/anything` are of one kind.
    let kind = |key: &Key| key.name.split('/').next().unwrap_or_default().to_owned();
    let built = entries.iter().find(|(key, _)| kind(key) == "otlp");
    for (key, receiver) in entries {
        let is_built = built.is_some_and(|(built, _)| built == key);
        match NOT_BUILT.iter().find(|(name, _)| *name == kind(key)) {
            _ if is_built => protocols = otlp(translation, key, receiver, is_tempo_3(root)),
            Some((_, protocols)) => not_built(translation, key, protocols, receiver),
            None if kind(key) == "otlp" => {
                let message = "a second OTLP receiver is not built yet";
                without_effect(translation, key, receiver, message);
            }
            None => unknown(translation, key),
        }
    }
    if built.is_none() && !entries.is_empty() {
        // What a file does not name does not listen.
        let place = translation.place(RECEIVERS, receivers.line);
        for (_, key, _) in OTLP {
            translation.set_text(key, "off".to_owned(), RECEIVERS, place.clone());
        }
    }
    protocols
}

fn unknown(translation: &mut Translation<'_>, key: &Key) {
    let place = translation.place(RECEIVERS, key.line);
    let known = NOT_BUILT.iter().map(|(name, _)| *name).chain(["otlp"]);
    let message = match nearest(&key.name, known) {
        Some(near) => format!("unknown receiver {}; did you mean {near}?", key.name),
        None => format!(
            "unknown receiver {}; Tempo has otlp, jaeger, zipkin and kafka",
            key.name
        ),
    };
    translation.findings.error(&place, message);
}

/// Whatever listens, named by its protocols.
fn not_built(
    translation: &mut Translation<'_>,
    key: &Key,
    protocols: &[(&str, &str)],
    receiver: &Node,
) {
    let path = format!("{RECEIVERS}.{}", key.name);
    if let Some((path, line)) = first_transport(&path, receiver) {
        let place = translation.place(&path, line);
        let message = format!("{path} cannot be honoured: {}", actions::NOT_BUILT);
        translation.findings.error(&place, message);
    }
    let written = match receiver.get("protocols").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    if written.is_empty() {
        let place = translation.place(RECEIVERS, key.line);
        let defaults: Vec<&str> = protocols.iter().map(|(_, port)| *port).collect();
        let listens = match endpoint_text(receiver).unwrap_or_else(|| defaults.join(", ")) {
            address if address.is_empty() => String::new(),
            address => format!("; nothing listens on {address}"),
        };
        let reads = receiver.get("brokers").map_or_else(String::new, |brokers| {
            format!("; nothing is read from {}", brokers.value.plain())
        });
        let message = format!("receiver {} is not built yet{listens}{reads}", key.name);
        translation.findings.warning(&place, message);
    }
    for (protocol, node) in written {
        let place = translation.place(RECEIVERS, protocol.line);
        let default = protocols
            .iter()
            .find_map(|(known, port)| (*known == protocol.name).then_some(*port));
        let address = endpoint_text(node)
            .or_else(|| default.map(str::to_owned))
            .unwrap_or_else(|| "its port".to_owned());
        let message = format!(
            "receiver {}/{} is not built yet; nothing listens on {address}",
            key.name, protocol.name
        );
        translation.findings.warning(&place, message);
    }
}

fn without_effect(translation: &mut Translation<'_>, key: &Key, receiver: &Node, why: &str) {
    let place = translation.place(RECEIVERS, key.line);
    let addresses: Vec<String> = OTLP
        .iter()
        .filter_map(|(protocol, _, _)| receiver.get("protocols")?.get(protocol))
        .filter_map(endpoint_text)
        .collect();
    let listens = match addresses.is_empty() {
        true => String::new(),
        false => format!("; nothing listens on {}", addresses.join(", ")),
    };
    let message = format!("receiver {}: {why}{listens}", key.name);
    translation.findings.warning(&place, message);
}

fn otlp<'n>(
    translation: &mut Translation<'_>,
    receiver_key: &Key,
    receiver: &'n Node,
    on_loopback: bool,
) -> Vec<Built<'n>> {
    let mut built = Vec::new();
    let protocols = receiver
        .get("protocols")
        .filter(|node| node.value != Value::Null);
    let line = receiver_key.line;
    if let Some(Value::Map(entries)) = protocols.map(|node| &node.value) {
        let unknown = entries
            .iter()
            .filter(|(key, _)| !OTLP.iter().any(|(known, _, _)| *known == key.name));
        for (key, _) in unknown {
            let place = translation.place(RECEIVERS, key.line);
            let message = format!(
                "unknown protocol {} of otlp; there are grpc and http",
                key.name
            );
            translation.findings.error(&place, message);
        }
    }
    for (protocol, key, port) in OTLP {
        let origin = format!("{RECEIVERS}.{}.protocols.{protocol}", receiver_key.name);
        // `otlp:` alone, or `protocols:` alone: both.
        let node = protocols.and_then(|protocols| protocols.get(protocol));
        if protocols.is_some() && node.is_none() {
            let place = translation.place(&origin, line);
            translation.set_text(key, "off".to_owned(), &origin, place);
            continue;
        }
        let default = match on_loopback && !translation.host_is_chosen {
            true => format!("127.0.0.1:{port}"),
            false => port.to_string(),
        };
        listen(translation, &origin, key, default, node, line);
        options(translation, &origin, node);
        let listener = key.strip_prefix("listen.").unwrap_or(key);
        built.extend(node.map(|node| (origin, listener, node)));
    }
    built
}

fn listen(
    translation: &mut Translation<'_>,
    path: &str,
    key: &str,
    default: String,
    node: Option<&Node>,
    line: u64,
) {
    let endpoint = node.and_then(|node| node.get("endpoint"));
    let line = endpoint.or(node).map_or(line, |node| node.line);
    let place = translation.place(path, line);
    match node.and_then(endpoint_text) {
        None => translation.set_text(key, default, path, place),
        Some(text) => match parse_endpoint(&text) {
            Some(endpoint @ Endpoint::At { .. }) => {
                let origin = format!("{path}.endpoint");
                translation.set_text(key, endpoint.to_string(), &origin, place);
            }
            _ => translation.findings.error(
                &place,
                format!(
                    "{path}.endpoint: expected host:port, such as {}, found {text:?}",
                    match default.contains(':') {
                        true => default,
                        false => format!("0.0.0.0:{default}"),
                    }
                ),
            ),
        },
    }
}

fn options(translation: &mut Translation<'_>, path: &str, node: Option<&Node>) {
    let Some(Value::Map(entries)) = node.map(|node| &node.value) else {
        return;
    };
    for (option, value) in entries {
        let place = translation.place(path, option.line);
        let origin = format!("{path}.{}", option.name);
        let written = value.value.plain();
        let effect = match option.name.as_str() {
            // `tls` is read where all of it is.
            "endpoint" | "tls" => continue,
            _ if value.value == Value::Null => continue,
            name if protects(name, true) && is_off(&value.value) => continue,
            name if protects(name, true) => Err(format!("{origin} cannot be honoured: {SIGN_ON}")),
            "max_recv_msg_size_mib" => Ok(Some(format!("{written}MiB"))),
            "max_request_body_size" => Ok(Some(written)),
            "traces_url_path" if written == "/v1/traces" => continue,
            "traces_url_path" => Err(format!(
                "{origin}: {written} cannot be honoured: spans are taken at /v1/traces; send them there, and take \
                 the key out"
            )),
            "transport" if written == "tcp" => continue,
            "transport" => Err(format!(
                "{origin}: {written} cannot be honoured: only tcp is listened on"
            )),
            "cors" => {
                let why = "browsers may not send from pages of other origins yet";
                let message = format!("{origin} has no effect: {why}");
                translation.findings.warning(&place, message);
                Ok(None)
            }
            name if TUNING.contains(&name) => {
                let message = format!("{origin} has no effect: limits.* bound a connection");
                translation.findings.warning(&place, message);
                Ok(None)
            }
            name => Err(unknown_option(&origin, name)),
        };
        match effect {
            Ok(Some(size)) => {
                translation.set_text("limits.request_bytes_max", size, &origin, place);
            }
            Ok(None) => {}
            Err(message) => translation.findings.error(&place, message),
        }
    }
}

fn unknown_option(origin: &str, name: &str) -> String {
    let others = [
        "endpoint",
        "tls",
        "auth",
        "cors",
        "max_recv_msg_size_mib",
        "max_request_body_size",
        "traces_url_path",
        "transport",
    ];
    match nearest(name, others.into_iter().chain(TUNING)) {
        Some(near) => format!("unknown key {origin}; did you mean {near}?"),
        None => format!("unknown key {origin}; take it out"),
    }
}

fn endpoint_text(node: &Node) -> Option<String> {
    match &node.get("endpoint")?.value {
        Value::Null => None,
        Value::Text(text) if text.is_empty() => None,
        other => Some(other.plain()),
    }
}
