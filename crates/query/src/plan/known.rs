//! What is left of a filter once the values of some columns are known for every span that it is asked
//! of, such as those of one trace.

use std::sync::Arc;

use tracewell_model::filter::{Compute, RowTest};
use tracewell_model::predicate::Operand;
use tracewell_model::{Column, Filter, Value};

use super::simplify::simplify;
use super::term::operand_of;

/// The value of a column, if it is known.
pub(super) type Known<'a> = dyn Fn(&Column) -> Option<Value<'a>> + 'a;

/// The same filter for spans of which this is known.
pub(super) fn with_known(filter: &Filter, known: &Known<'_>) -> Filter {
    simplify(put_in(filter, known))
}

fn put_in(filter: &Filter, known: &Known<'_>) -> Filter {
    let all = |inner: &[Filter]| inner.iter().map(|filter| put_in(filter, known)).collect();
    match filter {
        Filter::Constant(value) => Filter::Constant(*value),
        Filter::And(inner) => Filter::And(all(inner)),
        Filter::Or(inner) => Filter::Or(all(inner)),
        Filter::Not(inner) => Filter::Not(Box::new(put_in(inner, known))),
        Filter::Leaf(leaf) => match known(&leaf.column) {
            Some(value) => Filter::Constant(leaf.matches(value)),
            None => filter.clone(),
        },
        Filter::Compute(compute) => computed(compute, known),
        Filter::Each { level, filter } => Filter::Each {
            level: *level,
            filter: Box::new(put_in(filter, known)),
        },
    }
}

fn computed(compute: &Compute, known: &Known<'_>) -> Filter {
    let columns = compute.columns.iter();
    let places = columns.map(|column| match known(column) {
        Some(value) => Place::Known(operand_of(value)),
        None => Place::OfRow,
    });
    let test = KnownTest {
        places: places.collect(),
        test: Arc::clone(&compute.test),
    };
    let mut columns = compute.columns.to_vec();
    columns.retain(|column| known(column).is_none());
    if columns.is_empty() {
        return Filter::Constant(test.test(&[]));
    }
    Filter::Compute(Compute {
        columns: columns.into(),
        test: Arc::new(test),
    })
}

/// A test of which some values are always the same.
#[derive(Debug)]
struct KnownTest {
    /// As many as the test has columns.
    places: Vec<Place>,
    test: Arc<dyn RowTest>,
}

#[derive(Debug)]
enum Place {
    /// `None` where there is no value.
    Known(Option<Operand>),
    OfRow,
}

impl RowTest for KnownTest {
    fn test(&self, values: &[Value<'_>]) -> bool {
        let mut of_row = values.iter().copied();
        let places = self.places.iter();
        let values = places.map(|place| match place {
            Place::Known(value) => value.as_ref().map_or(Value::Nil, Operand::as_value),
            Place::OfRow => of_row.next().unwrap_or(Value::Nil),
        });
        let values: Vec<Value<'_>> = values.collect();
        self.test.test(&values)
    }
}
