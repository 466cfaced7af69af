//! What a search by tags finds by a part of a text.

use super::*;

/// Which of these names a search by the tag `name` finds.
fn found<'n>(names: &[&'n str], value: &str) -> Vec<&'n str> {
    let spans = names.iter().zip(1u64..).map(|(name, n)| {
        let mut span = span(n, 1, n, Vec::new());
        span.name = (*name).to_owned();
        span
    });
    let engine = engine(one_source(spans.collect()));
    let query = SearchQuery::Tags(TagSearch {
        tags: vec![("name".to_owned(), value.to_owned())],
        ..TagSearch::default()
    });
    let answer = block_on(engine.search(request(query, TimeRange::ALL, 200))).unwrap();
    assert!(answer.partial.is_empty());
    let mut found = ids(&answer.traces);
    found.sort_unstable();
    let names = found.iter().map(|id| names[*id as usize - 1]);
    names.collect()
}

#[test]
fn punctuation_stands_for_itself() {
    let names = ["List<Item> get", "x<y", "xy", "x y", "List Item get"];
    assert_eq!(found(&names, "List<Item> get"), ["List<Item> get"]);
    assert_eq!(found(&names, "<Item>"), ["List<Item> get"]);
    assert_eq!(found(&names, "x<y"), ["x<y"]);
    assert_eq!(found(&names, "<"), ["List<Item> get", "x<y"]);
    let all = (0..128u8).map(char::from);
    let all: Vec<char> = all.filter(char::is_ascii_punctuation).collect();
    let names: Vec<String> = all.iter().map(|c| format!("a{c}b")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (c, name) in all.iter().zip(&names) {
        assert_eq!(found(&names, &c.to_string()), [*name]);
        assert_eq!(found(&names, name), [*name]);
    }
}
