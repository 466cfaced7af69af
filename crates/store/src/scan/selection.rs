//! Which rows still matter.

use arrow_buffer::BooleanBuffer;

/// A set of rows; "all of them" costs nothing.
#[derive(Debug, Clone)]
pub struct Selection {
    n_rows: usize,
    /// `None` for all rows.
    bits: Option<BooleanBuffer>,
}

impl Selection {
    pub fn all(n_rows: usize) -> Self {
        Self { n_rows, bits: None }
    }

    pub fn of(bits: BooleanBuffer) -> Self {
        Self {
            n_rows: bits.len(),
            bits: Some(bits),
        }
    }

    /// Length of the bitmap, selected or not.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// `None` if all rows are selected.
    pub fn bits(&self) -> Option<&BooleanBuffer> {
        self.bits.as_ref()
    }

    pub fn n_selected(&self) -> usize {
        self.bits
            .as_ref()
            .map_or(self.n_rows, BooleanBuffer::count_set_bits)
    }

    pub fn is_empty(&self) -> bool {
        match &self.bits {
            None => self.n_rows == 0,
            Some(bits) => !bits.has_true(),
        }
    }

    pub fn contains(&self, row: usize) -> bool {
        row < self.n_rows && self.bits.as_ref().is_none_or(|bits| bits.value(row))
    }

    /// True if one of these rows is selected.
    pub fn has_any(&self, rows: std::ops::Range<usize>) -> bool {
        let end = rows.end.min(self.n_rows);
        if rows.start >= end {
            return false;
        }
        let bits = self.bits.as_ref();
        bits.is_none_or(|bits| bits.slice(rows.start, end - rows.start).has_true())
    }

    /// The selected rows among those whose bit is set.
    pub fn mask(&self, bits: BooleanBuffer) -> BooleanBuffer {
        match &self.bits {
            None => bits,
            Some(selected) => selected & &bits,
        }
    }

    /// The selected rows whose bit is not set.
    pub fn without(&self, bits: &BooleanBuffer) -> Self {
        Self::of(self.mask(!bits))
    }

    pub fn to_bits(&self) -> BooleanBuffer {
        self.bits
            .clone()
            .unwrap_or_else(|| BooleanBuffer::new_set(self.n_rows))
    }

    /// Calls `visit` for every selected row in order.
    pub fn for_each(&self, mut visit: impl FnMut(usize)) {
        match &self.bits {
            None => (0..self.n_rows).for_each(visit),
            Some(bits) => bits.set_indices().for_each(&mut visit),
        }
    }
}
