//! Interim: the block format that the store's own tests use, until the Parquet blocks of
//! `tracewell_store::block` implement `BlockFormat` (#3). It keeps what it is given and reads it back
//! whole; it is neither small nor fast, and nothing of it will be read by a release.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code that goes when the real format comes"
)]

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tracewell_model::sink::LogPosition;
use tracewell_model::source::*;
use tracewell_model::{Span, TenantId, Trace, TraceId};
use tracewell_store::codec::*;
use tracewell_store::error::{StoreError, StoreResult};
use tracewell_store::head::{GenerationSnapshot, Head, HeadOptions, NoBlocks};
use tracewell_store::manifest::{BlockEntry, BlockFile};
use tracewell_store::partition::Bounds;
use tracewell_store::shared::SharedTraces;
use tracewell_store::table::{Dictionary, RowAddress, SpanTable};

const FILE: &str = "spans.plain";
/// Rows of a sealed batch of the head.
const BATCH_ROWS: usize = 8_192;

#[derive(Debug)]
pub(super) struct PlainFormat;

#[derive(Debug)]
struct PlainWriter {
    target: BlockTarget,
    groups: Vec<Vec<(TenantId, Span)>>,
}

#[derive(Debug)]
struct PlainReader {
    inner: Arc<GenerationSnapshot>,
    shared: Arc<SharedTraces>,
    groups: Vec<Vec<(TenantId, Span)>>,
}

impl BlockFormat for PlainFormat {
    fn version(&self) -> u16 {
        1
    }

    fn create(&self, target: BlockTarget) -> StoreResult<Box<dyn BlockWriter>> {
        Ok(Box::new(PlainWriter {
            target,
            groups: Vec::new(),
        }))
    }

    fn open<'a>(
        &'a self,
        objects: &'a Arc<dyn ObjectStore>,
        folder: Path,
        entry: &'a BlockEntry,
    ) -> BoxFuture<'a, StoreResult<Arc<dyn BlockReader>>> {
        async move {
            let failed = |reason: String| StoreError::Block {
                id: entry.id,
                reason,
            };
            let path = folder.join(FILE);
            let read = async { objects.get(&path).await?.bytes().await };
            let bytes = read.await.map_err(|e| failed(e.to_string()))?;
            if entry.files.iter().map(|file| file.bytes).sum::<u64>() != bytes.len() as u64 {
                return Err(failed("length".to_owned()));
            }
            let reader = decode(bytes).ok_or_else(|| failed("checksum".to_owned()))?;
            Ok(Arc::new(reader) as Arc<dyn BlockReader>)
        }
        .boxed()
    }
}

impl BlockWriter for PlainWriter {
    fn group<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, StoreResult<()>> {
        let tenants = &rows.dictionary.tenants;
        let spans = rows.order.iter().map(|&row| {
            let row = row as usize;
            let tenant = usize::from(rows.table.spans.tenant[row]);
            let span = rows.table.span(rows.dictionary, row).unwrap();
            (tenants[tenant].clone(), span)
        });
        self.groups.push(spans.collect());
        async { Ok(()) }.boxed()
    }

    fn finish(
        self: Box<Self>,
        shared: Option<Vec<TraceId>>,
    ) -> BoxFuture<'static, StoreResult<Written>> {
        async move {
            let mut written = Written {
                spans: 0,
                traces: 0,
                trace_start: Bounds::NONE,
                span_start: Bounds::NONE,
                files: Vec::new(),
            };
            for group in &self.groups {
                for run in group.chunk_by(|a, b| (&a.0, a.1.trace_id) == (&b.0, b.1.trace_id)) {
                    let starts = run.iter().map(|(_, span)| span.start_unix_nano);
                    let first = starts.clone().min().unwrap();
                    written.traces += 1;
                    written.spans += run.len() as u64;
                    written.trace_start = written.trace_start.with(Bounds(first, first));
                    written.span_start = starts.fold(written.span_start, |bounds, start| {
                        bounds.with(Bounds(start, start))
                    });
                }
            }
            let bytes = encode(&self.groups, shared);
            written.files.push(BlockFile {
                name: FILE.to_owned(),
                bytes: bytes.len() as u64,
            });
            let path = self.target.folder.clone().join(FILE);
            let options = PutOptions::from(PutMode::Create);
            self.target
                .objects
                .put_opts(&path, bytes.into(), options)
                .await
                .map_err(|source| StoreError::Object {
                    action: "create",
                    path: path.to_string(),
                    source,
                })?;
            Ok(written)
        }
        .boxed()
    }
}

fn encode(groups: &[Vec<(TenantId, Span)>], shared: Option<Vec<TraceId>>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend((groups.len() as u32).to_le_bytes());
    for group in groups {
        out.extend((group.len() as u32).to_le_bytes());
        for (tenant, span) in group {
            out.push(tenant.as_str().len() as u8);
            out.extend(tenant.as_str().as_bytes());
            let body = tracewell_wire::otlp::encode_spans([span]);
            out.extend((body.len() as u32).to_le_bytes());
            out.extend(body);
        }
    }
    out.push(u8::from(shared.is_none()));
    let shared = shared.unwrap_or_default();
    out.extend((shared.len() as u32).to_le_bytes());
    shared.iter().for_each(|id| out.extend(id.0));
    let sum = crc32c::crc32c(&out);
    out.extend(sum.to_le_bytes());
    out
}

fn decode(bytes: Bytes) -> Option<PlainReader> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = bytes.slice(..bytes.len() - 4);
    let head = whole_head();
    let mut groups = Vec::new();
    let mut position = 0;
    for _ in 0..rest.get_u32_le() {
        let mut group = Vec::new();
        for _ in 0..rest.get_u32_le() {
            let n = usize::from(rest.get_u8());
            let tenant = rest.split_to(n);
            let tenant = TenantId::new(std::str::from_utf8(&tenant).ok()?).ok()?;
            let n = rest.get_u32_le() as usize;
            let body = rest.split_to(n);
            let batch = tracewell_wire::otlp::decode_stored(tenant.clone(), body).ok()?;
            head.append(&batch.batch, LogPosition(position), 0, &NoBlocks);
            position += 1;
            let span = tracewell_wire::otlp::spans_of(&batch.batch).pop()?;
            group.push((tenant, span));
        }
        groups.push(group);
    }
    let all = rest.get_u8() == 1;
    let ids: Vec<TraceId> = (0..rest.get_u32_le())
        .map(|_| {
            let mut id = [0; 16];
            rest.copy_to_slice(&mut id);
            TraceId(id)
        })
        .collect();
    Some(PlainReader {
        inner: head.pin_with(|| ()).0.pop()?,
        shared: Arc::new(SharedTraces::new((!all).then_some(ids))),
        groups,
    })
}

fn whole_head() -> Head {
    let options = HeadOptions {
        generation_bytes: u64::MAX,
        head_bytes: u64::MAX,
        max_block_duration: std::time::Duration::MAX,
    };
    Head::new(options, LogPosition(0))
}

impl BlockReader for PlainReader {
    fn shared(&self) -> &Arc<SharedTraces> {
        &self.shared
    }

    fn may_contain_of_any(&self, id: TraceId) -> bool {
        let mut spans = self.groups.iter().flatten();
        spans.any(|(_, span)| span.trace_id == id)
    }

    fn n_groups(&self) -> usize {
        self.groups.len()
    }

    fn group_traces(&self, group: usize) -> BoxFuture<'_, StoreResult<Vec<GroupTrace>>> {
        let mut first_row = 0;
        let traces = self.groups[group]
            .chunk_by(|a, b| (&a.0, a.1.trace_id) == (&b.0, b.1.trace_id))
            .map(|run| {
                let trace = GroupTrace {
                    tenant: run[0].0.clone(),
                    trace_id: run[0].1.trace_id,
                    start_unix_nano: run.iter().map(|(_, s)| s.start_unix_nano).min().unwrap(),
                    first_row,
                    n_rows: run.len() as u32,
                };
                first_row += run.len() as u32;
                trace
            })
            .collect();
        async { Ok(traces) }.boxed()
    }

    fn group(&self, group: usize) -> BoxFuture<'_, StoreResult<(SpanTable, Dictionary)>> {
        let head = whole_head();
        for (row, (tenant, span)) in self.groups[group].iter().enumerate() {
            let body = Bytes::from(tracewell_wire::otlp::encode_spans([span]));
            let decoded = tracewell_wire::otlp::decode_stored(tenant.clone(), body).unwrap();
            head.append(&decoded.batch, LogPosition(row as u64), 0, &NoBlocks);
        }
        let snapshot = head.pin_with(|| ()).0.pop().unwrap();
        let rows: Vec<RowAddress> = (0..self.groups[group].len())
            .map(|row| RowAddress {
                table: (row / BATCH_ROWS) as u32,
                row: (row % BATCH_ROWS) as u32,
            })
            .collect();
        let read = (snapshot.table(&rows), snapshot.dictionary().clone());
        async { Ok(read) }.boxed()
    }
}

impl SpanSource for PlainReader {
    fn summary(&self) -> &SourceSummary {
        self.inner.summary()
    }

    fn leaves(
        &self,
        query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        self.inner.leaves(query, ctx)
    }

    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        self.inner.traces(tenant, ids, ctx)
    }

    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        self.inner.fetch(tenant, ids, ctx)
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        self.inner.keys(query, ctx)
    }

    fn may_contain(&self, tenant: &TenantId, id: TraceId) -> bool {
        self.inner.may_contain(tenant, id)
    }
}
