//! The other spellings of an attribute that was two, see [`Join`]: what a comparison of it with a constant
//! finds beside what was sent.

use std::sync::Arc;

use tracewell_model::alias::{self, Join};
use tracewell_model::predicate::Operand;
use tracewell_model::{
    AttributeScope, AttributeValue, Column, CompareOp, Filter, Predicate, Value,
};

use super::condition::{exists, filter_of};
use super::name::Candidate;
use super::simplify::negate;
use super::term::{Slot, Term};
use crate::request::Aliases;
use crate::syntax::ast::{AttributeName, Expr, ExprKind};

/// Where the halves of a join lie.
#[derive(Debug, Clone)]
pub(super) struct Spelling {
    join: &'static Join,
    whole: Candidate,
    part: Candidate,
    qualifier: Candidate,
}

/// A test of the other spellings alone, row by row.
#[derive(Debug, Clone)]
pub(super) struct Respelled {
    join: &'static Join,
    test: SpellingTest,
    whole: Slot,
    part: Slot,
    qualifier: Slot,
}

/// What another spelling has to be.
#[derive(Debug, Clone)]
pub(super) enum SpellingTest {
    Is(Arc<str>),
    /// A regular expression that is not negated.
    Matches(Predicate),
}

// === impl Spelling ===

impl Spelling {
    /// That of an expression that is nothing but the name of such an attribute.
    pub(super) fn of_expr(expr: &Expr, aliases: Aliases) -> Option<Self> {
        match &expr.kind {
            ExprKind::Attribute(name) => Self::of(name, aliases),
            _ => None,
        }
    }

    /// Attributes of a span come first under a name without a scope, so that its value is theirs.
    pub(super) fn of(name: &AttributeName, aliases: Aliases) -> Option<Self> {
        let scope = name.scope.unwrap_or(AttributeScope::Span);
        let join = match aliases {
            Aliases::Resolve => alias::join(scope, &name.key)?,
            Aliases::Off => return None,
        };
        let of_key = |key: &str| {
            let column = Column::attribute(scope, key);
            let candidate = Candidate::of_column(column);
            match name.of_parent {
                true => candidate.of_parent(),
                false => candidate,
            }
        };
        Some(Self {
            join,
            whole: of_key(join.whole),
            part: of_key(join.part),
            qualifier: of_key(join.qualifier),
        })
    }

    /// `plain`, which compares what was sent, widened or narrowed by the other spellings.
    pub(super) fn comparison(&self, op: CompareOp, constant: &Operand, plain: Filter) -> Filter {
        match (op, constant) {
            (CompareOp::Equal | CompareOp::NotEqual, Operand::String(text)) => {
                with_others(op == CompareOp::NotEqual, plain, self.equals(text))
            }
            _ => plain,
        }
    }

    /// The same of a regular expression, of which `positive` is true where it matches.
    pub(super) fn regex(&self, negated: bool, positive: &Predicate, plain: Filter) -> Filter {
        let test = SpellingTest::Matches(positive.clone());
        let joined = Term::Respelled(Box::new(self.test(test)));
        let others = Filter::Or(vec![
            Filter::And(vec![
                exists(&self.qualifier),
                exists(&self.part),
                filter_of(joined),
            ]),
            self.part_of_whole().leaf(positive.clone()),
        ]);
        with_others(negated, plain, others)
    }

    /// The same row by row.
    pub(super) fn test(&self, test: SpellingTest) -> Respelled {
        Respelled {
            join: self.join,
            test,
            whole: Slot::new(self.whole.clone()),
            part: Slot::new(self.part.clone()),
            qualifier: Slot::new(self.qualifier.clone()),
        }
    }

    /// That another spelling is this text: leaves, which sources look up in their dictionaries.
    fn equals(&self, text: &str) -> Filter {
        let mut all = Vec::new();
        for (qualifier, part) in self.join.separators.splits(text) {
            let mut both = vec![
                self.qualifier.leaf(equal_to(qualifier)),
                self.part.leaf(equal_to(part)),
            ];
            if self.join.whole != self.join.part {
                both.push(negate(exists(&self.whole)));
            }
            all.push(Filter::And(both));
        }
        if self.join.separators.split(text).is_none() {
            all.push(self.part_of_whole().leaf(equal_to(text)));
        }
        Filter::Or(all)
    }

    fn part_of_whole(&self) -> Candidate {
        Candidate {
            derived: Some(self.join.part_of_whole()),
            ..self.whole.clone()
        }
    }
}

/// True by what was sent, or by another spelling; negated, by none of them.
fn with_others(negated: bool, plain: Filter, others: Filter) -> Filter {
    match negated {
        true => Filter::And(vec![plain, negate(others)]),
        false => Filter::Or(vec![plain, others]),
    }
}

fn equal_to(text: &str) -> Predicate {
    Predicate::Compare {
        op: CompareOp::Equal,
        operand: Operand::String(Arc::from(text)),
    }
}

// === impl Respelled ===

impl Respelled {
    pub(super) fn slots_mut(&mut self) -> [&mut Slot; 3] {
        [&mut self.whole, &mut self.part, &mut self.qualifier]
    }

    pub(super) fn is_true(&self, values: &[Value<'_>]) -> bool {
        let whole = self.whole.value(values);
        if self.is_part(self.join.part_of_whole().of(whole)) {
            return true;
        }
        if self.join.whole != self.join.part && !whole.is_nil() {
            return false;
        }
        self.is_joined(self.qualifier.value(values), self.part.value(values))
    }

    fn is_part(&self, part: Value<'_>) -> bool {
        match (&self.test, part) {
            (SpellingTest::Is(text), Value::String(part)) => **text == *part,
            (SpellingTest::Matches(regex), Value::String(_)) => regex.matches(part),
            _ => false,
        }
    }

    /// Of arrays each element may be the half of an equal text, which costs as much as to look at each. All that
    /// can be joined of two arrays is far more, so that a regular expression takes texts alone.
    fn is_joined(&self, qualifier: Value<'_>, part: Value<'_>) -> bool {
        let separators = self.join.separators;
        match &self.test {
            SpellingTest::Is(text) => {
                let mut splits = separators.splits(text);
                splits.any(|(before, behind)| is_among(before, qualifier) && is_among(behind, part))
            }
            SpellingTest::Matches(regex) => {
                let (Value::String(qualifier), Value::String(part)) = (qualifier, part) else {
                    return false;
                };
                let mut wholes = separators.wholes(qualifier, part);
                wholes.any(|whole| regex.matches(Value::String(&whole)))
            }
        }
    }
}

/// Whether it is the text, or one of those of an array.
fn is_among(text: &str, value: Value<'_>) -> bool {
    match value {
        Value::String(value) => value == text,
        Value::Array(items) => items
            .iter()
            .any(|item| matches!(item, AttributeValue::String(item) if item == text)),
        _ => false,
    }
}
