//! Load on a server until it is killed, and what it acknowledged by then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::TraceId;
use tracewell_store::partition::Bounds;

use crate::harness::http;
use crate::harness::metrics::{of, scrape};
use crate::harness::server::{Server, Site};
use crate::load::request;

/// A request with the time between whose bounds it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) id: TraceId,
    pub(crate) arrival: Bounds,
}

/// Set when it is dropped, so that threads end however a test does.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Loads a server with several senders, and cuts blocks all the time, until it is killed after `delay`. Returns
/// what it acknowledged.
pub(crate) fn load_and_kill(
    site: &Site,
    server: Server,
    round: u64,
    senders: u64,
    delay: Duration,
) -> Vec<Acknowledged> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopping = Raise(&stop);
        let stop = &stop;
        scope.spawn(move || cut_all_the_time(site, stop, round));
        let senders: Vec<_> = (0..senders)
            .map(|sender| scope.spawn(move || send(site, stop, round, sender)))
            .collect();
        std::thread::sleep(delay);
        server.kill();
        drop(stopping);
        let sent = senders.into_iter().flat_map(|it| it.join().unwrap());
        sent.collect()
    })
}

fn cut_all_the_time(site: &Site, stop: &AtomicBool, round: u64) {
    let mut random = StdRng::seed_from_u64(round);
    while !stop.load(Ordering::Relaxed) {
        // It fails when the process is gone.
        drop(http::get(site.http, "/flush"));
        std::thread::sleep(Duration::from_millis(random.random_range(0..40)));
    }
}

fn send(site: &Site, stop: &AtomicBool, round: u64, sender: u64) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let from = now();
        let (id, body) = request(round, sender, number);
        number += 1;
        let kind = "application/x-protobuf";
        match http::post(site.otlp_http, "/v1/traces", kind, &body) {
            Ok(answer) if answer.status == 200 => acknowledged.push(Acknowledged {
                id,
                arrival: Bounds(from, now()),
            }),
            Ok(answer) if answer.status == 429 || answer.status == 503 => {}
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            // The process is gone, or its answer was cut: not acknowledged.
            Err(_) => {}
        }
    }
    acknowledged
}

/// Some of them, the first and the last among them.
pub(crate) fn sample(of: &[Acknowledged], n: usize, random: &mut StdRng) -> Vec<Acknowledged> {
    let ends = of.iter().take(5).chain(of.iter().rev().take(5));
    let middle = (0..n.min(of.len())).map(|_| &of[random.random_range(0..of.len())]);
    ends.chain(middle).copied().collect()
}

/// Answers and merges make one of spans that are equal in every field, and count them; no request was sent
/// twice.
pub(crate) fn expect_nothing_twice(server: &Server) {
    let seen = scrape(server);
    for name in [
        "tracewell_query_duplicate_spans_total",
        "tracewell_duplicate_spans_total",
    ] {
        let n: f64 = of(&seen, name).sum();
        assert_eq!(n, 0.0, "{name}\n{}", server.log());
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}
