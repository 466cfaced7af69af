//! The meaning of one pair of braces for one span.
//!
//! It is true if there is an event and a link of the span (an absent one where it has none) for
//! which the whole expression is true (docs/adr/0003). There is no plan: the expression is
//! evaluated for every pair.

use std::collections::BTreeMap;

use regex::Regex;
use tracewell_model::alias::{self, Derived, KindRule, ValueMap};
use tracewell_model::{AttributeScope, CompareOp, Event, Intrinsic, KeyValue, Link, Span};
use tracewell_query::Aliases;
use tracewell_query::syntax::ast::{
    ArithmeticOp, AttributeName, Expr, ExprKind, IntrinsicField, Literal, LogicOp,
};

use super::OracleError;
use super::spelling::other_spellings;
use super::tree::Tree;
use super::value::{Datum, compare};

type Result<T> = std::result::Result<T, OracleError>;

/// Facts of the whole trace.
#[derive(Debug)]
pub(super) struct TraceFacts<'a> {
    pub(super) spans: &'a [Span],
    pub(super) tree: Tree,
    pub(super) start_unix_nano: u64,
    pub(super) duration_nano: i64,
    /// The earliest span without a parent; of several at one time, the one with the smallest id.
    pub(super) root: Option<&'a Span>,
}

/// The expression of a filter and its compiled patterns.
#[derive(Debug)]
pub(super) struct Filter<'q> {
    expr: &'q Expr,
    aliases: Aliases,
    patterns: BTreeMap<String, Regex>,
}

/// What names are looked up in.
#[derive(Clone, Copy)]
struct Scene<'a> {
    facts: &'a TraceFacts<'a>,
    at: usize,
    span: &'a Span,
    event: Option<&'a Event>,
    link: Option<&'a Link>,
}

/// The value of a name, and the other names of its values.
struct Named {
    value: Datum,
    values: Option<&'static ValueMap>,
    is_trace_id: bool,
}

// === impl TraceFacts ===

impl<'a> TraceFacts<'a> {
    pub(super) fn of(spans: &'a [Span]) -> Self {
        let start = spans.iter().map(|s| s.start_unix_nano).min().unwrap_or(0);
        let end = spans.iter().map(|s| s.end_unix_nano).max().unwrap_or(0);
        let mut root: Option<&Span> = None;
        for span in spans {
            let has_parent = span.parent_span_id.is_some_and(|id| id.0 != [0; 8]);
            let earlier = root.is_none_or(|root| {
                (span.start_unix_nano, span.span_id) < (root.start_unix_nano, root.span_id)
            });
            if !has_parent && earlier {
                root = Some(span);
            }
        }
        Self {
            spans,
            tree: Tree::of(spans),
            start_unix_nano: start,
            duration_nano: elapsed(start, end),
            root,
        }
    }
}

/// A pattern of RE2 for the `regex` crate. What the two read in another way is written out, or is not for
/// the oracle.
fn of_re2(pattern: &str) -> Result<String> {
    let unknown = Err(OracleError::Unknown("this part of a regular expression"));
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => text.push_str("[0-9]"),
            Some('s') => text.push_str(r"[\t\n\x0C\r ]"),
            Some('w') => text.push_str("[0-9A-Za-z_]"),
            Some('W') => text.push_str("[^0-9A-Za-z_]"),
            Some(c) if c.is_ascii_punctuation() => text.push_str(&regex::escape(&c.to_string())),
            _ => return unknown,
        }
    }
    let is_set = ["&&", "--", "~~"].iter().any(|op| pattern.contains(op));
    if is_set { unknown } else { Ok(text) }
}

/// End minus start, zero where the clock went back, never beyond 63 bits.
fn elapsed(start: u64, end: u64) -> i64 {
    i64::try_from(end.saturating_sub(start)).unwrap_or(i64::MAX)
}

// === impl Filter ===

impl<'q> Filter<'q> {
    pub(super) fn new(expr: &'q Expr, aliases: Aliases) -> Result<Self> {
        let mut filter = Self {
            expr,
            aliases,
            patterns: BTreeMap::new(),
        };
        filter.compile(expr)?;
        Ok(filter)
    }

    fn compile(&mut self, expr: &Expr) -> Result<()> {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => {}
            ExprKind::Not(inner) | ExprKind::Negate(inner) => self.compile(inner)?,
            ExprKind::Arithmetic(_, left, right) | ExprKind::Compare(_, left, right) => {
                self.compile(left)?;
                self.compile(right)?;
            }
            ExprKind::Logic(_, terms) => {
                for term in terms {
                    self.compile(term)?;
                }
            }
            ExprKind::Regex { left, pattern, .. } => {
                self.compile(left)?;
                let read = of_re2(pattern)?;
                Regex::new(&read)?;
                let anchored = Regex::new(&format!("(?s)^(?:{read})$"))?;
                self.patterns.insert(pattern.to_string(), anchored);
            }
        }
        Ok(())
    }

    /// Of the span at this place of the trace.
    pub(super) fn matches(&self, at: usize, facts: &TraceFacts<'_>) -> Result<bool> {
        for scene in scenes(at, facts) {
            if self.holds(self.expr, scene)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The value of the expression for the first event and link for which it has one, by its new name.
    pub(super) fn first_value(&self, at: usize, facts: &TraceFacts<'_>) -> Result<Datum> {
        for scene in scenes(at, facts) {
            let value = self.value(self.expr, scene)?;
            if !value.is_nil() && value != Datum::Opaque {
                let map = self.name(self.expr, scene)?.and_then(|named| named.values);
                return Ok(match map {
                    Some(map) => value.map_text(&|text| map.apply(text).to_owned()),
                    None => value,
                });
            }
        }
        Ok(Datum::Nil)
    }

    /// Whether an expression is true where a condition is wanted.
    fn holds(&self, expr: &Expr, scene: Scene<'_>) -> Result<bool> {
        match &expr.kind {
            ExprKind::Logic(op, terms) => {
                for term in terms {
                    let holds = self.holds(term, scene)?;
                    if holds != (*op == LogicOp::And) {
                        return Ok(holds);
                    }
                }
                Ok(*op == LogicOp::And)
            }
            ExprKind::Not(inner) => match self.name(inner, scene)? {
                // `!.x` asks for an attribute that says false, not for a missing one.
                Some(named) => Ok(compare(&named.value, CompareOp::Equal, &Datum::Bool(false))),
                None => Ok(!self.holds(inner, scene)?),
            },
            ExprKind::Compare(op, left, right) => self.compare(*op, left, right, scene),
            ExprKind::Regex {
                negated,
                left,
                pattern,
                ..
            } => self.regex(*negated, left, pattern, scene),
            _ => {
                let value = self.value(expr, scene)?;
                Ok(compare(&value, CompareOp::Equal, &Datum::Bool(true)))
            }
        }
    }

    fn compare(&self, op: CompareOp, left: &Expr, right: &Expr, scene: Scene<'_>) -> Result<bool> {
        let is_nil = |expr: &Expr| matches!(expr.kind, ExprKind::Literal(Literal::Nil));
        match (is_nil(left), is_nil(right)) {
            (true, true) => return Ok(false),
            (false, false) => {}
            (left_is_nil, _) => {
                let other = if left_is_nil { right } else { left };
                let absent = self.value(other, scene)?.is_nil();
                return Ok(absent == (op == CompareOp::Equal));
            }
        }
        let (a, b) = (self.name(left, scene)?, self.name(right, scene)?);
        let (mut x, mut y) = (self.value(left, scene)?, self.value(right, scene)?);
        // A renamed value is what its new name says; a constant is read as what it is compared with.
        let [of_a, of_b] = [&a, &b].map(|side| side.as_ref().and_then(|named| named.values));
        let is_literal = |expr: &Expr| matches!(expr.kind, ExprKind::Literal(_));
        if let Some(map) = if is_literal(left) { of_b } else { of_a } {
            x = x.map_text(&|text| map.apply(text).to_owned());
        }
        if let Some(map) = if is_literal(right) { of_a } else { of_b } {
            y = y.map_text(&|text| map.apply(text).to_owned());
        }
        // Trace ids are written with and without their leading zeros.
        if [a, b].iter().flatten().any(|named| named.is_trace_id) {
            let trim = |text: &str| text.trim_start_matches('0').to_owned();
            (x, y) = (x.map_text(&trim), y.map_text(&trim));
        }
        let as_sent = compare(&x, op, &y);
        let text = match (&left.kind, &right.kind) {
            (_, ExprKind::Literal(Literal::String(text)))
            | (ExprKind::Literal(Literal::String(text)), _) => text,
            _ => return Ok(as_sent),
        };
        let mut others = [left, right]
            .into_iter()
            .flat_map(|side| self.other_spellings(side, scene, true));
        Ok(match op {
            CompareOp::Equal => as_sent || others.any(|other| *other == **text),
            CompareOp::NotEqual => as_sent && !others.any(|other| *other == **text),
            _ => as_sent,
        })
    }

    /// Of the value of an expression that is a name.
    fn other_spellings(&self, expr: &Expr, scene: Scene<'_>, joins_lists: bool) -> Vec<String> {
        let ExprKind::Attribute(name) = &expr.kind else {
            return Vec::new();
        };
        let span = match name.of_parent {
            false => Some(scene.span),
            true => {
                let parent = scene.facts.tree.parent(scene.at);
                parent.and_then(|parent| scene.facts.spans.get(parent))
            }
        };
        match (self.aliases, span) {
            (Aliases::Resolve, Some(span)) => other_spellings(name, span, joins_lists),
            _ => Vec::new(),
        }
    }

    fn regex(&self, negated: bool, left: &Expr, pattern: &str, scene: Scene<'_>) -> Result<bool> {
        let Some(regex) = self.patterns.get(pattern) else {
            return Ok(false);
        };
        let map = self.name(left, scene)?.and_then(|named| named.values);
        // A renamed value matches if any of its names does.
        let is_match = |text: &str| match map {
            Some(map) => {
                regex.is_match(text) || map.synonyms(text).iter().any(|name| regex.is_match(name))
            }
            None => regex.is_match(text),
        };
        let texts = match self.value(left, scene)? {
            Datum::Text(text) => vec![Some(text)],
            Datum::List(items) => items
                .into_iter()
                .map(|item| match item {
                    Datum::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => return Ok(false),
        };
        let matches = |text: &Option<String>| text.as_deref().is_some_and(is_match);
        let differs = |text: &Option<String>| text.as_deref().is_some_and(|text| !is_match(text));
        let others = self.other_spellings(left, scene, false);
        let matches_another = others.iter().any(|other| regex.is_match(other));
        Ok(if negated {
            !texts.is_empty() && texts.iter().all(differs) && !matches_another
        } else {
            texts.iter().any(matches) || matches_another
        })
    }

    fn value(&self, expr: &Expr, scene: Scene<'_>) -> Result<Datum> {
        Ok(match &expr.kind {
            ExprKind::Literal(literal) => literal_datum(literal),
            ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => match self.name(expr, scene)? {
                Some(named) => named.value,
                None => Datum::Nil,
            },
            ExprKind::Negate(inner) => match self.value(inner, scene)? {
                Datum::Int(value) => Datum::Int(value.wrapping_neg()),
                Datum::Duration(value) => Datum::Duration(value.wrapping_neg()),
                Datum::Float(value) => Datum::Float(-value),
                _ => Datum::Nil,
            },
            ExprKind::Arithmetic(op, left, right) => {
                arithmetic(*op, &self.value(left, scene)?, &self.value(right, scene)?)
            }
            ExprKind::Not(_)
            | ExprKind::Compare(..)
            | ExprKind::Regex { .. }
            | ExprKind::Logic(..) => Datum::Bool(self.holds(expr, scene)?),
        })
    }

    /// The value of an expression that is a name.
    fn name(&self, expr: &Expr, scene: Scene<'_>) -> Result<Option<Named>> {
        match &expr.kind {
            ExprKind::Attribute(name) if name.of_parent => Ok(Some(self.of_parent(name, scene))),
            ExprKind::Attribute(name) => Ok(Some(self.attribute(name, scene))),
            ExprKind::Intrinsic(name) => match name.field {
                IntrinsicField::Column(intrinsic) => Ok(Some(Named {
                    value: scene.intrinsic(intrinsic),
                    values: None,
                    is_trace_id: matches!(intrinsic, Intrinsic::TraceId | Intrinsic::LinkTraceId),
                })),
                IntrinsicField::Parent => Err(OracleError::Unknown("a span as a value")),
            },
            _ => Ok(None),
        }
    }

    /// The same of the parent; of its events and links each counts where the one before has nothing.
    fn of_parent(&self, name: &AttributeName, scene: Scene<'_>) -> Named {
        let mut found = Named {
            value: Datum::Nil,
            values: None,
            is_trace_id: false,
        };
        let Some(parent) = scene.facts.tree.parent(scene.at) else {
            return found;
        };
        let all = scenes(parent, scene.facts);
        for scope in ORDER {
            if name.scope.is_some_and(|wanted| wanted != scope) {
                continue;
            }
            let of_scope = AttributeName {
                scope: Some(scope),
                of_parent: false,
                key: name.key.clone(),
            };
            for candidate in self.candidates(&of_scope) {
                for scene in &all {
                    if found.value.is_nil() {
                        found = candidate.look(*scene);
                    }
                }
            }
        }
        found
    }

    /// The first place that has a value: scope by scope for an unscoped name, new names of a
    /// convention before old ones within a scope.
    fn attribute(&self, name: &AttributeName, scene: Scene<'_>) -> Named {
        let candidates = self.candidates(name).into_iter();
        let mut found = candidates.map(|candidate| candidate.look(scene));
        found.find(|named| !named.value.is_nil()).unwrap_or(Named {
            value: Datum::Nil,
            values: None,
            is_trace_id: false,
        })
    }

    fn candidates(&self, name: &AttributeName) -> Vec<Candidate> {
        let mut all = Vec::new();
        for scope in ORDER {
            if name.scope.is_some_and(|wanted| wanted != scope) {
                continue;
            }
            match self.aliases {
                Aliases::Off => all.push(Candidate {
                    scope,
                    key: name.key.to_string(),
                    kinds: KindRule::Any,
                    values: None,
                    derived: None,
                }),
                Aliases::Resolve => {
                    let names = alias::names(scope, &name.key).into_iter();
                    all.extend(names.map(|alias| Candidate {
                        scope,
                        key: alias.key.to_owned(),
                        kinds: alias.kinds,
                        values: alias.values,
                        derived: alias.derived,
                    }));
                }
            }
        }
        all
    }
}

/// Where an unscoped name is looked for.
const ORDER: [AttributeScope; 5] = [
    AttributeScope::Span,
    AttributeScope::Resource,
    AttributeScope::Event,
    AttributeScope::Link,
    AttributeScope::Instrumentation,
];

/// One key under which the value of a name may lie.
struct Candidate {
    scope: AttributeScope,
    key: String,
    kinds: KindRule,
    values: Option<&'static ValueMap>,
    derived: Option<Derived>,
}

impl Candidate {
    fn look(&self, scene: Scene<'_>) -> Named {
        let value = match self.kinds.holds(scene.span.kind) {
            true => lookup(scene.attributes(self.scope), &self.key),
            false => Datum::Nil,
        };
        Named {
            value: match self.derived {
                None => value,
                Some(derived) => value.derived(derived),
            },
            values: self.values,
            is_trace_id: false,
        }
    }
}

/// A span with every pair of an event and a link of it.
fn scenes<'a>(at: usize, facts: &'a TraceFacts<'a>) -> Vec<Scene<'a>> {
    let Some(span) = facts.spans.get(at) else {
        return Vec::new();
    };
    let mut scenes = Vec::new();
    for event in or_none(span.events.iter()) {
        for link in or_none(span.links.iter()) {
            scenes.push(Scene {
                facts,
                at,
                span,
                event,
                link,
            });
        }
    }
    scenes
}

// === impl Scene ===

impl<'a> Scene<'a> {
    fn attributes(&self, scope: AttributeScope) -> &'a [KeyValue] {
        match scope {
            AttributeScope::Span => &self.span.attributes,
            AttributeScope::Resource => &self.span.resource.attributes,
            AttributeScope::Instrumentation => &self.span.scope.attributes,
            AttributeScope::Event => self.event.map_or(&[], |event| &event.attributes),
            AttributeScope::Link => self.link.map_or(&[], |link| &link.attributes),
        }
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Datum {
        let span = self.span;
        let text = |text: &str| Datum::Text(text.to_owned());
        let status = span.status.as_ref();
        match intrinsic {
            Intrinsic::Name => text(&span.name),
            Intrinsic::Duration => {
                Datum::Duration(elapsed(span.start_unix_nano, span.end_unix_nano))
            }
            Intrinsic::Start => Datum::Int(i64::try_from(span.start_unix_nano).unwrap_or(i64::MAX)),
            Intrinsic::Status => Datum::Status(status.map_or(0, |status| status.code)),
            Intrinsic::StatusMessage => text(status.map_or("", |status| &status.message)),
            Intrinsic::Kind => Datum::Kind(span.kind),
            Intrinsic::SpanId => text(&span.span_id.to_string()),
            Intrinsic::ParentId => match span.parent_span_id {
                Some(id) if id.0 != [0; 8] => text(&id.to_string()),
                _ => Datum::Nil,
            },
            Intrinsic::TraceId => text(&span.trace_id.to_string()),
            Intrinsic::TraceDuration => Datum::Duration(self.facts.duration_nano),
            Intrinsic::RootName => self.facts.root.map_or(Datum::Nil, |root| text(&root.name)),
            Intrinsic::RootService => self
                .facts
                .root
                .map_or(Datum::Nil, |root| text(root.resource.service_name())),
            Intrinsic::EventName => self.event.map_or(Datum::Nil, |event| text(&event.name)),
            Intrinsic::EventTimeSinceStart => self.event.map_or(Datum::Nil, |event| {
                let since = i128::from(event.time_unix_nano) - i128::from(span.start_unix_nano);
                let bounds = i128::from(i64::MIN)..=i128::from(i64::MAX);
                let clamped = since.clamp(*bounds.start(), *bounds.end());
                Datum::Duration(i64::try_from(clamped).unwrap_or_default())
            }),
            Intrinsic::LinkTraceId => self
                .link
                .map_or(Datum::Nil, |link| text(&link.trace_id.to_string())),
            Intrinsic::LinkSpanId => self
                .link
                .map_or(Datum::Nil, |link| text(&link.span_id.to_string())),
            Intrinsic::InstrumentationName => text(&span.scope.name),
            Intrinsic::InstrumentationVersion => text(&span.scope.version),
            Intrinsic::ChildCount => Datum::Int(self.facts.tree.children(self.at).len() as i64),
            Intrinsic::NestedSetLeft => Datum::Int(self.facts.tree.numbers(self.at)[0]),
            Intrinsic::NestedSetRight => Datum::Int(self.facts.tree.numbers(self.at)[1]),
            Intrinsic::NestedSetParent => Datum::Int(self.facts.tree.numbers(self.at)[2]),
        }
    }
}

/// The first value of a key counts; if that one is empty, there is none.
pub(super) fn lookup(attributes: &[KeyValue], key: &str) -> Datum {
    for attribute in attributes {
        if attribute.key == key {
            return Datum::from(&attribute.value);
        }
    }
    Datum::Nil
}

fn or_none<'a, T>(items: impl Iterator<Item = &'a T>) -> Vec<Option<&'a T>> {
    let all: Vec<Option<&T>> = items.map(Some).collect();
    if all.is_empty() { vec![None] } else { all }
}

fn literal_datum(literal: &Literal) -> Datum {
    match literal {
        Literal::Nil => Datum::Nil,
        Literal::String(text) => Datum::Text(text.to_string()),
        Literal::Int(value) => Datum::Int(*value),
        Literal::Float(value) => Datum::Float(*value),
        Literal::Bool(value) => Datum::Bool(*value),
        Literal::Duration(value) => Datum::Duration(*value),
        Literal::Status(code) => Datum::Status(*code),
        Literal::Kind(code) => Datum::Kind(*code),
    }
}

/// Ints stay ints; what cannot be computed has no value.
pub(super) fn arithmetic(op: ArithmeticOp, left: &Datum, right: &Datum) -> Datum {
    if let (Datum::Int(a), Datum::Int(b)) = (left, right) {
        let (a, b) = (*a, *b);
        return match op {
            ArithmeticOp::Add => Datum::Int(a.wrapping_add(b)),
            ArithmeticOp::Subtract => Datum::Int(a.wrapping_sub(b)),
            ArithmeticOp::Multiply => Datum::Int(a.wrapping_mul(b)),
            ArithmeticOp::Divide | ArithmeticOp::Modulo if b == 0 => Datum::Nil,
            ArithmeticOp::Divide => Datum::Int(a.wrapping_div(b)),
            ArithmeticOp::Modulo => Datum::Int(a.wrapping_rem(b)),
            ArithmeticOp::Power => Datum::Int(power(a, b)),
        };
    }
    let (Some(a), Some(b)) = (left.number(), right.number()) else {
        return Datum::Nil;
    };
    Datum::Float(match op {
        ArithmeticOp::Add => a + b,
        ArithmeticOp::Subtract => a - b,
        ArithmeticOp::Multiply => a * b,
        ArithmeticOp::Divide => a / b,
        ArithmeticOp::Modulo => a % b,
        ArithmeticOp::Power => a.powf(b),
    })
}

/// Exact where it fits; beyond, the nearest number there is.
fn power(base: i64, exponent: i64) -> i64 {
    let exact = u32::try_from(exponent)
        .ok()
        .and_then(|exponent| base.checked_pow(exponent));
    exact.unwrap_or_else(|| (base as f64).powf(exponent as f64) as i64)
}
