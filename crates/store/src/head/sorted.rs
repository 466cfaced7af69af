//! The order in which a block wants the rows of a generation.

use std::cmp::Reverse;

use super::snapshot::GenerationSnapshot;
use crate::table::{RowAddress, SpanTable};

/// One row group to be: spans of one tenant, a time slice of trace starts, sorted by trace id, start
/// and span id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedGroup {
    /// Index in `Dictionary::tenants`.
    pub tenant: u16,
    /// First starts of the traces in the group: smallest and largest.
    pub trace_start_min: u64,
    pub trace_start_max: u64,
    pub rows: Vec<RowAddress>,
}

impl GenerationSnapshot {
    /// The groups by tenant (in byte order), newest first, each of about `group_spans_max` spans: a
    /// trace is never cut, so that a larger one makes a larger group.
    pub fn sorted_groups(&self, group_spans_max: usize) -> Vec<SortedGroup> {
        let table = self.trace_table();
        let rows = self.rows_by_trace();
        let tenant = |trace: &usize| table.tenant.get(*trace).copied().unwrap_or_default();
        let start = |trace: &usize| table.start.get(*trace).copied().unwrap_or_default();
        let name = |tenant: u16| self.dictionary.tenants.get(usize::from(tenant));
        let mut traces: Vec<usize> = (0..rows.len())
            .filter(|trace| rows.get(*trace).is_some_and(|rows| !rows.is_empty()))
            .collect();
        traces.sort_by(|a, b| {
            (name(tenant(a)), Reverse(start(a)), table.id.get(*a)).cmp(&(
                name(tenant(b)),
                Reverse(start(b)),
                table.id.get(*b),
            ))
        });
        let mut groups: Vec<(u16, Vec<usize>)> = Vec::new();
        let mut n_spans = 0;
        for trace in traces {
            let n = rows.get(trace).map_or(0, Vec::len);
            match groups.last_mut() {
                Some((of, group)) if *of == tenant(&trace) && n_spans + n <= group_spans_max => {
                    group.push(trace);
                    n_spans += n;
                }
                _ => {
                    groups.push((tenant(&trace), vec![trace]));
                    n_spans = n;
                }
            }
        }
        groups
            .into_iter()
            .map(|(tenant, mut traces)| {
                traces.sort_unstable_by_key(|trace| table.id.get(*trace));
                let starts = traces.iter().map(start);
                SortedGroup {
                    tenant,
                    trace_start_min: starts.clone().min().unwrap_or_default(),
                    trace_start_max: starts.max().unwrap_or_default(),
                    rows: traces
                        .iter()
                        .filter_map(|trace| rows.get(*trace))
                        .flatten()
                        .copied()
                        .collect(),
                }
            })
            .collect()
    }

    /// The rows of a group as a table in their order.
    pub fn table(&self, rows: &[RowAddress]) -> SpanTable {
        let tables: Vec<&SpanTable> = self.batches.iter().map(|batch| &batch.table).collect();
        SpanTable::gather(&tables, rows)
    }

    /// The rows of each trace by start, then span id.
    fn rows_by_trace(&self) -> Vec<Vec<RowAddress>> {
        let mut rows: Vec<Vec<RowAddress>> = self
            .trace_table()
            .n_spans
            .iter()
            .map(|n| Vec::with_capacity(*n as usize))
            .collect();
        for (table, batch) in self.batches.iter().enumerate() {
            for (row, trace) in batch.trace.iter().enumerate() {
                if let Some(rows) = rows.get_mut(*trace as usize) {
                    rows.push(RowAddress {
                        table: table as u32,
                        row: row as u32,
                    });
                }
            }
        }
        for rows in &mut rows {
            rows.sort_by_cached_key(|address| {
                let batch = self.batches.get(address.table as usize)?;
                let spans = &batch.table.spans;
                let row = address.row as usize;
                Some((*spans.start_unix_nano.get(row)?, *spans.span_id.get(row)?))
            });
        }
        rows
    }
}
