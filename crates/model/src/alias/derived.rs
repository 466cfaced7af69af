//! Values of new attributes that are made of the values of old ones.

use super::Separators;
use crate::value::Value;

/// How the value of a new attribute is made of an old one's. What cannot be made has no value, as if the
/// span did not carry the attribute at all; an array is never taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// `url.path` of `http.target`: what stands before the first `?`.
    Path,
    /// `url.query` of `http.target`: what stands behind the first `?`.
    Query,
    /// `server.address` of `http.host`: without the port, and without the brackets of an IPv6 address.
    Host,
    /// `server.port` of `http.host`, as a number.
    Port,
    /// `rpc.status_code` of `rpc.grpc.status_code`: the name of the number.
    GrpcStatus,
    /// `rpc.service` of `rpc.method`, `code.namespace` of `code.function.name`: what stands before the last
    /// separator.
    Qualifier(&'static Separators),
    /// What stands behind the last separator, where there is one.
    Part(&'static Separators),
}

/// By number. Source: the status codes of the gRPC specification (`statuscodes.md`).
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

// === impl Derived ===

impl Derived {
    /// The value of the new attribute; `Nil` if the old one says nothing of it.
    pub fn of(self, old: Value<'_>) -> Value<'_> {
        match (self, old) {
            (Self::Path, Value::String(target)) => text(target.split('?').next()),
            (Self::Query, Value::String(target)) => {
                text(target.split_once('?').map(|(_, query)| query))
            }
            (Self::Host, Value::String(host)) => text(Some(host_and_port(host).0)),
            (Self::Port, Value::String(host)) => {
                let port = host_and_port(host).1.and_then(|port| port.parse().ok());
                port.map_or(Value::Nil, |port: u16| Value::Int(i64::from(port)))
            }
            (Self::GrpcStatus, Value::Int(code)) => {
                let index = usize::try_from(code).ok();
                text(index.and_then(|index| GRPC_STATUSES.get(index).copied()))
            }
            (Self::Qualifier(separators), Value::String(whole)) => {
                text(separators.split(whole).map(|(qualifier, _)| qualifier))
            }
            (Self::Part(separators), Value::String(whole)) => {
                text(separators.split(whole).map(|(_, part)| part))
            }
            _ => Value::Nil,
        }
    }
}

fn text(part: Option<&str>) -> Value<'_> {
    match part {
        None | Some("") => Value::Nil,
        Some(part) => Value::String(part),
    }
}

/// A `Host` header taken apart (RFC 9110, section 7.2).
fn host_and_port(host: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    match host.split_once(':') {
        // More than one colon without brackets: an address without a port.
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_attributes_are_parts_of_old_ones() {
        let of = |derived: Derived, old| derived.of(Value::String(old));
        assert_eq!(of(Derived::Path, "/a/b?c=d?e"), Value::String("/a/b"));
        assert_eq!(of(Derived::Query, "/a/b?c=d?e"), Value::String("c=d?e"));
        assert_eq!(of(Derived::Path, "/a"), Value::String("/a"));
        assert_eq!(of(Derived::Query, "/a"), Value::Nil);
        assert_eq!(of(Derived::Query, "/a?"), Value::Nil);
        assert_eq!(of(Derived::Path, ""), Value::Nil);
        for (sent, host, port) in [
            ("shop", "shop", None),
            ("shop:8080", "shop", Some(8080)),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("shop:", "shop", None),
            ("shop:x", "shop", None),
        ] {
            assert_eq!(of(Derived::Host, sent), Value::String(host), "{sent}");
            let port = port.map_or(Value::Nil, Value::Int);
            assert_eq!(of(Derived::Port, sent), port, "{sent}");
        }
        let status = |code| Derived::GrpcStatus.of(Value::Int(code));
        assert_eq!(status(5), Value::String("NOT_FOUND"));
        assert_eq!(status(16), Value::String("UNAUTHENTICATED"));
        assert_eq!((status(17), status(-1)), (Value::Nil, Value::Nil));
        assert_eq!(of(Derived::GrpcStatus, "5"), Value::Nil);
    }
}
