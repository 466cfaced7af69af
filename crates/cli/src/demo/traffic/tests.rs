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

/// What a trace is looked at for: retries, slow dependencies, work that a queue hands on.
#[test]
fn it_has_what_goes_wrong_in_a_shop() {
    struct Seen {
        name: String,
        start: u64,
        end: u64,
        failed: bool,
    }
    let mut by_parent: BTreeMap<([u8; 16], [u8; 8]), Vec<Seen>> = BTreeMap::new();
    let mut durations: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut ends_of_roots: BTreeMap<[u8; 16], u64> = BTreeMap::new();
    let mut last_starts: BTreeMap<[u8; 16], u64> = BTreeMap::new();
    for request in &requests(1, SPANS) {
        let batch = decode(request);
        let spans = &batch.spans;
        for at in 0..batch.n_spans() {
            let (start, end) = (spans.start_unix_nano[at], spans.end_unix_nano[at]);
            let name = batch.text(spans.name[at]).to_owned();
            let trace = spans.trace_id[at].0;
            durations.entry(name.clone()).or_default().push(end - start);
            let last = last_starts.entry(trace).or_default();
            *last = (*last).max(start);
            let Some(parent) = spans.parent_span_id[at] else {
                ends_of_roots.insert(trace, end);
                continue;
            };
            by_parent.entry((trace, parent.0)).or_default().push(Seen {
                name,
                start,
                end,
                failed: spans.status_code[at] == Some(2),
            });
        }
    }
    let mut n_retries = 0;
    for children in by_parent.values_mut() {
        children.sort_by_key(|child| child.start);
        let pairs = children.iter().zip(children.iter().skip(1));
        n_retries += pairs
            .filter(|(a, b)| a.failed && a.name == b.name && a.end <= b.start)
            .count();
    }
    assert!(n_retries > 20, "{n_retries} retries");
    let mut n_slow = 0;
    for of_name in durations.values_mut() {
        of_name.sort_unstable();
        let median = of_name[of_name.len() / 2];
        n_slow += of_name.iter().filter(|it| **it > median * 15).count();
    }
    assert!(n_slow > 50, "{n_slow} slow spans");
    let n_handed_on = ends_of_roots
        .iter()
        .filter(|(trace, end)| last_starts.get(*trace).is_some_and(|last| last > *end))
        .count();
    assert!(
        n_handed_on > 20,
        "{n_handed_on} traces go on behind their root"
    );
}

#[test]
fn a_few_live_spans_are_late_by_seconds() {
    let mut traffic = Traffic::new(3, 512, u64::MAX);
    for visit in 0..500 {
        traffic.visit(START + visit * 1_000_000, Pace::Live);
    }
    let mut n_sent = |until: u64| {
        traffic.release(START + until);
        traffic.flush();
        std::iter::from_fn(|| traffic.pop())
            .map(|request| request.n_spans)
            .sum::<usize>()
    };
    // The last visit is half a second after the first, and no span takes so long that all could not be done.
    let (in_time, late) = (n_sent(2_500_000_000), n_sent(u64::MAX - START));
    assert!(late > 0 && late * 20 < in_time, "{late} of {in_time}");
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
