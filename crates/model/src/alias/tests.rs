use super::*;

fn keys(scope: AttributeScope, key: &str) -> Vec<&str> {
    names(scope, key).iter().map(|name| name.key).collect()
}

#[test]
fn either_name_finds_the_other_and_the_new_one_comes_first() {
    let span = AttributeScope::Span;
    let both = ["http.request.method", "http.method"];
    assert_eq!(keys(span, "http.method"), both);
    assert_eq!(keys(span, "http.request.method"), both);
    assert_eq!(keys(span, "shop.id"), ["shop.id"]);
    assert_eq!(
        keys(AttributeScope::Resource, "http.method"),
        ["http.method"]
    );
    assert_eq!(
        keys(AttributeScope::Resource, "deployment.environment.name"),
        [
            "deployment.environment.name",
            "deployment.environment",
            "environment",
            "env"
        ]
    );
}

#[test]
fn what_a_peer_is_depends_on_the_kind_of_span() {
    let names = names(AttributeScope::Span, "net.peer.name");
    let on = |kind: i32| {
        names
            .iter()
            .filter(|name| name.kinds.holds(kind))
            .map(|name| name.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(on(2), ["client.address", "net.peer.name"]);
    assert_eq!(on(3), ["server.address", "net.peer.name"]);
    // Which is a span's own side.
    let own = keys(AttributeScope::Span, "net.host.port");
    assert!(!own.contains(&"net.peer.port"), "{own:?}");
}

#[test]
fn an_old_name_finds_other_old_names() {
    assert_eq!(
        keys(AttributeScope::Resource, "environment"),
        [
            "deployment.environment.name",
            "environment",
            "deployment.environment",
            "env"
        ]
    );
    let retries = keys(AttributeScope::Span, "http.retry_count");
    assert!(retries.contains(&"http.resend_count"), "{retries:?}");
    for alias in ALIASES {
        let mut found = keys(alias.scope, alias.old);
        found.sort_unstable();
        assert!(found.windows(2).all(|two| two[0] != two[1]), "{found:?}");
    }
}

#[test]
fn a_new_name_finds_what_an_old_value_says_of_it() {
    let span = AttributeScope::Span;
    assert_eq!(keys(span, "url.path"), ["url.path", "http.target"]);
    assert_eq!(keys(span, "http.target"), ["http.target"]);
    let path = names(span, "url.path");
    assert_eq!(
        (path[0].derived, path[1].derived),
        (None, Some(Derived::Path))
    );
    let host = names(span, "server.address");
    let last = host.last().unwrap();
    assert_eq!((last.key, last.derived), ("http.host", Some(Derived::Host)));
}

#[test]
fn old_values_have_new_names() {
    let names = names(AttributeScope::Span, "db.system.name");
    let map = names[1].values.unwrap();
    assert_eq!(map.apply("mssql"), "microsoft.sql_server");
    assert_eq!(map.apply("postgresql"), "postgresql");
    assert_eq!(map.synonyms("mssql"), ["microsoft.sql_server", "mssql"]);
    assert_eq!(map.synonyms("microsoft.sql_server"), map.synonyms("mssql"));
    assert_eq!(map.synonyms("mysql"), ["mysql"]);
}

#[test]
fn the_table_is_flat_and_without_repetition() {
    for alias in ALIASES {
        let renamed_again = ALIASES
            .iter()
            .filter(|other| other.derived.is_none())
            .any(|other| other.scope == alias.scope && other.old == alias.new);
        assert!(!renamed_again, "{} has a newer name", alias.new);
        let n = ALIASES
            .iter()
            .filter(|other| {
                (other.scope, other.old, other.new) == (alias.scope, alias.old, alias.new)
            })
            .count();
        assert_eq!(n, 1, "{}", alias.old);
    }
}
