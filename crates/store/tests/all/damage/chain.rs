//! Bits flipped in manifests and in the log of a store with real blocks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracewell_model::sink::LogDamage;
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Span, TenantId};
use tracewell_store::disk::Disk;
use tracewell_store::manifest::BlockEntry;
use tracewell_testkit::{FakeClock, Random, RecordingDisk};

use super::{Plant, config};
use crate::logged::logged;
use crate::world::*;

#[test]
fn a_flipped_bit_anywhere_in_a_manifest_is_named_and_everything_is_served() {
    let plant = runtime().block_on(Plant::new(5));
    let [newest, _] = newest_manifests(&plant.disk);
    let bytes = plant.disk.metadata(&newest).unwrap().len;
    for_seeds(0..60, |number| {
        let mut random = Random::new(number);
        let disk = plant.disk.after_kill();
        let bit = number * bytes / 60 * 8 + random.number(8);
        disk.flip_bit(&newest, bit).unwrap();
        runtime().block_on(async {
            let what = format!("bit {bit} of the newest manifest");
            let world = open_damaged(&plant, &disk, &[&newest], &what).await;
            let missing = world.store.pin().missing;
            assert!(missing.is_empty(), "{what}: {missing:?}");
            let spans = world.read(&plant.ids).await;
            compare(spans, &plant.expected, &Expected::new(), &what).unwrap();
        });
    });
}

/// The third newest lists blocks that were merged since, and are gone.
#[test]
fn two_damaged_manifests_cost_what_is_named() {
    let plant = runtime().block_on(Plant::new(5));
    let merged = plant.disk.after_kill();
    runtime().block_on(async {
        let world = plant.open(&merged, 1_000).await.unwrap();
        assert!(world.store.merge_next(true).await.unwrap());
        world.store.settle(true).await.unwrap();
        world.store.delete_retired().await.unwrap();
    });
    let [newest, before] = newest_manifests(&merged);
    let bits = [&newest, &before].map(|path| 8 * merged.metadata(path).unwrap().len);
    let n = Mutex::new((0, 0));
    for_seeds(0..20, |number| {
        let mut random = Random::new(number);
        let disk = merged.after_kill();
        disk.flip_bit(&newest, random.number(bits[0])).unwrap();
        disk.flip_bit(&before, random.number(bits[1])).unwrap();
        runtime().block_on(async {
            let what = format!("two manifests of seed {number}");
            let world = open_damaged(&plant, &disk, &[&newest, &before], &what).await;
            let spans = world.read(&plant.ids).await;
            let n_lost = check_named(&world, &plant, &spans, &what);
            compare(spans, &Expected::new(), &plant.expected, &what).unwrap();
            let n_missing = world.store.pin().missing.len();
            assert!(n_missing > 0 && n_lost > 0, "{what}");
            let mut n = n.lock();
            *n = (n.0 + n_missing, n.1 + n_lost);
        });
    });
    println!("20 times two manifests: blocks named as missing, and spans in them: {n:?}");
}

fn newest_manifests(disk: &RecordingDisk) -> [PathBuf; 2] {
    let files = disk.files();
    let is_manifest = |path: &&PathBuf| path.extension().is_some_and(|name| name == "manifest");
    let mut newest = files.iter().rev().filter(is_manifest).cloned();
    [newest.next().unwrap(), newest.next().unwrap()]
}

/// Opens the store, which names every damaged manifest, also in the log.
async fn open_damaged(
    plant: &Plant,
    disk: &RecordingDisk,
    damaged: &[&PathBuf],
    what: &str,
) -> World {
    let (world, lines) = logged(plant.open(disk, 2_000)).await;
    let world = world.unwrap();
    let named = world.store.recovery().manifests_damaged;
    for path in damaged {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_named = named.iter().any(|manifest| manifest.name.contains(name));
        assert!(is_named, "{what}: {named:?}");
        let told = |line: &String| line.contains(name) && line.contains("cannot be read");
        assert!(lines.iter().any(told), "{what}: {lines:?}");
    }
    world
}

/// Every span that is not there lies in a block that is named: it fits its tenant and times, and there are no
/// more of them than those blocks held. Returns how many there are.
fn check_named(world: &World, plant: &Plant, there: &[(TenantId, Span)], what: &str) -> usize {
    let missing = world.store.pin().missing;
    let recovery = world.store.recovery();
    let blocks: Vec<&BlockEntry> = recovery.blocks_missing.iter().map(|it| &it.entry).collect();
    for block in &blocks {
        let id = block.id.to_string();
        let named = missing.iter().any(|line| line.contains(&id));
        assert!(named, "{what}: {id} of {missing:?}");
    }
    let key = |(tenant, span): &(TenantId, Span)| (tenant.clone(), span.trace_id, span.span_id);
    let there: BTreeSet<_> = there.iter().map(key).collect();
    let lost = plant
        .expected
        .iter()
        .filter(|(key, _)| !there.contains(*key));
    let n_lost = lost
        .inspect(|((tenant, ..), span)| {
            let may_hold = |block: &&BlockEntry| {
                let start = block.span_start.0..=block.span_start.1;
                let is_of = block.tenant.as_ref().is_none_or(|of| of == tenant);
                is_of && start.contains(&span.start_unix_nano)
            };
            assert!(
                blocks.iter().any(may_hold),
                "{what}: {span:?} of {blocks:?}"
            );
        })
        .count();
    let n_held: u64 = blocks.iter().map(|block| block.spans).sum();
    assert!(n_lost as u64 <= n_held, "{what}: {n_lost} of {n_held}");
    n_lost
}

#[test]
fn a_flipped_bit_in_the_log_costs_what_is_named_and_no_more() {
    let (disk, now, requests) = runtime().block_on(async {
        let clock = Arc::new(FakeClock::default());
        let disk = new_disk(&clock);
        let world = World::open(Arc::new(disk.clone()), &clock, config(1)).await;
        let world = world.unwrap();
        let mut sender = Sender::new(1);
        let mut requests = Vec::new();
        for number in 0..30 {
            let request = sender.request(clock.now_unix_nano());
            world.write(&request).await.unwrap();
            requests.push(request);
            if number == 9 {
                world.store.flush().await.unwrap();
            }
        }
        drop(world);
        (disk.after_kill(), clock.now_unix_nano(), requests)
    });
    let is_log = |path: &&PathBuf| path.extension().is_some_and(|it| it == "wal");
    let segments: Vec<PathBuf> = disk.files().iter().filter(is_log).cloned().collect();
    let n_lost = Mutex::new((0, 0));
    for_seeds(0..120, |seed| {
        let mut random = Random::new(seed);
        let disk = disk.after_kill();
        let path = random.pick(&segments);
        let bit = random.number(8 * disk.metadata(path).unwrap().len.max(1));
        disk.flip_bit(path, bit).unwrap();
        runtime().block_on(async {
            let what = format!("seed {seed}, bit {bit} of {}", path.display());
            let clock = Arc::new(FakeClock::new(now));
            let opened = World::open(Arc::new(disk), &clock, config(u128::from(seed) + 2));
            let (world, lines) = logged(opened).await;
            let world = world.unwrap();
            let mut all = Expected::new();
            requests
                .iter()
                .for_each(|request| remember(&mut all, request));
            let ids: Vec<_> = all
                .keys()
                .map(|(tenant, id, _)| (tenant.clone(), *id))
                .collect();
            let spans = world.read(&ids).await;
            let there: BTreeSet<_> = spans.iter().map(|(_, span)| span.span_id).collect();
            compare(spans, &Expected::new(), &all, &what).unwrap();
            // A record is there whole or not at all, and one at most is lost.
            let is_there = |span: &Span| there.contains(&span.span_id);
            let lost = requests
                .iter()
                .filter(|sent| !sent.spans.iter().all(is_there));
            let n = lost
                .inspect(|sent| assert!(!sent.spans.iter().any(is_there), "{what}"))
                .count();
            let damage = world.store.recovery().log_damage;
            let holds = |damage: &LogDamage| {
                (damage.offset..damage.offset + damage.len).contains(&(bit / 8))
            };
            assert!(n <= 1, "{what}: {n} lost, {damage:?}");
            assert!(n == 0 || damage.iter().any(holds), "{what}: {damage:?}");
            let told = |line: &String| line.contains("a part of the log is lost");
            assert!(n == 0 || lines.iter().any(told), "{what}: {lines:?}");
            let mut n_lost = n_lost.lock();
            *n_lost = (n_lost.0 + n, n_lost.1 + damage.len());
        });
    });
    println!("120 bits of the log: records lost and stretches named {n_lost:?}");
    assert!(n_lost.lock().0 > 10);
}
