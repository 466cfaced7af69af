//! Who is whose parent in a whole trace, as numbers of a nested set.
//!
//! A span and all that hangs below it have numbers between its `left` and its `right`, so that every
//! relation of two spans is a comparison of numbers. Time and memory are linear in the spans, whatever
//! their ids and parents are.
//!
//! Spans that hang on no root (their parent is missing, or they are their own ancestor) have the numbers
//! 0 and stand in no relation. So do all spans of a trace in which more than two share an id, as in
//! Tempo. Of two that share one (Zipkin's halves of a call) the server is the parent, and the client
//! that of a server.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::{Span, SpanId};

const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;
/// Spans of one id in a trace that has numbers.
const TWINS_MAX: usize = 2;
/// `parent` of a root.
const OF_ROOT: i32 = -1;

/// The nested set of one trace, span by span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// Where a span stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Node {
    /// Index of the direct parent, where it is in the trace.
    pub parent_index: Option<u32>,
    /// From 1; 0 for a span that hangs on no root.
    pub left: i32,
    pub right: i32,
    /// `left` of the parent, -1 for a root.
    pub parent: i32,
    /// Spans whose direct parent this one is.
    pub n_children: u32,
}

/// The spans of each id, in the order of the trace.
type ById = HashMap<SpanId, Vec<u32>, RandomState>;

impl Tree {
    /// Children come in the order of `spans`.
    pub fn of(spans: &[Span]) -> Self {
        let mut by_id = ById::default();
        for (index, span) in (0..).zip(spans) {
            by_id.entry(span.span_id).or_default().push(index);
        }
        let has_numbers = by_id.values().all(|twins| twins.len() <= TWINS_MAX);
        let mut nodes = vec![Node::default(); spans.len()];
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); spans.len()];
        for (index, span) in (0..).zip(spans) {
            let Some(parent) = parent_of(index, span, spans, &by_id) else {
                continue;
            };
            if let (Some(node), Some(siblings)) = (
                nodes.get_mut(index as usize),
                children.get_mut(parent as usize),
            ) {
                node.parent_index = Some(parent);
                siblings.push(index);
            }
        }
        for (node, children) in nodes.iter_mut().zip(&children) {
            node.n_children = u32::try_from(children.len()).unwrap_or(u32::MAX);
        }
        let mut tree = Self { nodes };
        if has_numbers {
            tree.number(spans, &children);
        }
        tree
    }

    /// Of the span of this index.
    pub fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or_default()
    }

    /// Walks down from every root. What is walked is a forest: a span has one parent.
    fn number(&mut self, spans: &[Span], children: &[Vec<u32>]) {
        let mut next = 1;
        // A span, and how many of its children were walked.
        let mut path: Vec<(u32, usize)> = Vec::new();
        for (root, span) in (0..).zip(spans) {
            if !span.is_root() {
                continue;
            }
            self.enter(root, OF_ROOT, &mut next);
            path.push((root, 0));
            while let Some((index, n_walked)) = path.last_mut() {
                let index = *index;
                let child = children
                    .get(index as usize)
                    .and_then(|all| all.get(*n_walked));
                match child {
                    Some(child) => {
                        *n_walked += 1;
                        let left = self.node(index as usize).left;
                        self.enter(*child, left, &mut next);
                        path.push((*child, 0));
                    }
                    None => {
                        if let Some(node) = self.nodes.get_mut(index as usize) {
                            node.right = next;
                        }
                        next += 1;
                        path.pop();
                    }
                }
            }
        }
    }

    fn enter(&mut self, index: u32, parent: i32, next: &mut i32) {
        if let Some(node) = self.nodes.get_mut(index as usize) {
            node.left = *next;
            node.parent = parent;
        }
        *next += 1;
    }
}

fn parent_of(index: u32, span: &Span, spans: &[Span], by_id: &ById) -> Option<u32> {
    let id = span.parent_span_id.filter(|id| !id.is_zero())?;
    let others = by_id.get(&id)?.iter().copied().filter(|it| *it != index);
    let kind = |it: &u32| spans.get(*it as usize).map_or(0, |span| span.kind);
    let wanted = match span.kind {
        KIND_SERVER => KIND_CLIENT,
        _ => KIND_SERVER,
    };
    let mut first = None;
    for other in others {
        if kind(&other) == wanted {
            return Some(other);
        }
        first = first.or(Some(other));
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, parent (0 for none) and kind of each span.
    fn tree(spans: &[(u8, u8, i32)]) -> Tree {
        let span = |(id, parent, kind): &(u8, u8, i32)| Span {
            span_id: SpanId([*id; 8]),
            parent_span_id: (*parent > 0).then_some(SpanId([*parent; 8])),
            kind: *kind,
            ..Span::default()
        };
        let spans: Vec<Span> = spans.iter().map(span).collect();
        Tree::of(&spans)
    }

    fn numbers(tree: &Tree) -> Vec<(i32, i32, i32)> {
        let numbers = |node: &Node| (node.left, node.right, node.parent);
        tree.nodes.iter().map(numbers).collect()
    }

    #[test]
    fn numbers_lie_within_those_of_the_parent() {
        let tree = tree(&[(1, 0, 1), (2, 1, 1), (3, 2, 1), (4, 1, 1), (5, 0, 1)]);
        let expected = [(1, 8, -1), (2, 5, 1), (3, 4, 2), (6, 7, 1), (9, 10, -1)];
        assert_eq!(numbers(&tree), expected);
        let children: Vec<u32> = tree.nodes.iter().map(|node| node.n_children).collect();
        assert_eq!(children, [2, 1, 0, 0, 0]);
    }

    #[test]
    fn what_hangs_on_no_root_has_no_numbers() {
        // A missing parent with a child, a cycle of two, one that is its own parent.
        let spans = [
            (1, 9, 1),
            (2, 1, 1),
            (3, 4, 1),
            (4, 3, 1),
            (5, 5, 1),
            (6, 0, 1),
        ];
        let tree = tree(&spans);
        let mut expected = vec![(0, 0, 0); 5];
        expected.push((1, 2, -1));
        assert_eq!(numbers(&tree), expected);
        assert_eq!(tree.node(1).parent_index, Some(0));
        assert_eq!(tree.node(4).parent_index, None);
    }

    #[test]
    fn of_two_spans_of_one_id_the_kind_decides() {
        // A client and a server share the id 2; below it another server, and something else.
        let spans = [(1, 0, 2), (2, 1, 3), (2, 1, 2), (3, 2, 2), (4, 2, 1)];
        let tree = tree(&spans);
        let parents: Vec<_> = tree.nodes.iter().map(|node| node.parent_index).collect();
        assert_eq!(parents, [None, Some(0), Some(0), Some(1), Some(2)]);
        assert!(tree.nodes.iter().all(|node| node.left > 0));
    }

    #[test]
    fn three_spans_of_one_id_leave_a_trace_without_numbers() {
        let tree = tree(&[(1, 0, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)]);
        assert!(tree.nodes.iter().all(|node| node.left == 0));
        assert_eq!(tree.node(0).n_children, 3);
        assert_eq!(tree.node(3).parent_index, Some(0));
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let spans: Vec<Span> = (0..200_000u64)
            .map(|n| Span {
                span_id: SpanId((n + 1).to_be_bytes()),
                parent_span_id: (n > 0).then(|| SpanId(n.to_be_bytes())),
                ..Span::default()
            })
            .collect();
        let tree = Tree::of(&spans);
        assert_eq!(tree.node(199_999).left, 200_000);
        assert_eq!(tree.node(0).right, 400_000);
    }
}
