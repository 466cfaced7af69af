//! The same load with its blocks in a bucket: trace by id and queries cold and warm.
//!
//! Cold is what a new machine feels: for each answer a process of its own with an empty folder. What the
//! object store itself has in memory it keeps. Warm is a process that was asked the same before.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::queries::Outcome;
use super::table::{OverBucket, Table};
use super::target::Target;
use super::{QUIET_MAX, percentile, probe, queries, window};
use crate::Usage;
use crate::arguments::Bench;
use crate::client::Client;
use crate::config::load::Source;

const KEYS: &str = "bucket.";
const WAITING: &str = "tracewell_bucket_waiting_blocks ";
/// Processes that each query is asked of once, at most.
const COLD_QUERIES: usize = 3;
/// The same of traces by id.
const COLD_TRACES: usize = 11;
/// How often it is flushed until nothing waits to be uploaded.
const FLUSHES_MAX: usize = 10;

/// A folder of its own in the bucket that the settings name.
#[derive(Debug)]
pub(super) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    settings: Vec<String>,
}

/// The settings of a server that knows no bucket.
pub(super) fn local(arguments: &Bench) -> Vec<String> {
    let settings = arguments.settings.iter();
    settings
        .filter(|it| !it.starts_with(KEYS))
        .cloned()
        .collect()
}

// === impl Bucket ===

impl Bucket {
    /// `None` if the settings name none.
    pub(super) fn of(arguments: &Bench) -> Result<Option<Self>> {
        let source = Source {
            settings: arguments.settings.clone(),
            ..Source::default()
        };
        let loaded = source.load();
        if let Some(wrong) = loaded.findings.errors.first() {
            return Err(Usage(wrong.to_string()).into());
        }
        let Some(objects) = loaded.objects else {
            return Ok(None);
        };
        let name = format!("bench-{}-{}", crate::clock::now(), std::process::id());
        let prefix = match loaded.config.bucket.prefix.trim_end_matches('/') {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        let mut settings = arguments.settings.clone();
        settings.push(format!("bucket.prefix={prefix}"));
        Ok(Some(Self {
            objects,
            prefix,
            settings,
        }))
    }

    /// Fills the folder, measures, and takes away what it put there.
    pub(super) async fn measure(
        &self,
        arguments: &Bench,
        n_spans: u64,
        until: u64,
        table: &mut Table,
    ) -> Result<()> {
        let measured = async {
            let trace_ids = self.fill(arguments, n_spans, until).await?;
            self.traces(arguments, &trace_ids, table).await?;
            self.queries(arguments, n_spans, until, table).await
        };
        let measured = measured.await;
        if arguments.keep {
            eprintln!("kept {} in {}", self.prefix, self.objects);
            return measured;
        }
        let emptied = self.empty().await;
        measured.and(emptied)
    }

    /// Sends the load and waits until all of it lies in the bucket, merged.
    async fn fill(&self, arguments: &Bench, n_spans: u64, until: u64) -> Result<Vec<[u8; 16]>> {
        eprintln!("sending {n_spans} spans for the bucket ...");
        let mut target = Target::start(arguments, &self.settings).await?;
        let report = super::send(arguments, n_spans, &target, until).await?;
        eprintln!("waiting until all of it is uploaded and merged ...");
        let mut client = Client::new(&target.api, arguments.tenant.as_ref())?;
        for _ in 0..FLUSHES_MAX {
            let flushed = client.get("/flush", &[]).await?;
            if flushed.status != 200 {
                bail!("the server cannot upload: {}", flushed.error());
            }
            if !target.rest(QUIET_MAX).await? {
                bail!("still busy after {QUIET_MAX:?}");
            }
            if is_uploaded(&mut client).await? {
                target.stop().await?;
                return Ok(report.trace_ids);
            }
        }
        bail!("blocks still wait to be uploaded after {FLUSHES_MAX} flushes")
    }

    async fn traces(
        &self,
        arguments: &Bench,
        trace_ids: &[[u8; 16]],
        table: &mut Table,
    ) -> Result<()> {
        eprintln!("asking the bucket for traces by id ...");
        let n_cold = arguments.repeat.min(COLD_TRACES);
        let step = (trace_ids.len() / n_cold).max(1);
        let mut cold = Vec::new();
        for id in trace_ids.iter().step_by(step).take(n_cold) {
            let (mut target, mut client) = Target::start_reader(arguments, &self.settings).await?;
            let (took, is_found) = probe::by_id_once(&mut client, id).await?;
            target.stop().await?;
            if !is_found {
                table.beside(probe::TRACE_P50, Err("a trace was not found".to_owned()));
                return Ok(());
            }
            cold.push(took);
        }
        let (mut target, mut client) = Target::start_reader(arguments, &self.settings).await?;
        let warm = probe::by_id(&mut client, trace_ids).await?;
        target.stop().await?;
        for (name, percent) in [(probe::TRACE_P50, 50), (probe::TRACE_P99, 99)] {
            let over = |warm: &Vec<Duration>| OverBucket {
                // Of so few no other percentile can be told.
                cold: (percent == 50).then(|| percentile(&cold, percent)),
                warm: Some(percentile(warm, percent)),
            };
            table.beside(name, warm.as_ref().map(over).map_err(Clone::clone));
        }
        Ok(())
    }

    async fn queries(
        &self,
        arguments: &Bench,
        n_spans: u64,
        until: u64,
        table: &mut Table,
    ) -> Result<()> {
        eprintln!("asking the bucket the queries ...");
        let window = window(until);
        let (mut warm_target, mut warm_client) =
            Target::start_reader(arguments, &self.settings).await?;
        for query in queries::all()? {
            let mut cold = Vec::new();
            let mut outcome = Outcome::Right(0);
            for _ in 0..arguments.repeat.min(COLD_QUERIES) {
                let (mut target, mut client) =
                    Target::start_reader(arguments, &self.settings).await?;
                let took;
                (took, outcome) = query.ask_once(&mut client, window, n_spans).await?;
                target.stop().await?;
                if !matches!(outcome, Outcome::Right(_)) {
                    break;
                }
                cold.push(took);
            }
            let mut warm = Vec::new();
            if matches!(outcome, Outcome::Right(_)) {
                let times = (arguments.repeat, n_spans);
                (warm, outcome) = query.ask(&mut warm_client, window, times).await?;
            }
            let p50 = |took: &[Duration]| (!took.is_empty()).then(|| percentile(took, 50));
            let over = match outcome {
                Outcome::Wrong(reason) => Err(reason),
                Outcome::Right(_) | Outcome::None(_) => Ok(OverBucket {
                    cold: p50(&cold),
                    warm: p50(&warm),
                }),
            };
            table.beside(&query.row(), over);
        }
        warm_target.stop().await
    }

    async fn empty(&self) -> Result<()> {
        let below = Path::from(self.prefix.as_str());
        let listed = self.objects.list(Some(&below)).try_collect::<Vec<_>>();
        let listed = listed.await.context("listing what the bucket is to lose")?;
        for object in listed {
            let deleted = self.objects.delete(&object.location).await;
            deleted.with_context(|| format!("deleting {}", object.location))?;
        }
        Ok(())
    }
}

async fn is_uploaded(client: &mut Client) -> Result<bool> {
    let answer = client.get("/metrics", &[]).await?;
    let text = String::from_utf8_lossy(&answer.body);
    let waiting = text.lines().find_map(|line| line.strip_prefix(WAITING));
    let waiting = waiting.and_then(|value| value.trim().parse::<f64>().ok());
    let waiting = waiting.context("the server does not tell what waits for the bucket")?;
    Ok(waiting == 0.0)
}
