//! The values of one column over the rows of an answer.
//!
//! Numbers of one type come as they are; whatever else a column holds comes by code, so that who groups by
//! it looks at a text once and not in every row.

use std::collections::HashMap;

use arrow_buffer::BooleanBuffer;

use crate::predicate::ArrayKind;
use crate::value::{AttributeValue, Value};

/// One value for each row, or none.
#[derive(Debug, Clone)]
pub struct ColumnValues {
    /// What whole numbers mean.
    kind: ArrayKind,
    cells: Cells,
}

#[derive(Debug, Clone)]
enum Cells {
    /// `values[codes[row]]`: a code that is out of range is no value.
    Coded {
        codes: Vec<u32>,
        values: Vec<AttributeValue>,
    },
    Ints(Numbers<i64>),
    Floats(Numbers<f64>),
}

/// Numbers by row.
#[derive(Debug, Clone)]
pub struct Numbers<T> {
    pub values: Vec<T>,
    /// Rows that have one; `None` for all.
    pub present: Option<BooleanBuffer>,
}

/// The code of a row without a value.
pub const NO_CODE: u32 = u32::MAX;

// === impl ColumnValues ===

impl ColumnValues {
    /// So many rows without a value.
    pub fn nothing(n: usize) -> Self {
        Self::coded(ArrayKind::Plain, vec![NO_CODE; n], Vec::new())
    }

    /// Row `i` has `values[codes[i]]`, or nothing with [`NO_CODE`]. A value may occur under several codes.
    pub fn coded(kind: ArrayKind, codes: Vec<u32>, values: Vec<AttributeValue>) -> Self {
        let cells = Cells::Coded { codes, values };
        Self { kind, cells }
    }

    pub fn ints(kind: ArrayKind, numbers: Numbers<i64>) -> Self {
        let cells = Cells::Ints(numbers);
        Self { kind, cells }
    }

    pub fn floats(numbers: Numbers<f64>) -> Self {
        let cells = Cells::Floats(numbers);
        let kind = ArrayKind::Plain;
        Self { kind, cells }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        match &self.cells {
            Cells::Coded { codes, .. } => codes.len(),
            Cells::Ints(numbers) => numbers.values.len(),
            Cells::Floats(numbers) => numbers.values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the rows, in the order given. Values that none of them has are left out.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        let cells = match &self.cells {
            Cells::Ints(numbers) => Cells::Ints(numbers.take(rows)),
            Cells::Floats(numbers) => Cells::Floats(numbers.take(rows)),
            Cells::Coded { codes, values } => {
                let mut numbers: HashMap<u32, u32> = HashMap::new();
                let mut kept = Vec::new();
                let codes = rows.iter().map(|row| {
                    let code = codes.get(*row as usize).copied().unwrap_or(NO_CODE);
                    let Some(value) = values.get(code as usize) else {
                        return NO_CODE;
                    };
                    *numbers.entry(code).or_insert_with(|| {
                        kept.push(value.clone());
                        kept.len() as u32 - 1
                    })
                });
                let codes = codes.collect();
                let values = kept;
                Cells::Coded { codes, values }
            }
        };
        let kind = self.kind;
        Self { kind, cells }
    }

    /// The codes of the rows, and how many values they are of; `None` for numbers, which have none.
    pub fn codes(&self) -> Option<(&[u32], usize)> {
        match &self.cells {
            Cells::Coded { codes, values } => Some((codes, values.len())),
            Cells::Ints(_) | Cells::Floats(_) => None,
        }
    }

    pub fn as_ints(&self) -> Option<&Numbers<i64>> {
        match &self.cells {
            Cells::Ints(numbers) => Some(numbers),
            Cells::Coded { .. } | Cells::Floats(_) => None,
        }
    }

    /// What a code stands for.
    pub fn value_of(&self, code: u32) -> Value<'_> {
        match &self.cells {
            Cells::Coded { values, .. } => match values.get(code as usize) {
                Some(AttributeValue::Int(value)) => self.whole(*value),
                Some(value) => value.as_value(),
                None => Value::Nil,
            },
            Cells::Ints(_) | Cells::Floats(_) => Value::Nil,
        }
    }

    /// `Nil` where the row has none.
    pub fn value(&self, row: usize) -> Value<'_> {
        match &self.cells {
            Cells::Coded { codes, .. } => match codes.get(row) {
                Some(code) => self.value_of(*code),
                None => Value::Nil,
            },
            Cells::Ints(numbers) => numbers
                .get(row)
                .map_or(Value::Nil, |value| self.whole(value)),
            Cells::Floats(numbers) => numbers.get(row).map_or(Value::Nil, Value::Float),
        }
    }

    fn whole(&self, value: i64) -> Value<'static> {
        let code = || i32::try_from(value).unwrap_or(i32::MAX);
        match self.kind {
            ArrayKind::Duration => Value::Duration(value),
            ArrayKind::Status => Value::Status(code()),
            ArrayKind::Kind => Value::Kind(code()),
            ArrayKind::Plain | ArrayKind::Hex | ArrayKind::HexTrimmed => Value::Int(value),
        }
    }
}

// === impl Numbers ===

impl<T: Copy> Numbers<T> {
    pub fn get(&self, row: usize) -> Option<T> {
        let value = self.values.get(row).copied()?;
        let present = self.present.as_ref();
        present
            .is_none_or(|present| row < present.len() && present.value(row))
            .then_some(value)
    }

    /// Those of some rows.
    fn take(&self, rows: &[u32]) -> Self
    where
        T: Default,
    {
        let is_present = |row: &u32| self.get(*row as usize).is_some();
        let present = self.present.as_ref();
        Self {
            values: rows
                .iter()
                .map(|row| self.values.get(*row as usize).copied().unwrap_or_default())
                .collect(),
            present: present.map(|_| rows.iter().map(is_present).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_value_of_its_code_and_numbers_mean_what_their_column_does() {
        let values = vec![
            AttributeValue::String("a".to_owned()),
            AttributeValue::Int(2),
            AttributeValue::Empty,
        ];
        let coded = ColumnValues::coded(ArrayKind::Status, vec![1, NO_CODE, 0, 2], values);
        let found: Vec<Value<'_>> = (0..5).map(|row| coded.value(row)).collect();
        let (nil, text) = (Value::Nil, Value::String("a"));
        assert_eq!(found, [Value::Status(2), nil, text, nil, nil]);
        assert_eq!(coded.codes(), Some((&[1, NO_CODE, 0, 2][..], 3)));

        let some = coded.take(&[2, 3, 2, 1, 9]);
        let found: Vec<Value<'_>> = (0..5).map(|row| some.value(row)).collect();
        assert_eq!(found, [text, nil, text, nil, nil]);
        let two = some.codes().unwrap().1;
        assert_eq!(two, 2, "values that no row has");

        let present = Some(BooleanBuffer::from(vec![true, false]));
        let values = vec![5, 6];
        let ints = ColumnValues::ints(ArrayKind::Duration, Numbers { values, present });
        assert_eq!(ints.value(0), Value::Duration(5));
        assert_eq!(ints.value(1), Value::Nil);
        assert_eq!(ints.value(2), Value::Nil);
        let some = ints.take(&[1, 0, 7]);
        let found: Vec<Value<'_>> = (0..3).map(|row| some.value(row)).collect();
        assert_eq!(found, [Value::Nil, Value::Duration(5), Value::Nil]);
        assert_eq!(ColumnValues::nothing(3).len(), 3);
    }
}
