//! The real process, killed at random points under load, again and again over one data folder.
//!
//! The head is small and blocks are merged early, so that kills fall into appends, cuts, merges and
//! deletions. After each start every acknowledged span of the round is there, once; after the last
//! one, those of all rounds.
//!
//! `TRACEWELL_KILLS` sets the number of kills, `TRACEWELL_SEED` the seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::TraceId;

use crate::harness::http;
use crate::harness::server::{Server, Site};
use crate::load::{N_SPANS, n_spans, request};

/// Enough for CI; each takes about a second.
const KILLS: u64 = 120;
const SENDERS: u64 = 3;
/// Traces of a round that are read back, newest and oldest among them.
const SAMPLE: usize = 60;

const SETTINGS: &[&str] = &[
    "limits.memory_bytes=64MiB",
    "limits.request_decoded_bytes_max=8MiB",
    "limits.request_bytes_max=8MiB",
    "limits.disk_reserve_bytes=1MiB",
    "storage.max_block_duration=1s",
];

#[test]
fn what_was_acknowledged_survives_kills() {
    let kills = setting("TRACEWELL_KILLS", KILLS);
    let seed = setting("TRACEWELL_SEED", 20_261_122);
    println!("{kills} kills, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let site = Site::new();
    let mut all: Vec<TraceId> = Vec::new();
    for round in 0..kills {
        let server = site.start(SETTINGS);
        let acknowledged = load_until_killed(&site, server, &mut random, round);
        let server = site.start(SETTINGS);
        check(&server, &acknowledged, &mut random, SAMPLE);
        all.extend(acknowledged);
        server.kill();
    }
    let server = site.start(SETTINGS);
    check(&server, &all, &mut random, 4_000);
    println!(
        "{kills} kills, {} acknowledged requests, none lost, none twice",
        all.len()
    );
    assert!(server.stop().success());
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Sends from several connections, kills the process in the middle, and returns what it had
/// acknowledged.
fn load_until_killed(site: &Site, server: Server, random: &mut StdRng, round: u64) -> Vec<TraceId> {
    let stop = AtomicBool::new(false);
    let delay = Duration::from_millis(random.random_range(20..400));
    let mut acknowledged = Vec::new();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let (id, body) = request(round, sender, number);
                        number += 1;
                        let kind = "application/x-protobuf";
                        match http::post(site.otlp_http, "/v1/traces", kind, &body) {
                            Ok(answer) if answer.status == 200 => mine.push(id),
                            Ok(answer) if answer.status == 429 || answer.status == 503 => {}
                            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                            // The process is gone, or its answer was cut: not acknowledged.
                            Err(_) => {}
                        }
                    }
                    mine
                })
            })
            .collect();
        std::thread::sleep(delay);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            acknowledged.extend(sender.join().unwrap());
        }
    });
    acknowledged
}

/// Reads a sample of the traces by id: each is whole, no span twice.
fn check(server: &Server, ids: &[TraceId], random: &mut StdRng, n: usize) {
    let ends = ids.iter().take(5).chain(ids.iter().rev().take(5));
    let middle = (0..n.min(ids.len())).map(|_| &ids[random.random_range(0..ids.len())]);
    for id in ends.chain(middle) {
        let answer = server.get(&format!("/api/traces/{id}"));
        assert_eq!(
            answer.status,
            200,
            "{id} is lost: {}\n{}",
            answer.text(),
            server.log()
        );
        let trace = answer.json();
        assert_eq!(
            n_spans(&trace["batches"]),
            N_SPANS,
            "{id}: {trace}\n{}",
            server.log()
        );
    }
}
