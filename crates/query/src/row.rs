//! Filters over plain spans of a whole trace: the exact meaning, row by row.
//!
//! The engine settles the traces of an answer with it, so that what a source says is never more
//! than a reason to look. It is slow and has no columns; comparisons are those of
//! [`tracewell_model::Predicate`], which exist once.

use tracewell_model::column::{Column, ColumnLevel, Intrinsic};
use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeScope, Event, Filter, KeyValue, Level, Link, Span, Value};

use crate::plan::{Candidate, Plan, Shown};

#[cfg(test)]
mod tests;

/// Pairs of an event and a link that a comparison of one with the other tries in a span: four times
/// what SDKs send at most, 128 of each. In a larger span every event is tried with the first links, as
/// many as fit and at least one, and [`leaves_out_pairs`] tells of it.
pub(crate) const PAIRS_MAX: usize = 1 << 16;

/// Facts of a whole trace.
#[derive(Debug, Clone, Copy)]
pub struct TraceFacts<'a> {
    pub start_unix_nano: u64,
    pub duration_nano: i64,
    /// The earliest span without a parent; of several at one time, that with the smallest id.
    pub root: Option<&'a Span>,
}

/// A span as filters see it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    trace: &'a TraceFacts<'a>,
    span: &'a Span,
    event: Option<&'a Event>,
    link: Option<&'a Link>,
}

/// A value, or the text that it borrows from.
enum Held<'a> {
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
            start_unix_nano,
            duration_nano: duration_nano(start_unix_nano, end.unwrap_or(0)),
            root: spans
                .iter()
                .filter(|span| span.is_root())
                .min_by_key(|span| (span.start_unix_nano, span.span_id)),
        }
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    pub fn new(trace: &'a TraceFacts<'a>, span: &'a Span) -> Self {
        Self {
            trace,
            span,
            event: None,
            link: None,
        }
    }

    /// Whether the filter is true for the span.
    pub fn matches(&self, filter: &Filter) -> bool {
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

    fn held(&self, column: &Column) -> Held<'a> {
        match column {
            Column::Attribute { scope, key } => Held::Value(self.attribute(*scope, key)),
            Column::Intrinsic(intrinsic) => self.intrinsic(*intrinsic),
        }
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
        })
    }

    /// The value that an answer shows: of events and links, that of the first that has one.
    pub(crate) fn shown(&self, shown: &Shown) -> Option<KeyValue> {
        let span = self.span;
        let of_kind = |candidate: &&Candidate| candidate.kinds.holds(span.kind);
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
    fn value(&self) -> Value<'_> {
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

// === whole traces ===

/// Which spans of a whole trace are the result of a plan, in the order of `spans`; `None` if the
/// trace does not match.
pub fn matching_spans(plan: &Plan, spans: &[Span]) -> Option<Vec<usize>> {
    let facts = TraceFacts::of(spans);
    let bits: Vec<Vec<bool>> = plan
        .filters
        .iter()
        .map(|filter| {
            spans
                .iter()
                .map(|span| Row::new(&facts, span).matches(&filter.exact))
                .collect()
        })
        .collect();
    let any: Vec<bool> = bits.iter().map(|bits| bits.contains(&true)).collect();
    let has = |index: usize| any.get(index).copied().unwrap_or(false);
    if !plan.combine.holds(&has) {
        return None;
    }
    let mut result = vec![false; spans.len()];
    plan.combine.for_each_part(&has, &mut |index| {
        if let Some(bits) = bits.get(index) {
            for (result, bit) in result.iter_mut().zip(bits) {
                *result |= bit;
            }
        }
    });
    Some(
        result
            .iter()
            .enumerate()
            .filter_map(|(index, bit)| bit.then_some(index))
            .collect(),
    )
}
