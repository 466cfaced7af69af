//! Bits flipped in manifests and in the log of a store with real blocks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracewell_model::sink::LogDamage;
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Span};
use tracewell_store::disk::Disk;
use tracewell_testkit::{FakeClock, Random};

use super::{Plant, config};
use crate::logged::logged;
use crate::world::*;

#[test]
fn a_flipped_bit_anywhere_in_a_manifest_is_named_and_everything_is_served() {
    let plant = runtime().block_on(Plant::new(5));
    let files = plant.disk.files();
    let is_manifest = |path: &&PathBuf| path.extension().is_some_and(|name| name == "manifest");
    let mut manifests: Vec<PathBuf> = files.iter().filter(is_manifest).cloned().collect();
    let newest = manifests.pop().unwrap();
    let before = manifests.pop().unwrap();
    let bytes = plant.disk.metadata(&newest).unwrap().len;
    let n_damaged = Mutex::new((0, 0));
    for_seeds(0..80, |number| {
        let mut random = Random::new(number);
        let disk = plant.disk.after_kill();
        let bit = number * bytes / 80 * 8 + random.number(8);
        let both = number % 4 == 3;
        disk.flip_bit(&newest, bit).unwrap();
        if both {
            disk.flip_bit(&before, random.number(8 * 8)).unwrap();
        }
        runtime().block_on(async {
            let what = format!("bit {bit} of the newest manifest, both {both}");
            let (world, lines) = logged(plant.open(&disk, number)).await;
            let world = world.unwrap();
            let recovery = world.store.recovery();
            let name = newest.file_name().unwrap().to_str().unwrap();
            let named = &recovery.manifests_damaged;
            assert!(
                named.iter().any(|manifest| manifest.name.contains(name)),
                "{what}: {named:?}"
            );
            let told = |line: &String| line.contains(name) && line.contains("cannot be read");
            assert!(lines.iter().any(told), "{what}: {lines:?}");
            // An older one than the two newest may list what is gone: that is named.
            let missing = world.store.pin().missing;
            let (spans, errors) = world.read_partial(&plant.ids).await;
            assert!(errors.is_empty(), "{what}: {errors:?}");
            let nothing = Expected::new();
            if both {
                compare(spans, &nothing, &plant.expected, &what).unwrap();
                n_damaged.lock().1 += missing.len();
            } else {
                assert!(missing.is_empty(), "{what}: {missing:?}");
                compare(spans, &plant.expected, &nothing, &what).unwrap();
            }
            n_damaged.lock().0 += 1;
        });
    });
    println!("damaged newest manifests, and blocks named as missing: {n_damaged:?}");
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
    let is_log = |path: &&PathBuf| path.starts_with("/data/wal") && !path.ends_with("lock");
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
