//! `distributor.receivers`: the part of a Tempo file that is the OpenTelemetry Collector's own.

use super::{SIGN_ON, Translation};
use crate::config::values::{Endpoint, parse_endpoint};
use crate::config::yaml::{Node, Value};

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
    ("zipkin", &[]),
    ("kafka", &[]),
    ("opencensus", &[]),
];

pub(super) fn translate(translation: &mut Translation<'_>, root: &Node) {
    let receivers = root
        .get("distributor")
        .and_then(|node| node.get("receivers"));
    let Some(Node {
        value: Value::Map(entries),
        line: receivers_line,
    }) = receivers
    else {
        return;
    };
    for (key, receiver) in entries {
        let place = translation.place("distributor.receivers", key.line);
        match NOT_BUILT.iter().find(|(name, _)| *name == key.name) {
            Some((name, protocols)) => not_built(translation, name, protocols, receiver, key.line),
            None if key.name == "otlp" => otlp(translation, receiver, key.line),
            None => translation
                .findings
                .warning(&place, format!("receiver {} is not built yet", key.name)),
        }
    }
    if !entries.iter().any(|(key, _)| key.name == "otlp") {
        // What a file does not name does not listen.
        let place = translation.place("distributor.receivers", *receivers_line);
        for key in ["listen.otlp_grpc", "listen.otlp_http"] {
            translation.set_text(key, "off".to_owned(), place.clone());
        }
    }
}

fn not_built(
    translation: &mut Translation<'_>,
    name: &str,
    protocols: &[(&str, &str)],
    receiver: &Node,
    line: u64,
) {
    let written = match receiver.get("protocols").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    if written.is_empty() {
        let place = translation.place("distributor.receivers", line);
        let address = endpoint_text(receiver).unwrap_or_default();
        let listens = match address.as_str() {
            "" => String::new(),
            address => format!("; nothing listens on {address}"),
        };
        let message = format!("receiver {name} is not built yet{listens}");
        translation.findings.warning(&place, message);
    }
    for (protocol, node) in written {
        let place = translation.place("distributor.receivers", protocol.line);
        let default = protocols
            .iter()
            .find_map(|(known, port)| (*known == protocol.name).then_some(*port));
        let address = endpoint_text(node)
            .or_else(|| default.map(str::to_owned))
            .unwrap_or_else(|| "its port".to_owned());
        let message = format!(
            "receiver {name}/{} is not built yet; nothing listens on {address}",
            protocol.name
        );
        translation.findings.warning(&place, message);
    }
}

fn otlp(translation: &mut Translation<'_>, receiver: &Node, line: u64) {
    let protocols = receiver.get("protocols");
    for (protocol, key, port) in [
        ("grpc", "listen.otlp_grpc", 4317),
        ("http", "listen.otlp_http", 4318),
    ] {
        let node = match protocols {
            // `otlp:` alone, or `protocols:` alone: both.
            None => None,
            Some(protocols) => match &protocols.value {
                Value::Null => None,
                _ => match protocols.get(protocol) {
                    Some(node) => Some(node),
                    None => {
                        let place = translation.place("distributor.receivers", line);
                        translation.set_text(key, "off".to_owned(), place);
                        continue;
                    }
                },
            },
        };
        protocol_settings(translation, protocol, key, port, node, line);
    }
}

fn protocol_settings(
    translation: &mut Translation<'_>,
    protocol: &str,
    key: &str,
    port: u16,
    node: Option<&Node>,
    line: u64,
) {
    let path = format!("distributor.receivers.otlp.protocols.{protocol}");
    let line = node.map_or(line, |node| node.line);
    let place = translation.place(&path, line);
    match node.and_then(endpoint_text) {
        None => translation.set_text(key, format!("0.0.0.0:{port}"), place.clone()),
        Some(text) => match parse_endpoint(&text) {
            Some(endpoint @ Endpoint::At { .. }) => {
                translation.set_text(key, endpoint.to_string(), place.clone());
            }
            _ => translation.findings.error(
                &place,
                format!("{path}.endpoint: expected host:port, found {text:?}"),
            ),
        },
    }
    let Some(Value::Map(entries)) = node.map(|node| &node.value) else {
        return;
    };
    for (option, value) in entries {
        let place = translation.place(&path, option.line);
        let name = format!("{path}.{}", option.name);
        match option.name.as_str() {
            "endpoint" => {}
            "tls" | "auth" if value.value != Value::Null => translation
                .findings
                .error(&place, format!("{name} cannot be honoured: {SIGN_ON}")),
            "max_recv_msg_size_mib" => {
                let size = format!("{}MiB", value.value);
                translation.set_text("limits.request_bytes_max", size, place);
            }
            _ => translation
                .findings
                .warning(&place, format!("{name} has no effect")),
        }
    }
}

fn endpoint_text(node: &Node) -> Option<String> {
    match &node.get("endpoint")?.value {
        Value::Text(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}
