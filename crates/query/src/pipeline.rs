//! A query over one whole trace: its spansets, stage by stage. This is the meaning of the language; what
//! sources say before is only a reason to look.
//!
//! Relations are those of the nested set ([`crate::tree`]), in time linear in the spans but for sorting.

use std::cell::OnceCell;

use foldhash::{HashMap, HashSet};
use tracewell_model::predicate::values_match;
use tracewell_model::{TraceId, Value};

use crate::plan::term::{arithmetic, negate};
use crate::plan::{Field, FilterPlan, Plan, ScalarPlan, SpansetPlan, StagePlan};
use crate::row::{Row, TraceFacts};
use crate::scalar::Scalar;
use crate::syntax::ast::{Aggregate, Kin, LogicOp, Relation, RelationMode};
use crate::tree::Node;
use crate::watch::Watch;

/// Spans of one trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spanset {
    /// Indices into the trace, ascending.
    pub spans: Vec<usize>,
    /// What `by()` split by and what was compared, by its text.
    pub attributes: Vec<(String, Option<Scalar>)>,
}

/// The spansets that a plan yields for a whole trace; none if it does not match.
pub fn spansets(plan: &Plan, facts: &TraceFacts<'_>) -> Vec<Spanset> {
    spansets_of(plan, facts, facts.watch())
}

/// The same of whatever can tell of a trace what the plan asks; none if it is over before all of it was told.
pub(crate) fn spansets_of(plan: &Plan, trace: &dyn View, watch: Option<&Watch>) -> Vec<Spanset> {
    let scene = Scene {
        filters: &plan.filters,
        bits: plan.filters.iter().map(|_| OnceCell::new()).collect(),
        trace,
        watch,
    };
    let sets = scene.stages(&plan.stages, vec![scene.everything()]);
    match watch {
        Some(watch) if watch.is_over() => Vec::new(),
        _ => sets,
    }
}

/// A trace as a pipeline sees it. Spans go by their place in it.
pub(crate) trait View {
    fn n_spans(&self) -> usize;

    /// Which spans match a pair of braces, the one with this index.
    fn bits(&self, index: usize, filter: &FilterPlan) -> Vec<bool>;

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar>;

    /// Of none by default: who asks for relations reads whole traces.
    fn node(&self, _span: usize) -> Node {
        Node::default()
    }

    /// All of a span; `None` where columns of it are known, and no more.
    fn row(&self, _span: usize) -> Option<Row<'_>> {
        None
    }

    fn trace_id(&self, span: usize) -> TraceId;

    fn start_unix_nano(&self, span: usize) -> u64;
}

impl View for TraceFacts<'_> {
    fn n_spans(&self) -> usize {
        self.spans().len()
    }

    fn bits(&self, _: usize, filter: &FilterPlan) -> Vec<bool> {
        let rows = self.rows();
        rows.map(|row| row.matches(&filter.exact)).collect()
    }

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar> {
        self.row(span)?.value_of(field)
    }

    fn node(&self, span: usize) -> Node {
        self.tree().node(span)
    }

    fn row(&self, span: usize) -> Option<Row<'_>> {
        TraceFacts::row(self, span)
    }

    fn trace_id(&self, span: usize) -> TraceId {
        let span = self.spans().get(span);
        span.map(|span| span.trace_id).unwrap_or_default()
    }

    fn start_unix_nano(&self, span: usize) -> u64 {
        self.spans()
            .get(span)
            .map_or(0, |span| span.start_unix_nano)
    }
}

/// A trace, and which of its spans match which braces.
struct Scene<'a> {
    filters: &'a [FilterPlan],
    /// One for each filter, made when it is asked for.
    bits: Vec<OnceCell<Vec<bool>>>,
    trace: &'a dyn View,
    watch: Option<&'a Watch>,
}

/// A span by its index, and where it stands.
type Placed = (usize, Node);

impl Scene<'_> {
    fn everything(&self) -> Spanset {
        Spanset {
            spans: (0..self.trace.n_spans()).collect(),
            attributes: Vec::new(),
        }
    }

    fn stages(&self, stages: &[StagePlan], mut sets: Vec<Spanset>) -> Vec<Spanset> {
        for stage in stages {
            let steps = sets
                .iter()
                .map(|set| set.spans.len() + set.attributes.len());
            if self.is_over(steps.sum()) {
                return Vec::new();
            }
            sets = match stage {
                StagePlan::Spanset(plan) => {
                    let each = sets.into_iter();
                    each.filter_map(|set| {
                        let known = set.attributes.clone();
                        let found = self.spanset(plan, set)?;
                        Some(found.behind(known))
                    })
                    .collect()
                }
                StagePlan::ScalarFilter { left, op, right } => {
                    let each = sets.into_iter();
                    each.filter_map(|set| self.compared(set, left, *op, right))
                        .collect()
                }
                StagePlan::By(field) => {
                    let each = sets.into_iter();
                    each.flat_map(|set| self.split(set, field)).collect()
                }
                StagePlan::Coalesce => coalesced(sets),
            };
        }
        sets.retain(|set| !set.spans.is_empty());
        sets
    }

    fn is_over(&self, n_steps: usize) -> bool {
        self.watch.is_some_and(|watch| watch.spend(n_steps))
    }

    /// What an expression yields of the spans of a set; `None` for nothing.
    fn spanset(&self, plan: &SpansetPlan, input: Spanset) -> Option<Spanset> {
        if self.is_over(input.spans.len()) {
            return None;
        }
        let result = match plan {
            SpansetPlan::Filter(index) => {
                let bits = self.bits(*index);
                let mut set = input;
                set.spans
                    .retain(|span| bits.get(*span).copied().unwrap_or(false));
                set
            }
            SpansetPlan::Logic(op, terms) => self.logic(*op, terms, &input)?,
            SpansetPlan::Relation(relation, left, right) => {
                let left = self.spanset(left, input.clone()).unwrap_or_default();
                let right = self.spanset(right, input)?;
                self.related(*relation, left, right)
            }
            SpansetPlan::Pipeline(stages) => {
                // One at most: the planner asks for `coalesce()` else.
                self.stages(stages, vec![input]).pop()?
            }
        };
        (!result.spans.is_empty()).then_some(result)
    }

    fn logic(&self, op: LogicOp, terms: &[SpansetPlan], input: &Spanset) -> Option<Spanset> {
        let mut all: Option<Spanset> = None;
        for term in terms {
            match (self.spanset(term, input.clone()), op) {
                (None, LogicOp::And) => return None,
                (None, LogicOp::Or) => {}
                (Some(set), _) => {
                    all = Some(match all {
                        None => set,
                        Some(known) => union(known, set),
                    });
                }
            }
        }
        all
    }

    fn bits(&self, index: usize) -> &[bool] {
        let (Some(cell), Some(filter)) = (self.bits.get(index), self.filters.get(index)) else {
            return &[];
        };
        cell.get_or_init(|| self.trace.bits(index, filter))
    }

    // === relations ===

    fn related(&self, relation: Relation, left: Spanset, right: Spanset) -> Spanset {
        let placed = |set: &Spanset| -> Vec<Placed> {
            let spans = set.spans.iter();
            spans
                .map(|index| (*index, self.trace.node(*index)))
                .collect()
        };
        let (a, b) = (placed(&left), placed(&right));
        let of_right = standing(relation.kin, &a, &b);
        match relation.mode {
            RelationMode::Plain => Spanset {
                spans: in_order(of_right),
                ..right
            },
            RelationMode::Negated => Spanset {
                spans: right
                    .spans
                    .iter()
                    .copied()
                    .filter(|index| !of_right.contains(index))
                    .collect(),
                ..right
            },
            RelationMode::Union => {
                let of_left = standing(converse(relation.kin), &b, &a);
                let both = |spans: HashSet<usize>, set: Spanset| Spanset {
                    spans: in_order(spans),
                    ..set
                };
                union(both(of_left, left), both(of_right, right))
            }
        }
    }

    // === aggregates ===

    fn compared(
        &self,
        mut set: Spanset,
        left: &ScalarPlan,
        op: tracewell_model::CompareOp,
        right: &ScalarPlan,
    ) -> Option<Spanset> {
        let mut seen = Seen::default();
        let (a, b) = (
            self.scalar(left, &set, &mut seen)?,
            self.scalar(right, &set, &mut seen)?,
        );
        if !values_match(a, op, b) {
            return None;
        }
        if let Some(spans) = seen.spans {
            set.spans = spans;
        }
        set.say(seen.attributes);
        Some(set)
    }

    fn scalar(&self, plan: &ScalarPlan, set: &Spanset, seen: &mut Seen) -> Option<Value<'static>> {
        let value = match plan {
            ScalarPlan::Constant(scalar) => return number(scalar),
            ScalarPlan::Aggregate {
                aggregate,
                of,
                label,
            } => {
                let scalar = match of {
                    None => Scalar::Int(i64::try_from(set.spans.len()).unwrap_or(i64::MAX)),
                    Some(field) => self.aggregate(*aggregate, field, set)?,
                };
                let value = number(&scalar);
                seen.attributes.push((label.clone(), Some(scalar)));
                return value;
            }
            ScalarPlan::Arithmetic(op, left, right) => {
                let left = self.scalar(left, set, seen)?;
                arithmetic(*op, left, self.scalar(right, set, seen)?)
            }
            ScalarPlan::Negate(inner) => negate(self.scalar(inner, set, seen)?),
            ScalarPlan::Pipeline(stages, end) => {
                let set = self.stages(stages, vec![self.everything()]).pop()?;
                let value = self.scalar(end, &set, seen);
                let known = seen.spans.take().into_iter().flatten();
                seen.spans = Some(in_order(known.chain(set.spans)));
                return value;
            }
        };
        (!value.is_nil()).then_some(value)
    }

    /// Of the spans for which the field is a number; `None` if it is of none.
    fn aggregate(&self, aggregate: Aggregate, field: &Field, set: &Spanset) -> Option<Scalar> {
        if self.is_over(set.spans.len()) {
            return None;
        }
        let spans = set.spans.iter();
        let mut sums = Sums::default();
        spans
            .filter_map(|index| self.trace.value_of(field, *index))
            .for_each(|value| sums.add(&value));
        sums.finish(aggregate)
    }

    fn split(&self, set: Spanset, field: &Field) -> Vec<Spanset> {
        let mut groups: Vec<Spanset> = Vec::new();
        let mut places: std::collections::BTreeMap<Option<Scalar>, usize> = Default::default();
        for index in set.spans {
            let value = self.trace.value_of(field, index);
            let place = *places.entry(value.clone()).or_insert_with(|| {
                let mut group = Spanset {
                    spans: Vec::new(),
                    attributes: set.attributes.clone(),
                };
                group.say(vec![(format!("by({})", field.label), value)]);
                groups.push(group);
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(place) {
                group.spans.push(index);
            }
        }
        groups
    }
}

impl Spanset {
    /// With these attributes before its own.
    fn behind(mut self, known: Vec<(String, Option<Scalar>)>) -> Self {
        let own = std::mem::replace(&mut self.attributes, known);
        self.say(own);
        self
    }

    /// What is known already is not said again.
    fn say(&mut self, more: Vec<(String, Option<Scalar>)>) {
        for (label, value) in more {
            if !self.attributes.iter().any(|(known, _)| *known == label) {
                self.attributes.push((label, value));
            }
        }
    }
}

/// What was met on the way through a comparison.
#[derive(Default)]
struct Seen {
    attributes: Vec<(String, Option<Scalar>)>,
    /// Those of pipelines of its own, where it has any.
    spans: Option<Vec<usize>>,
}

/// Each span once, in the order of the trace.
pub(crate) fn in_order(spans: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut spans: Vec<usize> = spans.into_iter().collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}

fn union(mut a: Spanset, b: Spanset) -> Spanset {
    a.spans = in_order(a.spans.into_iter().chain(b.spans));
    a.say(b.attributes);
    a
}

/// One spanset; what they differ by is gone.
fn coalesced(sets: Vec<Spanset>) -> Vec<Spanset> {
    vec![Spanset {
        spans: in_order(sets.into_iter().flat_map(|set| set.spans)),
        attributes: Vec::new(),
    }]
}

fn converse(kin: Kin) -> Kin {
    match kin {
        Kin::Child => Kin::Parent,
        Kin::Parent => Kin::Child,
        Kin::Descendant => Kin::Ancestor,
        Kin::Ancestor => Kin::Descendant,
        Kin::Sibling => Kin::Sibling,
    }
}

/// Those of `b` that are the child, descendant and so on of one of `a`. Spans without numbers are nobody's.
fn standing(kin: Kin, a: &[Placed], b: &[Placed]) -> HashSet<usize> {
    let is_numbered = |(_, node): &&Placed| node.left > 0;
    let (a, b) = (a.iter().filter(is_numbered), b.iter().filter(is_numbered));
    match kin {
        Kin::Child => {
            let lefts: HashSet<i32> = a.map(|(_, node)| node.left).collect();
            let b = b.filter(|(_, node)| lefts.contains(&node.parent));
            b.map(|(index, _)| *index).collect()
        }
        Kin::Parent => {
            let parents: HashSet<i32> = a.map(|(_, node)| node.parent).collect();
            let b = b.filter(|(_, node)| parents.contains(&node.left));
            b.map(|(index, _)| *index).collect()
        }
        Kin::Descendant => {
            let mut intervals: Vec<(i32, i32)> =
                a.map(|(_, node)| (node.left, node.right)).collect();
            intervals.sort_unstable();
            // The furthest right end up to here: intervals lie within each other or apart.
            let mut furthest = 0;
            for (_, right) in &mut intervals {
                furthest = furthest.max(*right);
                *right = furthest;
            }
            let is_inside = |(_, node): &&Placed| {
                let n_before = intervals.partition_point(|(left, _)| *left < node.left);
                let before = n_before.checked_sub(1).and_then(|last| intervals.get(last));
                before.is_some_and(|(_, furthest)| *furthest > node.left)
            };
            b.filter(is_inside).map(|(index, _)| *index).collect()
        }
        Kin::Ancestor => {
            let mut lefts: Vec<i32> = a.map(|(_, node)| node.left).collect();
            lefts.sort_unstable();
            let has_inside = |(_, node): &&Placed| {
                let n_before = lefts.partition_point(|left| *left <= node.left);
                lefts.get(n_before).is_some_and(|left| *left < node.right)
            };
            b.filter(has_inside).map(|(index, _)| *index).collect()
        }
        Kin::Sibling => {
            let mut n_by_parent: HashMap<i32, usize> = HashMap::default();
            let mut own: HashSet<usize> = HashSet::default();
            for (index, node) in a {
                *n_by_parent.entry(node.parent).or_default() += 1;
                own.insert(*index);
            }
            let has_other = |(index, node): &&Placed| {
                let n = n_by_parent.get(&node.parent).copied().unwrap_or(0);
                n > usize::from(own.contains(index))
            };
            b.filter(has_other).map(|(index, _)| *index).collect()
        }
    }
}

// === sums ===

/// Numbers, added up by what they are: of ints the sum is an int, of durations a duration, and of what is
/// mixed a float.
#[derive(Debug, Default)]
struct Sums {
    n_ints: u64,
    n_durations: u64,
    n_floats: u64,
    /// Of ints and durations, exact.
    whole: i128,
    whole_min: Option<i64>,
    whole_max: Option<i64>,
    floats: f64,
    float_min: Option<f64>,
    float_max: Option<f64>,
}

impl Sums {
    fn add(&mut self, value: &Scalar) {
        match value {
            Scalar::Int(value) => {
                self.n_ints += 1;
                self.add_whole(*value);
            }
            Scalar::Duration(nanos) => {
                self.n_durations += 1;
                self.add_whole(*nanos);
            }
            Scalar::Float(value) => {
                self.n_floats += 1;
                self.floats += value;
                self.float_min = Some(self.float_min.map_or(*value, |min| min.min(*value)));
                self.float_max = Some(self.float_max.map_or(*value, |max| max.max(*value)));
            }
            _ => {}
        }
    }

    fn add_whole(&mut self, value: i64) {
        self.whole += i128::from(value);
        self.whole_min = Some(self.whole_min.map_or(value, |min| min.min(value)));
        self.whole_max = Some(self.whole_max.map_or(value, |max| max.max(value)));
    }

    fn finish(self, aggregate: Aggregate) -> Option<Scalar> {
        let n = self.n_ints + self.n_durations + self.n_floats;
        if n == 0 {
            return None;
        }
        let is_mixed = [self.n_ints, self.n_durations, self.n_floats]
            .iter()
            .filter(|n| **n > 0)
            .count()
            > 1;
        let whole = |value: i128| {
            let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
            let value = i64::try_from(value.clamp(bounds.0, bounds.1)).unwrap_or(i64::MAX);
            match self.n_ints > 0 {
                true => Scalar::Int(value),
                false => Scalar::Duration(value),
            }
        };
        let is_whole = !is_mixed && self.n_floats == 0;
        let extreme =
            |of_whole: Option<i64>, of_float: Option<f64>, pick: fn(f64, f64) -> f64| match (
                of_whole, of_float,
            ) {
                (Some(value), _) if is_whole => Some(whole(i128::from(value))),
                (Some(a), Some(b)) => Some(Scalar::Float(pick(a as f64, b))),
                (Some(a), None) => Some(Scalar::Float(a as f64)),
                (None, b) => b.map(Scalar::Float),
            };
        match aggregate {
            Aggregate::Count => Some(Scalar::Int(i64::try_from(n).unwrap_or(i64::MAX))),
            Aggregate::Min => extreme(self.whole_min, self.float_min, f64::min),
            Aggregate::Max => extreme(self.whole_max, self.float_max, f64::max),
            Aggregate::Sum if is_whole => Some(whole(self.whole)),
            Aggregate::Sum => Some(Scalar::Float(self.whole as f64 + self.floats)),
            Aggregate::Avg if is_whole && self.n_durations > 0 => {
                Some(whole(self.whole / i128::from(n)))
            }
            Aggregate::Avg => Some(Scalar::Float((self.whole as f64 + self.floats) / n as f64)),
        }
    }
}

fn number(scalar: &Scalar) -> Option<Value<'static>> {
    match scalar {
        Scalar::Int(value) => Some(Value::Int(*value)),
        Scalar::Float(value) => Some(Value::Float(*value)),
        Scalar::Duration(nanos) => Some(Value::Duration(*nanos)),
        _ => None,
    }
}
