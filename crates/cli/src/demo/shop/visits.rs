//! What a visit sets off: trees of calls over the operations. Data only.

use super::operations::*;
use super::{Call, Mode, Node};

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
