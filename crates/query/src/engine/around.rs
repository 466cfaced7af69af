//! Which spans of a trace come back with those that match a filter.
//!
//! Time and memory are linear in the spans, whatever their ids and parents are: many spans may share an
//! id, and be their own parents.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::{Span, SpanId};

use crate::request::Around;

/// Adds what lies around the spans that are kept. Parents may be missing, form a cycle, or share their
/// id.
pub(super) fn keep_around(spans: &[Span], keep: &mut [bool], around: Around) {
    let matches: Vec<usize> = (0..)
        .zip(keep.iter())
        .filter(|(_, keep)| **keep)
        .map(|(at, _)| at)
        .collect();
    let parent = |span: &Span| span.parent_span_id.filter(|id| !id.is_zero());
    let id = |span: &Span| Some(span.span_id);
    if around.ancestors > 0 {
        walk(spans, &matches, keep, around.ancestors, parent, id);
    }
    if around.descendants > 0 {
        walk(spans, &matches, keep, around.descendants, id, parent);
    }
}

type Groups = HashMap<SpanId, Vec<usize>, RandomState>;

fn groups(spans: &[Span], id_of: impl Fn(&Span) -> Option<SpanId>) -> Groups {
    let mut groups = Groups::default();
    for (at, span) in spans.iter().enumerate() {
        if let Some(id) = id_of(span) {
            groups.entry(id).or_default().push(at);
        }
    }
    groups
}

/// Goes from the matches step by step, so many steps at most, and keeps what is reached: from a span to
/// those whose `to` is its `from`.
fn walk(
    spans: &[Span],
    matches: &[usize],
    keep: &mut [bool],
    n_steps: u32,
    from: impl Fn(&Span) -> Option<SpanId>,
    to: impl Fn(&Span) -> Option<SpanId>,
) {
    let mut groups = groups(spans, to);
    let mut reached = matches.to_vec();
    for _ in 0..n_steps {
        let ids = reached.iter().filter_map(|at| from(spans.get(*at)?));
        // A group is reached as a whole, and the first time by the shortest way.
        let further: Vec<usize> = ids.filter_map(|id| groups.remove(&id)).flatten().collect();
        if further.is_empty() {
            break;
        }
        for at in &further {
            if let Some(keep) = keep.get_mut(*at) {
                *keep = true;
            }
        }
        reached = further;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number and parent of each span, the numbers that match; which come back.
    fn kept(spans: &[(u8, u8)], matches: &[u8], ancestors: u32, descendants: u32) -> Vec<u8> {
        let span = |(id, parent): &(u8, u8)| Span {
            span_id: SpanId([*id; 8]),
            parent_span_id: Some(SpanId([*parent; 8])),
            ..Span::default()
        };
        let plain: Vec<Span> = spans.iter().map(span).collect();
        let mut keep: Vec<bool> = spans.iter().map(|(id, _)| matches.contains(id)).collect();
        let around = Around {
            ancestors,
            descendants,
        };
        keep_around(&plain, &mut keep, around);
        let kept = spans.iter().zip(keep).filter(|(_, keep)| *keep);
        kept.map(|((id, _), _)| *id).collect()
    }

    #[test]
    fn levels_above_and_below_a_match_are_counted_from_the_nearest() {
        // 1 -> 2 -> 3 -> 4 -> 5, and 2 -> 6.
        let spans = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 2)];
        assert_eq!(kept(&spans, &[4], 0, 0), [4]);
        assert_eq!(kept(&spans, &[4], 1, 0), [3, 4]);
        assert_eq!(kept(&spans, &[4], u32::MAX, 0), [1, 2, 3, 4]);
        assert_eq!(kept(&spans, &[2], 0, 1), [2, 3, 6]);
        assert_eq!(kept(&spans, &[2], 0, u32::MAX), [2, 3, 4, 5, 6]);
        assert_eq!(kept(&spans, &[3], 1, 1), [2, 3, 4]);
        // Ancestors bring no children of their own.
        assert_eq!(kept(&spans, &[4], u32::MAX, u32::MAX), [1, 2, 3, 4, 5]);
        assert_eq!(kept(&spans, &[3, 5], 1, 0), [2, 3, 4, 5]);
        assert!(kept(&spans, &[], u32::MAX, u32::MAX).is_empty());
    }

    #[test]
    fn missing_parents_cycles_and_shared_ids_end_the_walk() {
        let spans = [(1, 3), (2, 1), (3, 2), (4, 9), (4, 1)];
        assert_eq!(kept(&spans, &[2], u32::MAX, 0), [1, 2, 3]);
        assert_eq!(kept(&spans, &[4], u32::MAX, 0), [1, 2, 3, 4, 4]);
        assert_eq!(kept(&[(7, 7)], &[7], u32::MAX, u32::MAX), [7]);
    }

    #[test]
    fn spans_that_are_all_parents_of_all_cost_one_look_each() {
        let many = vec![(1, 1); 100_000];
        assert_eq!(kept(&many, &[1], u32::MAX, u32::MAX).len(), many.len());
    }
}
