//! Any bytes as one file of a block, the others as they were written: opening and reading everything
//! ends, with an error or without. The first byte chooses the file, and whether the sums of the
//! block are made to agree with it, so that damage which no checksum sees is read as well.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tracewell_model::source::{LeafQuery, QueryContext, SpanSource, TraceSet};
use tracewell_model::{Filter, TenantId, TimeRange, TraceId};
use tracewell_store::block::{BlockReader, BlockSource};
use tracewell_store::manifest::BlockId;

macro_rules! golden {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!(
            "../../crates/store/tests/golden/block_v1/a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0/",
            $name
        )).as_slice())),*]
    };
}

const META: usize = 0;
const CHECKSUMS: usize = 1;
const SHARED: usize = 2;
const FILES: [(&str, &[u8]); 11] = golden![
    "meta.json",
    "checksums",
    "shared",
    "spans.parquet",
    "traces.parquet",
    "events.parquet",
    "links.parquet",
    "attributes.parquet",
    "resources.parquet",
    "scopes.parquet",
    "shapes.parquet"
];
const ID: BlockId = BlockId([0xa0; 16]);

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let mut files: Vec<Vec<u8>> = FILES.iter().map(|(_, bytes)| bytes.to_vec()).collect();
    let file = usize::from(*choice & 0x7f) % FILES.len();
    files[file] = bytes.to_vec();
    if choice & 0x80 != 0 {
        seal(&mut files, file);
    }
    futures::executor::block_on(read(&files));
});

/// Makes checksums and the description agree with the changed file.
fn seal(files: &mut [Vec<u8>], changed: usize) {
    if changed == META {
        let Some(end) = files[META].iter().position(|byte| *byte == b'\n') else {
            return;
        };
        let members = files[META].split_off(end + 1);
        files[META] = format!("{{\"crc32c\":\"{:08x}\",\n", crc32c::crc32c(&members)).into_bytes();
        files[META].extend(members);
        return;
    }
    if changed == SHARED && files[SHARED].len() >= 4 {
        let end = files[SHARED].len() - 4;
        let sum = crc32c::crc32c(&files[SHARED][..end]);
        files[SHARED][end..].copy_from_slice(&sum.to_le_bytes());
    }
    if changed > SHARED {
        let tables = &files[SHARED + 1..];
        let mut sums = b"TWCHECKS".to_vec();
        sums.extend(1u32.to_le_bytes());
        sums.extend((tables.len() as u32).to_le_bytes());
        for ((name, _), bytes) in FILES[SHARED + 1..].iter().zip(tables) {
            sums.extend((name.len() as u32).to_le_bytes());
            sums.extend(name.as_bytes());
            sums.extend((bytes.len() as u64).to_le_bytes());
            sums.extend(1u32.to_le_bytes());
            sums.extend((bytes.len() as u32).to_le_bytes());
            sums.extend(crc32c::crc32c(bytes).to_le_bytes());
        }
        files[CHECKSUMS] = sums;
    }
    let text = &FILES[META].1;
    let from = text.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let members = [b"{".as_slice(), &text[from + 1..]].concat();
    let mut meta: serde_json::Value = serde_json::from_slice(&members).expect("golden");
    for (name, index) in [("checksums", CHECKSUMS), ("shared", SHARED)] {
        meta[name]["bytes"] = files[index].len().into();
        meta[name]["crc32c"] = format!("{:08x}", crc32c::crc32c(&files[index])).into();
    }
    for table in meta["tables"].as_array_mut().into_iter().flatten() {
        let name = table["file"].as_str().unwrap_or_default().to_owned();
        let Some(index) = FILES.iter().position(|(file, _)| *file == name) else {
            continue;
        };
        let bytes = &files[index];
        table["bytes"] = bytes.len().into();
        // The footer as the file itself states it: its length, and eight bytes behind it.
        if index == changed
            && let Some([a, b, c, d, ..]) = bytes.last_chunk::<8>()
        {
            let footer = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + 8;
            table["footer_bytes"] = footer.min(bytes.len() as u64).into();
        }
    }
    let members = meta.to_string();
    let members = &members[1..];
    let sum = crc32c::crc32c(members.as_bytes());
    files[META] = format!("{{\"crc32c\":\"{sum:08x}\",\n{members}").into_bytes();
}

async fn read(files: &[Vec<u8>]) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let root = Path::from("blocks");
    for ((name, _), bytes) in FILES.iter().zip(files) {
        let path = root.clone().join(ID.to_string()).join(*name);
        store
            .put(&path, bytes.clone().into())
            .await
            .expect("memory takes it");
    }
    let Ok(reader) = BlockReader::open(store, &root, ID, Arc::default()).await else {
        return;
    };
    let _ = reader.load_filters().await;
    let _ = reader.inspect().await;
    drop(reader.verify().await);
    let Ok(source) = BlockSource::new(Arc::new(reader)) else {
        return;
    };
    let query = LeafQuery {
        tenant: TenantId::single(),
        filters: Arc::from([Filter::Constant(true)]),
        window: TimeRange::ALL,
        only: None,
        fragment_filters: None,
        also: TraceSet::none(),
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let ctx = QueryContext::unlimited();
    let mut ids: Vec<TraceId> = Vec::new();
    let mut batches = source.leaves(query, ctx.clone());
    while let Some(Ok(batch)) = futures::StreamExt::next(&mut batches).await {
        ids.extend(batch.traces.iter().map(|run| run.trace_id));
        ids.extend(&batch.shared);
    }
    ids.sort_unstable();
    ids.dedup();
    let _ = source.traces(&TenantId::single(), &ids, ctx.clone()).await;
    let _ = source.fetch(&TenantId::single(), &ids, ctx).await;
}
