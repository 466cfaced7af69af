//! What a plan asks, in the words of the language where it has any.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use tracewell_model::alias::Derived;
use tracewell_model::predicate::Operand;
use tracewell_model::{Column, Filter, Intrinsic, Level, Predicate};

use super::series::{Function, SpansPlan};
use super::{Combine, Plan};
use crate::syntax::ast::{AttributeName, INTRINSICS, IntrinsicField, Literal};
use crate::syntax::compare_text;

/// A plan for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// One for each pair of braces.
    pub filters: Vec<ExplainedFilter>,
    /// Which of them must have a match in a trace, by number, from 1.
    pub requires: String,
    pub decided_by: DecidedBy,
    /// What sources are asked of the spans that match, where that decides.
    pub columns: Vec<String>,
    /// What `compare()` selects of them.
    pub selection: Option<String>,
}

/// What a source is asked in place of a pair of braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedFilter {
    /// Of a trace that lies in one source.
    pub scan: String,
    /// Of a trace that may lie in several, where that is not the same.
    pub fragment: Option<String>,
    /// True if the source decides, and nothing has to be evaluated again on the whole trace.
    pub is_exact: bool,
}

/// What it takes to tell whether a trace matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// Which spans match which filter.
    Filters,
    /// And what some of their columns hold.
    Columns,
    /// Traces that may match are read whole.
    Traces,
}

/// A filter, as text.
struct FilterText<'f>(&'f Filter);

/// One side of a comparison.
struct ColumnText<'c>(&'c Column);

// === impl Explained ===

impl Explained {
    /// Of a search.
    pub(crate) fn of(plan: &Plan) -> Self {
        if plan.combine_is_exact && plan.scan_is_exact() {
            return Self::with(plan, DecidedBy::Filters, None);
        }
        Self::by_columns(plan, plan.columns().map(Arc::from))
    }

    /// Of series, with what their spans are counted by.
    pub(crate) fn of_series(spans: &SpansPlan, columns: Option<Arc<[Column]>>) -> Self {
        let mut explained = Self::by_columns(&spans.plan, columns);
        if matches!(spans.function, Function::Compare(_)) {
            // It is asked as one more filter, the last.
            let selection = explained.filters.pop();
            explained.selection = selection.map(|filter| filter.scan);
            if explained.decided_by == DecidedBy::Columns {
                let attributes = ["span.*", "resource.*"].map(str::to_owned);
                explained.columns.extend(attributes);
            }
        }
        explained
    }

    fn by_columns(plan: &Plan, columns: Option<Arc<[Column]>>) -> Self {
        let decided_by = match &columns {
            Some(_) => DecidedBy::Columns,
            None => DecidedBy::Traces,
        };
        Self::with(plan, decided_by, columns)
    }

    fn with(plan: &Plan, decided_by: DecidedBy, columns: Option<Arc<[Column]>>) -> Self {
        let filters = plan.filters.iter().map(|filter| {
            let (scan, fragment) = (text(&filter.scan), text(&filter.fragment));
            ExplainedFilter {
                fragment: (fragment != scan).then_some(fragment),
                scan,
                is_exact: filter.scan_is_exact,
            }
        });
        Self {
            filters: filters.collect(),
            requires: requires(&plan.combine),
            columns: columns
                .iter()
                .flat_map(|all| all.iter().map(column))
                .collect(),
            decided_by,
            selection: None,
        }
    }
}

impl DecidedBy {
    /// For an answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filters => "filters",
            Self::Columns => "columns",
            Self::Traces => "traces",
        }
    }
}

fn column(column: &Column) -> String {
    ColumnText(column).to_string()
}

fn text(filter: &Filter) -> String {
    FilterText(filter).to_string()
}

fn requires(combine: &Combine) -> String {
    let joined = |terms: &[Combine], op: &str| {
        let terms = terms.iter().map(|term| match term {
            Combine::Filter(_) => requires(term),
            _ => format!("({})", requires(term)),
        });
        terms.collect::<Vec<_>>().join(op)
    };
    match combine {
        Combine::Filter(index) => (index + 1).to_string(),
        Combine::And(terms) | Combine::Or(terms) if terms.len() == 1 => {
            terms.iter().map(requires).collect()
        }
        Combine::And(terms) if terms.is_empty() => "nothing".to_owned(),
        Combine::And(terms) => joined(terms, " and "),
        Combine::Or(terms) => joined(terms, " or "),
    }
}

// === impl FilterText ===

impl Display for FilterText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Filter::Constant(value) => write!(f, "{value}"),
            Filter::And(inner) => junction(f, inner, " && "),
            Filter::Or(inner) => junction(f, inner, " || "),
            Filter::Not(inner) => match &**inner {
                Filter::Leaf(leaf) if matches!(leaf.predicate, Predicate::Exists) => {
                    write!(f, "{} = nil", ColumnText(&leaf.column))
                }
                inner => write!(f, "!({})", Self(inner)),
            },
            Filter::Leaf(leaf) => predicate(f, &column(&leaf.column), &leaf.predicate),
            Filter::Compute(compute) => {
                let columns = compute.columns.iter().map(column).collect::<Vec<_>>();
                write!(f, "row by row of {}", columns.join(", "))
            }
            Filter::Each { level, filter } => {
                let level = match level {
                    Level::Event => "event",
                    Level::Link => "link",
                };
                write!(f, "one {level} has ({})", Self(filter))
            }
        }
    }
}

fn junction(f: &mut Formatter<'_>, inner: &[Filter], op: &str) -> fmt::Result {
    for (index, filter) in inner.iter().enumerate() {
        if index > 0 {
            f.write_str(op)?;
        }
        match filter {
            Filter::And(_) | Filter::Or(_) => write!(f, "({})", FilterText(filter))?,
            _ => write!(f, "{}", FilterText(filter))?,
        }
    }
    Ok(())
}

fn predicate(f: &mut Formatter<'_>, of: &str, predicate: &Predicate) -> fmt::Result {
    match predicate {
        Predicate::Exists => write!(f, "{of} != nil"),
        Predicate::Compare { op, operand } => {
            write!(f, "{of} {} {}", compare_text(*op), literal(operand))
        }
        Predicate::Regex {
            pattern, negated, ..
        } => {
            let op = if *negated { "!~" } else { "=~" };
            let pattern = Literal::String(pattern.clone());
            write!(f, "{of} {op} {pattern}")
        }
        Predicate::Mapped { inner, .. } => self::predicate(f, &format!("new_name({of})"), inner),
        Predicate::Derived { derived, inner } => {
            self::predicate(f, &format!("{}({of})", part(*derived)), inner)
        }
    }
}

fn part(derived: Derived) -> &'static str {
    match derived {
        Derived::Path => "path",
        Derived::Query => "query",
        Derived::Host => "host",
        Derived::Port => "port",
        Derived::GrpcStatus => "status_name",
        Derived::Qualifier(_) => "before_the_last_separator",
        Derived::Part(_) => "behind_the_last_separator",
    }
}

fn literal(operand: &Operand) -> Literal {
    match operand {
        Operand::String(text) => Literal::String(text.clone()),
        Operand::Int(value) => Literal::Int(*value),
        Operand::Float(value) => Literal::Float(*value),
        Operand::Bool(value) => Literal::Bool(*value),
        Operand::Duration(nanos) => Literal::Duration(*nanos),
        Operand::Status(code) => Literal::Status(*code),
        Operand::Kind(code) => Literal::Kind(*code),
    }
}

// === impl ColumnText ===

impl Display for ColumnText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Column::Intrinsic(intrinsic) => f.write_str(written(*intrinsic)),
            Column::Attribute { scope, key } => AttributeName {
                scope: Some(*scope),
                of_parent: false,
                key: Arc::clone(key),
            }
            .fmt(f),
            Column::OfParent(column) => write!(f, "parent.{}", Self(column)),
        }
    }
}

/// As the language writes it with its scope; the start of a span has no name there.
fn written(intrinsic: Intrinsic) -> &'static str {
    let is_it =
        |field: IntrinsicField| matches!(field, IntrinsicField::Column(it) if it == intrinsic);
    let names = || INTRINSICS.iter().filter(|name| is_it(name.field));
    let scoped = names().find(|name| name.written.contains(':'));
    let name = scoped.or_else(|| names().next());
    name.map_or("span:start", |name| name.written)
}
