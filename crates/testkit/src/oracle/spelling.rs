//! The other spellings of an attribute that was two: what a comparison with a text finds beside what was sent.

use tracewell_model::alias::{JOINS, Join};
use tracewell_model::{AttributeScope, Span};
use tracewell_query::syntax::ast::AttributeName;

use super::filter::lookup;
use super::value::Datum;

/// Of the value that a name has on this span; those of each element of a list only where lists are joined.
pub(super) fn other_spellings(name: &AttributeName, span: &Span, joins_lists: bool) -> Vec<String> {
    let key = &*name.key;
    let is_of_span = matches!(name.scope, None | Some(AttributeScope::Span));
    let mut joins = JOINS.iter();
    let Some(join) = joins.find(|join| is_of_span && [join.whole, join.part].contains(&key)) else {
        return Vec::new();
    };
    let sent = |key| lookup(&span.attributes, key);
    let whole = sent(join.whole);
    let mut all = Vec::new();
    if let Datum::Text(text) = &whole {
        all.extend(behind_the_last(text, join));
    }
    if join.whole == join.part || whole.is_nil() {
        let texts = |value| texts(value, joins_lists);
        for qualifier in texts(sent(join.qualifier)) {
            for part in texts(sent(join.part)) {
                all.extend(joined(&qualifier, &part, join));
            }
        }
    }
    all
}

fn joined(qualifier: &str, part: &str, join: &Join) -> Vec<String> {
    let separators = join.separators.0;
    let is_whole = separators.iter().any(|separator| part.contains(separator));
    if qualifier.is_empty() || part.is_empty() || is_whole {
        return Vec::new();
    }
    let with = |separator| format!("{qualifier}{separator}{part}");
    separators.iter().map(with).collect()
}

/// What is left when everything up to the last separator is gone.
fn behind_the_last(whole: &str, join: &Join) -> Option<String> {
    let mut part = whole;
    while let Some(at) = join
        .separators
        .0
        .iter()
        .filter_map(|separator| Some(part.find(separator)? + separator.len()))
        .min()
    {
        part = part.get(at..)?;
    }
    let before = whole.strip_suffix(part)?;
    let mut separators: Vec<&&str> = join.separators.0.iter().collect();
    separators.sort_by_key(|separator| std::cmp::Reverse(separator.len()));
    let mut qualifiers = separators.iter().filter_map(|it| before.strip_suffix(**it));
    let is_split = qualifiers.any(|qualifier| !qualifier.is_empty());
    (is_split && !part.is_empty()).then(|| part.to_owned())
}

fn texts(value: Datum, of_lists: bool) -> Vec<String> {
    let items = match value {
        Datum::List(items) if of_lists => items,
        one => vec![one],
    };
    let text = |item| match item {
        Datum::Text(text) => Some(text),
        _ => None,
    };
    items.into_iter().filter_map(text).collect()
}
