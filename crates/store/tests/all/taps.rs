//! Taps see every acknowledged batch, once in a process and in the order of the log; after a crash
//! those that no block holds come again, marked.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use tracewell_model::Clock;
use tracewell_model::SpanBatch;
use tracewell_model::sink::{Seen, SpanTap};
use tracewell_store::Store;
use tracewell_store::block::ParquetFormat;
use tracewell_store::disk::Disk;
use tracewell_store::objects::DiskObjects;
use tracewell_testkit::{FakeClock, RecordingDisk};

use crate::world::*;

const SEEDS: u64 = 24;

/// What came, by the bodies, of which no two are equal.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(Bytes, Seen)>>);

impl SpanTap for Recorder {
    fn accepted(&self, batch: &SpanBatch, seen: Seen) {
        self.0.lock().push((batch.body.clone(), seen));
    }
}

async fn open(disk: RecordingDisk, clock: &Arc<FakeClock>, n: u128) -> (World, Arc<Recorder>) {
    let tap = Arc::new(Recorder::default());
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let objects = DiskObjects::open(Arc::clone(&disk), "/data/objects").unwrap();
    let mut config = small_config(n);
    config.limits.memory_bytes = 128 << 10;
    let (store, _) = Store::open(
        config,
        Arc::new(ParquetFormat::default()),
        disk,
        Arc::new(objects),
        Arc::clone(clock) as Arc<dyn Clock>,
        vec![Arc::clone(&tap) as Arc<dyn SpanTap>],
    )
    .await
    .unwrap();
    (World { store }, tap)
}

/// A request with how many operations of the disk were recorded when it was acknowledged.
type Acked = (usize, Request);

/// Writes, repeats, fails and cuts; after each write the tap has seen it if it is acknowledged.
async fn live(
    seed: u64,
    disk: &RecordingDisk,
    clock: &Arc<FakeClock>,
) -> (Vec<Acked>, Vec<Request>) {
    let (world, tap) = open(disk.clone(), clock, u128::from(seed) + 1).await;
    let mut sender = Sender::new(seed);
    let (mut acked, mut failed) = (Vec::<Acked>::new(), Vec::new());
    for step in 0..60 {
        let request = sender.request(clock.now_unix_nano());
        let n_seen = tap.0.lock().len();
        let grown = match sender.rng.random_range(0..12) {
            0 => {
                world.store.flush().await.unwrap();
                0
            }
            1 => {
                world.store.merge_next(true).await.unwrap();
                0
            }
            2 if !acked.is_empty() => {
                let again = &acked[sender.rng.random_range(0..acked.len())].1;
                assert!(world.write(again).await.unwrap(), "a repeat");
                0
            }
            3 if step % 4 == 0 => {
                disk.fail_syncs(0, 1);
                let written = world.write(&request).await;
                assert!(written.is_err(), "seed {seed}, step {step}");
                failed.push(request);
                0
            }
            _ => {
                let body = request.batch.body.clone();
                assert!(!world.write(&request).await.unwrap(), "no repeat");
                assert_eq!(tap.0.lock().last(), Some(&(body, Seen::First)));
                acked.push((disk.n_operations(), request));
                1
            }
        };
        assert_eq!(
            tap.0.lock().len(),
            n_seen + grown,
            "seed {seed}, step {step}"
        );
    }
    let seen = tap.0.lock();
    let of_acked = acked.iter().map(|(_, request)| &request.batch.body);
    assert!(of_acked.eq(seen.iter().map(|(body, _)| body)));
    drop(seen);
    (acked, failed)
}

#[test]
fn a_replay_shows_what_no_block_holds_and_says_that_it_may_be_known() {
    let (mut n_first, mut n_maybe, mut n_repeated, mut n_in_blocks) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        runtime().block_on(async {
            let clock = Arc::new(FakeClock::default());
            let disk = new_disk(&clock);
            let (acked, failed) = live(seed, &disk, &clock).await;
            n_first += acked.len();
            let mut rng = Sender::new(seed).rng;
            let at = rng.random_range(0..=disk.n_operations());
            let cut = disk.power_cut(at, seed);
            let (world, tap) = open(cut, &clock, (1 << 64) + u128::from(seed)).await;
            let what = format!("seed {seed}, power cut at operation {at}");

            let replayed: Vec<(Bytes, Seen)> = tap.0.lock().clone();
            assert_eq!(
                replayed.len() as u64,
                world.store.recovery().records_replayed
            );
            assert!(
                replayed.iter().all(|(_, seen)| *seen == Seen::Maybe),
                "{what}"
            );
            // In the order of the log, and none twice: what was written is a list without repeats.
            let written = acked.iter().map(|(_, request)| request).collect::<Vec<_>>();
            let place = |body: &Bytes| written.iter().position(|it| it.batch.body == *body);
            let places: Vec<usize> = replayed.iter().filter_map(|it| place(&it.0)).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{what}: {places:?}");

            // Whatever is not shown again lies in blocks.
            let is_shown = |request: &Request| replayed.iter().any(|it| it.0 == request.batch.body);
            let (mut expected, mut maybe) = (Expected::new(), Expected::new());
            for (acked_at, request) in &acked {
                let must = *acked_at <= at;
                remember(if must { &mut expected } else { &mut maybe }, request);
            }
            failed.iter().for_each(|it| remember(&mut maybe, it));
            world.check(&expected, &maybe, &what).await;
            let status = world.store.status().await;
            let in_blocks: u64 = status.by_level.values().map(|sums| sums.spans).sum();
            let hidden: usize = acked
                .iter()
                .filter(|(acked_at, request)| *acked_at <= at && !is_shown(request))
                .map(|(_, request)| request.spans.len())
                .sum();
            assert!(
                in_blocks >= hidden as u64,
                "{what}: {in_blocks} spans in blocks"
            );
            n_maybe += replayed.len();
            n_in_blocks += in_blocks;

            // A sender that tries again what was replayed is answered, and counted no second time. (Of
            // what lies in blocks the log may have been recycled, and the request with it.)
            for (_, request) in acked.iter().filter(|(_, request)| is_shown(request)) {
                assert!(world.write(request).await.unwrap(), "{what}: stored again");
                n_repeated += 1;
            }
            assert_eq!(tap.0.lock().len(), replayed.len(), "{what}");
            let new = Sender::new(seed + 1_000).request(clock.now_unix_nano());
            assert!(!world.write(&new).await.unwrap());
            assert_eq!(tap.0.lock().last(), Some(&(new.batch.body, Seen::First)));
        });
    }
    println!(
        "seeds 0..{SEEDS}: {n_first} batches seen first, {n_maybe} again after a power cut, \
         {n_repeated} of those repeated, {n_in_blocks} spans in blocks then"
    );
    assert!(n_first > 500 && n_maybe > 50 && n_repeated > 50 && n_in_blocks > 500);
}
