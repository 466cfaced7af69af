//! Old and new semantic-convention names of one attribute.
//!
//! Source: the OpenTelemetry semantic conventions 1.44 schema files and their migration guides,
//! which know some renames that the schema files do not. A query for either name finds both; where
//! a span carries both, the newer name's value counts.
//!
//! Values that were renamed with their attribute (`mssql` became `microsoft.sql_server`) follow one
//! rule: **a string is read by its new name**, also within an array, wherever the attribute is
//! compared. From it follows:
//! - A constant is translated too when it is compared with such an attribute, with any operator:
//!   either name finds both, and strings order by their new names.
//! - Two attributes are compared by what each of them reads as; each has its own map or none.
//! - A regular expression matches a value if it matches any of its names, `!~` if it matches none.
//!
//! What is shown of a span, and what comes back by id, is what was sent.
//!
//! Where the new attribute is only a part of what the old one said (`url.path` of `http.target`), or the same
//! in another type (`rpc.grpc.status_code`), the new name finds what [`Derived`] makes of the old value. The old
//! name then finds only itself, as it was sent.
//!
//! What was joined of two attributes (`rpc.method`, `code.function.name`) is spelled in several ways, see
//! [`Join`]; its qualifier finds what the whole says of it.

mod derived;
mod join;
#[cfg(test)]
mod tests;

use crate::column::AttributeScope;
use crate::value::AttributeValue;

pub use derived::Derived;
use join::{CODE_SEPARATORS, RPC_SEPARATORS};
pub use join::{JOINS, Join, Separators, join};

/// Values of an old attribute and what the new one calls them; other values are the same.
#[derive(Debug, PartialEq, Eq)]
pub struct ValueMap(pub &'static [(&'static str, &'static str)]);

/// One old name of an attribute, or what an attribute is made of where it is called new.
#[derive(Debug)]
pub struct Alias {
    pub scope: AttributeScope,
    pub old: &'static str,
    pub new: &'static str,
    pub values: Option<&'static ValueMap>,
    pub derived: Option<Derived>,
    pub kinds: KindRule,
}

/// On spans of which kind an old name has this meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KindRule {
    Any,
    Server,
    NotServer,
}

/// One name under which the value of an attribute may lie, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    pub key: &'a str,
    pub values: Option<&'static ValueMap>,
    /// How the value is made of what lies under the key; values have no map then.
    pub derived: Option<Derived>,
    pub kinds: KindRule,
}

/// The OTLP number of the kind that [`KindRule`] asks about.
pub const KIND_SERVER: i32 = 2;

// === impl ValueMap ===

impl ValueMap {
    pub fn apply<'a>(&self, old: &'a str) -> &'a str {
        self.0
            .iter()
            .find(|(from, _)| *from == old)
            .map_or(old, |(_, to)| to)
    }

    /// The elements of an array, each string by its new name.
    pub fn apply_to_all(&self, items: &[AttributeValue]) -> Vec<AttributeValue> {
        items
            .iter()
            .map(|item| match item {
                AttributeValue::String(text) => AttributeValue::String(self.apply(text).to_owned()),
                other => other.clone(),
            })
            .collect()
    }

    /// Every value that means the same as this one, itself included.
    pub fn synonyms<'a>(&self, value: &'a str) -> Vec<&'a str> {
        let new = self.apply(value);
        let mut all = vec![new];
        all.extend(
            self.0
                .iter()
                .filter(|(_, to)| *to == new)
                .map(|(from, _)| *from),
        );
        all
    }
}

// === impl Alias ===

impl Alias {
    fn old_name<'a>(&self) -> Name<'a> {
        Name {
            key: self.old,
            values: self.values,
            derived: self.derived,
            kinds: self.kinds,
        }
    }
}

// === impl KindRule ===

impl KindRule {
    pub fn holds(self, kind: i32) -> bool {
        match self {
            Self::Any => true,
            Self::Server => kind == KIND_SERVER,
            Self::NotServer => kind != KIND_SERVER,
        }
    }
}

/// The names under which the value of `key` is looked for: its new name first. An old name finds
/// its new one, itself and the other old ones, a new name all of its old ones and what is derived of them.
pub fn names(scope: AttributeScope, key: &str) -> Vec<Name<'_>> {
    let in_scope = || ALIASES.iter().filter(move |alias| alias.scope == scope);
    let mut names: Vec<Name<'_>> = in_scope()
        .filter(|alias| alias.old == key && alias.derived.is_none())
        .map(|alias| Name {
            key: alias.new,
            values: alias.values,
            derived: None,
            kinds: alias.kinds,
        })
        .collect();
    let values = names
        .first()
        .and_then(|name| name.values)
        .or_else(|| in_scope().find(|alias| alias.new == key)?.values);
    names.push(Name {
        key,
        values,
        derived: None,
        kinds: KindRule::Any,
    });
    names.extend(
        in_scope()
            .filter(|alias| alias.new == key)
            .map(Alias::old_name),
    );
    let mine = in_scope().filter(|alias| alias.old == key && alias.derived.is_none());
    names.extend(mine.flat_map(|mine| {
        // Of which kind of span a name is part of what it says: `net.host.port` is a span's own side, and
        // `net.peer.port` of a client the other.
        let others = in_scope().filter(move |alias| {
            alias.new == mine.new
                && alias.old != key
                && alias.kinds == mine.kinds
                && alias.derived.is_none()
        });
        others.map(Alias::old_name)
    }));
    names
}

const fn span(old: &'static str, new: &'static str) -> Alias {
    Alias {
        scope: AttributeScope::Span,
        old,
        new,
        values: None,
        derived: None,
        kinds: KindRule::Any,
    }
}

const fn resource(old: &'static str, new: &'static str) -> Alias {
    Alias {
        scope: AttributeScope::Resource,
        old,
        new,
        values: None,
        derived: None,
        kinds: KindRule::Any,
    }
}

const fn mapped(old: &'static str, new: &'static str, values: &'static ValueMap) -> Alias {
    Alias {
        scope: AttributeScope::Span,
        old,
        new,
        values: Some(values),
        derived: None,
        kinds: KindRule::Any,
    }
}

const fn of_kind(old: &'static str, new: &'static str, kinds: KindRule) -> Alias {
    Alias {
        scope: AttributeScope::Span,
        old,
        new,
        values: None,
        derived: None,
        kinds,
    }
}

const fn derived(old: &'static str, new: &'static str, derived: Derived) -> Alias {
    Alias {
        scope: AttributeScope::Span,
        old,
        new,
        values: None,
        derived: Some(derived),
        kinds: KindRule::Any,
    }
}

static PROTOCOL_VERSIONS: ValueMap = ValueMap(&[
    ("HTTP/1.0", "1.0"),
    ("HTTP/1.1", "1.1"),
    ("HTTP/2", "2"),
    ("HTTP/2.0", "2"),
    ("HTTP/3", "3"),
    ("2.0", "2"),
    ("3.0", "3"),
]);

static TRANSPORTS: ValueMap = ValueMap(&[("ip_tcp", "tcp"), ("ip_udp", "udp")]);

static NETWORK_TYPES: ValueMap = ValueMap(&[("inet", "ipv4"), ("inet6", "ipv6")]);

static DATABASES: ValueMap = ValueMap(&[
    ("adabas", "softwareag.adabas"),
    ("cache", "intersystems.cache"),
    ("cosmosdb", "azure.cosmosdb"),
    ("db2", "ibm.db2"),
    ("dynamodb", "aws.dynamodb"),
    ("firebird", "firebirdsql"),
    ("h2", "h2database"),
    ("hanadb", "sap.hana"),
    ("informix", "ibm.informix"),
    ("ingres", "actian.ingres"),
    ("maxdb", "sap.maxdb"),
    ("mssql", "microsoft.sql_server"),
    ("netezza", "ibm.netezza"),
    ("oracle", "oracle.db"),
    ("redshift", "aws.redshift"),
    ("spanner", "gcp.spanner"),
]);

static MESSAGING_OPERATIONS: ValueMap = ValueMap(&[("publish", "send"), ("deliver", "process")]);

static RPC_SYSTEMS: ValueMap =
    ValueMap(&[("apache_dubbo", "dubbo"), ("connect_rpc", "connectrpc")]);

/// Every renaming. Of several old names of one new name, the preferred one comes first.
pub static ALIASES: &[Alias] = &[
    // HTTP
    span("http.method", "http.request.method"),
    span("http.status_code", "http.response.status_code"),
    span("http.url", "url.full"),
    span("http.scheme", "url.scheme"),
    span("http.client_ip", "client.address"),
    span("http.user_agent", "user_agent.original"),
    span("http.request_content_length", "http.request.body.size"),
    span("http.response_content_length", "http.response.body.size"),
    span("http.resend_count", "http.request.resend_count"),
    span("http.retry_count", "http.request.resend_count"),
    derived("http.target", "url.path", Derived::Path),
    derived("http.target", "url.query", Derived::Query),
    // Network
    span("net.host.name", "server.address"),
    span("http.server_name", "server.address"),
    of_kind("net.peer.name", "server.address", KindRule::NotServer),
    of_kind("net.peer.name", "client.address", KindRule::Server),
    derived("http.host", "server.address", Derived::Host),
    span("net.host.port", "server.port"),
    of_kind("net.peer.port", "server.port", KindRule::NotServer),
    of_kind("net.peer.port", "client.port", KindRule::Server),
    derived("http.host", "server.port", Derived::Port),
    span("net.sock.peer.addr", "network.peer.address"),
    span("net.peer.ip", "network.peer.address"),
    span("net.sock.peer.port", "network.peer.port"),
    span("net.sock.host.addr", "network.local.address"),
    span("net.host.ip", "network.local.address"),
    span("net.sock.host.port", "network.local.port"),
    span("net.protocol.name", "network.protocol.name"),
    span("net.app.protocol.name", "network.protocol.name"),
    mapped(
        "net.protocol.version",
        "network.protocol.version",
        &PROTOCOL_VERSIONS,
    ),
    mapped(
        "net.app.protocol.version",
        "network.protocol.version",
        &PROTOCOL_VERSIONS,
    ),
    mapped(
        "http.flavor",
        "network.protocol.version",
        &PROTOCOL_VERSIONS,
    ),
    mapped("net.transport", "network.transport", &TRANSPORTS),
    mapped("net.sock.family", "network.type", &NETWORK_TYPES),
    span("net.host.connection.type", "network.connection.type"),
    span("net.host.connection.subtype", "network.connection.subtype"),
    span("net.host.carrier.name", "network.carrier.name"),
    span("net.host.carrier.mcc", "network.carrier.mcc"),
    span("net.host.carrier.mnc", "network.carrier.mnc"),
    span("net.host.carrier.icc", "network.carrier.icc"),
    // Databases
    mapped("db.system", "db.system.name", &DATABASES),
    span("db.statement", "db.query.text"),
    span("db.operation", "db.operation.name"),
    span("db.name", "db.namespace"),
    span("db.redis.database_index", "db.namespace"),
    span("db.mssql.instance_name", "db.namespace"),
    span("db.sql.table", "db.collection.name"),
    span("db.mongodb.collection", "db.collection.name"),
    span("db.cassandra.table", "db.collection.name"),
    span("db.cosmosdb.container", "db.collection.name"),
    // Messaging
    span("messaging.destination", "messaging.destination.name"),
    span("messaging.message_id", "messaging.message.id"),
    mapped(
        "messaging.operation",
        "messaging.operation.type",
        &MESSAGING_OPERATIONS,
    ),
    span(
        "messaging.kafka.destination.partition",
        "messaging.destination.partition.id",
    ),
    span(
        "messaging.kafka.partition",
        "messaging.destination.partition.id",
    ),
    span(
        "messaging.kafka.consumer.group",
        "messaging.consumer.group.name",
    ),
    span(
        "messaging.kafka.consumer_group",
        "messaging.consumer.group.name",
    ),
    span("messaging.kafka.message.offset", "messaging.kafka.offset"),
    span("messaging.client_id", "messaging.client.id"),
    span(
        "messaging.message.payload_size_bytes",
        "messaging.message.body.size",
    ),
    span(
        "messaging.message_payload_size_bytes",
        "messaging.message.body.size",
    ),
    // RPC
    mapped("rpc.system", "rpc.system.name", &RPC_SYSTEMS),
    span("rpc.response.status_code", "rpc.status_code"),
    derived(
        "rpc.grpc.status_code",
        "rpc.status_code",
        Derived::GrpcStatus,
    ),
    derived(
        "rpc.method",
        "rpc.service",
        Derived::Qualifier(&RPC_SEPARATORS),
    ),
    // Users, peers, code
    span("enduser.id", "user.id"),
    span("enduser.role", "user.roles"),
    span("peer.service", "service.peer.name"),
    span("code.function", "code.function.name"),
    derived(
        "code.function.name",
        "code.namespace",
        Derived::Qualifier(&CODE_SEPARATORS),
    ),
    span("code.filepath", "code.file.path"),
    span("code.lineno", "code.line.number"),
    span("code.column", "code.column.number"),
    // Generative models
    span("gen_ai.system", "gen_ai.provider.name"),
    span("gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens"),
    span(
        "gen_ai.usage.completion_tokens",
        "gen_ai.usage.output_tokens",
    ),
    // Functions and flags
    span("faas.id", "cloud.resource_id"),
    span("faas.execution", "faas.invocation_id"),
    span(
        "feature_flag.evaluation.error.message",
        "feature_flag.error.message",
    ),
    // Resources
    resource("deployment.environment", "deployment.environment.name"),
    resource("environment", "deployment.environment.name"),
    resource("env", "deployment.environment.name"),
    resource("instance.id", "service.instance.id"),
    resource("region", "cloud.region"),
    resource("availability_zone", "cloud.availability_zone"),
    resource("version", "service.version"),
    resource("faas.id", "cloud.resource_id"),
    resource("telemetry.auto.version", "telemetry.distro.version"),
];
