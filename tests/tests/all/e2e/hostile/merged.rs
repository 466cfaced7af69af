//! Hostile amounts that are kept, all the way: through the head, a cut and a merge, with the memory
//! of the process bounded, and read again afterwards.
//!
//! `TRACEWELL_TRACE_SPANS` sets the spans of the long trace and `TRACEWELL_ATTRIBUTE_KEYS` the number of
//! keys, for a long run: the design names ten million of one and a million of the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bodies::{self, SpanBody, attribute, request};
use super::{Bench, Bound, PROTOBUF, send_until_kept};
use crate::harness::{blocks, eventually_within, setting};
use crate::load;

/// First blocks that are merged without waiting for more.
const BLOCKS: usize = 8;
/// A debug build merges some ten thousand spans a second, on a machine with other things to do.
const MERGE_PATIENCE: Duration = Duration::from_secs(600);
const TRACE_SPANS: u64 = 1_000_000;
const ATTRIBUTE_KEYS: u64 = 100_000;
/// Below `limits.attributes_max`.
const SPAN_KEYS: u64 = 1_000;
/// Twice `limits.memory_bytes`: a trace is cut and merged as one piece.
const MERGED: Bound = Bound {
    kib: 512 << 10,
    cpu_ms: 60_000,
};
const UNLIKE_SPANS: u64 = 80_000;
/// Three quarters of `limits.memory_bytes`: what is not alike is not held together.
const UNLIKE: Bound = Bound {
    kib: 192 << 10,
    ..MERGED
};
/// Below `limits.request_spans_max`.
const REQUEST_SPANS: u64 = 50_000;

#[test]
fn hostile_amounts_are_cut_and_merged() {
    let mut bench = Bench::new();
    twins(&mut bench);
    many_resources(&mut bench);
    many_keys(&mut bench);
    nothing_in_common(&mut bench);
    bench.end();
}

#[test]
fn a_long_trace_is_cut_and_merged() {
    let mut bench = Bench::new();
    long_trace(&mut bench);
    bench.end();
}

fn twins(bench: &mut Bench) {
    bench.case("a thousand spans of one id, merged", MERGED, |bench| {
        let id = bench.trace();
        let spans: Vec<SpanBody> = (0..1_000)
            .map(|number| {
                let mut span = SpanBody::new(id, 1);
                span.name = format!("twin {number}").into_bytes();
                span.parent = 1u64.to_be_bytes().to_vec();
                span
            })
            .collect();
        // The second time every span is equal to one of another block.
        for part in spans.chunks(250).chain(spans.chunks(200)) {
            assert_eq!(bench.send(PROTOBUF, &request(part)).status, 200);
            bench.flush();
        }
        assert_eq!(bench.n_spans(id), 1_000);
        let levels = bench.merge();
        assert_eq!(bench.n_spans(id), 1_000);
        let found = bench.query(r#"{ name = "twin 7" }"#).json();
        assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 1, "{found}");
        format!("200; blocks {levels:?}, each span once")
    });
}

fn many_resources(bench: &mut Bench) {
    bench.case(
        "a new resource in each of 2,000 requests",
        MERGED,
        |bench| {
            let mut statuses = BTreeMap::<u16, usize>::new();
            for number in 0..2_000u64 {
                let id = bench.trace();
                let service = format!("service {number}");
                let body = bodies::request_of(&service, &[SpanBody::new(id, 1)]);
                *statuses
                    .entry(bench.send(PROTOBUF, &body).status)
                    .or_default() += 1;
                if number % 250 == 0 {
                    bench.flush();
                }
            }
            let all = statuses.keys().all(|status| [200, 429].contains(status));
            assert!(all, "{statuses:?}");
            let levels = bench.merge();
            let found = bench.query(r#"{ resource.service.name = "service 1234" }"#);
            assert_eq!(found.json()["traces"][0]["spanSets"][0]["matched"], 1);
            format!("{statuses:?}; blocks {levels:?}")
        },
    );
}

fn many_keys(bench: &mut Bench) {
    let wanted = setting("TRACEWELL_ATTRIBUTE_KEYS", ATTRIBUTE_KEYS);
    bench.case("many attribute keys", MERGED, |bench| {
        let id = bench.trace();
        let mut refusals = 0;
        for first in (0..wanted).step_by(50 * SPAN_KEYS as usize) {
            let last = wanted.min(first + 50 * SPAN_KEYS);
            let spans: Vec<SpanBody> = (first..last)
                .step_by(SPAN_KEYS as usize)
                .map(|first| {
                    let mut span = SpanBody::new(id, first + 1);
                    for number in first..last.min(first + SPAN_KEYS) {
                        let key = format!("key {number}");
                        span.more.extend(attribute(9, &key, "v"));
                    }
                    span
                })
                .collect();
            refusals += send_until_kept(bench, &request(&spans));
        }
        bench.flush();
        let levels = bench.merge();
        let tags = bench.server.get("/api/v2/search/tags?scope=span");
        assert_eq!(tags.status, 200, "{}", tags.text());
        let found = bench.query(&format!(r#"{{ span."key {}" = "v" }}"#, wanted / 9 * 7));
        assert_eq!(found.status, 200, "{}", found.text());
        let matched = &found.json()["traces"][0]["spanSets"][0]["matched"];
        assert_eq!(*matched, 1, "{}", found.text());
        format!(
            "{wanted} keys, {refusals} times 429 first; blocks {levels:?}; tags {} bytes",
            tags.body.len()
        )
    });
}

/// Each span has keys and a resource that no other has: neither lists of keys nor resources repeat.
fn nothing_in_common(bench: &mut Bench) {
    let name = "80,000 spans with 4 keys and a resource of their own";
    bench.case(name, UNLIKE, |bench| {
        let trace = bench.trace();
        let mut refusals = 0;
        for first in (0..UNLIKE_SPANS).step_by(10_000) {
            let spans: Vec<(String, SpanBody)> = (first..first + 10_000)
                .map(|number| {
                    // Eight spans a trace.
                    let mut id = trace;
                    id.0[..8].copy_from_slice(&(number / 8 + 1).to_be_bytes());
                    let mut span = SpanBody::new(id, number + 1);
                    for key in 0..4 {
                        let key = format!("own {number} {key}");
                        span.more.extend(attribute(9, &key, "v"));
                    }
                    span.more.extend(attribute(9, "common", "v"));
                    (format!("unlike {number}"), span)
                })
                .collect();
            refusals += send_until_kept(bench, &bodies::request_of_each(&spans));
        }
        bench.flush();
        let levels = bench.merge();
        for query in [
            r#"{ span."own 71717 2" = "v" }"#,
            r#"{ resource.service.name = "unlike 71717" }"#,
            r#"{ span.common = "v" && resource.service.name = "unlike 71717" }"#,
        ] {
            let found = bench.query(query);
            assert_eq!(found.status, 200, "{}", found.text());
            let matched = &found.json()["traces"][0]["spanSets"][0]["matched"];
            assert_eq!(*matched, 1, "{query}: {}", found.text());
        }
        assert_eq!(
            bench.query("{ span.absent = 1 }").json()["traces"],
            serde_json::json!([])
        );
        format!("{refusals} times 429 first; blocks {levels:?}")
    });
}

fn long_trace(bench: &mut Bench) {
    let wanted = setting("TRACEWELL_TRACE_SPANS", TRACE_SPANS);
    bench.case("one long trace", MERGED, |bench| {
        let id = bench.trace();
        let mut refusals = 0;
        for first in (1..=wanted).step_by(REQUEST_SPANS as usize) {
            let last = wanted.min(first + REQUEST_SPANS - 1);
            let spans: Vec<SpanBody> = (first..=last).map(|it| SpanBody::new(id, it)).collect();
            refusals += send_until_kept(bench, &request(&spans));
        }
        bench.flush();
        let levels = bench.merge();
        let manifest = blocks::manifest(&bench.site.data()).unwrap();
        let kept: u64 = manifest.blocks.iter().map(|block| block.spans).sum();
        assert!(kept >= wanted, "{kept} of {wanted} spans");
        let answer = bench.server.get(&format!("/api/v2/traces/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        let (status, message) = (&body["status"], body["message"].to_string());
        assert_eq!(*status, "PARTIAL", "{message}");
        assert!(message.contains("more than 100000 spans"), "{message}");
        let groups = &body["trace"]["resourceSpans"];
        let n = groups.as_array().map_or(0, |_| load::n_spans(groups));
        assert!(n <= 100_000, "{n} spans");
        format!(
            "{wanted} spans, {refusals} times 429 first; blocks {levels:?}; by id {n}, {status}"
        )
    });
}

impl Bench {
    fn flush(&self) {
        assert_eq!(self.server.get("/flush").status / 100, 2);
    }

    /// Makes first blocks until all of them are merged; returns how many blocks of each level are left.
    fn merge(&mut self) -> [usize; 3] {
        eventually_within(MERGE_PATIENCE, "all first blocks are merged", || {
            let levels = blocks::levels(&blocks::manifest(&self.site.data())?);
            if levels[0] == 0 {
                return Ok(levels);
            }
            // With as many as that a merge is at work.
            if levels[0] < BLOCKS {
                self.serves_others();
                self.flush();
            }
            Err(format!("{levels:?}"))
        })
    }
}
