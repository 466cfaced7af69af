//! Filters over plain spans of a whole trace: the exact meaning, row by row.
//!
//! The engine settles the traces of an answer with it, so that what a source says is never more
//! than a reason to look. It is slow and has no columns; comparisons are those of
//! [`tracewell_model::Predicate`], which exist once.

use std::cell::OnceCell;

use tracewell_model::alias::KindRule;
use tracewell_model::column::{Column, ColumnLevel, Intrinsic};
use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeScope, Event, Filter, KeyValue, Level, Link, Span, Value};

use crate::plan::{Candidate, Field, Shown};
use crate::scalar::Scalar;
use crate::tree::{Node, Tree};
use crate::watch::Watch;

#[cfg(test)]
mod tests;

/// Pairs of an event and a link that a comparison of one with the other tries in a span: four times
/// what SDKs send at most, 128 of each. In a larger span every event is tried with the first links, as
/// many as fit and at least one, and [`leaves_out_pairs`] tells of it.
pub(crate) const PAIRS_MAX: usize = 1 << 16;

/// Facts of a whole trace.
#[derive(Debug, Clone)]
pub struct TraceFacts<'a> {
    spans: &'a [Span],
    watch: Option<&'a Watch>,
    tree: OnceCell<Tree>,
    pub start_unix_nano: u64,
    pub duration_nano: i64,
    /// The earliest span without a parent; of several at one time, that with the smallest id.
    pub root: Option<&'a Span>,
}

/// A span as filters see it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    trace: &'a TraceFacts<'a>,
    index: usize,
    span: &'a Span,
    event: Option<&'a Event>,
    link: Option<&'a Link>,
}

/// A value, or the text that it borrows from.
pub(crate) enum Held<'a> {
    Value(Value<'a>),
    Text(String),
}

// === impl TraceFacts ===

impl<'a> TraceFacts<'a> {
    pub fn of(spans: &'a [Span]) -> Self {
        let start = spans.iter().map(|span| span.start_unix_nano).min();
        let end = spans.iter().map(|span| span.end_unix_nano).max();
        let start_unix_nano = start.unwrap_or(0);
        Self {
            spans,
            watch: None,
            tree: OnceCell::new(),
            start_unix_nano,
            duration_nano: duration_nano(start_unix_nano, end.unwrap_or(0)),
            root: spans
                .iter()
                .filter(|span| span.is_root())
                .min_by_key(|span| (span.start_unix_nano, span.span_id)),
        }
    }

    /// The same, looked at no longer than somebody waits: what rows say once that is over is worth nothing.
    pub(crate) fn watched(spans: &'a [Span], watch: &'a Watch) -> Self {
        let watch = Some(watch);
        Self {
            watch,
            ..Self::of(spans)
        }
    }

    pub(crate) fn watch(&self) -> Option<&'a Watch> {
        self.watch
    }

    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// Every span, in the order of the trace.
    pub fn rows(&'a self) -> impl Iterator<Item = Row<'a>> {
        (0..self.spans.len()).filter_map(|index| self.row(index))
    }

    pub fn row(&'a self, index: usize) -> Option<Row<'a>> {
        let span = self.spans.get(index)?;
        Some(Row {
            trace: self,
            index,
            span,
            event: None,
            link: None,
        })
    }

    /// Made when it is first asked for.
    pub fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| Tree::of(self.spans))
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    pub fn span(&self) -> &'a Span {
        self.span
    }

    /// Its place in the trace.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the filter is true for the span.
    pub fn matches(&self, filter: &Filter) -> bool {
        if self.trace.watch.is_some_and(|watch| watch.spend(1)) {
            return false;
        }
        match filter {
            Filter::Constant(value) => *value,
            Filter::And(inner) => inner.iter().all(|filter| self.matches(filter)),
            Filter::Or(inner) => inner.iter().any(|filter| self.matches(filter)),
            Filter::Not(inner) => !self.matches(inner),
            Filter::Leaf(leaf) => leaf.matches(self.held(&leaf.column).value()),
            Filter::Compute(compute) => {
                let held: Vec<Held<'_>> = compute
                    .columns
                    .iter()
                    .map(|column| self.held(column))
                    .collect();
                let values: Vec<Value<'_>> = held.iter().map(Held::value).collect();
                compute.test.test(&values)
            }
            Filter::Each { level, filter } => self.any_item(*level, &|row| row.matches(filter)),
        }
    }

    /// True if `test` is for one event or link, or for the absent one where the span has none.
    fn any_item(&self, level: Level, test: &dyn Fn(&Row<'a>) -> bool) -> bool {
        let span = self.span;
        match level {
            Level::Event if span.events.is_empty() => test(&Row {
                event: None,
                ..*self
            }),
            Level::Link if span.links.is_empty() => test(&Row {
                link: None,
                ..*self
            }),
            Level::Event => {
                let mut events = span
                    .events
                    .iter()
                    .take(n_tried(self.link, span.links.len()));
                events.any(|event| {
                    test(&Row {
                        event: Some(event),
                        ..*self
                    })
                })
            }
            Level::Link => {
                let mut links = span
                    .links
                    .iter()
                    .take(n_tried(self.event, span.events.len()));
                links.any(|link| {
                    test(&Row {
                        link: Some(link),
                        ..*self
                    })
                })
            }
        }
    }

    pub(crate) fn held(&self, column: &Column) -> Held<'a> {
        match column {
            Column::Attribute { scope, key } => Held::Value(self.attribute(*scope, key)),
            Column::Intrinsic(intrinsic) => self.intrinsic(*intrinsic),
            Column::OfParent(column) => self.of_parent(column),
        }
    }

    /// What the parent has; of its events and links, the first that has it.
    fn of_parent(&self, column: &Column) -> Held<'a> {
        let nothing = Held::Value(Value::Nil);
        let node = self.trace.tree().node(self.index);
        let parent = node.parent_index.and_then(|it| self.trace.row(it as usize));
        let Some(parent) = parent else {
            return nothing;
        };
        let has_value = |held: &Held<'a>| !held.value().is_nil();
        let found = match column.level() {
            ColumnLevel::Event => parent.span.events.iter().find_map(|event| {
                let event = Some(event);
                Some(Row { event, ..parent }.held(column)).filter(has_value)
            }),
            ColumnLevel::Link => parent.span.links.iter().find_map(|link| {
                let link = Some(link);
                Some(Row { link, ..parent }.held(column)).filter(has_value)
            }),
            _ => Some(parent.held(column)),
        };
        found.unwrap_or(nothing)
    }

    /// The first value of a key; an empty one is no value, and hides those behind it.
    fn attribute(&self, scope: AttributeScope, key: &str) -> Value<'a> {
        let attributes: &[KeyValue] = match scope {
            AttributeScope::Span => &self.span.attributes,
            AttributeScope::Resource => &self.span.resource.attributes,
            AttributeScope::Instrumentation => &self.span.scope.attributes,
            AttributeScope::Event => self.event.map_or(&[], |event| &event.attributes),
            AttributeScope::Link => self.link.map_or(&[], |link| &link.attributes),
        };
        attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .map_or(Value::Nil, |attribute| attribute.value.as_value())
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Held<'a> {
        let (span, trace) = (self.span, self.trace);
        let id = |text: String| Held::Text(text);
        let trace_id = |text: String| Held::Text(text.trim_start_matches('0').to_owned());
        Held::Value(match intrinsic {
            Intrinsic::Name => Value::String(&span.name),
            Intrinsic::Duration => Value::Duration(span.duration_nano()),
            Intrinsic::Start => Value::Int(i64::try_from(span.start_unix_nano).unwrap_or(i64::MAX)),
            Intrinsic::Status => Value::Status(span.status_code()),
            Intrinsic::StatusMessage => Value::String(
                span.status
                    .as_ref()
                    .map_or("", |status| status.message.as_str()),
            ),
            Intrinsic::Kind => Value::Kind(span.kind),
            Intrinsic::SpanId => return id(span.span_id.to_string()),
            Intrinsic::ParentId => match span.parent_span_id {
                Some(parent) if !parent.is_zero() => return id(parent.to_string()),
                _ => Value::Nil,
            },
            Intrinsic::TraceId => return trace_id(span.trace_id.to_string()),
            Intrinsic::TraceDuration => Value::Duration(trace.duration_nano),
            Intrinsic::RootName => trace
                .root
                .map_or(Value::Nil, |root| Value::String(&root.name)),
            Intrinsic::RootService => trace.root.map_or(Value::Nil, |root| {
                Value::String(root.resource.service_name())
            }),
            Intrinsic::EventName => self
                .event
                .map_or(Value::Nil, |event| Value::String(&event.name)),
            Intrinsic::EventTimeSinceStart => self.event.map_or(Value::Nil, |event| {
                Value::Duration(nanos_between(span.start_unix_nano, event.time_unix_nano))
            }),
            Intrinsic::LinkTraceId => match self.link {
                Some(link) => return trace_id(link.trace_id.to_string()),
                None => Value::Nil,
            },
            Intrinsic::LinkSpanId => match self.link {
                Some(link) => return id(link.span_id.to_string()),
                None => Value::Nil,
            },
            Intrinsic::InstrumentationName => Value::String(&span.scope.name),
            Intrinsic::InstrumentationVersion => Value::String(&span.scope.version),
            Intrinsic::ChildCount => Value::Int(i64::from(self.node().n_children)),
            Intrinsic::NestedSetLeft => Value::Int(i64::from(self.node().left)),
            Intrinsic::NestedSetRight => Value::Int(i64::from(self.node().right)),
            Intrinsic::NestedSetParent => Value::Int(i64::from(self.node().parent)),
        })
    }

    fn node(&self) -> Node {
        self.trace.tree().node(self.index)
    }

    fn is_of_kind(&self, candidate: &Candidate) -> bool {
        candidate.kinds == KindRule::Any
            || match self.held(&candidate.kind_column()).value() {
                Value::Kind(kind) => candidate.kinds.holds(kind),
                _ => false,
            }
    }

    /// The value of an expression: for the first event and link for which it has one.
    pub(crate) fn value_of(&self, field: &Field) -> Option<Scalar> {
        let here = |row: &Row<'a>| {
            let held = field.columns.iter().map(|column| row.held(column));
            let held: Vec<Held<'_>> = held.collect();
            let values: Vec<Value<'_>> = held.iter().map(Held::value).collect();
            field.value(&values)
        };
        let events = some_or_none(&self.span.events, field.of_events);
        for event in events.take(if field.of_links {
            PAIRS_MAX
        } else {
            usize::MAX
        }) {
            let links = some_or_none(&self.span.links, field.of_links);
            for link in links.take(n_tried(event, self.span.events.len())) {
                if self.trace.watch.is_some_and(|watch| watch.spend(1)) {
                    return None;
                }
                if let Some(value) = here(&Row {
                    event,
                    link,
                    ..*self
                }) {
                    return Some(value);
                }
            }
        }
        None
    }

    /// The value that an answer shows: of events and links, that of the first that has one.
    pub(crate) fn shown(&self, shown: &Shown) -> Option<KeyValue> {
        let span = self.span;
        let of_kind = |candidate: &&Candidate| self.is_of_kind(candidate);
        let all: Vec<&Candidate> = shown.candidates.iter().filter(of_kind).collect();
        let of_level = |level| -> Vec<&Candidate> {
            let is_of_level = |candidate: &&Candidate| candidate.column.level() == level;
            all.iter().copied().filter(is_of_level).collect()
        };
        let look = |row: &Row<'a>, candidates: &[&Candidate]| {
            candidates
                .iter()
                .find_map(|candidate| row.held(&candidate.column).to_attribute())
        };
        let first = Row {
            event: span.events.first(),
            link: span.links.first(),
            ..*self
        };
        // What the first event and link do not say only another one can, and each alone.
        let mut value = look(&first, &all);
        let of_links = of_level(ColumnLevel::Link);
        if value.is_none() && !of_links.is_empty() {
            value = span.links.iter().skip(1).find_map(|link| {
                let link = Some(link);
                look(&Row { link, ..first }, &of_links)
            });
        }
        let of_events = of_level(ColumnLevel::Event);
        if value.is_none() && !of_events.is_empty() {
            value = span.events.iter().skip(1).find_map(|event| {
                let event = Some(event);
                look(&Row { event, ..first }, &of_events)
            });
        }
        value.map(|value| KeyValue {
            key: shown.label.clone(),
            value,
        })
    }
}

/// Each of a list, or once nothing where it is empty or not asked for.
fn some_or_none<T>(items: &[T], is_asked: bool) -> impl Iterator<Item = Option<&T>> {
    let items = if is_asked { items } else { &[] };
    let nothing = items.is_empty().then_some(None);
    items.iter().map(Some).chain(nothing)
}

/// How many of a list are tried: all of them, unless each is with every one of `n_other`.
fn n_tried<T>(other: Option<&T>, n_other: usize) -> usize {
    match other {
        None => usize::MAX,
        Some(_) => (PAIRS_MAX / n_other.max(1)).max(1),
    }
}

/// True if a filter may be false for one of these spans only because not every pair of an event and a
/// link was tried.
pub(crate) fn leaves_out_pairs(filter: &Filter, spans: &[Span]) -> bool {
    let is_large = |span: &Span| span.events.len().saturating_mul(span.links.len()) > PAIRS_MAX;
    asks_of_pairs(filter, false) && spans.iter().any(is_large)
}

fn asks_of_pairs(filter: &Filter, is_inside: bool) -> bool {
    match filter {
        Filter::And(inner) | Filter::Or(inner) => {
            inner.iter().any(|filter| asks_of_pairs(filter, is_inside))
        }
        Filter::Not(inner) => asks_of_pairs(inner, is_inside),
        Filter::Each { filter, .. } => is_inside || asks_of_pairs(filter, true),
        Filter::Constant(_) | Filter::Leaf(_) | Filter::Compute(_) => false,
    }
}

/// From one time to another; negative if it goes back, never beyond 64 bits.
fn nanos_between(from: u64, to: u64) -> i64 {
    if to >= from {
        i64::try_from(to - from).unwrap_or(i64::MAX)
    } else {
        i64::try_from(from - to).map_or(i64::MIN, |nanos| -nanos)
    }
}

// === impl Held ===

impl Held<'_> {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Value(value) => *value,
            Self::Text(text) => Value::String(text),
        }
    }

    /// As an attribute of an answer; status and kind by their names.
    fn to_attribute(&self) -> Option<tracewell_model::AttributeValue> {
        use crate::syntax::ast::{KINDS, STATUSES, code_name};
        use tracewell_model::AttributeValue as Attribute;
        Some(match self.value() {
            Value::Nil | Value::Opaque => return None,
            Value::String(text) => Attribute::String(text.to_owned()),
            Value::Int(value) | Value::Duration(value) => Attribute::Int(value),
            Value::Float(value) => Attribute::Double(value),
            Value::Bool(value) => Attribute::Bool(value),
            Value::Status(code) => Attribute::String(code_name(STATUSES, code).into_owned()),
            Value::Kind(code) => Attribute::String(code_name(KINDS, code).into_owned()),
            Value::Array(items) => Attribute::Array(items.to_vec()),
        })
    }
}
