//! `tracewell bench`: the numbers of this machine, each beside what it should be.
//!
//! It sends the shop's traffic to a server, a fresh one of its own unless a running one is named, and
//! asks it the queries of benches/queries.txt. Everything is measured from outside the process: by
//! its answers, by /proc, and by the size of its folder; so any server that takes OTLP and answers
//! Tempo's API can be measured in the same way.

mod bucket;
mod probe;
mod queries;
mod table;
mod target;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::arguments::Bench;
use crate::client::Client;
use crate::demo::{self, Load};
use crate::send::Report;
use crate::{Usage, clock, output, runtime};
use bucket::Bucket;
use table::{Better, Row, Table};
use target::Target;

/// Share of the highest rate at which acknowledgements are timed.
const LOAD_SHARE: f64 = 0.7;
/// Spans of that run, at most.
const LATENCY_SPANS_MAX: u64 = 300_000;
/// The time over which the traces of the load are spread.
const SPREAD: Duration = Duration::from_secs(3_600);
/// How long merging may take to come to rest.
const QUIET_MAX: Duration = Duration::from_secs(600);

pub(crate) fn run(arguments: &Bench) -> Result<ExitCode> {
    if arguments.spans.contains(&0) || arguments.connections == 0 || arguments.repeat == 0 {
        let wrong = "--spans, --connections and --repeat must be at least 1";
        return Err(Usage(wrong.to_owned()).into());
    }
    let bucket = Bucket::of(arguments)?;
    let runtime = runtime::sending()?;
    let mut tables = Vec::new();
    for n_spans in &arguments.spans {
        let table = runtime.block_on(async {
            let until = clock::now();
            let mut table = measure(arguments, *n_spans, until).await?;
            if let Some(bucket) = &bucket {
                bucket
                    .measure(arguments, *n_spans, until, &mut table)
                    .await?;
            }
            anyhow::Ok(table)
        })?;
        if !arguments.json {
            output::print(&table.to_string())?;
        }
        tables.push(table);
    }
    match tables.as_slice() {
        _ if !arguments.json => {}
        [only] => output::print_json(only)?,
        several => output::print_json(&several)?,
    }
    let failures: Vec<String> = tables.iter().flat_map(Table::failures).collect();
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("wrong answers: {}", failures.join("; "))
}

async fn measure(arguments: &Bench, n_spans: u64, until: u64) -> Result<Table> {
    let mut table = Table::new(n_spans, arguments.connections, arguments.batch);
    let mut target = match &arguments.otlp {
        Some(_) => Target::running(arguments).await?,
        None => Target::start(arguments, &bucket::local(arguments)).await?,
    };
    if let Some(seconds) = target.cold_start {
        table.push(
            Row::new("cold start to first accepted span", "ms", seconds * 1e3).bars(100.0, 20.0),
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    if target.is_own()
        && let Some(bytes) = target.resident()?
    {
        table.push(Row::new("idle memory", "MB", mega(bytes)).bars(40.0, 15.0));
    }
    let trace_ids = ingest(arguments, n_spans, &target, until, &mut table).await?;
    acknowledgements(arguments, n_spans, &target, &mut table).await?;
    let mut client = Client::new(&target.api, arguments.tenant.as_ref())?;
    eprintln!("asking {} times each ...", arguments.repeat);
    probe::searchable(&target.otlp, &mut client, &mut table).await?;
    probe::trace_by_id(&mut client, &trace_ids, &mut table).await?;
    let window = window(until);
    queries::ask(&mut client, window, (arguments.repeat, n_spans), &mut table).await?;
    if target.is_own() {
        eprintln!("asking once each, after a start ...");
        queries::ask_first(arguments, &mut target, (window, n_spans), &mut table).await?;
    }
    target.stop().await?;
    Ok(table)
}

/// Sends the load and waits until the server has come to rest. Returns some trace ids of it.
async fn ingest(
    arguments: &Bench,
    n_spans: u64,
    target: &Target,
    until: u64,
    table: &mut Table,
) -> Result<Vec<[u8; 16]>> {
    eprintln!("sending {n_spans} spans ...");
    let cpu_before = target.cpu_seconds()?;
    let bytes_before = target.bytes_on_disk()?;
    let report = send(arguments, n_spans, target, until).await?;
    table.highest_rate = report.spans_per_second();
    let rate = Row::new("spans acknowledged a second", "/s", table.highest_rate);
    table.push(rate.better(Better::Higher).bars(100_000.0, 250_000.0));
    eprintln!("waiting for merging to come to rest ...");
    let mut client = Client::new(&target.api, arguments.tenant.as_ref())?;
    // Other servers may not know it, and need not.
    if let Err(error) = client.get("/flush", &[]).await {
        tracing::debug!(%error, "no flush");
    }
    let rests = target.rest(QUIET_MAX).await?;
    // What is still being merged is no number of these.
    let at_rest = |name: &str, unit: &'static str, value: f64| match rests {
        true => Row::new(name, unit, value),
        false => Row::missing(name, unit, format!("still busy after {QUIET_MAX:?}")),
    };
    let millions = n_spans as f64 / 1e6;
    if let (Some(before), Some(after)) = (cpu_before, target.cpu_seconds()?) {
        let name = "CPU-seconds per million spans, all in";
        let row = at_rest(name, "s", (after - before) / millions);
        table.push(row.bars(8.0, 4.0));
    }
    if let (Some(before), Some(after)) = (bytes_before, target.bytes_on_disk()?) {
        let bytes = after.saturating_sub(before) as f64 / n_spans as f64;
        table.push(at_rest("bytes per span at rest", "B", bytes).bars(50.0, 36.0));
    }
    if let Some(bytes) = target.peak()? {
        table.push(Row::new("peak memory during ingest", "MB", mega(bytes)).bars(300.0, 128.0));
    }
    Ok(report.trace_ids)
}

/// The load as fast as it is acknowledged.
async fn send(arguments: &Bench, n_spans: u64, target: &Target, until: u64) -> Result<Report> {
    let report = demo::send_all(Load {
        endpoint: target.otlp.clone(),
        seed: arguments.seed,
        n_spans,
        batch: arguments.batch,
        connections: arguments.connections,
        until,
        spread: SPREAD,
        spans_per_second: None,
    })
    .await;
    all_acknowledged(&report)?;
    Ok(report)
}

/// When the traces of the load start.
fn window(until: u64) -> (u64, u64) {
    (until.saturating_sub(SPREAD.as_nanos() as u64), until)
}

/// Times acknowledgements at a share of the highest rate.
async fn acknowledgements(
    arguments: &Bench,
    n_spans: u64,
    target: &Target,
    table: &mut Table,
) -> Result<()> {
    let rate = table.highest_rate * LOAD_SHARE;
    eprintln!("timing acknowledgements at {rate:.0} spans/s ...");
    let report = demo::send_all(Load {
        endpoint: target.otlp.clone(),
        seed: arguments.seed.wrapping_add(1),
        n_spans: LATENCY_SPANS_MAX.min(n_spans),
        batch: arguments.batch,
        connections: arguments.connections,
        until: clock::now(),
        spread: Duration::from_secs(60),
        spans_per_second: Some(rate),
    })
    .await;
    all_acknowledged(&report)?;
    for (percent, bar, ambition) in [(50, 20.0, 8.0), (99, 100.0, 40.0)] {
        let name = format!("ack latency at 70 % load, p{percent}");
        let row = Row::new(&name, "ms", report.latency_ms(percent)).bars(bar, ambition);
        table.push(match report.n_retries {
            0 => row,
            n => row.remark(format!("{n} tries were told to come again")),
        });
    }
    Ok(())
}

/// Numbers about spans that were not taken would say nothing.
fn all_acknowledged(report: &Report) -> Result<()> {
    if report.n_lost + report.n_rejected > 0 {
        bail!(
            "{} spans were not acknowledged, {} were rejected: {}",
            report.n_lost,
            report.n_rejected,
            report.trouble.as_deref().unwrap_or("no reason was given")
        );
    }
    Ok(())
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The value below which so many of a hundred lie.
fn percentile(values: &[Duration], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(index)
        .map_or(0.0, |value| value.as_secs_f64() * 1e3)
}

/// How long something took, with its result.
async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let result = work.await.context("asking the server")?;
    Ok((start.elapsed(), result))
}
