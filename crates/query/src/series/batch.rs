//! Spans counted by what a source says of them, without reading their traces: what each of the columns that
//! a query names holds in the spans that match.
//!
//! Groups are found by code, so that a text is looked at once in a batch and not in every span, and cells lie
//! side by side until the batch is done. It is the same count as [`Counter::take`] makes of whole traces. Batches are
//! counted beside each other, and what is found is added up in their order.

use std::ops::Range;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use tracewell_model::source::{LeafBatch, LeafTrace};
use tracewell_model::{Column, ColumnValues, TraceId, Value};

use super::sketch::Place;
use super::sums::{Cell, Counter, place_of};
use super::{Axis, Exemplar, comparison};
use crate::leaves::{self, LeafView};
use crate::pipeline;
use crate::plan::series::{Comparison, Function, Measured, SpansPlan};
use crate::plan::{Field, SpansetPlan, StagePlan};
use crate::scalar::Scalar;
use crate::syntax::ast::LogicOp;
use crate::watch::Watch;

/// Most places of a table by code; above it is a map.
const PLACES_MAX: usize = 1 << 20;

impl SpansPlan {
    /// What is to be asked of sources so that they can count the spans of traces that each holds whole, the start
    /// first; `None` where only a whole trace tells which of its spans count, and by what.
    pub(crate) fn columns(&self) -> Option<Arc<[Column]>> {
        let mut columns = self.plan.columns()?;
        if matches!(self.function, Function::Compare(_)) {
            columns.extend(comparison::intrinsics());
        }
        let measured = self.function.measured().map(|measured| &measured.field);
        let mut fields = measured.into_iter().chain(&self.by);
        fields.try_for_each(|field| field.add_columns(&mut columns))?;
        Some(columns.into())
    }

    /// The expression of a plan that is nothing but pairs of braces and what joins them.
    fn filters_alone(&self) -> Option<&SpansetPlan> {
        match self.plan.stages.as_slice() {
            [StagePlan::Spanset(spans)] => is_of_filters(spans).then_some(spans),
            _ => None,
        }
    }
}

fn is_of_filters(plan: &SpansetPlan) -> bool {
    match plan {
        SpansetPlan::Filter(_) => true,
        SpansetPlan::Logic(_, terms) => terms.iter().all(is_of_filters),
        SpansetPlan::Relation(..) | SpansetPlan::Pipeline(_) => false,
    }
}

/// Which filters' spans a trace yields that has spans of these; `None` for a trace that does not match.
fn yielded(plan: &SpansetPlan, filters: u64) -> Option<u64> {
    match plan {
        SpansetPlan::Filter(index) => {
            let bit = 1u64.checked_shl(u32::try_from(*index).ok()?)?;
            (filters & bit != 0).then_some(bit)
        }
        SpansetPlan::Logic(op, terms) => {
            let mut all = None;
            for term in terms {
                match (yielded(term, filters), op) {
                    (None, LogicOp::And) => return None,
                    (None, LogicOp::Or) => {}
                    (Some(some), _) => all = Some(all.unwrap_or(0) | some),
                }
            }
            all
        }
        SpansetPlan::Relation(..) | SpansetPlan::Pipeline(_) => None,
    }
}

/// A batch, and which columns it was asked for.
#[derive(Clone, Copy)]
struct Asked<'b> {
    batch: &'b LeafBatch,
    columns: &'b [Column],
}

/// The spans of a batch that count.
#[derive(Debug)]
struct Counted {
    rows: Vec<u32>,
    starts: Vec<u64>,
    /// The trace of each, by its place in the batch.
    traces: Vec<u32>,
    intervals: Vec<u32>,
    /// What is measured; empty where spans are counted.
    numbers: Vec<f64>,
}

impl Counted {
    /// Room for all spans of some traces of a batch.
    fn with_capacity(batch: &LeafBatch, traces: &[LeafTrace]) -> Self {
        let ends = traces.first().zip(traces.last());
        let n = ends.map_or(0, |(first, last)| last.to.saturating_sub(first.from));
        let n = batch.spans.num_rows().min(n as usize);
        Self {
            rows: Vec::with_capacity(n),
            starts: Vec::with_capacity(n),
            traces: Vec::with_capacity(n),
            intervals: Vec::with_capacity(n),
            numbers: Vec::new(),
        }
    }

    /// The first interval, and how many there are up to the last.
    fn interval_range(&self) -> (u32, usize) {
        let first = self.intervals.iter().min().copied().unwrap_or(0);
        let last = self.intervals.iter().max().copied().unwrap_or(0);
        (first, (last - first) as usize + 1)
    }
}

/// A cell of the batch.
struct Slot {
    group: u32,
    interval: u32,
    cell: Cell,
    /// The first span: its start, and its place in [`Counted`].
    first: Option<(u64, usize)>,
}

/// Counts spans of batches for a [`Counter`], of which it changes nothing: batches are counted beside each other.
#[derive(Debug, Clone)]
pub(crate) struct BatchCounter {
    pub(super) plan: Arc<SpansPlan>,
    pub(super) axis: Axis,
    pub(super) has_exemplars: bool,
    pub(super) watch: Option<Arc<Watch>>,
}

/// What was counted of some spans of a batch.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Of each group.
    pub(super) keys: Vec<Vec<Option<Scalar>>>,
    /// Group, interval, what is known of their spans, and the first of those.
    pub(super) cells: Vec<(u32, u32, Cell, Option<Exemplar>)>,
}

impl Counter {
    /// Adds the values of the compared columns in the spans of some traces of a batch, but not of `open` ones.
    pub(crate) fn compare_batch(
        &mut self,
        (batch, columns): (&LeafBatch, &[Column]),
        traces: Range<usize>,
        open: &[bool],
    ) {
        let plan = Arc::clone(&self.plan);
        let Function::Compare(plan) = &plan.function else {
            debug_assert!(false, "this compares nothing");
            return;
        };
        let asked = Asked { batch, columns };
        let counted = self.for_batches().counted(asked, traces, open);
        if !counted.rows.is_empty() {
            self.take_sides_of(plan, asked, &counted);
        }
    }

    /// The values of the compared columns in some spans of a batch.
    fn take_sides_of(&mut self, plan: &Comparison, asked: Asked<'_>, counted: &Counted) {
        let (groups, sides) = sides_of(plan, asked.batch, counted);
        for column in self.compared.iter() {
            let Some(values) = leaves::column_of(asked.batch, asked.columns, column) else {
                debug_assert!(false, "{column:?} was not asked for");
                continue;
            };
            let found = match values.as_sparse() {
                Some((held, n_codes)) => {
                    let mut found = OfSides::new((sides.len(), n_codes), held.rows.len());
                    for (at, code) in held.among(&counted.rows) {
                        if let (Some(group), Some(row)) = (groups.get(at), counted.rows.get(at)) {
                            found.add(*group, code, *row);
                        }
                    }
                    found.all
                }
                None => {
                    let (codes, n_codes) = codes_of(values, &counted.rows);
                    let mut found = OfSides::new((sides.len(), n_codes), counted.rows.len());
                    let spans = groups.iter().zip(codes).zip(&counted.rows);
                    spans.for_each(|((group, code), row)| found.add(*group, code, *row));
                    found.all
                }
            };
            for (group, row, n) in found {
                let value = Scalar::of(values.value(row as usize));
                if let (Some(value), Some(side)) = (value, sides.get(group as usize)) {
                    self.sides.add(column, value, *side, f64::from(n));
                }
            }
        }
    }
}

impl BatchCounter {
    /// Counts the spans of some traces of a batch, but not of `open` ones, of which its source may hold a part.
    /// `columns` are what the batch was asked for.
    pub(crate) fn count(
        &self,
        (batch, columns): (&LeafBatch, &[Column]),
        traces: Range<usize>,
        open: &[bool],
    ) -> Found {
        let asked = Asked { batch, columns };
        let counted = self.counted(asked, traces, open);
        if counted.rows.is_empty() {
            return Found::default();
        }
        let (groups, firsts) = grouped(&self.by_columns(asked), &counted.rows);
        let slots = self.slots(batch, &counted, &groups).into_iter();
        let cells = slots.map(|slot| {
            let exemplar = slot.first.map(|(unix_nano, at)| Exemplar {
                trace_id: trace_of(batch, &counted, at),
                unix_nano,
                value: counted.numbers.get(at).copied().unwrap_or(f64::NAN),
            });
            (slot.group, slot.interval, slot.cell, exemplar)
        });
        let cells = cells.collect();
        let firsts = firsts.iter();
        let keys = firsts.map(|row| self.key_of(asked, *row as usize));
        Found {
            keys: keys.collect(),
            cells,
        }
    }

    fn counted(&self, asked: Asked<'_>, traces: Range<usize>, open: &[bool]) -> Counted {
        let batch = asked.batch;
        let some = batch.traces.get(traces.clone()).unwrap_or_default();
        let open = open.get(traces.clone()).unwrap_or_default();
        let mut counted = Counted::with_capacity(batch, some);
        let mut interval_of = self.axis.finder();
        let starts = leaves::starts_of(batch);
        let filters = self.plan.filters_alone();
        let measured = self.plan.function.measured();
        let measured = measured.map(|measured| Measuring {
            measured,
            columns: leaves::columns_of(batch, asked.columns, &measured.field).unwrap_or_default(),
        });
        for ((number, trace), is_open) in traces.zip(some).zip(open) {
            if *is_open {
                continue;
            }
            self.for_each_kept(asked, (filters, trace), |row| {
                let at = row as usize;
                let Some(start) = starts.and_then(|starts| leaves::start_at(starts, at)) else {
                    return;
                };
                let Some(interval) = interval_of(start) else {
                    return;
                };
                if let Some(measured) = &measured {
                    let Some(value) = measured.number(at) else {
                        return;
                    };
                    counted.numbers.push(value);
                }
                counted.rows.push(row);
                counted.starts.push(start);
                counted.traces.push(number as u32);
                counted.intervals.push(interval as u32);
            });
        }
        counted
    }

    /// The rows of a trace that the pipeline yields, each once; `filters` is all of it, where it is no more than that.
    fn for_each_kept(
        &self,
        Asked { batch, columns }: Asked<'_>,
        (filters, trace): (Option<&SpansetPlan>, &LeafTrace),
        mut visit: impl FnMut(u32),
    ) {
        let Some(filters) = filters else {
            let view = LeafView {
                batch,
                columns,
                trace,
            };
            let sets = pipeline::spansets_of(&self.plan.plan, &view, self.watch.as_deref());
            let spans = pipeline::in_order(sets.into_iter().flat_map(|set| set.spans));
            spans.iter().for_each(|span| visit(view.row(*span) as u32));
            return;
        };
        if batch.bits.len() == 1 {
            (trace.from..trace.to).for_each(visit);
            return;
        }
        let kept = yielded(filters, leaves::filters_of(batch, trace)).unwrap_or(0);
        let is_kept = |row: u32| {
            let mut left = kept;
            while left != 0 {
                if leaves::matches(batch, left.trailing_zeros() as usize, row as usize) {
                    return true;
                }
                left &= left - 1;
            }
            false
        };
        let rows = trace.from..trace.to;
        rows.filter(|row| kept != 0 && is_kept(*row))
            .for_each(visit);
    }

    /// The cells of a batch; `groups` has the group of each span.
    fn slots(&self, batch: &LeafBatch, counted: &Counted, groups: &[u32]) -> Vec<Slot> {
        let function = &self.plan.function;
        // Of the spans of a slot that have their values in one place.
        let mut n_of: HashMap<(u32, Place), u32> = HashMap::new();
        let (first, n_intervals) = counted.interval_range();
        let n_groups = groups.iter().max().map_or(0, |group| *group as usize + 1);
        let mut places = Places::new(n_groups.saturating_mul(n_intervals), counted.rows.len());
        let mut slots: Vec<Slot> = Vec::new();
        let spans = groups.iter().zip(&counted.intervals).enumerate();
        for (at, (group, interval)) in spans {
            let place = *group as usize * n_intervals + (interval - first) as usize;
            let number = places.number(place);
            if number as usize >= slots.len() {
                slots.push(Slot {
                    group: *group,
                    interval: *interval,
                    cell: Cell::default(),
                    first: None,
                });
            }
            let Some(slot) = slots.get_mut(number as usize) else {
                continue;
            };
            let value = counted.numbers.get(at).copied().unwrap_or(f64::NAN);
            match place_of(function, value) {
                Some(place) => *n_of.entry((number, place)).or_default() += 1,
                None => slot.cell.add(function, value, 1.0),
            }
            if !self.has_exemplars {
                continue;
            }
            let start = counted.starts.get(at).copied().unwrap_or(0);
            let is_first = slot.first.is_none_or(|(known, of)| {
                let ids = || trace_of(batch, counted, at) < trace_of(batch, counted, of);
                start < known || (start == known && ids())
            });
            if is_first {
                slot.first = Some((start, at));
            }
        }
        for ((number, place), n) in n_of {
            if let Some(slot) = slots.get_mut(number as usize) {
                slot.cell.add_at(function, place, f64::from(n));
            }
        }
        slots
    }

    fn key_of(&self, asked: Asked<'_>, row: usize) -> Vec<Option<Scalar>> {
        let fields = self.plan.by.iter();
        let value = |field: &Field| {
            let columns = leaves::columns_of(asked.batch, asked.columns, field)?;
            leaves::value_of(field, &columns, row)
        };
        fields.map(value).collect()
    }

    fn by_columns<'b>(&self, asked: Asked<'b>) -> Vec<&'b ColumnValues> {
        let fields = self.plan.by.iter();
        let columns = fields.filter_map(|by| leaves::columns_of(asked.batch, asked.columns, by));
        columns.flatten().collect()
    }
}

/// A number of each span.
struct Measuring<'a> {
    measured: &'a Measured,
    columns: Vec<&'a ColumnValues>,
}

impl Measuring<'_> {
    fn number(&self, row: usize) -> Option<f64> {
        let Measured { field, .. } = self.measured;
        if let [column] = self.columns.as_slice()
            && field.is_of_one_column()
            && let Some(ints) = column.as_ints()
        {
            return Some(self.measured.shown(ints.get(row)? as f64));
        }
        let value = leaves::value_of(field, &self.columns, row)?;
        Some(self.measured.shown(value.as_number()?))
    }
}

fn trace_of(batch: &LeafBatch, counted: &Counted, at: usize) -> TraceId {
    let number = counted.traces.get(at).copied().unwrap_or(u32::MAX);
    let trace = batch.traces.get(number as usize);
    trace.map(|trace| trace.trace_id).unwrap_or_default()
}

/// How often each value of a column is on each side and in each interval.
struct OfSides {
    places: Places,
    n_codes: usize,
    /// Side and interval, the first row with the value, and how many there are.
    all: Vec<(u32, u32, u32)>,
}

impl OfSides {
    fn new((n_sides, n_codes): (usize, usize), n_rows: usize) -> Self {
        Self {
            places: Places::new(n_sides.saturating_mul(n_codes), n_rows),
            n_codes,
            all: Vec::new(),
        }
    }

    fn add(&mut self, group: u32, code: u32, row: u32) {
        if code as usize >= self.n_codes {
            return;
        }
        let place = group as usize * self.n_codes + code as usize;
        match self.all.get_mut(self.places.number(place) as usize) {
            Some((.., n)) => *n += 1,
            None => self.all.push((group, row, 1)),
        }
    }
}

/// A number for each of the spans that count: of its side and its interval, which are those by number.
fn sides_of(
    plan: &Comparison,
    batch: &LeafBatch,
    counted: &Counted,
) -> (Vec<u32>, Vec<(bool, u32)>) {
    let (first, n_intervals) = counted.interval_range();
    let mut places = Places::new(n_intervals * 2, counted.rows.len());
    let mut sides = Vec::new();
    let spans = counted.rows.iter().zip(&counted.starts);
    let groups = spans
        .zip(&counted.intervals)
        .map(|((row, start), interval)| {
            let matches = leaves::matches(batch, plan.selection, *row as usize);
            let is_selected = matches && plan.selects(*start);
            let place = (interval - first) as usize * 2 + usize::from(is_selected);
            let number = places.number(place);
            if number as usize >= sides.len() {
                sides.push((is_selected, *interval));
            }
            number
        });
    (groups.collect(), sides)
}

/// A number for each of the rows, the same for those that have the same in every column; and the first row of
/// each number.
fn grouped(columns: &[&ColumnValues], rows: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut groups = vec![0u32; rows.len()];
    let mut firsts: Vec<u32> = rows.first().copied().into_iter().collect();
    for column in columns {
        let (codes, n_codes) = codes_of(column, rows);
        // Beyond the codes is no value.
        let width = n_codes + 1;
        let mut places = Places::new(firsts.len().saturating_mul(width), rows.len());
        firsts.clear();
        for ((group, code), row) in groups.iter_mut().zip(codes).zip(rows) {
            let place = *group as usize * width + (code as usize).min(n_codes);
            *group = places.number(place);
            if *group as usize >= firsts.len() {
                firsts.push(*row);
            }
        }
    }
    (groups, firsts)
}

/// The codes of some rows (ascending), and how many there are. Numbers get theirs here.
fn codes_of(column: &ColumnValues, rows: &[u32]) -> (Vec<u32>, usize) {
    if let Some((held, n)) = column.as_sparse() {
        debug_assert!(
            rows.is_sorted(),
            "the spans of a batch are counted in order"
        );
        let mut codes = vec![u32::MAX; rows.len()];
        for (at, code) in held.among(rows) {
            if let Some(of_row) = codes.get_mut(at) {
                *of_row = code;
            }
        }
        return (codes, n);
    }
    if let Some((codes, n)) = column.codes() {
        let code = |row: &u32| codes.get(*row as usize).copied().unwrap_or(u32::MAX);
        return (rows.iter().map(code).collect(), n);
    }
    let mut numbers: HashMap<u64, u32> = HashMap::new();
    let codes = rows.iter().map(|row| {
        let bits = match column.value(*row as usize) {
            Value::Int(value) | Value::Duration(value) => value as u64,
            Value::Status(code) | Value::Kind(code) => code as u64,
            Value::Float(value) => value.to_bits(),
            _ => return u32::MAX,
        };
        let next = numbers.len() as u32;
        *numbers.entry(bits).or_insert(next)
    });
    let codes: Vec<u32> = codes.collect();
    (codes, numbers.len())
}

/// Numbers places from 0, in the order in which they are met.
enum Places {
    Table(Vec<u32>, u32),
    Map(HashMap<usize, u32>),
}

impl Places {
    /// A table costs as much as it has places, so that it has to be worth its rows.
    fn new(n: usize, n_rows: usize) -> Self {
        match n <= PLACES_MAX && n <= n_rows.saturating_mul(4).max(1 << 10) {
            true => Self::Table(vec![u32::MAX; n], 0),
            false => Self::Map(HashMap::new()),
        }
    }

    fn number(&mut self, place: usize) -> u32 {
        match self {
            Self::Table(numbers, n) => match numbers.get_mut(place) {
                Some(number) => {
                    if *number == u32::MAX {
                        *number = *n;
                        *n += 1;
                    }
                    *number
                }
                None => 0,
            },
            Self::Map(numbers) => {
                let next = numbers.len() as u32;
                *numbers.entry(place).or_insert(next)
            }
        }
    }
}
