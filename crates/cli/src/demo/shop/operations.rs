//! What the spans of every operation look like. Data only.

use super::{Failure, Operation, Val, Var};

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

const NEVER: Failure = Failure {
    rate: 0,
    exception: "",
    message: "",
};

macro_rules! operation {
    ($id:ident, $service:expr, $scope:expr, $kind:expr, $name:expr, $failure:expr, [$($key:expr => $value:expr),* $(,)?]) => {
        pub(super) static $id: Operation = Operation {
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
operation!(CATALOG_GET, CATALOG, 0, SERVER, "GET /v1/products/{id}", NEVER, [
    "http.request.method" => T("GET"),
    "url.scheme" => T("http"),
    "url.path" => V(Var::ProductPath),
    "http.route" => T("/v1/products/{id}"),
    "http.response.status_code" => V(Var::HttpStatus),
    "client.address" => T("10.12.0.4"),
    "shop.product.id" => V(Var::Product),
    "user_agent.original" => T("node"),
    "http.response.body.size" => V(Var::Size)
]);

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
