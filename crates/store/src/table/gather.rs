//! Rows of several tables, in any order, as one table.

use super::{AttributeRows, EventRows, LinkRows, Runs, SpanRows, SpanTable};

/// A span among several tables that share a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAddress {
    pub table: u32,
    pub row: u32,
}

impl SpanTable {
    /// The named rows in the given order with their events, links and attributes, each of which then
    /// lies in the order of its owners. Addresses that do not exist give nothing.
    pub fn gather(tables: &[&SpanTable], rows: &[RowAddress]) -> SpanTable {
        let place = |address: &RowAddress| {
            let table: &SpanTable = tables.get(address.table as usize)?;
            let row = address.row as usize;
            (row < table.n_spans()).then_some((table, row))
        };
        let places: Vec<(&SpanTable, usize)> = rows.iter().filter_map(place).collect();
        let mut out = SpanTable::default();
        out.reserve_for(&places);
        // Column by column: the rows of a trace lie far from each other, a column's values less so.
        out.spans.gather_fixed(&places);
        for (from, row) in &places {
            out.push_lists(from, *row);
        }
        out
    }

    fn reserve_for(&mut self, places: &[(&SpanTable, usize)]) {
        let (mut n_events, mut n_links, mut n_attributes) = (0, 0, 0);
        for (from, row) in places {
            let spans = &from.spans;
            let (events, links) = (spans.events.get(*row), spans.links.get(*row));
            n_events += events.len();
            n_links += links.len();
            n_attributes += spans.attributes.get(*row).len()
                + events
                    .map(|at| from.events.attributes.get(at).len())
                    .sum::<usize>()
                + links
                    .map(|at| from.links.attributes.get(at).len())
                    .sum::<usize>();
        }
        self.reserve(places.len(), n_events, n_links, n_attributes);
    }

    /// Makes room for so many rows in all, not for so many more.
    pub fn reserve(
        &mut self,
        n_spans: usize,
        n_events: usize,
        n_links: usize,
        n_attributes: usize,
    ) {
        self.spans.reserve(n_spans.saturating_sub(self.n_spans()));
        self.events
            .reserve(n_events.saturating_sub(self.events.len()));
        self.links.reserve(n_links.saturating_sub(self.links.len()));
        self.attributes
            .reserve(n_attributes.saturating_sub(self.attributes.len()));
    }

    /// Appends one span of another table with the same dictionary. False if there is no such row.
    pub fn push_row(&mut self, from: &SpanTable, row: usize) -> bool {
        if !self.spans.push_fixed(&from.spans, row) {
            return false;
        }
        self.push_lists(from, row);
        true
    }

    fn push_lists(&mut self, from: &SpanTable, row: usize) {
        let attributes = self
            .attributes
            .push_range(&from.attributes, from.spans.attributes.get(row));
        self.spans.attributes.push(attributes.0, attributes.1);
        self.push_events(from, from.spans.events.get(row));
        self.push_links(from, from.spans.links.get(row));
    }

    fn push_events(&mut self, from: &SpanTable, rows: std::ops::Range<usize>) {
        let start = self.events.len() as u32;
        for row in rows {
            if self.events.push_fixed(&from.events, row) {
                let (at, n) = self
                    .attributes
                    .push_range(&from.attributes, from.events.attributes.get(row));
                self.events.attributes.push(at, n);
            }
        }
        self.spans
            .events
            .push(start, self.events.len() as u32 - start);
    }

    fn push_links(&mut self, from: &SpanTable, rows: std::ops::Range<usize>) {
        let start = self.links.len() as u32;
        for row in rows {
            if self.links.push_fixed(&from.links, row) {
                let (at, n) = self
                    .attributes
                    .push_range(&from.attributes, from.links.attributes.get(row));
                self.links.attributes.push(at, n);
            }
        }
        self.spans
            .links
            .push(start, self.links.len() as u32 - start);
    }
}

/// Copies `row` of each named column; false, and nothing copied, if the first has no such row.
macro_rules! push_fixed {
    ($self:ident, $from:ident, $row:ident, $first:ident $(, $column:ident)* $(,)?) => {{
        let Some(value) = $from.$first.get($row) else {
            return false;
        };
        $self.$first.push(*value);
        // Columns of one group have the same length; a default stands for a broken table.
        $($self.$column.push($from.$column.get($row).copied().unwrap_or_default());)*
        true
    }};
}

/// Copies the rows of each named column.
macro_rules! gather_fixed {
    ($self:ident, $places:ident, $($column:ident),* $(,)?) => {$(
        // Columns of one group have the same length; a default stands for a broken table.
        let value = |place: &(&SpanTable, usize)| {
            place.0.spans.$column.get(place.1).copied().unwrap_or_default()
        };
        $self.$column.extend($places.iter().map(value));
    )*};
}

/// Does with all fixed columns of spans what another macro does with named ones.
macro_rules! span_columns {
    ($macro:ident, $($argument:ident),*) => {
        $macro!(
            $($argument,)*
            trace_id,
            tenant,
            span_id,
            parent_span_id,
            has_parent,
            start_unix_nano,
            end_unix_nano,
            name,
            kind,
            status_code,
            status_message,
            trace_state,
            flags,
            dropped_attributes,
            dropped_events,
            dropped_links,
            resource,
            scope,
        )
    };
}

impl SpanRows {
    fn reserve(&mut self, n: usize) {
        self.tenant.reserve_exact(n);
        self.trace_id.reserve_exact(n);
        self.span_id.reserve_exact(n);
        self.parent_span_id.reserve_exact(n);
        self.has_parent.reserve_exact(n);
        self.start_unix_nano.reserve_exact(n);
        self.end_unix_nano.reserve_exact(n);
        self.name.reserve_exact(n);
        self.kind.reserve_exact(n);
        self.status_code.reserve_exact(n);
        self.status_message.reserve_exact(n);
        self.trace_state.reserve_exact(n);
        self.flags.reserve_exact(n);
        self.dropped_attributes.reserve_exact(n);
        self.dropped_events.reserve_exact(n);
        self.dropped_links.reserve_exact(n);
        self.resource.reserve_exact(n);
        self.scope.reserve_exact(n);
        self.attributes.reserve(n);
        self.events.reserve(n);
        self.links.reserve(n);
    }

    fn push_fixed(&mut self, from: &SpanRows, row: usize) -> bool {
        span_columns!(push_fixed, self, from, row)
    }

    fn gather_fixed(&mut self, places: &[(&SpanTable, usize)]) {
        span_columns!(gather_fixed, self, places);
    }
}

impl Runs {
    fn reserve(&mut self, n: usize) {
        self.starts.reserve_exact(n);
        self.lens.reserve_exact(n);
    }
}

impl EventRows {
    fn reserve(&mut self, n: usize) {
        self.time_unix_nano.reserve_exact(n);
        self.name.reserve_exact(n);
        self.dropped_attributes.reserve_exact(n);
        self.attributes.reserve(n);
    }

    fn push_fixed(&mut self, from: &EventRows, row: usize) -> bool {
        push_fixed!(self, from, row, time_unix_nano, name, dropped_attributes)
    }
}

impl LinkRows {
    fn reserve(&mut self, n: usize) {
        self.trace_id.reserve_exact(n);
        self.span_id.reserve_exact(n);
        self.trace_state.reserve_exact(n);
        self.flags.reserve_exact(n);
        self.dropped_attributes.reserve_exact(n);
        self.attributes.reserve(n);
    }

    fn push_fixed(&mut self, from: &LinkRows, row: usize) -> bool {
        push_fixed!(
            self,
            from,
            row,
            trace_id,
            span_id,
            trace_state,
            flags,
            dropped_attributes
        )
    }
}

impl AttributeRows {
    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, n: usize) {
        self.key.reserve_exact(n);
        self.value_type.reserve_exact(n);
        self.value.reserve_exact(n);
    }

    /// Copies rows and says where they are now: start and number.
    fn push_range(&mut self, from: &AttributeRows, rows: std::ops::Range<usize>) -> (u32, u32) {
        let start = self.len() as u32;
        if let (Some(keys), Some(types), Some(values)) = (
            from.key.get(rows.clone()),
            from.value_type.get(rows.clone()),
            from.value.get(rows),
        ) {
            self.key.extend_from_slice(keys);
            self.value_type.extend_from_slice(types);
            self.value.extend_from_slice(values);
        }
        (start, self.len() as u32 - start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Runs;
    use super::*;

    #[test]
    fn a_row_that_does_not_exist_gives_nothing() {
        let table = SpanTable::default();
        let address = RowAddress { table: 0, row: 3 };
        let out = SpanTable::gather(&[&table], &[address, RowAddress { table: 9, row: 0 }]);
        assert_eq!(out.n_spans(), 0);
        assert_eq!(Runs::default().get(5), 0..0);
    }
}
