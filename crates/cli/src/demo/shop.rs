//! The shop: its services, what they do, and what a visit of a customer sets off. Data only.
//!
//! Some services are instrumented with current semantic conventions, some with old ones, as fleets
//! are: `cart` and `accounting` still send `http.method`, `db.statement` and their kin.

mod operations;
mod visits;

pub(crate) use operations::OPERATIONS;
pub(crate) use visits::VISITS;

/// A service and how its spans are labelled.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) language: &'static str,
    pub(crate) namespace: &'static str,
    /// Processes that run it; each is a resource of its own.
    pub(crate) instances: u8,
    /// Instrumentation scopes: name and version.
    pub(crate) scopes: &'static [(&'static str, &'static str)],
    /// Old names for the environment, too.
    pub(crate) old_conventions: bool,
}

/// What a span of an operation looks like.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Index in [`SERVICES`].
    pub(crate) service: usize,
    /// Index in the service's scopes.
    pub(crate) scope: usize,
    pub(crate) kind: u8,
    pub(crate) name: &'static str,
    pub(crate) attributes: &'static [(&'static str, Val)],
    pub(crate) failure: Failure,
}

/// An attribute's value: fixed, or made for each span.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Val {
    T(&'static str),
    I(i64),
    B(bool),
    V(Var),
}

/// Values that differ from span to span.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Var {
    /// One of 50,000, the same in the whole trace.
    User,
    /// Unique to the trace.
    Session,
    /// Unique to the trace, a UUID.
    Order,
    /// One of 2,000.
    Product,
    /// `/product/<product>`.
    ProductPath,
    /// A full URL with the product and a random query.
    ProductUrl,
    /// One of some hundred words, sometimes two.
    Term,
    /// A small number.
    Rows,
    /// Some kilobytes.
    Size,
    /// A high port.
    Port,
    /// One of 4,000 addresses.
    Client,
    /// Money.
    Total,
    /// One of 12.
    Partition,
    /// Ever growing.
    Offset,
    /// One of 64.
    Thread,
    /// One of a handful of browsers.
    Agent,
    /// 200, or 500 and 503 on failure.
    HttpStatus,
    /// 0, or 13 and 14 on failure.
    GrpcStatus,
}

/// How an operation fails when it does.
#[derive(Debug)]
pub(crate) struct Failure {
    /// In ten thousand.
    pub(crate) rate: u32,
    pub(crate) exception: &'static str,
    pub(crate) message: &'static str,
}

/// A span and what it calls.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) operation: &'static Operation,
    /// Own time in microseconds, from and to.
    pub(crate) work: (u32, u32),
    /// In ten thousand: so many are thirty times slower.
    pub(crate) slow: u32,
    pub(crate) calls: &'static [Call],
}

/// One call, or several.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) node: &'static Node,
    /// In a hundred.
    pub(crate) chance: u32,
    /// How often, from and to.
    pub(crate) times: (u32, u32),
    pub(crate) mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The caller waits; if it fails after so many retries, the caller fails.
    Wait { retries: u8 },
    /// The caller waits for all of them together and lives with failures.
    Together,
    /// By a queue, later, in the same trace.
    Queue,
    /// By a queue, later, in a trace of its own that links to this one.
    QueueLinked,
}

macro_rules! service {
    ($name:expr, $version:expr, $language:expr, $namespace:expr, $instances:expr, $old:expr, $($scope:expr, $scope_version:expr);+) => {
        Service {
            name: $name,
            version: $version,
            language: $language,
            namespace: $namespace,
            instances: $instances,
            scopes: &[$(($scope, $scope_version)),+],
            old_conventions: $old,
        }
    };
}

pub(crate) const SERVICES: &[Service] = &[
    service!("edge", "1.31.2", "cpp", "web", 1, false, "envoy", "1.31.2"),
    service!("storefront", "4.12.0", "nodejs", "web", 2, false, "@opentelemetry/instrumentation-http", "0.57.0"; "@opentelemetry/instrumentation-express", "0.47.0"),
    service!("catalog", "2.8.1", "go", "shop", 2, false, "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "0.61.0"; "github.com/XSAM/otelsql", "0.39.0"),
    service!("search", "0.9.7", "python", "shop", 1, false, "opentelemetry.instrumentation.flask", "0.54b1"; "opentelemetry.instrumentation.elasticsearch", "0.54b1"),
    service!("cart", "1.4.4", "dotnet", "shop", 1, true, "OpenTelemetry.Instrumentation.AspNetCore", "1.5.1"; "OpenTelemetry.Instrumentation.StackExchangeRedis", "1.0.0"),
    service!("checkout", "3.2.0", "go", "shop", 1, false, "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc", "0.61.0"; "shop/checkout", "3.2.0"),
    service!("payment", "2.0.3", "nodejs", "money", 1, false, "@opentelemetry/instrumentation-grpc", "0.57.0"; "@opentelemetry/instrumentation-undici", "0.10.0"),
    service!("inventory", "1.1.9", "java", "shop", 1, false, "io.opentelemetry.grpc-1.6", "2.16.0-alpha"; "io.opentelemetry.jdbc", "2.16.0-alpha"),
    service!(
        "shipping", "0.5.0", "rust", "shop", 1, false, "shipping", "0.5.0"
    ),
    service!(
        "notification",
        "1.0.2",
        "ruby",
        "shop",
        1,
        false,
        "OpenTelemetry::Instrumentation::Rdkafka",
        "0.6.0"
    ),
    service!("accounting", "5.0.1", "dotnet", "money", 1, true, "Confluent.Kafka", "0.1.0-alpha.2"; "OpenTelemetry.Instrumentation.EntityFrameworkCore", "1.0.0-beta.7"),
    service!("fraud", "2.3.3", "java", "money", 1, false, "io.opentelemetry.kafka-clients-2.6", "2.16.0-alpha"; "fraud.rules", "2.3.3"),
];
/// Words that people look for.
pub(crate) const TERMS: &[&str] = &[
    "lamp", "desk", "chair", "kettle", "mug", "sofa", "rug", "shelf", "mirror", "clock", "vase",
    "pillow", "blanket", "curtain", "drawer", "stool", "bench", "basket", "candle", "frame", "oak",
    "walnut", "linen", "brass", "ceramic", "glass", "wool", "cork", "bamboo", "marble",
];

pub(crate) const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.4 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/137.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "shop-app/7.3 (Android 15)",
];
