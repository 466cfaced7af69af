//! Expressions of which the value is wanted, and not whether they hold: what `by()` splits by, what is
//! added up, and what is shown as series.

use tracewell_model::column::ColumnLevel;
use tracewell_model::{Column, Value};

use super::Context;
use super::term::Term;
use super::types::Type;
use crate::error::Result;
use crate::scalar::Scalar;
use crate::syntax::ast::Expr;

/// An expression over the columns of one span.
#[derive(Debug, Clone)]
pub struct Field {
    /// As it was written, in the form of the printer.
    pub label: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) of_events: bool,
    pub(crate) of_links: bool,
    term: Term,
}

impl Field {
    /// The value of a row, from one value for each of [`Self::columns`].
    pub(crate) fn value(&self, values: &[Value<'_>]) -> Option<Scalar> {
        self.term.scalar(values)
    }

    /// Adds those columns that are not there yet; `None` where an event, a link or the tree has a say, which
    /// columns of spans do not tell.
    pub(crate) fn add_columns(&self, columns: &mut Vec<Column>) -> Option<()> {
        let is_of_span = |column: &Column| {
            let level = column.level();
            !matches!(
                level,
                ColumnLevel::Event | ColumnLevel::Link | ColumnLevel::Tree
            )
        };
        for column in &self.columns {
            if !is_of_span(column) {
                return None;
            }
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        Some(())
    }

    /// True if a number in its only column is its value.
    pub(crate) fn is_of_one_column(&self) -> bool {
        self.columns.len() == 1 && self.term.is_plain_name()
    }
}

impl Context<'_> {
    /// The value of any type.
    pub(super) fn field(&self, expr: &Expr) -> Result<Field> {
        self.type_of(expr)?;
        let mut term = self.term(expr)?;
        if !term.has_names() {
            return Err(self.type_error(
                expr.span,
                "this is the same for every span: name something of the span",
            ));
        }
        let mut columns = Vec::new();
        term.number_columns(&mut columns);
        let is_of = |level| {
            columns
                .iter()
                .any(|column: &Column| column.level() == level)
        };
        Ok(Field {
            label: expr.to_string(),
            of_events: is_of(ColumnLevel::Event),
            of_links: is_of(ColumnLevel::Link),
            term,
            columns,
        })
    }

    /// The same of numbers and durations.
    pub(super) fn number(&self, expr: &Expr, rule: &str) -> Result<Field> {
        self.expect(expr, Type::Number, rule)?;
        self.field(expr)
    }
}
