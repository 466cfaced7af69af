//! The trace rows of a group: one per run of spans.

use super::chunk::{Cells, Values};
use super::coder::{Coder, all, constant_id, fixed, pick, some};
use crate::table::{Dictionary, SpanTable};
use tracewell_model::TraceId;

/// The spans of one trace in a group: rows `from..to` of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceRun {
    pub(super) trace_id: TraceId,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) start_unix_nano: u64,
}

// === impl TraceRun ===

impl TraceRun {
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.from as usize..self.to as usize
    }
}

/// Rows of one tenant and trace that follow each other.
pub(super) fn trace_runs(table: &SpanTable, rows: &[u32]) -> Vec<TraceRun> {
    let spans = &table.spans;
    let name = |row: &u32| {
        (
            spans.tenant.get(*row as usize),
            spans.trace_id.get(*row as usize),
        )
    };
    let mut runs = Vec::new();
    let mut from = 0;
    for run in rows.chunk_by(|a, b| name(a) == name(b)) {
        let to = from + run.len() as u32;
        let starts = run
            .iter()
            .filter_map(|row| spans.start_unix_nano.get(*row as usize));
        runs.push(TraceRun {
            trace_id: run
                .first()
                .and_then(|row| spans.trace_id.get(*row as usize))
                .copied()
                .unwrap_or_default(),
            from,
            to,
            start_unix_nano: starts.copied().min().unwrap_or_default(),
        });
        from = to;
    }
    runs
}

/// Counts of one service in one trace.
#[derive(Default, Clone, Copy)]
struct ServiceCount {
    service: usize,
    n_spans: i32,
    n_errors: i32,
}

#[expect(clippy::too_many_lines, reason = "one column after the other")]
pub(super) fn trace_cells<'a>(
    table: &'a SpanTable,
    dictionary: &'a Dictionary,
    rows: &[u32],
    runs: &[TraceRun],
    id: &'a [u8; 16],
    coder: &mut Coder<'a>,
) -> Vec<Cells<'a>> {
    let n = runs.len();
    let firsts: Vec<u32> = runs
        .iter()
        .filter_map(|run| rows.get(run.from as usize))
        .copied()
        .collect();
    let spans = &table.spans;
    let mut ends = Vec::with_capacity(n);
    let (mut root_runs, mut root_rows) = (Vec::new(), Vec::new());
    let mut n_errors = Vec::with_capacity(n);
    let mut services = Services::new(table, dictionary);
    for (number, run) in runs.iter().enumerate() {
        let run_rows = rows.get(run.range()).unwrap_or_default();
        let end = run_rows
            .iter()
            .filter_map(|row| spans.end_unix_nano.get(*row as usize))
            .max();
        ends.push(end.copied().unwrap_or_default() as i64);
        let is_root = |row: &&u32| {
            let row = **row as usize;
            spans.has_parent.get(row) == Some(&false)
                || spans.parent_span_id.get(row).is_some_and(|id| id.is_zero())
        };
        // Rows are in the order of their starts.
        if let Some(root) = run_rows.iter().find(is_root) {
            root_runs.push(number as u32);
            root_rows.push(*root);
        }
        n_errors.push(services.count(run_rows));
    }
    let lens = || Values::Int32(runs.iter().map(|run| (run.to - run.from) as i32).collect());
    let root_starts = pick(&spans.start_unix_nano, &root_rows)
        .into_iter()
        .map(|start| start as i64);
    let root_services: Vec<&'a str> = pick(&spans.resource, &root_rows)
        .iter()
        .map(|at| services.name(*at as usize))
        .collect();
    let mut root_service = coder.texts(root_rows.len(), root_services.into_iter().map(Some));
    root_service.n_rows = n;
    root_service.rows = Some(root_runs.clone());
    let list = |values| {
        all(
            n,
            Values::Int32List {
                ends: services.ends.clone(),
                values,
            },
        )
    };
    vec![
        coder.tenants(dictionary, &pick(&spans.tenant, &firsts)),
        all(
            n,
            fixed(&firsts, |row| spans.trace_id.get(row).map(|id| id.0)),
        ),
        all(
            n,
            Values::Int64(runs.iter().map(|run| run.start_unix_nano as i64).collect()),
        ),
        all(n, Values::Int64(ends)),
        some(
            n,
            root_runs.clone(),
            fixed(&root_rows, |row| spans.span_id.get(row).map(|id| id.0)),
        ),
        some(n, root_runs.clone(), Values::Int64(root_starts.collect())),
        root_service,
        some(n, root_runs, coder.coded(pick(&spans.name, &root_rows))),
        all(n, lens()),
        all(n, Values::Int32(n_errors)),
        all(
            n,
            Values::TextList {
                ends: services.ends.clone(),
                values: services
                    .counts
                    .iter()
                    .map(|count| services.text(count.service))
                    .collect(),
            },
        ),
        list(services.counts.iter().map(|count| count.n_spans).collect()),
        list(services.counts.iter().map(|count| count.n_errors).collect()),
        constant_id(id, n),
        all(
            n,
            Values::Int32(runs.iter().map(|run| run.from as i32).collect()),
        ),
        all(n, lens()),
    ]
}

/// Counts per service, trace after trace.
struct Services<'a> {
    table: &'a SpanTable,
    names: Vec<&'a str>,
    /// Service of each resource.
    of_resource: Vec<usize>,
    /// Where a service's count of the current trace lies; before `from` it is of an older one.
    places: Vec<usize>,
    counts: Vec<ServiceCount>,
    ends: Vec<u32>,
}

impl<'a> Services<'a> {
    fn new(table: &'a SpanTable, dictionary: &'a Dictionary) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut found = hashbrown::HashMap::<&str, usize, foldhash::fast::RandomState>::default();
        let of_resource = dictionary
            .resources
            .iter()
            .map(|entry| {
                let name = entry.resource.service_name();
                *found.entry(name).or_insert_with(|| {
                    names.push(name);
                    names.len() - 1
                })
            })
            .collect();
        Self {
            table,
            places: vec![usize::MAX; names.len()],
            names,
            of_resource,
            counts: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Counts one trace; returns its errors.
    fn count(&mut self, rows: &[u32]) -> i32 {
        let from = self.counts.len();
        let mut n_errors = 0;
        for row in rows {
            let row = *row as usize;
            let resource = self
                .table
                .spans
                .resource
                .get(row)
                .copied()
                .unwrap_or_default();
            let service = self
                .of_resource
                .get(resource as usize)
                .copied()
                .unwrap_or_default();
            let error = i32::from(self.table.spans.status_code.get(row) == Some(&2));
            n_errors += error;
            let Some(place) = self.places.get_mut(service) else {
                continue;
            };
            if *place < from || *place >= self.counts.len() {
                *place = self.counts.len();
                self.counts.push(ServiceCount {
                    service,
                    ..ServiceCount::default()
                });
            }
            if let Some(count) = self.counts.get_mut(*place) {
                count.n_spans += 1;
                count.n_errors += error;
            }
        }
        self.ends.push(self.counts.len() as u32);
        n_errors
    }

    fn name(&self, resource: usize) -> &'a str {
        let service = self.of_resource.get(resource).copied().unwrap_or_default();
        self.names.get(service).copied().unwrap_or_default()
    }

    fn text(&self, service: usize) -> &'a [u8] {
        self.names
            .get(service)
            .copied()
            .unwrap_or_default()
            .as_bytes()
    }
}
