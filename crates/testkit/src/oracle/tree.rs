//! Who is whose parent, child and sibling in one trace, by walking from span to span.
//!
//! Spans that reach no root on their way up stand in no relation and have the numbers 0, and so do all
//! spans of a trace in which more than two share an id.

use std::collections::BTreeMap;

use tracewell_model::Span;
use tracewell_query::syntax::ast::Kin;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

#[derive(Debug)]
pub(super) struct Tree {
    parents: Vec<Option<usize>>,
    /// Left, right, and the left one of the parent.
    numbers: Vec<[i64; 3]>,
}

impl Tree {
    pub(super) fn of(spans: &[Span]) -> Self {
        let parents: Vec<Option<usize>> = (0..spans.len()).map(|at| parent(spans, at)).collect();
        let mut tree = Self {
            numbers: vec![[0; 3]; spans.len()],
            parents,
        };
        let mut n_by_id = BTreeMap::new();
        for span in spans {
            *n_by_id.entry(span.span_id).or_insert(0) += 1;
        }
        if n_by_id.values().all(|n| *n <= 2) {
            let mut next = 1;
            for (at, span) in spans.iter().enumerate() {
                if is_root(span) {
                    tree.number(at, -1, &mut next);
                }
            }
        }
        tree
    }

    fn number(&mut self, at: usize, parent: i64, next: &mut i64) {
        let left = *next;
        *next += 1;
        for child in self.children(at) {
            self.number(child, left, next);
        }
        if let Some(numbers) = self.numbers.get_mut(at) {
            *numbers = [left, *next, parent];
        }
        *next += 1;
    }

    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.parents.get(at).copied().flatten()
    }

    pub(super) fn children(&self, at: usize) -> Vec<usize> {
        let all = self.parents.iter().enumerate();
        let own = all.filter(|(_, parent)| **parent == Some(at));
        own.map(|(child, _)| child).collect()
    }

    pub(super) fn numbers(&self, at: usize) -> [i64; 3] {
        self.numbers.get(at).copied().unwrap_or_default()
    }

    /// Whether `b` is the child, descendant and so on of `a`.
    pub(super) fn is(&self, kin: Kin, a: usize, b: usize) -> bool {
        let is_placed = |at: usize| self.numbers(at)[0] > 0;
        if !is_placed(a) || !is_placed(b) {
            return false;
        }
        match kin {
            Kin::Child => self.parent(b) == Some(a),
            Kin::Parent => self.parent(a) == Some(b),
            Kin::Descendant => self.ancestors(b).contains(&a),
            Kin::Ancestor => self.ancestors(a).contains(&b),
            Kin::Sibling => a != b && self.parent(a) == self.parent(b),
        }
    }

    fn ancestors(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut next = self.parent(at);
        while let Some(ancestor) = next {
            found.push(ancestor);
            next = self.parent(ancestor);
        }
        found
    }
}

fn is_root(span: &Span) -> bool {
    span.parent_span_id.is_none_or(|id| id.0 == [0; 8])
}

/// Of several spans with the id of the parent, a server is it, or a client for a server; else the first.
fn parent(spans: &[Span], at: usize) -> Option<usize> {
    let span = spans.get(at)?;
    if is_root(span) {
        return None;
    }
    let others = spans.iter().enumerate();
    let others =
        others.filter(|(it, other)| *it != at && Some(other.span_id) == span.parent_span_id);
    let mut others: Vec<(bool, usize)> = others
        .map(|(it, other)| {
            let wanted = if span.kind == SERVER { CLIENT } else { SERVER };
            (other.kind != wanted, it)
        })
        .collect();
    others.sort_unstable();
    others.first().map(|(_, it)| *it)
}
