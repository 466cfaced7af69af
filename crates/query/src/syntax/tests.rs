mod round_trip;

use super::*;

/// Parses, prints and parses again: the same tree, and a stable text.
#[track_caller]
fn round_trip(text: &str) -> String {
    let query = match parse(text) {
        Ok(query) => query,
        Err(error) => panic!("{text}: {error}"),
    };
    let printed = query.to_string();
    let again = match parse(&printed) {
        Ok(query) => query,
        Err(error) => panic!("{text} printed as {printed}: {error}"),
    };
    assert_eq!(again, query, "{text} printed as {printed}");
    assert_eq!(again.to_string(), printed);
    printed
}

#[track_caller]
fn check(text: &str, printed: &str) {
    assert_eq!(round_trip(text), printed, "{text}");
}

#[track_caller]
fn fails(text: &str, message: &str) {
    match parse(text) {
        Ok(query) => panic!("{text} parses as {query}"),
        Err(error) => assert_eq!(error.to_string(), message, "{text}"),
    }
}

#[test]
fn the_whole_language_parses_and_prints() {
    for text in [
        "{ }",
        "{ .a = 1 } && { .b = 2 } || { .c }",
        "{ .a } || { .b } && { .c }",
        "{ .a } || ({ .b } && { .c })",
        "{ .a } >> { .b } > ({ .c } ~ { .d })",
        "{ .a } !>> { .b } &<< { .c } !~ { .d }",
        "({ .a } | count() > 1) && { .b }",
        "{ .a } | by(.b) | count() > 2 | coalesce() | select(.c, name) | { .d }",
        "{ } | (max(duration) - min(duration)) * 2 > 1s",
        "({ } | count()) > ({ .a } | count())",
        "max(duration) > 3s | { .a }",
        "{ } | rate() by (resource.service.name, name) | topk(3)",
        "{ } | rate() > 5 | bottomk(3)",
        "({ } | rate()) / ({ } | count_over_time()) * 100",
        "{ } | quantile_over_time(duration, 0.5, 0.99)",
        "{ } | histogram_over_time(span.bytes) by (name)",
        "{ } | compare({ status = error }, 10, 1, 2)",
        "{ } | compare({ })",
        "{ name = \"a\" } with(most_recent=true, x=\"y\")",
        "{ nestedSetParent < 0 && span:childCount > 2 && parent.a = 1 }",
        "{ parent.span.a = parent.resource.b }",
        "{ trace:id = \"1\" && event:timeSinceStart > 1ms && link:spanID = \"2\" }",
        "{ instrumentation:version != nil && nil = .a }",
    ] {
        round_trip(text);
    }
}

#[test]
fn precedence_is_that_of_the_grammar() {
    check("{ .a || .b && .c }", "{ .a || .b && .c }");
    check("{ .a || (.b && .c) }", "{ .a || (.b && .c) }");
    check("{ (.a || .b) && .c }", "{ .a || .b && .c }");
    check("{ !.a = .b }", "{ (!.a) = .b }");
    check("{ !.a * .b }", "{ !(.a * .b) }");
    check("{ !.a + .b }", "{ (!.a) + .b }");
    check("{ -.a * .b = 1 }", "{ (-(.a * .b)) = 1 }");
    check("{ -.a + .b = 1 }", "{ (-.a) + .b = 1 }");
    check("{ 2 ^ 3 ^ 2 = 1 }", "{ 2 ^ 3 ^ 2 = 1 }");
    check("{ (2 ^ 3) ^ 2 = 1 }", "{ (2 ^ 3) ^ 2 = 1 }");
    check("{ 1 - (2 - 3) = 1 - 2 - 3 }", "{ 1 - (2 - 3) = 1 - 2 - 3 }");
    check("{ .a = .b = .c }", "{ .a = .b = .c }");
    check("{ .a = (.b = .c) }", "{ .a = (.b = .c) }");
    check("{ !!.a && --1 = 1 }", "{ !!.a && (--1) = 1 }");
    check("{ .a } > { .b } && { .c }", "{ .a } > { .b } && { .c }");
    check("{ .a } && { .b } > { .c }", "{ .a } && { .b } > { .c }");
}

#[test]
fn attributes_are_greedy_and_quotable() {
    check("{.a-b+c*d/e=1}", "{ .a-b+c*d/e = 1 }");
    check("{ .a - .b = 1 }", "{ .a - .b = 1 }");
    check("{ .a-.b > 1 }", "{ .a-.b > 1 }");
    check(
        r#"{ span."my attr" = .foo."bar baz".qux }"#,
        r#"{ span."my attr" = ."foo.bar baz.qux" }"#,
    );
    check(r#"{ ."a\"b\\c" }"#, r#"{ ."a\"b\\c" }"#);
    check("{ span.resource.x }", r#"{ span."resource.x" }"#);
    check("{ .span.x }", r#"{ ."span.x" }"#);
    check("{ .a.5 = .5 }", "{ .a.5 = 0.5 }");
    check(r#"{ ."5xx" }"#, r#"{ ."5xx" }"#);
    check("{ .größe }", "{ .größe }");
}

#[test]
fn constants_are_read_as_go_and_prometheus_do() {
    check("{ duration > 1h30m }", "{ duration > 90m }");
    check(
        "{ duration > 1y2w3d4h5m6s7ms }",
        "{ duration > 33019506007ms }",
    );
    check("{ duration > 1.5s }", "{ duration > 1500ms }");
    check(
        "{ duration > 100us || duration > 5\u{b5}s }",
        "{ duration > 100us || duration > 5us }",
    );
    check(
        "{ .a = minInt || .a = maxInt }",
        "{ .a = minInt || .a = 9223372036854775807 }",
    );
    check("{ .a = 1e3 || .a = 2.50 }", "{ .a = 1000.0 || .a = 2.5 }");
    check("{ .a = `x\"\\y` }", r#"{ .a = "x\"\\y" }"#);
    check(r#"{ .a = "\x41\u00e9\101\t" }"#, "{ .a = \"AéA\\t\" }");
}

#[test]
fn errors_say_where_what_and_how() {
    fails(
        "{ .a == 1 }",
        "parse error at line 1, col 6: unexpected `==`; equality is written `=`",
    );
    fails(
        "{ .a = 1",
        "parse error at line 1, col 9: unexpected end of query, expected an operator or `}`",
    );
    fails(
        "{\n  foo = 1 }",
        "parse error at line 2, col 3: unexpected `foo`, expected `}`, `!`, `-`, `(`, an attribute, \
         an intrinsic or a constant; an attribute needs a scope: `span.foo`, `resource.foo`, or \
         `.foo` for any; text needs double quotes",
    );
    fails(
        "{ statuss = error }",
        "parse error at line 1, col 3: unknown intrinsic \"statuss\": did you mean \"status\"?; an \
         attribute needs a scope: `span.statuss`, `resource.statuss`, or `.statuss` for any; text \
         needs double quotes",
    );
    fails(
        "{ status = eror }",
        "parse error at line 1, col 12: unknown constant \"eror\": did you mean \"error\"?; an \
         attribute needs a scope: `span.eror`, `resource.eror`, or `.eror` for any; text needs \
         double quotes",
    );
    let error = parse("{ } | raet()").unwrap_err().to_string();
    assert!(error.ends_with("; did you mean \"rate\"?"), "{error}");
    fails(
        "{ } | count()",
        "parse error at line 1, col 1: a query cannot end in a number; compare the aggregate, as in `count() > 2`",
    );
    fails(
        "{ span:foo = 1 }",
        "parse error at line 1, col 3: `span:foo` is no intrinsic; there are span:duration, \
         span:name, span:status, span:statusMessage, span:kind, span:id, span:parentID, \
         span:childCount",
    );
    fails(
        "{ .a = 99999999999999999999 }",
        "parse error at line 1, col 8: 99999999999999999999 does not fit in 64 bits",
    );
    fails(
        "{ .a =~ .b }",
        "parse error at line 1, col 9: unexpected `.b`, expected a string; the right side of `=~` and `!~` is a regular expression in quotes",
    );
    fails(
        "{ .a } = { .b }",
        "parse error at line 1, col 8: `=` cannot stand between spans and spans; conditions of one span stand inside its braces",
    );
    fails(
        "{ span.\"\" = 1 }",
        "parse error at line 1, col 8: an attribute name is missing behind the dot",
    );
    fails(
        "",
        "parse error at line 1, col 1: unexpected end of query, expected `{`, `(`, `-` or an aggregate",
    );
}

#[test]
fn more_texts_that_are_no_queries() {
    for text in [
        "true",
        "{ 1.5d > 1s }",
        "{ } | rate() + 5",
        "({ } | rate()) % 5",
        "{ } | rate() | topk(-1)",
        "{ childCount > 2 }",
        "{ .a = 'x' }",
        "{ .a = \"x }",
        "{ .a & .b }",
        "{ } | coalesce",
        "coalesce()",
        "{ } }",
        "({ }",
        "{ .a = \"\\q\" }",
        "{ .a = \"\\xff\" }",
        "{ } | 1 > 2",
        "{ } | { } | rate() | rate()",
        "{ .a } | count() > 1 > 2",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn hostile_text_costs_no_more_than_its_length() {
    let huge = "{".repeat(1 << 20);
    assert!(parse(&huge).unwrap_err().message.contains("the limit is"));
    let wide = SyntaxLimits {
        bytes_max: usize::MAX,
        ..SyntaxLimits::default()
    };
    for open in ["(", "{ (", "{ !", "{ -", "-", "{ .a ^ ", "({} | "] {
        let text = open.repeat(200_000);
        assert!(parse_with(&text, wide).is_err(), "{open}");
    }
    let deep = format!("{{ {}.a{} }}", "(".repeat(200_000), ")".repeat(200_000));
    let error = parse_with(&deep, wide).unwrap_err();
    assert_eq!(error.message, "the query is nested deeper than 128 levels");
    let sums = format!("{{ 1{} = 1 }}", " + 1".repeat(200_000));
    assert!(parse_with(&sums, wide).is_err());
    // A long list of alternatives is what dashboards send; it is one node.
    let list = format!("{{ .a = 0{} }}", " || .a = 1".repeat(10_000));
    assert!(parse(&list).is_ok());
}

#[test]
fn a_broken_filter_is_saved_in_part() {
    let lenient =
        |text: &str| parse_lenient(text, SyntaxLimits::default()).map(|query| query.to_string());
    assert_eq!(
        lenient("{ .a = \"b\" && .c = "),
        Some("{ .a = \"b\" }".to_owned())
    );
    assert_eq!(
        lenient("{ .a = \"b\" && .c = && .d = 1 }"),
        Some("{ .a = \"b\" && .d = 1 }".to_owned())
    );
    assert_eq!(lenient("{ .a = \"b\" || .c = }"), None);
    assert_eq!(
        lenient("{ .a = 1 && .b = \"x }"),
        Some("{ .a = 1 }".to_owned())
    );
    assert_eq!(lenient("{ && }"), None);
    assert_eq!(lenient("nonsense"), None);
    assert_eq!(lenient("{ .a = 1 }"), Some("{ .a = 1 }".to_owned()));
}
