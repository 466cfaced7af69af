//! The shop: its services, what they do, and what a visit of a customer sets off. Data only.
//!
//! Some services are instrumented with current semantic conventions, some with old ones, as fleets
//! are: `cart` and `accounting` still send `http.method`, `db.statement` and their kin.

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

const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;

const EDGE: usize = 0;
const STOREFRONT: usize = 1;
const CATALOG: usize = 2;
const SEARCH: usize = 3;
const CART: usize = 4;
const CHECKOUT: usize = 5;
const PAYMENT: usize = 6;
const INVENTORY: usize = 7;
const SHIPPING: usize = 8;
const NOTIFICATION: usize = 9;
const ACCOUNTING: usize = 10;
const FRAUD: usize = 11;

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

const NEVER: Failure = Failure {
    rate: 0,
    exception: "",
    message: "",
};

macro_rules! operation {
    ($id:ident, $service:expr, $scope:expr, $kind:expr, $name:expr, $failure:expr, [$($key:expr => $value:expr),* $(,)?]) => {
        static $id: Operation = Operation {
            service: $service,
            scope: $scope,
            kind: $kind,
            name: $name,
            attributes: &[$(($key, $value)),*],
            failure: $failure,
        };
    };
}

/// An HTTP server span of `edge` or `storefront`.
macro_rules! http_server {
    ($id:ident, $service:expr, $scope:expr, $method:expr, $route:expr, $path:expr) => {
        operation!($id, $service, $scope, SERVER, concat!($method, " ", $route), NEVER, [
            "http.request.method" => T($method),
            "url.scheme" => T("https"),
            "url.path" => $path,
            "http.route" => T($route),
            "http.response.status_code" => V(Var::HttpStatus),
            "client.address" => V(Var::Client),
            "user_agent.original" => V(Var::Agent),
            "session.id" => V(Var::Session),
            "http.response.body.size" => V(Var::Size)
        ]);
    };
}

macro_rules! http_client {
    ($id:ident, $service:expr, $scope:expr, $method:expr, $host:expr, $port:expr, $url:expr) => {
        operation!($id, $service, $scope, CLIENT, $method, NEVER, [
            "http.request.method" => T($method),
            "url.full" => $url,
            "server.address" => T($host),
            "server.port" => I($port),
            "http.response.status_code" => V(Var::HttpStatus),
            "network.peer.port" => V(Var::Port),
            "user.id" => V(Var::User)
        ]);
    };
}

macro_rules! grpc {
    ($id:ident, $service:expr, $kind:expr, $rpc_service:expr, $method:expr, $failure:expr) => {
        operation!($id, $service, 0, $kind, concat!($rpc_service, "/", $method), $failure, [
            "rpc.system" => T("grpc"),
            "rpc.service" => T($rpc_service),
            "rpc.method" => T($method),
            "rpc.grpc.status_code" => V(Var::GrpcStatus),
            "server.address" => T("10.12.0.7"),
            "server.port" => I(8080),
            "network.transport" => T("tcp"),
            "network.peer.port" => V(Var::Port),
            "user.id" => V(Var::User)
        ]);
    };
}

macro_rules! sql {
    ($id:ident, $service:expr, $namespace:expr, $operation:expr, $table:expr, $text:expr) => {
        operation!($id, $service, 1, CLIENT, concat!($operation, " ", $table), Failure {
            rate: 45,
            exception: "QueryCanceled",
            message: "canceling statement due to statement timeout",
        }, [
            "db.system.name" => T("postgresql"),
            "db.namespace" => T($namespace),
            "db.operation.name" => T($operation),
            "db.collection.name" => T($table),
            "db.query.text" => T($text),
            "db.response.returned_rows" => V(Var::Rows),
            "server.address" => T("postgres-0.db.internal"),
            "server.port" => I(5432),
            "thread.id" => V(Var::Thread)
        ]);
    };
}

use Val::{B, I, T, V};

http_server!(EDGE_HOME, EDGE, 0, "GET", "/", T("/"));
http_server!(
    EDGE_PRODUCT,
    EDGE,
    0,
    "GET",
    "/product/{id}",
    V(Var::ProductPath)
);
http_server!(EDGE_SEARCH, EDGE, 0, "GET", "/search", T("/search"));
http_server!(EDGE_CART, EDGE, 0, "POST", "/cart", T("/cart"));
http_server!(EDGE_CHECKOUT, EDGE, 0, "POST", "/checkout", T("/checkout"));
http_server!(EDGE_HEALTH, EDGE, 0, "GET", "/health", T("/health"));
http_server!(FRONT_HOME, STOREFRONT, 0, "GET", "/", T("/"));
http_server!(
    FRONT_PRODUCT,
    STOREFRONT,
    0,
    "GET",
    "/product/:id",
    V(Var::ProductPath)
);
http_server!(FRONT_SEARCH, STOREFRONT, 0, "GET", "/search", T("/search"));
http_server!(FRONT_CART, STOREFRONT, 0, "POST", "/cart", T("/cart"));
http_server!(
    FRONT_CHECKOUT,
    STOREFRONT,
    0,
    "POST",
    "/checkout",
    T("/checkout")
);
http_server!(
    CATALOG_LIST,
    CATALOG,
    0,
    "GET",
    "/v1/products",
    T("/v1/products")
);
http_server!(
    CATALOG_GET,
    CATALOG,
    0,
    "GET",
    "/v1/products/{id}",
    V(Var::ProductPath)
);

operation!(RENDER, STOREFRONT, 1, INTERNAL, "render", NEVER, [
    "express.name" => T("renderPage"),
    "express.type" => T("request_handler"),
    "template.name" => T("page.liquid"),
    "template.cached" => B(true),
    "session.id" => V(Var::Session),
    "user.id" => V(Var::User),
    "thread.id" => V(Var::Thread),
    "template.bytes" => V(Var::Size)
]);

http_client!(
    CALL_CATALOG_LIST,
    STOREFRONT,
    0,
    "GET",
    "catalog.shop.internal",
    8080,
    T("http://catalog.shop.internal:8080/v1/products?page=1")
);
http_client!(
    CALL_CATALOG,
    STOREFRONT,
    0,
    "GET",
    "catalog.shop.internal",
    8080,
    V(Var::ProductUrl)
);
http_client!(
    CALL_SEARCH,
    STOREFRONT,
    0,
    "GET",
    "search.shop.internal",
    8000,
    T("http://search.shop.internal:8000/query")
);
http_client!(
    CALL_CART,
    STOREFRONT,
    0,
    "POST",
    "cart.shop.internal",
    7070,
    T("http://cart.shop.internal:7070/items")
);
http_client!(
    CALL_CARDS,
    PAYMENT,
    1,
    "POST",
    "api.cards.example",
    443,
    T("https://api.cards.example/v2/charges")
);
http_client!(
    CALL_CARRIER,
    SHIPPING,
    0,
    "POST",
    "api.parcels.example",
    443,
    T("https://api.parcels.example/labels")
);

sql!(
    SELECT_PRODUCTS,
    CATALOG,
    "catalog",
    "SELECT",
    "products",
    "SELECT id, name, price, image FROM products WHERE visible ORDER BY rank LIMIT $1"
);
sql!(
    SELECT_PRODUCT,
    CATALOG,
    "catalog",
    "SELECT",
    "products",
    "SELECT * FROM products WHERE id = $1"
);
sql!(
    SELECT_STOCK,
    INVENTORY,
    "stock",
    "SELECT",
    "stock_items",
    "SELECT quantity FROM stock_items WHERE product_id = ? FOR UPDATE"
);
sql!(
    UPDATE_STOCK,
    INVENTORY,
    "stock",
    "UPDATE",
    "stock_items",
    "UPDATE stock_items SET quantity = quantity - ? WHERE product_id = ?"
);
sql!(
    INSERT_ORDER,
    CHECKOUT,
    "orders",
    "INSERT",
    "orders",
    "INSERT INTO orders (id, user_id, total, currency, created_at) VALUES ($1, $2, $3, $4, now())"
);

operation!(SEARCH_SERVER, SEARCH, 0, SERVER, "GET /query", NEVER, [
    "http.request.method" => T("GET"),
    "url.path" => T("/query"),
    "url.scheme" => T("http"),
    "http.route" => T("/query"),
    "http.response.status_code" => V(Var::HttpStatus),
    "client.address" => T("10.12.0.4"),
    "network.peer.port" => V(Var::Port),
    "shop.search.term" => V(Var::Term),
    "shop.search.results" => V(Var::Rows)
]);
operation!(SEARCH_INDEX, SEARCH, 1, CLIENT, "search products", Failure {
    rate: 400,
    exception: "elastic_transport.ConnectionTimeout",
    message: "Connection timed out",
}, [
    "db.system.name" => T("elasticsearch"),
    "db.operation.name" => T("search"),
    "db.collection.name" => T("products"),
    "db.elasticsearch.path_parts.index" => T("products-v7"),
    "db.query.text" => V(Var::Term),
    "http.request.method" => T("POST"),
    "server.address" => T("search-0.db.internal"),
    "server.port" => I(9200),
    "db.response.returned_rows" => V(Var::Rows)
]);

// Old conventions, as a service sends them that nobody updates.
operation!(CART_SERVER, CART, 0, SERVER, "/items", NEVER, [
    "http.method" => T("POST"),
    "http.scheme" => T("http"),
    "http.target" => T("/items"),
    "http.host" => T("cart.shop.internal:7070"),
    "http.flavor" => T("1.1"),
    "http.status_code" => V(Var::HttpStatus),
    "net.host.name" => T("cart.shop.internal"),
    "net.host.port" => I(7070),
    "net.peer.port" => V(Var::Port),
    "enduser.id" => V(Var::User)
]);
operation!(CART_GRPC, CART, 0, SERVER, "shop.Cart/Get", NEVER, [
    "rpc.system" => T("grpc"),
    "rpc.service" => T("shop.Cart"),
    "rpc.method" => T("Get"),
    "rpc.grpc.status_code" => V(Var::GrpcStatus),
    "net.host.name" => T("cart.shop.internal"),
    "net.peer.port" => V(Var::Port),
    "net.transport" => T("ip_tcp"),
    "enduser.id" => V(Var::User)
]);
operation!(CART_REDIS, CART, 1, CLIENT, "HGETALL", Failure {
    rate: 60,
    exception: "StackExchange.Redis.RedisTimeoutException",
    message: "Timeout performing HGETALL, inst: 0, qs: 12, in: 0",
}, [
    "db.system" => T("redis"),
    "db.statement" => T("HGETALL cart:?"),
    "db.redis.database_index" => I(0),
    "db.operation" => T("HGETALL"),
    "net.peer.name" => T("redis-0.db.internal"),
    "net.peer.port" => I(6379),
    "net.transport" => T("ip_tcp"),
    "thread.id" => V(Var::Thread)
]);

grpc!(
    CALL_PLACE_ORDER,
    STOREFRONT,
    CLIENT,
    "shop.Checkout",
    "PlaceOrder",
    NEVER
);
grpc!(
    PLACE_ORDER,
    CHECKOUT,
    SERVER,
    "shop.Checkout",
    "PlaceOrder",
    NEVER
);
grpc!(CALL_CART_GET, CHECKOUT, CLIENT, "shop.Cart", "Get", NEVER);
grpc!(
    CALL_RESERVE,
    CHECKOUT,
    CLIENT,
    "shop.Inventory",
    "Reserve",
    NEVER
);
grpc!(
    RESERVE,
    INVENTORY,
    SERVER,
    "shop.Inventory",
    "Reserve",
    Failure {
        rate: 700,
        exception: "io.grpc.StatusRuntimeException",
        message: "UNAVAILABLE: upstream connect error or disconnect before headers",
    }
);
grpc!(
    CALL_CHARGE,
    CHECKOUT,
    CLIENT,
    "shop.Payment",
    "Charge",
    NEVER
);
grpc!(
    CHARGE,
    PAYMENT,
    SERVER,
    "shop.Payment",
    "Charge",
    Failure {
        rate: 500,
        exception: "CardDeclined",
        message: "card declined: insufficient funds",
    }
);
grpc!(
    CALL_QUOTE,
    CHECKOUT,
    CLIENT,
    "shop.Shipping",
    "Quote",
    NEVER
);
grpc!(
    QUOTE,
    SHIPPING,
    SERVER,
    "shop.Shipping",
    "Quote",
    Failure {
        rate: 120,
        exception: "reqwest::Error",
        message: "error sending request: operation timed out",
    }
);

operation!(PRICE, CHECKOUT, 1, INTERNAL, "calculate total", NEVER, [
    "shop.order.id" => V(Var::Order),
    "shop.order.total" => V(Var::Total),
    "shop.order.items" => V(Var::Rows),
    "shop.order.currency" => T("EUR"),
    "shop.order.gift" => B(false),
    "user.id" => V(Var::User),
    "session.id" => V(Var::Session)
]);

operation!(PUBLISH, CHECKOUT, 1, PRODUCER, "send orders", Failure {
    rate: 15,
    exception: "kafka.LeaderNotAvailable",
    message: "kafka server: in the middle of a leadership election",
}, [
    "messaging.system" => T("kafka"),
    "messaging.operation.name" => T("send"),
    "messaging.operation.type" => T("send"),
    "messaging.destination.name" => T("orders"),
    "messaging.destination.partition.id" => V(Var::Partition),
    "messaging.kafka.offset" => V(Var::Offset),
    "messaging.client.id" => T("checkout-producer"),
    "messaging.message.body.size" => V(Var::Size),
    "server.address" => T("kafka-0.mq.internal"),
    "shop.order.id" => V(Var::Order)
]);
operation!(ACCOUNT, ACCOUNTING, 0, CONSUMER, "orders process", NEVER, [
    "messaging.system" => T("kafka"),
    "messaging.operation" => T("process"),
    "messaging.destination" => T("orders"),
    "messaging.kafka.partition" => V(Var::Partition),
    "messaging.kafka.consumer_group" => T("accounting"),
    "messaging.kafka.message.offset" => V(Var::Offset),
    "net.peer.name" => T("kafka-0.mq.internal"),
    "shop.order.id" => V(Var::Order)
]);
operation!(ACCOUNT_SQL, ACCOUNTING, 1, CLIENT, "ledger", Failure {
    rate: 150,
    exception: "Npgsql.PostgresException",
    message: "40001: could not serialize access due to concurrent update",
}, [
    "db.system" => T("postgresql"),
    "db.name" => T("ledger"),
    "db.statement" => T("INSERT INTO entries (order_id, account, amount) VALUES (@p0, @p1, @p2) RETURNING id"),
    "db.user" => T("accounting"),
    "peer.service" => T("ledger-db"),
    "net.peer.name" => T("postgres-1.db.internal"),
    "net.peer.port" => I(5432),
    "thread.id" => V(Var::Thread)
]);
operation!(CHECK_FRAUD, FRAUD, 0, CONSUMER, "orders process", NEVER, [
    "messaging.system" => T("kafka"),
    "messaging.operation.name" => T("process"),
    "messaging.operation.type" => T("process"),
    "messaging.destination.name" => T("orders"),
    "messaging.destination.partition.id" => V(Var::Partition),
    "messaging.consumer.group.name" => T("fraud"),
    "messaging.kafka.offset" => V(Var::Offset),
    "thread.id" => V(Var::Thread),
    "shop.order.id" => V(Var::Order)
]);
operation!(RULE, FRAUD, 1, INTERNAL, "evaluate rule", NEVER, [
    "fraud.rule" => T("velocity"),
    "fraud.score" => V(Var::Total),
    "fraud.window" => T("PT10M"),
    "user.id" => V(Var::User),
    "thread.id" => V(Var::Thread),
    "shop.order.id" => V(Var::Order)
]);
operation!(NOTIFY, NOTIFICATION, 0, CONSUMER, "orders process", NEVER, [
    "messaging.system" => T("kafka"),
    "messaging.operation.name" => T("process"),
    "messaging.operation.type" => T("process"),
    "messaging.destination.name" => T("orders"),
    "messaging.destination.partition.id" => V(Var::Partition),
    "messaging.consumer.group.name" => T("notification"),
    "messaging.kafka.offset" => V(Var::Offset),
    "shop.order.id" => V(Var::Order)
]);
operation!(SEND_MAIL, NOTIFICATION, 0, CLIENT, "smtp send", Failure {
    rate: 500,
    exception: "Net::SMTPServerBusy",
    message: "451 4.7.1 try again later",
}, [
    "server.address" => T("smtp.mail.example"),
    "server.port" => I(587),
    "network.transport" => T("tcp"),
    "mail.template" => T("order-confirmation"),
    "mail.bytes" => V(Var::Size),
    "user.id" => V(Var::User)
]);
operation!(REINDEX, SEARCH, 0, INTERNAL, "reindex products", NEVER, [
    "job.name" => T("reindex"),
    "job.schedule" => T("*/10 * * * *"),
    "job.full" => B(false),
    "thread.id" => V(Var::Thread)
]);
operation!(REINDEX_BULK, SEARCH, 1, CLIENT, "bulk products", Failure {
    rate: 150,
    exception: "elastic_transport.ConnectionTimeout",
    message: "Connection timed out",
}, [
    "db.system.name" => T("elasticsearch"),
    "db.operation.name" => T("bulk"),
    "db.collection.name" => T("products"),
    "db.operation.batch.size" => V(Var::Rows),
    "http.request.method" => T("PUT"),
    "http.request.body.size" => V(Var::Size),
    "server.address" => T("search-0.db.internal"),
    "server.port" => I(9200)
]);

macro_rules! node {
    ($id:ident, $operation:expr, $from:expr, $to:expr, slow $slow:expr, [$($call:expr),* $(,)?]) => {
        static $id: Node = Node {
            operation: &$operation,
            work: ($from, $to),
            slow: $slow,
            calls: &[$($call),*],
        };
    };
}

const fn call(node: &'static Node, retries: u8) -> Call {
    Call {
        node,
        chance: 100,
        times: (1, 1),
        mode: Mode::Wait { retries },
    }
}

const fn maybe(node: &'static Node, chance: u32, from: u32, to: u32, mode: Mode) -> Call {
    Call {
        node,
        chance,
        times: (from, to),
        mode,
    }
}

node!(N_RENDER, RENDER, 300, 4_000, slow 5, []);
node!(N_SELECT_PRODUCTS, SELECT_PRODUCTS, 800, 6_000, slow 40, []);
node!(N_SELECT_PRODUCT, SELECT_PRODUCT, 200, 1_500, slow 20, []);
node!(N_CATALOG_LIST, CATALOG_LIST, 200, 900, slow 0, [call(&N_SELECT_PRODUCTS, 0)]);
node!(N_CATALOG_GET, CATALOG_GET, 100, 600, slow 0, [call(&N_SELECT_PRODUCT, 1)]);
node!(N_CALL_LIST, CALL_CATALOG_LIST, 150, 500, slow 0, [call(&N_CATALOG_LIST, 0)]);
node!(N_CALL_GET, CALL_CATALOG, 150, 500, slow 0, [call(&N_CATALOG_GET, 0)]);
node!(N_INDEX, SEARCH_INDEX, 3_000, 40_000, slow 150, []);
node!(N_SEARCH, SEARCH_SERVER, 500, 2_000, slow 0, [call(&N_INDEX, 1)]);
node!(N_CALL_SEARCH, CALL_SEARCH, 200, 600, slow 0, [call(&N_SEARCH, 0)]);
node!(N_REDIS, CART_REDIS, 100, 800, slow 10, []);
node!(N_CART, CART_SERVER, 200, 900, slow 0, [maybe(&N_REDIS, 100, 1, 2, Mode::Wait { retries: 1 })]);
node!(N_CALL_CART, CALL_CART, 150, 400, slow 0, [call(&N_CART, 0)]);
node!(N_CART_GET, CART_GRPC, 150, 600, slow 0, [call(&N_REDIS, 1)]);
node!(N_CALL_CART_GET, CALL_CART_GET, 100, 300, slow 0, [call(&N_CART_GET, 0)]);
node!(N_SELECT_STOCK, SELECT_STOCK, 200, 1_200, slow 30, []);
node!(N_UPDATE_STOCK, UPDATE_STOCK, 400, 2_500, slow 60, []);
node!(N_RESERVE, RESERVE, 200, 1_000, slow 0, [call(&N_SELECT_STOCK, 0), call(&N_UPDATE_STOCK, 0)]);
node!(N_CALL_RESERVE, CALL_RESERVE, 100, 300, slow 0, [call(&N_RESERVE, 0)]);
node!(N_CARDS, CALL_CARDS, 40_000, 300_000, slow 120, []);
node!(N_CHARGE, CHARGE, 500, 2_000, slow 0, [call(&N_CARDS, 0)]);
node!(N_CALL_CHARGE, CALL_CHARGE, 100, 300, slow 0, [call(&N_CHARGE, 0)]);
node!(N_CARRIER, CALL_CARRIER, 20_000, 90_000, slow 80, []);
node!(N_QUOTE, QUOTE, 300, 900, slow 0, [maybe(&N_CARRIER, 60, 1, 1, Mode::Wait { retries: 0 })]);
node!(N_CALL_QUOTE, CALL_QUOTE, 100, 300, slow 0, [call(&N_QUOTE, 0)]);
node!(N_INSERT_ORDER, INSERT_ORDER, 500, 3_000, slow 40, []);
node!(N_PRICE, PRICE, 50, 400, slow 0, []);
node!(N_ACCOUNT_SQL, ACCOUNT_SQL, 500, 4_000, slow 20, []);
node!(N_ACCOUNT, ACCOUNT, 300, 900, slow 0, [maybe(&N_ACCOUNT_SQL, 100, 2, 3, Mode::Wait { retries: 2 })]);
node!(N_RULE, RULE, 100, 2_000, slow 30, []);
node!(N_FRAUD, CHECK_FRAUD, 300, 800, slow 0, [maybe(&N_RULE, 100, 2, 6, Mode::Together)]);
node!(N_MAIL, SEND_MAIL, 30_000, 200_000, slow 90, []);
node!(N_NOTIFY, NOTIFY, 200, 500, slow 0, [call(&N_MAIL, 2)]);
node!(N_PUBLISH, PUBLISH, 500, 3_000, slow 20, [
    maybe(&N_ACCOUNT, 100, 1, 1, Mode::Queue),
    maybe(&N_FRAUD, 100, 1, 1, Mode::QueueLinked),
    maybe(&N_NOTIFY, 90, 1, 1, Mode::QueueLinked),
]);
node!(N_PLACE_ORDER, PLACE_ORDER, 500, 1_500, slow 0, [
    call(&N_CALL_CART_GET, 0),
    call(&N_PRICE, 0),
    maybe(&N_CALL_RESERVE, 100, 1, 4, Mode::Wait { retries: 2 }),
    call(&N_CALL_QUOTE, 1),
    call(&N_CALL_CHARGE, 1),
    call(&N_INSERT_ORDER, 1),
    call(&N_PUBLISH, 1),
]);
node!(N_CALL_ORDER, CALL_PLACE_ORDER, 100, 300, slow 0, [call(&N_PLACE_ORDER, 0)]);

node!(N_FRONT_HOME, FRONT_HOME, 500, 1_500, slow 0, [call(&N_CALL_LIST, 0), call(&N_RENDER, 0)]);
node!(N_FRONT_PRODUCT, FRONT_PRODUCT, 500, 1_500, slow 0, [
    call(&N_CALL_GET, 0),
    maybe(&N_CALL_GET, 70, 2, 5, Mode::Together),
    call(&N_RENDER, 0),
]);
node!(N_FRONT_SEARCH, FRONT_SEARCH, 500, 1_500, slow 0, [
    call(&N_CALL_SEARCH, 0),
    maybe(&N_CALL_GET, 90, 2, 8, Mode::Together),
    call(&N_RENDER, 0),
]);
node!(N_FRONT_CART, FRONT_CART, 400, 1_200, slow 0, [call(&N_CALL_GET, 0), call(&N_CALL_CART, 1)]);
node!(N_FRONT_CHECKOUT, FRONT_CHECKOUT, 600, 2_000, slow 0, [call(&N_CALL_ORDER, 0), call(&N_RENDER, 0)]);
node!(N_HOME, EDGE_HOME, 200, 600, slow 0, [call(&N_FRONT_HOME, 0)]);
node!(N_PRODUCT, EDGE_PRODUCT, 200, 600, slow 0, [call(&N_FRONT_PRODUCT, 0)]);
node!(N_SEARCHING, EDGE_SEARCH, 200, 600, slow 0, [call(&N_FRONT_SEARCH, 0)]);
node!(N_ADD, EDGE_CART, 200, 600, slow 0, [call(&N_FRONT_CART, 0)]);
node!(N_BUY, EDGE_CHECKOUT, 200, 600, slow 0, [call(&N_FRONT_CHECKOUT, 0)]);
node!(N_HEALTH, EDGE_HEALTH, 20, 200, slow 0, []);
node!(N_BULK, REINDEX_BULK, 20_000, 200_000, slow 100, []);
node!(N_REINDEX, REINDEX, 1_000, 5_000, slow 0, [maybe(&N_BULK, 100, 10, 60, Mode::Wait { retries: 2 })]);

/// What begins a trace, and how often among a thousand.
pub(crate) static VISITS: &[(&Node, u32)] = &[
    (&N_HOME, 240),
    (&N_PRODUCT, 330),
    (&N_SEARCHING, 150),
    (&N_ADD, 130),
    (&N_BUY, 70),
    (&N_HEALTH, 75),
    (&N_REINDEX, 5),
];

/// Every operation, by index; the traffic refers to them so.
pub(crate) static OPERATIONS: &[&Operation] = &[
    &EDGE_HOME,
    &EDGE_PRODUCT,
    &EDGE_SEARCH,
    &EDGE_CART,
    &EDGE_CHECKOUT,
    &EDGE_HEALTH,
    &FRONT_HOME,
    &FRONT_PRODUCT,
    &FRONT_SEARCH,
    &FRONT_CART,
    &FRONT_CHECKOUT,
    &RENDER,
    &CATALOG_LIST,
    &CATALOG_GET,
    &CALL_CATALOG_LIST,
    &CALL_CATALOG,
    &CALL_SEARCH,
    &CALL_CART,
    &CALL_CARDS,
    &CALL_CARRIER,
    &SELECT_PRODUCTS,
    &SELECT_PRODUCT,
    &SELECT_STOCK,
    &UPDATE_STOCK,
    &INSERT_ORDER,
    &SEARCH_SERVER,
    &SEARCH_INDEX,
    &CART_SERVER,
    &CART_GRPC,
    &CART_REDIS,
    &CALL_PLACE_ORDER,
    &PLACE_ORDER,
    &CALL_CART_GET,
    &CALL_RESERVE,
    &RESERVE,
    &CALL_CHARGE,
    &CHARGE,
    &CALL_QUOTE,
    &QUOTE,
    &PRICE,
    &PUBLISH,
    &ACCOUNT,
    &ACCOUNT_SQL,
    &CHECK_FRAUD,
    &RULE,
    &NOTIFY,
    &SEND_MAIL,
    &REINDEX,
    &REINDEX_BULK,
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
