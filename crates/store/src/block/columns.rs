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
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer};
use foldhash::fast::FixedState;
use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tokio::sync::OnceCell;
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::{QueryContext, SourceResult};
use tracewell_model::span::duration_nano;
use tracewell_model::value::AttributeType;
use tracewell_model::{
    AttributeScope, AttributeValue, Column, ContentHash, KeyValue, Leaf, Predicate, Value,
};

use super::arrays::{Texts, named};
use super::decode::hashes_of;
use super::entities::Entities;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::keys::FirstTypes;
use super::meta::GroupMeta;
use super::page::CodeTable;
use super::prune::{page_bounds, text_test};
use super::read::{BlockReader, GroupTraces, id8, id16};
use super::rest::read_rest_rows;
use super::rows::consecutive;
use super::schema::{Owner, PromotedKey, Table};
use super::shape::Shapes;
use crate::scan::{Ask, Columns, LevelRows, Piece, Selection, Values};
use crate::table::{DictionaryBuilder, ResourceEntry, ScopeEntry, SpanTable};

/// Where less than one row in so many is selected, only the pages of those are read.
const DENSE_ONE_IN: usize = 64;

pub(super) struct GroupColumns<'a> {
    reader: &'a BlockReader,
    group: usize,
    n_spans: usize,
    traces: OnceCell<Arc<GroupTraces>>,
    resources: OnceCell<Arc<Entities<ResourceEntry>>>,
    scopes: OnceCell<Arc<Entities<ScopeEntry>>>,
    ctx: &'a QueryContext,
}

impl<'a> GroupColumns<'a> {
    pub(super) fn open(
        reader: &'a BlockReader,
        group: usize,
        ctx: &'a QueryContext,
    ) -> BlockResult<Self> {
        Ok(Self {
            reader,
            group,
            n_spans: reader.group(group)?.spans as usize,
            traces: OnceCell::new(),
            resources: OnceCell::new(),
            scopes: OnceCell::new(),
            ctx,
        })
    }

    pub(super) fn reader(&self) -> &BlockReader {
        self.reader
    }

    pub(super) fn ctx(&self) -> &QueryContext {
        self.ctx
    }

    pub(super) fn group(&self) -> BlockResult<&GroupMeta> {
        self.reader.group(self.group)
    }

    /// The resources that the group names, read when they are first asked for.
    pub(super) async fn resources(&self) -> BlockResult<&[Arc<ResourceEntry>]> {
        let read = || self.reader.entities(self.group, self.ctx);
        Ok(&self.resources.get_or_try_init(read).await?.entries)
    }

    /// The same of scopes.
    pub(super) async fn scopes(&self) -> BlockResult<&[Arc<ScopeEntry>]> {
        let read = || self.reader.entities(self.group, self.ctx);
        Ok(&self.scopes.get_or_try_init(read).await?.entries)
    }

    /// The shapes of the group that have one of some hashes, and perhaps others.
    pub(super) async fn shapes(
        &self,
        wanted: impl IntoIterator<Item = ContentHash>,
    ) -> BlockResult<Arc<Shapes>> {
        self.reader.shapes(self.group, wanted, self.ctx).await
    }

    /// The trace rows, read when they are first asked for.
    pub(super) async fn traces(&self) -> BlockResult<&GroupTraces> {
        let read = || self.reader.traces_of(self.group, self.ctx);
        Ok(self.traces.get_or_try_init(read).await?)
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

    /// A column of the spans: the bits of the condition if its pages can say them, or its values,
    /// whole or of the selected rows where they are few.
    async fn span_piece(&self, name: &str, ask: &Ask<'_>) -> BlockResult<Option<Piece>> {
        if let Some(predicate) = ask.predicate.filter(|_| !ask.presence) {
            let kind = ArrayKind::of(ask.column);
            let bits = self.bits(Table::Spans, name, predicate, (kind, false), ask.within);
            if let Some(bits) = bits.await? {
                return Ok(Some(evaluated(bits)));
            }
        }
        let is_signed = *ask.column != Column::Intrinsic(Intrinsic::Start);
        let within = match ask.predicate.filter(|_| !ask.presence && is_signed) {
            Some(predicate) => self.narrowed(name, predicate, ask.within).await?,
            None => ask.within.clone(),
        };
        let n_selected = within.n_selected();
        if n_selected.saturating_mul(DENSE_ONE_IN) >= self.n_spans {
            return Ok(self.array(Table::Spans, name).await?.map(Piece::dense));
        }
        let mut rows = Vec::with_capacity(n_selected);
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

    /// Without the pages whose bounds exclude a match.
    async fn narrowed(
        &self,
        name: &str,
        predicate: &Predicate,
        within: &Selection,
    ) -> BlockResult<Selection> {
        let Some(row_group) = self.reader.group(self.group)?.row_group(Table::Spans) else {
            return Ok(within.clone());
        };
        let mut may_match = |bounds: &ColumnIndexMetaData, page: usize| {
            page_bounds(bounds, page).is_none_or(|bounds| predicate.may_match(bounds))
        };
        let table = self.reader.table(Table::Spans);
        let pages = table.pages(row_group, name, self.ctx, &mut may_match);
        let pages = pages.await?;
        if pages.iter().map(ExactSizeIterator::len).sum::<usize>() == self.n_spans {
            return Ok(within.clone());
        }
        let mut bits = BooleanBufferBuilder::new(self.n_spans);
        for range in pages {
            bits.append_n(range.start.saturating_sub(bits.len()), false);
            bits.append_n(range.end.saturating_sub(bits.len()), true);
        }
        bits.append_n(self.n_spans.saturating_sub(bits.len()), false);
        Ok(Selection::of(within.mask(bits.finish())))
    }

    /// The bits of a condition on a column, one per row of the table, if its pages can say them. What
    /// the numbers mean, and the bit of a null, come together. `within` is over the spans.
    pub(super) async fn bits(
        &self,
        table: Table,
        name: &str,
        predicate: &Predicate,
        (kind, when_null): (ArrayKind, bool),
        within: &Selection,
    ) -> BlockResult<Option<BooleanBuffer>> {
        let Some(row_group) = self.reader.group(self.group)?.row_group(table) else {
            return Ok(None);
        };
        let reader = self.reader.table(table);
        let Some(chunk) = reader.flat_chunk(row_group, name, self.ctx).await? else {
            return Ok(None);
        };
        let within = match table {
            Table::Spans if chunk.n_rows() == within.n_rows() => within.clone(),
            Table::Spans => return Err(BlockError::malformed("spans", "are not as many as said")),
            _ => Selection::all(chunk.n_rows()),
        };
        if let Some(entries) = reader.dictionary(&chunk, self.ctx).await? {
            let hits = CodeTable::new(&predicate.evaluate(&entries, kind), when_null);
            let bits = reader.code_bits(&chunk, &hits, &within, self.ctx);
            return bits.await.map(Some);
        }
        if when_null || kind != ArrayKind::Plain {
            return Ok(None);
        }
        let mut test = text_test(predicate);
        reader.text_bits(&chunk, &mut test, &within, self.ctx).await
    }

    async fn pieces(&self, ask: Ask<'_>) -> BlockResult<Vec<Piece>> {
        match ask.column {
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Span => self.attribute(Owner::Span, key, &ask).await,
                AttributeScope::Event => self.attribute(Owner::Event, key, &ask).await,
                AttributeScope::Link => self.attribute(Owner::Link, key, &ask).await,
                AttributeScope::Resource => Ok(owned(
                    self.resources()
                        .await?
                        .iter()
                        .map(|entry| first_owned(&entry.resource.attributes, key)),
                )),
                AttributeScope::Instrumentation => Ok(owned(
                    self.scopes()
                        .await?
                        .iter()
                        .map(|entry| first_owned(&entry.scope.attributes, key)),
                )),
            },
            Column::Intrinsic(intrinsic) => self.intrinsic(*intrinsic, &ask).await,
            Column::OfParent(_) => Ok(Vec::new()),
        }
    }

    async fn intrinsic(&self, intrinsic: Intrinsic, ask: &Ask<'_>) -> BlockResult<Vec<Piece>> {
        let dense = |array: Option<ArrayRef>| array.map(Piece::dense).into_iter().collect();
        let text = |text: &str| AttributeValue::String(text.to_owned());
        let span = |name| self.span_piece(name, ask);
        Ok(match intrinsic {
            Intrinsic::Name => {
                if let Some(predicate) = ask.predicate.filter(|_| !ask.presence)
                    && !self
                        .may_match(Table::Spans, "name", predicate, ArrayKind::Plain)
                        .await?
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
                if let Some(predicate) = ask.predicate.filter(|_| !ask.presence) {
                    let unset = predicate.matches(Value::Status(0));
                    let how = (ArrayKind::Status, unset);
                    let bits = self.bits(Table::Spans, "status_code", predicate, how, ask.within);
                    if let Some(bits) = bits.await? {
                        return Ok(vec![evaluated(bits)]);
                    }
                }
                let codes = self.array(Table::Spans, "status_code").await?;
                dense(codes.map(|codes| {
                    let codes = codes
                        .as_primitive::<Int32Type>()
                        .iter()
                        .map(|code| code.unwrap_or(0));
                    Arc::new(Int32Array::from_iter_values(codes)) as ArrayRef
                }))
            }
            Intrinsic::StatusMessage => dense(self.status_messages().await?),
            Intrinsic::ParentId => dense(self.parents().await?),
            Intrinsic::TraceId => dense(Some(self.trace_ids().await?)),
            Intrinsic::TraceDuration => {
                let traces = self.traces().await?;
                let times = traces.runs.iter().zip(&traces.ends);
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
                let scopes = self.scopes().await?.iter();
                owned(scopes.map(|entry| text(&entry.scope.name)))
            }
            Intrinsic::InstrumentationVersion => {
                let scopes = self.scopes().await?.iter();
                owned(scopes.map(|entry| text(&entry.scope.version)))
            }
            Intrinsic::ChildCount
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Vec::new(),
        })
    }

    async fn status_messages(&self) -> BlockResult<Option<ArrayRef>> {
        let Some(batch) = self.read(Table::Spans, &["status_message"]).await? else {
            return Ok(None);
        };
        let texts = Texts::of(&batch, "status_message")?;
        let texts = (0..batch.num_rows()).map(|row| texts.get(row).unwrap_or_default());
        Ok(Some(Arc::new(StringArray::from_iter_values(texts))))
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
        for run in &self.traces().await?.runs {
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

    async fn trace_ids(&self) -> BlockResult<ArrayRef> {
        let mut bytes = Vec::with_capacity(self.n_spans * 16);
        for run in &self.traces().await?.runs {
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

    /// The promoted columns of a key in this group.
    pub(super) fn columns_of(
        &self,
        owner: Owner,
        key: &str,
    ) -> BlockResult<Vec<(PromotedKey, String)>> {
        self.reader
            .promoted_keys(self.group, owner, |name| name == key)
    }

    /// The first occurrences of a key: its columns, then what the attribute table holds of them.
    async fn attribute(
        &self,
        owner: Owner,
        key: &Arc<str>,
        ask: &Ask<'_>,
    ) -> BlockResult<Vec<Piece>> {
        let columns = self.columns_of(owner, key)?;
        let types = FirstTypes::of(self.reader.meta(), owner, key);
        let predicate = ask.predicate.filter(|_| !ask.presence);
        let mut pieces = Vec::new();
        for (_, column) in columns
            .iter()
            .filter(|(name, _)| types.may_be(name.value_type))
        {
            if let Some(predicate) = predicate
                && !self
                    .may_match(owner.table(), column, predicate, ArrayKind::Plain)
                    .await?
            {
                continue;
            }
            let piece = match owner {
                Owner::Span => self.span_piece(column, ask).await?,
                Owner::Event | Owner::Link => {
                    let bits = match predicate {
                        Some(predicate) => {
                            let how = (ArrayKind::Plain, false);
                            let bits = self.bits(owner.table(), column, predicate, how, ask.within);
                            bits.await?
                        }
                        None => None,
                    };
                    match bits {
                        Some(bits) => Some(evaluated(bits)),
                        None => self.array(owner.table(), column).await?.map(Piece::dense),
                    }
                }
            };
            pieces.extend(piece);
        }
        let held = |value_type| {
            let mut columns = columns.iter();
            columns.any(|(name, _)| name.value_type == value_type)
        };
        if types.may_be_beside(held) {
            pieces.extend(self.rest(owner, key, types.repeats, &held).await?);
        }
        Ok(pieces)
    }

    /// First occurrences that lie in the attribute table.
    async fn rest(
        &self,
        owner: Owner,
        key: &Arc<str>,
        repeats: bool,
        held: &(dyn Fn(AttributeType) -> bool + Sync),
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
        let numbers: Vec<u32> = (0..n_owners as u32).collect();
        let owners = [(owner, numbers.as_slice())];
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
        if rest.rows.is_empty() {
            return Ok(None);
        }
        // Where lists repeat the key, the first of an owner's rows here may be a later occurrence.
        let first = match repeats {
            true => Some(self.first_types(owner, key, &rest.rows).await?),
            false => None,
        };
        let is_first = |at: usize| match &first {
            None => true,
            Some(first) => {
                let first = first.get(at).copied().flatten();
                first.is_some_and(|first| first != AttributeType::Empty && !held(first))
            }
        };
        let dictionary = dictionary.dictionary();
        let mut one = SpanTable::default();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let values_of = rest.rows.iter().zip(&rest.types).zip(&rest.values);
        for (at, ((row, value_type), value)) in values_of.enumerate() {
            if rows.last() == Some(row) || !is_first(at) {
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

    /// The type of the first occurrence of a key in the lists of some owners.
    async fn first_types(
        &self,
        owner: Owner,
        key: &Arc<str>,
        rows: &[u32],
    ) -> BlockResult<Vec<Option<AttributeType>>> {
        let Some(batch) = self.read(owner.table(), &["shape"]).await? else {
            return Ok(Vec::new());
        };
        let hashes = hashes_of(&batch)?;
        let hashes = rows.iter().map(|row| hashes.get(*row as usize).copied()?);
        let hashes: Vec<Option<ContentHash>> = hashes.collect();
        let shapes = self.shapes(hashes.iter().copied().flatten()).await?;
        let first = |hash: Option<ContentHash>| {
            let mut entries = shapes.by_hash.get(&hash?)?.entries.iter();
            let entry = entries.find(|entry| entry.key == *key)?;
            Some(entry.value_type)
        };
        Ok(hashes.into_iter().map(first).collect())
    }

    async fn level_rows(&self, level: ColumnLevel) -> BlockResult<LevelRows> {
        Ok(match level {
            ColumnLevel::Span | ColumnLevel::Tree => LevelRows::Spans,
            ColumnLevel::Trace => {
                let traces = self.traces().await?;
                let mut rows = Vec::with_capacity(self.n_spans);
                for (number, run) in traces.runs.iter().enumerate() {
                    rows.extend(std::iter::repeat_n(number as u32, run.range().len()));
                }
                LevelRows::Shared {
                    n: traces.runs.len(),
                    rows: rows.into(),
                }
            }
            ColumnLevel::Resource => {
                let numbers = self.resources().await?.iter().map(|entry| entry.hash);
                self.numbered("resource", numbers).await?
            }
            ColumnLevel::Instrumentation => {
                let numbers = self.scopes().await?.iter().map(|entry| entry.hash);
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
        let unlisted = || BlockError::malformed(name, "is named and not listed");
        let number = |hash: &[u8]| numbers.get(&ContentHash(id16(hash))).copied();
        let mut rows = Vec::with_capacity(self.n_spans);
        if let Some((chunk, entries)) = self.hashes(name).await? {
            let of_code: Vec<Option<u32>> = entries.iter().flatten().map(number).collect();
            let all = Selection::all(self.n_spans);
            let table = self.reader.table(Table::Spans);
            for code in table.codes(&chunk, &all, self.ctx).await? {
                let number = of_code.get(code as usize).copied().flatten();
                rows.push(number.ok_or_else(unlisted)?);
            }
        } else if let Some(array) = self.array(Table::Spans, name).await? {
            for hash in array.as_fixed_size_binary().iter() {
                rows.push(hash.and_then(number).ok_or_else(unlisted)?);
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

    fn span_bits<'b>(
        &'b self,
        leaf: &'b Leaf,
        within: &'b Selection,
    ) -> BoxFuture<'b, SourceResult<Option<BooleanBuffer>>> {
        async move {
            self.entity_bits(leaf, within)
                .await
                .map_err(|error| self.reader.source_error(error))
        }
        .boxed()
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

fn evaluated(bits: BooleanBuffer) -> Piece {
    Piece {
        rows: crate::scan::PieceRows::Dense,
        values: Values::Evaluated(bits),
    }
}

pub(super) fn first_value<'v>(list: &'v [KeyValue], key: &str) -> Value<'v> {
    let found = list.iter().find(|attribute| attribute.key == key);
    found.map_or(Value::Nil, |attribute| attribute.value.as_value())
}

fn first_owned(list: &[KeyValue], key: &str) -> AttributeValue {
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
