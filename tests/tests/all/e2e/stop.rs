//! Under load: a graceful stop is quick and loses nothing, and what is acknowledged is found by the
//! first search.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracewell_model::TraceId;

use super::PROTOBUF;
use crate::harness::http;
use crate::harness::server::{Server, Site};
use crate::load::{N_SPANS, marker, n_spans, request};

const SENDERS: u64 = 3;
/// Of most of [`STOPS`]: a machine that runs other tests as well takes longer at times, but not much.
const STOP_MAX: Duration = Duration::from_secs(1);
const SLOWEST_STOP_MAX: Duration = Duration::from_secs(3);
const STOPS: usize = 3;
/// Acknowledged requests that are looked for at once.
const SEARCHES: u64 = 40;

#[test]
fn a_stop_under_load_is_quick_and_loses_nothing_that_was_acknowledged() {
    let mut took: Vec<Duration> = (0..STOPS).map(|_| stopped_under_load()).collect();
    took.sort_unstable();
    assert!(took[STOPS / 2] <= STOP_MAX, "{took:?}");
    assert!(took[STOPS - 1] <= SLOWEST_STOP_MAX, "{took:?}");
}

/// How long a stop took, after which nothing is missing.
fn stopped_under_load() -> Duration {
    let site = Site::new();
    let server = site.start(&["storage.max_block_duration=1s"]);
    let stop = AtomicBool::new(false);
    let (acknowledged, took) = std::thread::scope(|scope| {
        let (site, stop) = (&site, &stop);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || load(site, sender, stop)))
            .collect();
        std::thread::sleep(Duration::from_secs(3));
        let begun = Instant::now();
        assert!(server.stop().success());
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        let acknowledged: Vec<TraceId> = senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect();
        (acknowledged, took)
    });
    println!(
        "stopped in {took:?} under load, {} requests acknowledged",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 20);
    let server = site.start(&[]);
    for id in &acknowledged {
        let answer = server.get(&format!("/api/traces/{id}"));
        assert_eq!(answer.status, 200, "{id} is lost");
        assert_eq!(n_spans(&answer.json()["batches"]), N_SPANS, "{id}");
    }
    took
}

#[test]
fn the_first_search_after_an_acknowledgement_finds_it() {
    let site = Site::new();
    let server = site.start(&["storage.max_block_duration=1s"]);
    let stop = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let (site, stop) = (&site, &stop);
        let other = scope.spawn(move || load(site, 7, stop));
        for number in 0..SEARCHES {
            let (id, body) = request(41, 0, number);
            let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            let begun = Instant::now();
            assert_eq!(found(&server, id), N_SPANS, "request {number}");
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(!other.join().unwrap().is_empty());
    });
    println!("{SEARCHES} first searches found what was acknowledged, the slowest in {slowest:?}");
}

/// Spans that one search finds.
fn found(server: &Server, id: TraceId) -> usize {
    let query = format!(r#"{{ span.marker = "{}" }}"#, marker(id));
    let answer = server.search(&query, 20);
    let matched = answer["traces"][0]["spanSets"][0]["matched"].as_u64();
    usize::try_from(matched.unwrap_or(0)).unwrap()
}

/// Sends until it is told to stop or nobody answers; returns what was acknowledged.
fn load(site: &Site, sender: u64, stop: &AtomicBool) -> Vec<TraceId> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (id, body) = request(40, sender, number);
        match http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body) {
            Ok(answer) if answer.status == 200 => acknowledged.push(id),
            Ok(answer) => assert!([429, 503].contains(&answer.status), "{}", answer.text()),
            // The process is gone, or its answer was cut: not acknowledged.
            Err(_) => {}
        }
    }
    acknowledged
}
