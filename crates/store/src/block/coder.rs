//! Rows of a table as the cells of a column chunk, without hashing a string per row.

use super::chunk::{Cells, Values};
use crate::table::{Dictionary, StringCode, Strings};

/// Turns codes of a table's strings into indexes of a column's own entries, without hashing.
#[derive(Debug)]
pub(super) struct Coder<'a> {
    pub(super) strings: &'a Strings,
    index_of: Vec<u32>,
    touched: Vec<StringCode>,
}

impl<'a> Coder<'a> {
    pub(super) fn new(strings: &'a Strings) -> Self {
        Self {
            strings,
            index_of: vec![u32::MAX; strings.n_strings()],
            touched: Vec::new(),
        }
    }

    pub(super) fn coded(&mut self, codes: impl IntoIterator<Item = StringCode>) -> Values<'a> {
        let codes = codes.into_iter().map(|code| self.index_of(code)).collect();
        let entries = self
            .touched
            .iter()
            .map(|code| self.strings.get(*code))
            .collect();
        self.forget();
        Values::Coded { codes, entries }
    }

    /// Indexes of the rows whose string is not empty.
    pub(super) fn non_empty(&mut self, n: usize, codes: &[StringCode]) -> Cells<'a> {
        let mut rows = Vec::new();
        let mut indexes = Vec::new();
        for (row, code) in codes.iter().enumerate() {
            let index = self.index_of(*code);
            if !self.strings.get(*code).is_empty() {
                rows.push(row as u32);
                indexes.push(index);
            }
        }
        let entries = self
            .touched
            .iter()
            .map(|code| self.strings.get(*code))
            .collect();
        self.forget();
        some(
            n,
            rows,
            Values::Coded {
                codes: indexes,
                entries,
            },
        )
    }

    /// Texts that are no interned strings; few distinct ones.
    pub(super) fn texts(
        &self,
        n: usize,
        texts: impl Iterator<Item = Option<&'a str>>,
    ) -> Cells<'a> {
        let mut found = hashbrown::HashMap::<&str, u32, foldhash::fast::RandomState>::default();
        let (mut rows, mut codes, mut entries) = (Vec::new(), Vec::new(), Vec::<&[u8]>::new());
        for (row, text) in texts.enumerate() {
            let Some(text) = text else { continue };
            let code = *found.entry(text).or_insert_with(|| {
                entries.push(text.as_bytes());
                entries.len() as u32 - 1
            });
            rows.push(row as u32);
            codes.push(code);
        }
        some(n, rows, Values::Coded { codes, entries })
    }

    pub(super) fn tenants(&self, dictionary: &'a Dictionary, tenants: &[u16]) -> Cells<'a> {
        let codes: Vec<u32> = tenants.iter().map(|tenant| u32::from(*tenant)).collect();
        all(
            tenants.len(),
            hashes(&codes, |at| {
                dictionary
                    .tenants
                    .get(at)
                    .map(|tenant| tenant.as_str().as_bytes())
            }),
        )
    }

    pub(super) fn index_of(&mut self, code: StringCode) -> u32 {
        match self.index_of.get_mut(code.0 as usize) {
            Some(index) => {
                if *index == u32::MAX {
                    *index = self.touched.len() as u32;
                    self.touched.push(code);
                }
                *index
            }
            None => {
                debug_assert!(false, "a code without a string");
                0
            }
        }
    }

    pub(super) fn forget(&mut self) {
        for code in self.touched.drain(..) {
            if let Some(index) = self.index_of.get_mut(code.0 as usize) {
                *index = u32::MAX;
            }
        }
    }
}

pub(super) fn pick<T: Copy + Default>(values: &[T], rows: &[u32]) -> Vec<T> {
    let value = |row: &u32| {
        debug_assert!((*row as usize) < values.len(), "a row outside of its table");
        values.get(*row as usize).copied().unwrap_or_default()
    };
    rows.iter().map(value).collect()
}

pub(super) fn all(n_rows: usize, values: Values<'_>) -> Cells<'_> {
    Cells {
        n_rows,
        rows: None,
        values,
    }
}

pub(super) fn some(n_rows: usize, rows: Vec<u32>, values: Values<'_>) -> Cells<'_> {
    Cells {
        n_rows,
        rows: Some(rows),
        values,
    }
}

pub(super) fn constant_id(id: &[u8; 16], n_rows: usize) -> Cells<'_> {
    all(
        n_rows,
        Values::Coded {
            codes: vec![0; n_rows],
            entries: vec![id],
        },
    )
}

/// Indexes of any vector of entries, renumbered in the order of first sight.
pub(super) fn hashes<'a>(indexes: &[u32], entry: impl Fn(usize) -> Option<&'a [u8]>) -> Values<'a> {
    let n = indexes.iter().max().map_or(0, |max| *max as usize + 1);
    let mut codes_of = vec![u32::MAX; n];
    let mut entries = Vec::new();
    let code = |index: &u32| {
        let Some(code) = codes_of.get_mut(*index as usize) else {
            return 0;
        };
        if *code == u32::MAX {
            *code = entries.len() as u32;
            entries.push(entry(*index as usize).unwrap_or_default());
        }
        *code
    };
    let codes = indexes.iter().map(code).collect();
    Values::Coded { codes, entries }
}

pub(super) fn fixed<const N: usize>(
    rows: &[u32],
    id: impl Fn(usize) -> Option<[u8; N]>,
) -> Values<'static> {
    let mut bytes = Vec::with_capacity(rows.len() * N);
    for row in rows {
        bytes.extend_from_slice(&id(*row as usize).unwrap_or([0; N]));
    }
    Values::Fixed(bytes)
}

pub(super) fn filtered<T: Copy>(
    n: usize,
    values: &[T],
    keep: impl Fn(&T) -> bool,
    wrap: impl Fn(Vec<T>) -> Values<'static>,
) -> Cells<'static> {
    let kept = values.iter().enumerate().filter(|(_, value)| keep(value));
    let (rows, values) = kept.map(|(row, value)| (row as u32, *value)).unzip();
    some(n, rows, wrap(values))
}

pub(super) fn distinct_of<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

pub(super) fn bounds(values: impl Iterator<Item = u64>) -> (u64, u64) {
    values.fold((u64::MAX, 0), |(min, max), value| {
        (min.min(value), max.max(value))
    })
}
