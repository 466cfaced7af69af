//! What the traffic is like, read back by the decoder that the server uses.

use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::{Limits, SpanBatch, TenantId};
use tracewell_wire::otlp;

use super::*;

const SPANS: u64 = 40_000;
const START: u64 = 1_767_225_600_000_000_000;

fn requests(seed: u64, n_spans: u64) -> Vec<Request> {
    let mut traffic = Traffic::new(seed, 512, n_spans);
    let mut requests = Vec::new();
    let mut time = START;
    while !traffic.is_done() {
        traffic.visit(time, Pace::Bulk);
        time += 1_000_000;
        requests.extend(std::iter::from_fn(|| traffic.pop()));
    }
    traffic.release(u64::MAX);
    traffic.flush();
    requests.extend(std::iter::from_fn(|| traffic.pop()));
    requests
}

fn decode(request: &Request) -> SpanBatch {
    let decoded = otlp::decode(TenantId::single(), request.body.clone(), &Limits::default());
    let decoded = decoded.expect("the demo sends valid requests");
    decoded.batch
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    assert_eq!(requests(7, 3_000), requests(7, 3_000));
    assert_ne!(requests(7, 3_000), requests(8, 3_000));
}

#[test]
fn exactly_as_many_spans_as_asked_for() {
    for n_spans in [0, 1, 511, 512, 513, 5_000] {
        let requests = requests(1, n_spans);
        let sent: usize = requests.iter().map(|request| request.n_spans).sum();
        assert_eq!(sent as u64, n_spans);
        let decoded: usize = requests.iter().map(|it| decode(it).n_spans()).sum();
        assert_eq!(decoded as u64, n_spans);
        assert!(requests.iter().all(|request| request.n_spans <= 512));
    }
}

#[test]
fn it_is_as_large_and_as_rich_as_real_traffic() {
    let requests = requests(1, SPANS);
    let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
    let per_span = bytes as u64 / SPANS;
    assert!((330..=385).contains(&per_span), "{per_span} bytes a span");
    let mut attributes = 0;
    let mut errors = 0;
    let mut links = 0;
    let mut events = 0;
    let mut keys = BTreeSet::new();
    let mut services: BTreeMap<[u8; 16], BTreeSet<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        let batch = decode(request);
        for span in 0..batch.n_spans() {
            let rows = batch.spans.attributes[span];
            attributes += rows.len();
            errors += usize::from(batch.spans.status_code[span] == Some(2));
            links += batch.spans.links[span].len();
            events += batch.spans.events[span].len();
            services
                .entry(batch.spans.trace_id[span].0)
                .or_default()
                .insert(index);
        }
        keys.extend(
            batch
                .attributes
                .keys
                .iter()
                .map(|key| batch.text(*key).to_owned()),
        );
    }
    let spans = SPANS as usize;
    assert!(
        (7..=11).contains(&(attributes / spans)),
        "{attributes} attributes"
    );
    assert!(
        (spans / 200..=spans / 10).contains(&errors),
        "{errors} errors"
    );
    assert!(links > 50 && events > 50, "{links} links, {events} events");
    for key in [
        "http.method",
        "http.request.method",
        "db.statement",
        "db.query.text",
    ] {
        assert!(keys.contains(key), "{key}");
    }
    let split = services
        .values()
        .filter(|requests| requests.len() > 1)
        .count();
    assert!(
        split * 2 > services.len(),
        "{split} of {} traces are split",
        services.len()
    );
}

#[test]
fn live_spans_leave_after_they_end() {
    let mut traffic = Traffic::new(3, 512, u64::MAX);
    for visit in 0..50 {
        traffic.visit(START + visit * 1_000_000, Pace::Live);
    }
    traffic.flush();
    assert_eq!(traffic.pop(), None);
    traffic.release(START + 100_000_000);
    traffic.flush();
    let now = START + 100_000_000;
    let mut n = 0;
    while let Some(request) = traffic.pop() {
        let batch = decode(&request);
        n += batch.n_spans();
        assert!(batch.spans.end_unix_nano.iter().all(|end| *end <= now));
    }
    assert!(n > 0);
}
