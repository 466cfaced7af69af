//! Which event and which link a condition is about.
//!
//! A filter is true for a span if there is an event and a link of it (an absent one where it has
//! none) such that the whole of its conditions holds. This puts an `Each` around as little as
//! possible: conditions on the span stay outside, and alternatives are taken apart. Where
//! conditions on events and links mix, the tree is multiplied out into terms that have one part for
//! each; what cannot be taken apart (a comparison of an event's attribute with a link's, or too many
//! terms) is asked of sources in a weaker form and decided on whole traces.

use std::cell::Cell;

use tracewell_model::column::ColumnLevel;
use tracewell_model::{Filter, Level};

use super::FilterPlan;
use super::simplify::simplify;

/// Terms that one filter may be multiplied out into: six unscoped attributes in one `&&`.
const TERMS_MAX: usize = 64;
/// Columns that are copied while one filter is taken apart, so that deep alternation costs no more
/// than long lists do: an unscoped name takes about a hundred, a copy about 50 ns.
const STEPS_MAX: usize = 1_000_000;

/// What a tree names.
#[derive(Debug, Clone, Copy, Default)]
struct Names {
    event: bool,
    link: bool,
    trace: bool,
    tree: bool,
}

/// The filters of a tree in which `Not` stands on leaves alone, without any `Each`.
pub(super) fn bind(tree: Filter) -> FilterPlan {
    let names = Names::of(&tree);
    let steps = Cell::new(STEPS_MAX);
    let (exact, mut scan, mut scan_is_exact) = match separate(&tree, &steps) {
        Some(bound) => (bound.clone(), bound, true),
        None => {
            let weaker = simplify(weaken(&tree, &steps));
            (simplify(nest(tree.clone())), weaker, false)
        }
    };
    if names.tree {
        (scan, scan_is_exact) = (bound_without(&tree, |names| names.tree), false);
    }
    let (fragment, fragment_is_exact) = if names.trace {
        let fragment = bound_without(&tree, |names| names.trace || names.tree);
        (fragment, false)
    } else {
        (scan.clone(), scan_is_exact)
    };
    FilterPlan {
        exact,
        scan,
        fragment,
        scan_is_exact,
        fragment_is_exact,
    }
}

impl Names {
    fn of(filter: &Filter) -> Self {
        let mut names = Self::default();
        filter.for_each_column(&mut |column| match column.level() {
            ColumnLevel::Event => names.event = true,
            ColumnLevel::Link => names.link = true,
            ColumnLevel::Trace => names.trace = true,
            ColumnLevel::Tree => names.tree = true,
            ColumnLevel::Span | ColumnLevel::Resource | ColumnLevel::Instrumentation => {}
        });
        names
    }

    fn has(self, level: Level) -> bool {
        match level {
            Level::Event => self.event,
            Level::Link => self.link,
        }
    }
}

/// The meaning itself, for the row evaluator, which tries [`crate::row::PAIRS_MAX`] pairs of a span.
fn nest(tree: Filter) -> Filter {
    each(Level::Event, each(Level::Link, tree))
}

fn each(level: Level, filter: Filter) -> Filter {
    Filter::Each {
        level,
        filter: Box::new(filter),
    }
}

/// The same meaning with one level in every `Each`, where there is such a form.
fn separate(tree: &Filter, steps: &Cell<usize>) -> Option<Filter> {
    let names = Names::of(tree);
    let bound = match (names.event, names.link) {
        (false, false) => tree.clone(),
        (true, false) => exists_one(Level::Event, tree),
        (false, true) => exists_one(Level::Link, tree),
        (true, true) => match tree {
            // One item will do for every alternative: each is taken apart alone.
            Filter::Or(inner) => any_of(
                inner
                    .iter()
                    .map(|filter| separate(filter, steps))
                    .collect::<Option<_>>()?,
            ),
            tree => any_of(
                products(tree, steps)?
                    .into_iter()
                    .map(|product| {
                        Filter::And(vec![
                            exists_one(Level::Event, &simplify(product.events)),
                            exists_one(Level::Link, &simplify(product.links)),
                        ])
                    })
                    .collect(),
            ),
        },
    };
    Some(simplify(bound))
}

/// Alternatives; those that are about one event (or one link) share their look at all of them.
fn any_of(alternatives: Vec<Filter>) -> Filter {
    let mut outside = Vec::with_capacity(alternatives.len());
    let (mut events, mut links) = (Vec::new(), Vec::new());
    for filter in alternatives {
        match simplify(filter) {
            Filter::Each { level, filter } => match level {
                Level::Event => events.push(*filter),
                Level::Link => links.push(*filter),
            },
            other => outside.push(other),
        }
    }
    for (level, inside) in [(Level::Event, events), (Level::Link, links)] {
        if !inside.is_empty() {
            outside.push(each(level, Filter::Or(inside)));
        }
    }
    simplify(Filter::Or(outside))
}

/// There is one of `level` for which the tree holds. The tree names no other list.
fn exists_one(level: Level, tree: &Filter) -> Filter {
    if !Names::of(tree).has(level) {
        return tree.clone();
    }
    match tree {
        Filter::Or(inner) => any_of(
            inner
                .iter()
                .map(|filter| exists_one(level, filter))
                .collect(),
        ),
        Filter::And(inner) => {
            let (mut inside, mut outside): (Vec<_>, Vec<_>) = inner
                .iter()
                .cloned()
                .partition(|filter| Names::of(filter).has(level));
            match (inside.len(), inside.pop()) {
                (1, Some(only)) => outside.push(exists_one(level, &only)),
                (_, Some(last)) => {
                    inside.push(last);
                    outside.push(each(level, Filter::And(inside)));
                }
                (_, None) => {}
            }
            simplify(Filter::And(outside))
        }
        leaf => each(level, leaf.clone()),
    }
}

/// A condition on an event and a condition on a link that hold together.
#[derive(Debug, Clone)]
struct Product {
    events: Filter,
    links: Filter,
}

/// The tree as alternatives of products, or `None` where it has no such form or too many of them.
fn products(tree: &Filter, steps: &Cell<usize>) -> Option<Vec<Product>> {
    let names = Names::of(tree);
    let all = || Filter::Constant(true);
    if !names.link {
        return Some(vec![Product {
            events: tree.clone(),
            links: all(),
        }]);
    }
    if !names.event {
        return Some(vec![Product {
            events: all(),
            links: tree.clone(),
        }]);
    }
    match tree {
        Filter::Or(inner) => {
            let mut terms = Vec::new();
            for filter in inner {
                terms.extend(products(filter, steps)?);
            }
            let terms = merge(terms);
            (terms.len() <= TERMS_MAX).then_some(terms)
        }
        Filter::And(inner) => {
            let mut terms = vec![Product {
                events: all(),
                links: all(),
            }];
            for filter in inner {
                let factors = products(filter, steps)?;
                let n_terms = terms.len() * factors.len();
                if n_terms > TERMS_MAX {
                    return None;
                }
                let cost = size(&terms) * factors.len() + size(&factors) * terms.len();
                steps.set(steps.get().checked_sub(cost)?);
                terms = terms
                    .iter()
                    .flat_map(|term| factors.iter().map(|factor| term.and(factor)))
                    .collect();
            }
            Some(terms)
        }
        _ => None,
    }
}

/// How many columns the terms name.
fn size(terms: &[Product]) -> usize {
    let mut n = 1;
    for term in terms {
        term.events.for_each_column(&mut |_| n += 1);
        term.links.for_each_column(&mut |_| n += 1);
    }
    n
}

impl Product {
    fn and(&self, other: &Self) -> Self {
        let both = |a: &Filter, b: &Filter| simplify(Filter::And(vec![a.clone(), b.clone()]));
        Self {
            events: both(&self.events, &other.events),
            links: both(&self.links, &other.links),
        }
    }
}

/// Alternatives that say nothing of one side are one.
fn merge(terms: Vec<Product>) -> Vec<Product> {
    let is_all = |filter: &Filter| matches!(filter, Filter::Constant(true));
    let mut only_events = Vec::new();
    let mut only_links = Vec::new();
    let mut merged = Vec::new();
    for term in terms {
        if is_all(&term.links) {
            only_events.push(term.events);
        } else if is_all(&term.events) {
            only_links.push(term.links);
        } else {
            merged.push(term);
        }
    }
    if !only_events.is_empty() {
        merged.push(Product {
            events: simplify(Filter::Or(only_events)),
            links: Filter::Constant(true),
        });
    }
    if !only_links.is_empty() {
        merged.push(Product {
            events: Filter::Constant(true),
            links: simplify(Filter::Or(only_links)),
        });
    }
    merged
}

/// An upper bound in separable form: conditions of one `&&` may hold for different items.
fn weaken(tree: &Filter, steps: &Cell<usize>) -> Filter {
    if let Some(bound) = separate(tree, steps) {
        return bound;
    }
    match tree {
        Filter::And(inner) => {
            Filter::And(inner.iter().map(|filter| weaken(filter, steps)).collect())
        }
        Filter::Or(inner) => Filter::Or(inner.iter().map(|filter| weaken(filter, steps)).collect()),
        _ => Filter::Constant(true),
    }
}

/// An upper bound in separable form that names nothing of what is excluded.
fn bound_without(tree: &Filter, is_out: fn(Names) -> bool) -> Filter {
    let tree = simplify(without(tree, is_out));
    let steps = Cell::new(STEPS_MAX);
    separate(&tree, &steps).unwrap_or_else(|| simplify(weaken(&tree, &steps)))
}

fn without(tree: &Filter, is_out: fn(Names) -> bool) -> Filter {
    if !is_out(Names::of(tree)) {
        return tree.clone();
    }
    let all = |inner: &[Filter]| inner.iter().map(|it| without(it, is_out)).collect();
    match tree {
        Filter::And(inner) => Filter::And(all(inner)),
        Filter::Or(inner) => Filter::Or(all(inner)),
        _ => Filter::Constant(true),
    }
}
