//! `tracewell bench` over the bucket of a real S3 server.
//!
//! `TRACEWELL_BENCH_SPANS` sets the size of the load; with `TRACEWELL_BINARY` the table is worth reading.

use std::process::Command;

use crate::harness::object_server::ObjectServer as _;
use crate::harness::s3::{Kind, S3};
use crate::harness::{binary, is_release, setting};

const SPANS: u64 = 5_000;

#[test]
fn bench_asks_a_bucket_cold_and_warm_and_leaves_nothing_in_it() {
    let s3 = S3::start(Kind::Versity);
    let before = s3.keys();
    let repeat = if is_release() { "30" } else { "1" };
    let mut command = Command::new(binary());
    command
        .args(["bench", "--repeat", repeat, "--spans"])
        .arg(setting("TRACEWELL_BENCH_SPANS", SPANS).to_string());
    for setting in s3.settings() {
        command.args(["--set", &setting]);
    }
    let output = command.output().unwrap();
    let (table, log) = (output.stdout, output.stderr);
    let (table, log) = (
        String::from_utf8(table).unwrap(),
        String::from_utf8(log).unwrap(),
    );
    println!("{table}");
    assert!(output.status.success(), "{table}\n{log}");
    let mut n_queries = 0;
    for line in table.lines() {
        let is_query = line.starts_with("query: ");
        if is_query || line.starts_with("trace by id, hot, p50") {
            n_queries += usize::from(is_query);
            // Of the local disk, cold and warm.
            assert_eq!(line.matches(" ms  ").count(), 3, "{line}");
        }
    }
    assert!(n_queries >= 12, "{n_queries} queries");
    assert_eq!(s3.keys(), before);
}
