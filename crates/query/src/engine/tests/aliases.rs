//! Old and new names of attributes.

use super::*;

#[test]
fn a_new_name_finds_what_an_old_value_says_of_it() {
    let int = |key: &str, value| tracewell_model::KeyValue {
        key: key.to_owned(),
        value: AttributeValue::Int(value),
    };
    let spans = vec![
        span(
            1,
            1,
            100,
            vec![
                text("http.target", "/users/1?page=2"),
                text("http.host", "shop:8080"),
                int("rpc.grpc.status_code", 5),
            ],
        ),
        span(
            2,
            1,
            200,
            vec![
                text("url.path", "/users/1"),
                text("url.query", "page=2"),
                text("server.address", "shop"),
                int("server.port", 8080),
                text("rpc.status_code", "NOT_FOUND"),
            ],
        ),
        span(3, 1, 300, vec![text("http.target", "/users/10")]),
    ];
    let engine = engine(one_source(spans));
    let find = |text: &str| ids(&search_all(&engine, text).traces);
    for both in [
        "{ span.url.path = \"/users/1\" }",
        "{ .url.path =~ \"/users/.\" }",
        "{ span.url.path < \"/users/10\" }",
        "{ span.url.path != \"/users/10\" }",
        "{ span.url.query = \"page=2\" }",
        "{ span.url.query != nil }",
        "{ span.server.address = \"shop\" }",
        "{ span.server.port = 8080 }",
        "{ span.server.port + 1 > 8080 }",
        "{ span.rpc.status_code = \"NOT_FOUND\" }",
    ] {
        assert_eq!(find(both), [2, 1], "{both}");
    }
    assert_eq!(find("{ span.url.query = nil }"), [3]);
    // The old name asks for what was sent.
    assert_eq!(find("{ span.http.target = \"/users/1?page=2\" }"), [1]);
    assert_eq!(find("{ span.http.target =~ \".*\" }"), [3, 1]);
    assert_eq!(find("{ span.http.host = \"shop:8080\" }"), [1]);
    assert_eq!(find("{ span.rpc.grpc.status_code = 5 }"), [1]);
}

#[test]
fn what_was_two_attributes_is_found_in_either_form() {
    let sent = |trace, key_values: &[(&str, &str)]| {
        let attributes = key_values.iter().map(|(key, value)| text(key, value));
        span(trace, 1, trace * 100, attributes.collect())
    };
    let spans = vec![
        sent(1, &[("rpc.service", "shop.Cart"), ("rpc.method", "Add")]),
        sent(2, &[("rpc.method", "shop.Cart/Add")]),
        sent(3, &[("rpc.service", "shop.Cart"), ("rpc.method", "Get")]),
        sent(
            4,
            &[("code.namespace", "shop::cart"), ("code.function", "add")],
        ),
        sent(5, &[("code.function.name", "shop::cart::add")]),
        sent(
            6,
            &[("code.namespace", "shop.cart"), ("code.function", "add")],
        ),
    ];
    let engine = engine(one_source(spans));
    let find = |text: &str| ids(&search_all(&engine, text).traces);
    for (query, found) in [
        (r#"{ span.rpc.method = "shop.Cart/Add" }"#, vec![2, 1]),
        (
            r#"{ span.rpc.service = "shop.Cart" && span.rpc.method = "Add" }"#,
            vec![2, 1],
        ),
        (r#"{ .rpc.method = "Add" }"#, vec![2, 1]),
        (r#"{ span.rpc.service = "shop.Cart" }"#, vec![3, 2, 1]),
        (r#"{ span.rpc.method =~ "shop[.]Cart/.*" }"#, vec![3, 2, 1]),
        (r#"{ span.rpc.method =~ "Add|Sub" }"#, vec![2, 1]),
        (r#"{ span.rpc.method != "shop.Cart/Add" }"#, vec![3]),
        (r#"{ span.rpc.method != "Add" }"#, vec![3]),
        (r#"{ span.rpc.method !~ ".*/Add" }"#, vec![3]),
        (
            r#"{ !(span.rpc.method = "Add") && span.rpc.method != nil }"#,
            vec![3],
        ),
        (r#"{ (span.rpc.method = "shop.Cart/Get") = true }"#, vec![3]),
        (
            r#"{ (span.rpc.method !~ ".*/Add") = (span.rpc.method != nil) && span.rpc.method != nil }"#,
            vec![3],
        ),
        (r#"{ span.rpc.method = "Cart/Add" }"#, vec![]),
        (
            r#"{ span.code.function.name = "shop::cart::add" }"#,
            vec![5, 4],
        ),
        (r#"{ span.code.function = "shop.cart.add" }"#, vec![6]),
        (r#"{ span.code.function = "add" }"#, vec![6, 5, 4]),
        (r#"{ span.code.namespace = "shop::cart" }"#, vec![5, 4]),
    ] {
        assert_eq!(find(query), found, "{query}");
    }
    // What is shown, and what comes back, is what was sent.
    let shown = |value: &str| format!(r#"{{ span.rpc.method >= "{value}" }}"#);
    assert_eq!(find(&shown("shop")), [2]);
    let mut off = request(
        trace_ql(r#"{ span.rpc.method = "shop.Cart/Add" }"#),
        TimeRange::ALL,
        10,
    );
    off.caller.aliases = Aliases::Off;
    assert_eq!(ids(&block_on(engine.search(off)).unwrap().traces), [2]);
}

/// What two arrays could be joined to is never made: it would be billions.
#[test]
fn halves_in_large_arrays_cost_no_more_than_to_look_at_them() {
    let many = |key: &str, last: &str| {
        let mut items = vec![AttributeValue::String("a".to_owned()); 50_000];
        items.push(AttributeValue::String(last.to_owned()));
        tracewell_model::KeyValue {
            key: key.to_owned(),
            value: AttributeValue::Array(items),
        }
    };
    let attributes = vec![many("rpc.service", "shop.Cart"), many("rpc.method", "Add")];
    let engine = engine(one_source(vec![span(1, 1, 100, attributes)]));
    let find = |text: &str| ids(&search_all(&engine, text).traces);
    assert_eq!(find(r#"{ span.rpc.method = "shop.Cart/Add" }"#), [1]);
    assert_eq!(
        find(r#"{ (span.rpc.method = "shop.Cart/Add") = true }"#),
        [1]
    );
    assert_eq!(
        find(r#"{ span.rpc.method = "shop.Cart/Get" }"#),
        Vec::<u64>::new()
    );
    assert_eq!(find(r#"{ span.rpc.method =~ ".*/.*" }"#), Vec::<u64>::new());
}

#[test]
fn names_of_old_and_new_conventions_are_one() {
    let mut server = span(1, 1, 100, vec![text("net.peer.name", "phone")]);
    server.kind = 2;
    let spans = vec![
        server,
        span(
            2,
            1,
            200,
            vec![text("net.peer.name", "db"), text("db.system", "mssql")],
        ),
        span(
            3,
            1,
            300,
            vec![text("db.system.name", "microsoft.sql_server")],
        ),
        span(
            4,
            1,
            400,
            vec![
                text("http.method", "GET"),
                text("http.request.method", "PUT"),
            ],
        ),
    ];
    let engine = engine(one_source(spans));
    let find = |text: &str| ids(&search_all(&engine, text).traces);
    assert_eq!(find("{ span.client.address = \"phone\" }"), [1]);
    assert_eq!(
        find("{ span.server.address = \"phone\" }"),
        Vec::<u64>::new()
    );
    assert_eq!(find("{ span.server.address = \"db\" }"), [2]);
    assert_eq!(find("{ .db.system = \"mssql\" }"), [3, 2]);
    assert_eq!(
        find("{ span.db.system.name = \"microsoft.sql_server\" }"),
        [3, 2]
    );
    assert_eq!(find("{ span.db.system =~ \"ms.*\" }"), [3, 2]);
    assert_eq!(find("{ span.db.system != \"mysql\" }"), [3, 2]);
    assert_eq!(find("{ span.http.method = \"PUT\" }"), [4]);
    assert_eq!(find("{ span.http.method = \"GET\" }"), Vec::<u64>::new());
    let mut off = request(
        trace_ql(
            "{ span.http.method = \"GET\" || span.http.method = \"PUT\" && span.db.system = \"mssql\" }",
        ),
        TimeRange::ALL,
        10,
    );
    off.caller.aliases = Aliases::Off;
    assert_eq!(
        ids(&block_on(engine.search(off)).unwrap().traces),
        Vec::<u64>::new()
    );
    let mut off = request(
        trace_ql("{ span.http.method = \"GET\" }"),
        TimeRange::ALL,
        10,
    );
    off.caller.aliases = Aliases::Off;
    assert_eq!(ids(&block_on(engine.search(off)).unwrap().traces), [4]);
}
