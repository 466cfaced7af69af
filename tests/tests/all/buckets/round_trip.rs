//! Traces with every field of OTLP through the real binary and the bucket of a real S3 server: what comes back
//! by id is what was sent, from blocks of each level that lies there, by who wrote them and by a machine that
//! has nothing but the bucket.

use std::time::Duration;

use crate::e2e::round_trip::{self, Sent};
use crate::harness::s3::{Kind, S3};
use crate::harness::server::{Server, Site};
use crate::harness::{blocks, eventually_within, metrics};

use super::{flush, send, start};

/// So many first merges are merged again without waiting.
const MERGED: u64 = 8;

#[test]
fn what_comes_back_from_a_bucket_is_what_was_sent() {
    let s3 = S3::start(Kind::Versity);
    let site = Site::new();
    let settings = ["storage.max_block_duration=1h", "bucket.upload_after=1h"];
    let server = start(&site, &s3, &settings);
    let sent = round_trip::send(&site, 20_261_130);
    assert_eq!(levels(&s3), [0, 0, 0]);
    round_trip::check(&site, &sent, "the head beside a bucket");
    flush(&server);
    assert_eq!(levels(&s3), [0, 1, 0]);
    everywhere(&site, &s3, &sent, "level 1");
    check_requests(&server);
    for round in 100..100 + MERGED {
        send(&site, round, 1, &mut Vec::new());
        flush(&server);
    }
    await_level_2(&server, &s3);
    everywhere(&site, &s3, &sent, "level 2");
}

/// The tables of a block and its manifest were put there, and what was not there was asked for.
fn check_requests(server: &Server) {
    let seen = metrics::scrape(server);
    let count = |operation: &str, status: &str| {
        let labels = format!("{{operation=\"{operation}\",status_code=\"{status}\"}}");
        let name = format!("tempodb_backend_request_duration_seconds_count{labels}");
        seen.get(&name).copied().unwrap_or_default()
    };
    let (put, got, absent) = (
        count("PUT", "200"),
        count("GET", "200"),
        count("GET", "404"),
    );
    println!("requests: PUT 200 {put}, GET 200 {got}, GET 404 {absent}");
    assert!(put >= 8.0 && got >= 1.0, "{seen:?}");
}

fn await_level_2(server: &Server, s3: &S3) {
    let patience = Duration::from_secs(150);
    eventually_within(patience, "a merge in the bucket", || match levels(s3) {
        [0, _, n] if n > 0 => Ok(()),
        levels => Err(format!("{levels:?} blocks\n{}", server.log())),
    });
}

fn levels(s3: &S3) -> [usize; 3] {
    let folder = s3.objects().join("team/tempo/tracewell/manifest");
    let newest = blocks::manifests(&folder).pop();
    newest.map_or([0; 3], |manifest| blocks::levels(&manifest))
}

/// By the writer, and by a machine with an empty disk.
fn everywhere(site: &Site, s3: &S3, sent: &Sent, place: &str) {
    round_trip::check(site, sent, place);
    let reader = Site::new();
    let server = start(&reader, s3, &[]);
    round_trip::check(&reader, sent, &format!("{place}, another disk"));
    drop(server);
    println!("{place}: {} traces, by two processes", sent.len());
}
