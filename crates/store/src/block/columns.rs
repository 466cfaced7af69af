//! A group of a block as a unit that filters can be evaluated over.
//!
//! Predicate columns are read whole where much is selected and page by page where little is left; a
//! Bloom filter or the bounds of a chunk may say that nothing can match before a page is read. An
//! unpromoted key reads only its own pages of the attribute table.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use foldhash::fast::FixedState;
use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use parquet::file::statistics::Statistics;
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::predicate::Bounds;
use tracewell_model::source::{QueryContext, SourceResult};
use tracewell_model::span::duration_nano;
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeScope, AttributeValue, Column, ContentHash, KeyValue, Predicate};

use super::arrays::{Texts, named};
use super::decode::hashes_of;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, GroupTraces, Shapes, id8};
use super::rest::read_rest_rows;
use super::rows::consecutive;
use super::schema::{Owner, Table};
use crate::scan::{Ask, Columns, LevelRows, Piece, Selection, Values};
use crate::table::{DictionaryBuilder, ResourceEntry, ScopeEntry, SpanTable};

/// Where less than one row in so many is selected, only the pages of those are read.
const SPARSE_ONE_IN: usize = 64;

pub(super) struct GroupColumns<'a> {
    reader: &'a BlockReader,
    group: usize,
    n_spans: usize,
    pub(super) traces: Arc<GroupTraces>,
    shapes: Arc<Shapes>,
    resources: Arc<Vec<Arc<ResourceEntry>>>,
    scopes: Arc<Vec<Arc<ScopeEntry>>>,
    ctx: &'a QueryContext,
}

impl<'a> GroupColumns<'a> {
    pub(super) async fn open(
        reader: &'a BlockReader,
        group: usize,
        ctx: &'a QueryContext,
    ) -> BlockResult<Self> {
        Ok(Self {
            reader,
            group,
            n_spans: reader.group(group)?.spans as usize,
            traces: Arc::clone(reader.traces_of(group, ctx).await?),
            shapes: Arc::clone(reader.shapes(ctx).await?),
            resources: Arc::clone(reader.resources(ctx).await?),
            scopes: Arc::clone(reader.scopes(ctx).await?),
            ctx,
        })
    }

    pub(super) async fn read(
        &self,
        table: Table,
        names: &[&str],
    ) -> BlockResult<Option<RecordBatch>> {
        self.reader
            .columns(self.group, table, names, None, self.ctx)
            .await
    }

    async fn array(&self, table: Table, name: &str) -> BlockResult<Option<ArrayRef>> {
        match self.read(table, &[name]).await? {
            Some(batch) => Ok(Some(Arc::clone(named(&batch, name)?))),
            None => Ok(None),
        }
    }

    /// A column of the spans: whole, or the selected rows where they are few.
    async fn span_piece(&self, name: &str, within: &Selection) -> BlockResult<Option<Piece>> {
        if within.n_selected().saturating_mul(SPARSE_ONE_IN) >= self.n_spans {
            return Ok(self.array(Table::Spans, name).await?.map(Piece::dense));
        }
        let mut rows = Vec::with_capacity(within.n_selected());
        within.for_each(|row| rows.push(row));
        let ranges: Vec<Range<usize>> = consecutive(&rows);
        let select = Some(selection(&ranges, self.n_spans));
        let batch = self
            .reader
            .columns(self.group, Table::Spans, &[name], select, self.ctx)
            .await?;
        let Some(batch) = batch else { return Ok(None) };
        let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
        let array = Arc::clone(named(&batch, name)?);
        Ok(Some(Piece::sparse(rows, Values::Array(array))))
    }

    /// False only if nothing in the chunk can satisfy the predicate.
    async fn may_match(
        &self,
        table: Table,
        name: &str,
        predicate: &Predicate,
    ) -> BlockResult<bool> {
        let Some(row_group) = self.reader.group(self.group)?.row_group(table) else {
            return Ok(false);
        };
        let reader = self.reader.table(table);
        let Some(chunk) = reader.chunk(row_group, name, self.ctx).await? else {
            return Ok(false);
        };
        let bounds = match chunk.statistics() {
            Some(Statistics::ByteArray(statistics)) => statistics
                .min_opt()
                .zip(statistics.max_opt())
                .map(|(min, max)| Bounds::String {
                    min: min.data(),
                    max: max.data(),
                }),
            Some(Statistics::Int64(statistics)) => statistics
                .min_opt()
                .zip(statistics.max_opt())
                .map(|(min, max)| Bounds::Int {
                    min: *min,
                    max: *max,
                }),
            _ => None,
        };
        if bounds.is_some_and(|bounds| !predicate.may_match(bounds)) {
            return Ok(false);
        }
        match predicate.equal_string() {
            Some(text) => {
                reader
                    .may_hold(row_group, name, text.as_bytes(), self.ctx)
                    .await
            }
            None => Ok(true),
        }
    }

    async fn pieces(&self, ask: Ask<'_>) -> BlockResult<Vec<Piece>> {
        match ask.column {
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Span => self.attribute(Owner::Span, key, &ask).await,
                AttributeScope::Event => self.attribute(Owner::Event, key, &ask).await,
                AttributeScope::Link => self.attribute(Owner::Link, key, &ask).await,
                AttributeScope::Resource => Ok(owned(
                    self.resources
                        .iter()
                        .map(|entry| first_value(&entry.resource.attributes, key)),
                )),
                AttributeScope::Instrumentation => Ok(owned(
                    self.scopes
                        .iter()
                        .map(|entry| first_value(&entry.scope.attributes, key)),
                )),
            },
            Column::Intrinsic(intrinsic) => self.intrinsic(*intrinsic, &ask).await,
        }
    }

    async fn intrinsic(&self, intrinsic: Intrinsic, ask: &Ask<'_>) -> BlockResult<Vec<Piece>> {
        let dense = |array: Option<ArrayRef>| array.map(Piece::dense).into_iter().collect();
        let text = |text: &str| AttributeValue::String(text.to_owned());
        let span = |name| self.span_piece(name, ask.within);
        Ok(match intrinsic {
            Intrinsic::Name => {
                if let Some(predicate) = ask.predicate.filter(|_| !ask.presence)
                    && !self.may_match(Table::Spans, "name", predicate).await?
                {
                    return Ok(Vec::new());
                }
                span("name").await?.into_iter().collect()
            }
            Intrinsic::Duration => span("duration_nano").await?.into_iter().collect(),
            Intrinsic::Start => span("start_unix_nano").await?.into_iter().collect(),
            Intrinsic::Kind => span("kind").await?.into_iter().collect(),
            Intrinsic::SpanId => span("span_id").await?.into_iter().collect(),
            Intrinsic::Status => {
                let codes = self.array(Table::Spans, "status_code").await?;
                dense(codes.map(|codes| {
                    let codes = codes
                        .as_primitive::<Int32Type>()
                        .iter()
                        .map(|code| code.unwrap_or(0));
                    Arc::new(Int32Array::from_iter_values(codes)) as ArrayRef
                }))
            }
            Intrinsic::StatusMessage => match self.read(Table::Spans, &["status_message"]).await? {
                Some(batch) => {
                    let texts = Texts::of(&batch, "status_message")?;
                    let texts = (0..batch.num_rows()).map(|row| texts.get(row).unwrap_or_default());
                    dense(Some(Arc::new(StringArray::from_iter_values(texts))))
                }
                None => Vec::new(),
            },
            Intrinsic::ParentId => dense(self.parents().await?),
            Intrinsic::TraceId => dense(Some(self.trace_ids()?)),
            Intrinsic::TraceDuration => {
                let times = self.traces.runs.iter().zip(&self.traces.ends);
                let durations = times.map(|(run, end)| duration_nano(run.start_unix_nano, *end));
                dense(Some(Arc::new(Int64Array::from_iter_values(durations))))
            }
            Intrinsic::RootName => dense(self.array(Table::Traces, "root_name").await?),
            Intrinsic::RootService => dense(self.array(Table::Traces, "root_service").await?),
            Intrinsic::EventName => dense(self.array(Table::Events, "name").await?),
            Intrinsic::EventTimeSinceStart => dense(self.event_times().await?),
            Intrinsic::LinkTraceId => dense(self.array(Table::Links, "trace_id").await?),
            Intrinsic::LinkSpanId => dense(self.array(Table::Links, "span_id").await?),
            Intrinsic::InstrumentationName => {
                owned(self.scopes.iter().map(|entry| text(&entry.scope.name)))
            }
            Intrinsic::InstrumentationVersion => {
                owned(self.scopes.iter().map(|entry| text(&entry.scope.version)))
            }
        })
    }

    async fn parents(&self) -> BlockResult<Option<ArrayRef>> {
        let names = ["span_id", "parent_index", "parent_span_id"];
        let Some(batch) = self.read(Table::Spans, &names).await? else {
            return Ok(None);
        };
        let ids = named(&batch, "span_id")?.as_fixed_size_binary();
        let indexes = named(&batch, "parent_index")?.as_primitive::<Int32Type>();
        let parents = named(&batch, "parent_span_id")?.as_fixed_size_binary();
        let mut bytes = Vec::with_capacity(batch.num_rows() * 8);
        let mut present = Vec::with_capacity(batch.num_rows());
        for run in &self.traces.runs {
            for row in run.range() {
                let parent = if indexes.is_valid(row) {
                    let at = run.from as usize + indexes.value(row) as usize;
                    if !run.range().contains(&at) {
                        return Err(BlockError::malformed(
                            "spans",
                            "parent lies outside of its trace",
                        ));
                    }
                    id8(ids.value(at))
                } else if parents.is_valid(row) {
                    id8(parents.value(row))
                } else {
                    [0; 8]
                };
                bytes.extend_from_slice(&parent);
                present.push(parent != [0; 8]);
            }
        }
        fixed_array(8, bytes, Some(NullBuffer::from(present))).map(Some)
    }

    pub(super) fn trace_ids(&self) -> BlockResult<ArrayRef> {
        let mut bytes = Vec::with_capacity(self.n_spans * 16);
        for run in &self.traces.runs {
            run.range()
                .for_each(|_| bytes.extend_from_slice(&run.trace_id.0));
        }
        fixed_array(16, bytes, None)
    }

    async fn event_times(&self) -> BlockResult<Option<ArrayRef>> {
        let Some(events) = self.read(Table::Events, &["row", "time_unix_nano"]).await? else {
            return Ok(None);
        };
        let Some(starts) = self.array(Table::Spans, "start_unix_nano").await? else {
            return Ok(None);
        };
        let starts = starts.as_primitive::<UInt64Type>().values();
        let rows = named(&events, "row")?.as_primitive::<Int32Type>().values();
        let times = named(&events, "time_unix_nano")?
            .as_primitive::<UInt64Type>()
            .values();
        let since = rows.iter().zip(times).map(|(row, time)| {
            let start = starts.get(*row as usize).copied().unwrap_or_default();
            let since = i128::from(*time) - i128::from(start);
            since.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        });
        Ok(Some(Arc::new(Int64Array::from_iter_values(since))))
    }

    /// The first occurrences of a key: its columns, then what the attribute table holds of them.
    async fn attribute(
        &self,
        owner: Owner,
        key: &Arc<str>,
        ask: &Ask<'_>,
    ) -> BlockResult<Vec<Piece>> {
        let promoted = self.reader.promoted(self.group, owner)?;
        let columns: Vec<_> = promoted
            .into_iter()
            .filter(|(name, _)| name.key == *key)
            .collect();
        let mut types = Vec::new();
        let mut repeats = false;
        for (_, shape, _) in self.shapes.of.iter().filter(|(level, ..)| *level == owner) {
            for entry in shape.entries.iter().filter(|entry| entry.key == *key) {
                match entry.first {
                    true => types.push(entry.value_type),
                    false => repeats = true,
                }
            }
        }
        types.sort_unstable();
        types.dedup();
        let predicate = ask.predicate.filter(|_| !ask.presence);
        let mut pieces = Vec::new();
        for (_, column) in columns
            .iter()
            .filter(|(name, _)| types.contains(&name.value_type))
        {
            if let Some(predicate) = predicate
                && !self.may_match(owner.table(), column, predicate).await?
            {
                continue;
            }
            let piece = match owner {
                Owner::Span => self.span_piece(column, ask.within).await?,
                Owner::Event | Owner::Link => {
                    self.array(owner.table(), column).await?.map(Piece::dense)
                }
            };
            pieces.extend(piece);
        }
        let held = |value_type: &AttributeType| {
            columns
                .iter()
                .any(|(name, _)| name.value_type == *value_type)
        };
        if types
            .iter()
            .any(|value_type| *value_type != AttributeType::Empty && !held(value_type))
        {
            pieces.extend(self.rest(owner, key, repeats, &held).await?);
        }
        Ok(pieces)
    }

    /// First occurrences that lie in the attribute table.
    async fn rest(
        &self,
        owner: Owner,
        key: &Arc<str>,
        repeats: bool,
        held: &(dyn Fn(&AttributeType) -> bool + Sync),
    ) -> BlockResult<Option<Piece>> {
        let group = self.reader.group(self.group)?;
        let Some(row_group) = group.row_group(Table::Attributes) else {
            return Ok(None);
        };
        let n_owners = match group.row_group(owner.table()) {
            Some(row_group) => {
                self.reader
                    .table(owner.table())
                    .n_rows(row_group, self.ctx)
                    .await?
            }
            None => 0,
        };
        let owners = [(owner, (0..n_owners as u32).collect::<Vec<u32>>())];
        let keys = [(owner, Arc::clone(key))];
        let mut dictionary = DictionaryBuilder::new();
        let rest = read_rest_rows(
            self.reader,
            row_group,
            &keys,
            &owners,
            &mut dictionary,
            self.ctx,
        )
        .await?;
        // Where lists repeat the key, the first of an owner's rows here may be a later occurrence.
        let shapes = match repeats {
            true => match self.read(owner.table(), &["shape"]).await? {
                Some(batch) => Some(hashes_of(&batch)?),
                None => None,
            },
            false => None,
        };
        let is_first = |row: u32| match &shapes {
            None => true,
            Some(shapes) => {
                let hash = shapes.get(row as usize).copied().flatten();
                let shape = hash.and_then(|hash| self.shapes.by_hash.get(&hash));
                let entry =
                    shape.and_then(|shape| shape.entries.iter().find(|entry| entry.key == *key));
                entry.is_some_and(|entry| {
                    entry.value_type != AttributeType::Empty && !held(&entry.value_type)
                })
            }
        };
        let dictionary = dictionary.dictionary();
        let mut one = SpanTable::default();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for ((row, value_type), value) in rest.rows.iter().zip(&rest.types).zip(&rest.values) {
            if rows.last() == Some(row) || !is_first(*row) {
                continue;
            }
            one.attributes
                .push(crate::table::StringCode::default(), *value_type, *value);
            let value = one.attribute_value(&dictionary, one.attributes.len() - 1);
            values.push(
                value.map_err(|error| BlockError::malformed("attributes", error.to_string()))?,
            );
            rows.push(*row);
        }
        Ok(Some(Piece::sparse(rows, Values::Owned(values))))
    }

    async fn level_rows(&self, level: ColumnLevel) -> BlockResult<LevelRows> {
        Ok(match level {
            ColumnLevel::Span => LevelRows::Spans,
            ColumnLevel::Trace => {
                let mut rows = Vec::with_capacity(self.n_spans);
                for (number, run) in self.traces.runs.iter().enumerate() {
                    rows.extend(std::iter::repeat_n(number as u32, run.range().len()));
                }
                LevelRows::Shared {
                    n: self.traces.runs.len(),
                    rows: rows.into(),
                }
            }
            ColumnLevel::Resource => {
                let numbers = self.resources.iter().map(|entry| entry.hash);
                self.numbered("resource", numbers).await?
            }
            ColumnLevel::Instrumentation => {
                let numbers = self.scopes.iter().map(|entry| entry.hash);
                self.numbered("scope", numbers).await?
            }
            ColumnLevel::Event => LevelRows::Owned {
                owners: self.owners(Table::Events).await?,
            },
            ColumnLevel::Link => LevelRows::Owned {
                owners: self.owners(Table::Links).await?,
            },
        })
    }

    async fn owners(&self, table: Table) -> BlockResult<ScalarBuffer<u32>> {
        let rows = self.array(table, "row").await?;
        Ok(rows
            .iter()
            .flat_map(|rows| {
                rows.as_primitive::<Int32Type>()
                    .values()
                    .iter()
                    .map(|row| *row as u32)
            })
            .collect())
    }

    async fn numbered(
        &self,
        name: &str,
        hashes: impl Iterator<Item = ContentHash>,
    ) -> BlockResult<LevelRows> {
        let numbers: HashMap<ContentHash, u32, FixedState> = hashes.zip(0u32..).collect();
        let mut rows = Vec::with_capacity(self.n_spans);
        if let Some(array) = self.array(Table::Spans, name).await? {
            let array = array.as_fixed_size_binary();
            let mut last: Option<(&[u8], u32)> = None;
            for row in 0..array.len() {
                let hash = array.value(row);
                let number = match last {
                    Some((same, number)) if same == hash => number,
                    _ => {
                        let found = numbers.get(&ContentHash(super::read::id16(hash)));
                        *found
                            .ok_or_else(|| BlockError::malformed(name, "is named and not listed"))?
                    }
                };
                last = Some((hash, number));
                rows.push(number);
            }
        }
        Ok(LevelRows::Shared {
            n: numbers.len(),
            rows: rows.into(),
        })
    }
}

impl Columns for GroupColumns<'_> {
    fn n_spans(&self) -> usize {
        self.n_spans
    }

    fn level(&self, level: ColumnLevel) -> BoxFuture<'_, SourceResult<LevelRows>> {
        async move {
            self.level_rows(level)
                .await
                .map_err(|error| self.reader.source_error(error))
        }
        .boxed()
    }

    fn column<'b>(&'b self, ask: Ask<'b>) -> BoxFuture<'b, SourceResult<Vec<Piece>>> {
        async move {
            self.pieces(ask)
                .await
                .map_err(|error| self.reader.source_error(error))
        }
        .boxed()
    }
}

fn owned(values: impl Iterator<Item = AttributeValue>) -> Vec<Piece> {
    let values: Vec<AttributeValue> = values.collect();
    vec![Piece {
        rows: crate::scan::PieceRows::Dense,
        values: Values::Owned(values),
    }]
}

fn first_value(list: &[KeyValue], key: &str) -> AttributeValue {
    let found = list.iter().find(|attribute| attribute.key == key);
    found
        .map(|attribute| attribute.value.clone())
        .unwrap_or_default()
}

fn fixed_array(width: i32, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> BlockResult<ArrayRef> {
    FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| BlockError::malformed("ids", error.to_string()))
}
