//! The values of one column over the rows of an answer.
//!
//! Numbers of one type come as they are; whatever else a column holds comes by code, so that who groups by
//! it looks at a text once and not in every row. Of a column that few rows have only those are there.

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
    Sparse {
        n_rows: usize,
        held: SparseCodes,
        values: Vec<AttributeValue>,
    },
    Ints(Numbers<i64>),
    Floats(Numbers<f64>),
}

/// The codes of those rows that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseCodes {
    /// Ascending.
    pub rows: Vec<u32>,
    /// Of each of them.
    pub codes: Vec<u32>,
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
        Self::sparse(ArrayKind::Plain, n, SparseCodes::default(), Vec::new())
    }

    /// Row `held.rows[i]` of so many has `values[held.codes[i]]`, all others nothing.
    pub fn sparse(
        kind: ArrayKind,
        n_rows: usize,
        held: SparseCodes,
        values: Vec<AttributeValue>,
    ) -> Self {
        let cells = Cells::Sparse {
            n_rows,
            held,
            values,
        };
        Self { kind, cells }
    }

    /// Row `i` has `values[codes[i]]`, or nothing with [`NO_CODE`]. A value may occur under several codes.
    pub fn coded(kind: ArrayKind, codes: Vec<u32>, values: Vec<AttributeValue>) -> Self {
        if values.is_empty() {
            return Self::nothing(codes.len());
        }
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
            Cells::Sparse { n_rows, .. } => *n_rows,
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
                let mut kept = Kept::of(values);
                let codes = rows.iter().map(|row| {
                    let code = codes.get(*row as usize).copied();
                    kept.code(code.unwrap_or(NO_CODE))
                });
                let codes = codes.collect();
                let values = kept.kept;
                Cells::Coded { codes, values }
            }
            Cells::Sparse { held, values, .. } => {
                let mut kept = Kept::of(values);
                let mut some = SparseCodes::default();
                for (at, row) in (0..).zip(rows) {
                    let code = held.code(*row).map_or(NO_CODE, |code| kept.code(code));
                    if code != NO_CODE {
                        some.rows.push(at);
                        some.codes.push(code);
                    }
                }
                Cells::Sparse {
                    n_rows: rows.len(),
                    held: some,
                    values: kept.kept,
                }
            }
        };
        let kind = self.kind;
        Self { kind, cells }
    }

    /// The codes of all rows, and how many values they are of; `None` for numbers, which have none, and for what few
    /// rows have.
    pub fn codes(&self) -> Option<(&[u32], usize)> {
        match &self.cells {
            Cells::Coded { codes, values } => Some((codes, values.len())),
            Cells::Sparse { .. } | Cells::Ints(_) | Cells::Floats(_) => None,
        }
    }

    /// The rows of what few have, with their codes, and how many values those are of.
    pub fn as_sparse(&self) -> Option<(&SparseCodes, usize)> {
        match &self.cells {
            Cells::Sparse { held, values, .. } => Some((held, values.len())),
            Cells::Coded { .. } | Cells::Ints(_) | Cells::Floats(_) => None,
        }
    }

    pub fn as_ints(&self) -> Option<&Numbers<i64>> {
        match &self.cells {
            Cells::Ints(numbers) => Some(numbers),
            Cells::Coded { .. } | Cells::Sparse { .. } | Cells::Floats(_) => None,
        }
    }

    /// What a code stands for.
    pub fn value_of(&self, code: u32) -> Value<'_> {
        match &self.cells {
            Cells::Coded { values, .. } | Cells::Sparse { values, .. } => {
                match values.get(code as usize) {
                    Some(AttributeValue::Int(value)) => self.whole(*value),
                    Some(value) => value.as_value(),
                    None => Value::Nil,
                }
            }
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
            Cells::Sparse { held, .. } => {
                let code = u32::try_from(row).ok().and_then(|row| held.code(row));
                code.map_or(Value::Nil, |code| self.value_of(code))
            }
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

/// Values that are taken over, each once.
struct Kept<'v> {
    values: &'v [AttributeValue],
    kept: Vec<AttributeValue>,
    numbers: HashMap<u32, u32>,
}

impl<'v> Kept<'v> {
    fn of(values: &'v [AttributeValue]) -> Self {
        Self {
            values,
            kept: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// The new code of one.
    fn code(&mut self, code: u32) -> u32 {
        let Some(value) = self.values.get(code as usize) else {
            return NO_CODE;
        };
        *self.numbers.entry(code).or_insert_with(|| {
            self.kept.push(value.clone());
            self.kept.len() as u32 - 1
        })
    }
}

// === impl SparseCodes ===

impl SparseCodes {
    /// That of a row.
    pub fn code(&self, row: u32) -> Option<u32> {
        let at = self.rows.binary_search(&row).ok()?;
        self.codes.get(at).copied()
    }

    /// Places in `rows` (ascending) that have a code, with it.
    pub fn among<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let first = rows.first().copied().unwrap_or(u32::MAX);
        let last = rows.last().copied().unwrap_or(0);
        let from = self.rows.partition_point(|row| *row < first);
        let held = self.rows.iter().zip(&self.codes).skip(from);
        let held = held.take_while(move |(row, _)| **row <= last);
        held.filter_map(|(row, code)| Some((rows.binary_search(row).ok()?, *code)))
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

    #[test]
    fn a_sparse_column_says_of_every_row_what_it_has() {
        let values = ["a", "b", "c"].map(|text| AttributeValue::String(text.to_owned()));
        let held = SparseCodes {
            rows: vec![1, 4, 9],
            codes: vec![2, 0, 2],
        };
        let sparse = ColumnValues::sparse(ArrayKind::Plain, 12, held.clone(), values.into());
        let of = |column: &ColumnValues| -> Vec<String> {
            let all = (0..column.len() + 1).map(|row| column.value(row));
            all.map(|value| match value {
                Value::String(text) => text.to_owned(),
                _ => String::new(),
            })
            .collect()
        };
        let none = String::new;
        let (a, c) = ("a".to_owned(), "c".to_owned());
        assert_eq!(sparse.len(), 12);
        assert_eq!(
            of(&sparse)[..5],
            [none(), c.clone(), none(), none(), a.clone()]
        );
        assert_eq!(of(&sparse)[9], c);

        let some = sparse.take(&[4, 2, 9, 4, 40]);
        assert_eq!(of(&some), [a.clone(), none(), c, a, none(), none()]);
        assert_eq!(some.as_sparse().unwrap().1, 2, "values that no row has");

        let among = |rows: &[u32]| held.among(rows).collect::<Vec<_>>();
        assert_eq!(among(&[0, 1, 2, 4]), [(1, 2), (3, 0)]);
        assert_eq!(among(&[5, 6, 9]), [(2, 2)]);
        assert_eq!(among(&[5, 6, 7]), []);
        assert_eq!(among(&[]), []);
    }
}
