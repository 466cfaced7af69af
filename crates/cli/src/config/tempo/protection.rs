//! Which keys protect something. They are honoured, or the start is refused; none is ignored.

use crate::config::yaml::{Node, Value};

/// A word in the path of a key that says that it protects what goes over a connection.
const TRANSPORT: [&str; 6] = ["ca", "cert", "certificate", "certificates", "mtls", "tls"];
/// A word that says that it protects who may ask; in what goes out, that it is a credential of ours.
const SIGN_ON: [&str; 2] = ["auth", "authorization"];
/// The same for a key that is not known, where nobody can tell.
const WORDS_OF_UNKNOWN: [&str; 10] = [
    "acl", "jwt", "oidc", "password", "sasl", "secret", "security", "tenant", "tenants", "token",
];

/// True for a key with a word in its path that says so.
pub(super) fn protects(path: &str, is_known: bool) -> bool {
    protects_transport(path)
        || words(path)
            .any(|word| SIGN_ON.contains(&word) || (!is_known && WORDS_OF_UNKNOWN.contains(&word)))
}

/// The same for what is no listener: credentials for others protect nothing here.
pub(super) fn protects_transport(path: &str) -> bool {
    words(path).any(|word| TRANSPORT.contains(&word))
}

fn words(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '_', '-', '['])
}

/// The first key below one that protects what goes over a connection and is on.
pub(super) fn first_transport(path: &str, node: &Node) -> Option<(String, u64)> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|(key, child)| {
            let path = format!("{path}.{}", key.name);
            match protects_transport(&path) && !is_off(&child.value) {
                true => Some((path, key.line)),
                false => first_transport(&path, child),
            }
        }),
        Value::List(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| first_transport(&format!("{path}[{index}]"), item)),
        _ => None,
    }
}

/// True for a value that leaves a key as if it were not written.
pub(super) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.iter().all(|(_, node)| says_nothing(&node.value)),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
    }
}

/// True for a value that switches nothing on, whatever its key protects.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.iter().all(|(_, node)| is_off(&node.value)),
        value => says_nothing(value) || matches!(value, Value::Bool(false) | Value::Int(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_protects() {
        for path in [
            "server.http_tls_config.cert_file",
            "server.tls_min_version",
            "querier.frontend_worker.grpc_client_config.tls_enabled",
            "internal_server.http_tls_config.client_ca",
        ] {
            assert!(protects(path, true), "{path}");
        }
        for path in [
            "query_frontend.max_outstanding_per_tenant",
            "ingester.lifecycler.num_tokens",
            "distributor.ring.kvstore.consul.acl_token",
            "cache.caches",
            "overrides.defaults.ingestion.tenant_shard_size",
        ] {
            assert!(!protects(path, true), "{path}");
        }
        assert!(protects("server.tenant_allow_list", false));
        assert!(!protects_transport("remote_write[0].basic_auth.password"));
        assert!(protects_transport("remote_write[0].tls_config.ca_file"));
    }

    #[test]
    fn what_is_off_protects_nothing() {
        let value = |text: &str| crate::config::yaml::parse(text).unwrap().value;
        for text in ["a: false", "a: ''", "a:", "a: []", "a: {b: false, c: ''}"] {
            assert!(is_off(&value(text)), "{text}");
        }
        for text in ["a: true", "a: x", "a: {b: false, c: /x}", "a: [x]"] {
            assert!(!is_off(&value(text)), "{text}");
        }
        assert!(!says_nothing(&value("a: false")));
    }
}
