//! Smaller filters of the same meaning.

use tracewell_model::Filter;

/// Folds constants, flattens logic and leaves `Not` on leaves alone.
pub(super) fn simplify(filter: Filter) -> Filter {
    match filter {
        Filter::And(inner) => junction(inner, true),
        Filter::Or(inner) => junction(inner, false),
        Filter::Not(inner) => match simplify(*inner) {
            Filter::Constant(value) => Filter::Constant(!value),
            Filter::Not(inner) => *inner,
            inner => Filter::Not(Box::new(inner)),
        },
        Filter::Each { level, filter } => match simplify(*filter) {
            // There is always an event or link, if only the absent one.
            Filter::Constant(value) => Filter::Constant(value),
            inner => Filter::Each {
                level,
                filter: Box::new(inner),
            },
        },
        leaf => leaf,
    }
}

/// `And` if `neutral` is true, else `Or`.
fn junction(inner: Vec<Filter>, neutral: bool) -> Filter {
    let mut kept = Vec::with_capacity(inner.len());
    for filter in inner {
        match (simplify(filter), neutral) {
            (Filter::Constant(value), _) if value == neutral => {}
            (Filter::Constant(value), _) => return Filter::Constant(value),
            (Filter::And(nested), true) | (Filter::Or(nested), false) => kept.extend(nested),
            (other, _) => kept.push(other),
        }
    }
    match (kept.len(), neutral) {
        (0, _) => Filter::Constant(neutral),
        (1, _) => kept.pop().unwrap_or(Filter::Constant(neutral)),
        (_, true) => Filter::And(kept),
        (_, false) => Filter::Or(kept),
    }
}

/// The opposite, with `Not` pushed down to the leaves.
pub(super) fn negate(filter: Filter) -> Filter {
    match filter {
        Filter::Constant(value) => Filter::Constant(!value),
        Filter::And(inner) => Filter::Or(inner.into_iter().map(negate).collect()),
        Filter::Or(inner) => Filter::And(inner.into_iter().map(negate).collect()),
        Filter::Not(inner) => *inner,
        leaf => Filter::Not(Box::new(leaf)),
    }
}
