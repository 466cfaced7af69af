//! How soon an acknowledged span is found, and how fast a trace comes by its id.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::table::{Row, Table};
use super::{percentile, timed};
use crate::client::Client;
use crate::demo::traffic::{Pace, Traffic};
use crate::send::{Endpoint, Sender};

const PROBES: u64 = 20;
const PROBE_MAX: Duration = Duration::from_secs(60);
/// Traces that are asked for by id, once cold and once counted.
const TRACES_MAX: usize = 1_000;
pub(super) const TRACE_P50: &str = "trace by id, hot, p50";
pub(super) const TRACE_P99: &str = "trace by id, hot, p99";

/// Sends single spans and searches for each until it is there.
pub(super) async fn searchable(
    endpoint: &Endpoint,
    client: &mut Client,
    table: &mut Table,
) -> Result<()> {
    const WHAT: &str = "ack to searchable, median";
    let mut sender = Sender::new(endpoint.clone());
    let mut took = Vec::new();
    for probe in 0..PROBES {
        let mut traffic = Traffic::new(crate::clock::now() ^ probe, 1, 1);
        let now = crate::clock::now();
        traffic.visit(now, Pace::Bulk);
        traffic.release(u64::MAX);
        traffic.flush();
        let (Some(request), Some(id)) = (traffic.pop(), traffic.trace_id()) else {
            bail!("the demo makes no spans");
        };
        sender.send(&request).await;
        if sender.report().n_lost > 0 {
            table.push(Row::wrong(
                WHAT,
                "ms",
                "a span was not acknowledged".to_owned(),
            ));
            return Ok(());
        }
        let acknowledged = Instant::now();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let seconds = now / 1_000_000_000;
        let parameters = [
            ("q", format!("{{ trace:id = \"{id}\" }}")),
            ("start", (seconds - 60).to_string()),
            ("end", (seconds + 60).to_string()),
        ];
        loop {
            let answer = client.get("/api/search", &parameters).await?;
            if answer.status != 200 {
                table.push(Row::wrong(WHAT, "ms", answer.error()));
                return Ok(());
            }
            let found: serde_json::Value = serde_json::from_slice(&answer.body)
                .context("the answer of a search is no JSON")?;
            let n_found = found
                .get("traces")
                .and_then(|it| it.as_array())
                .map_or(0, Vec::len);
            if n_found > 0 {
                took.push(acknowledged.elapsed());
                break;
            }
            if acknowledged.elapsed() > PROBE_MAX {
                table.push(Row::wrong(
                    WHAT,
                    "ms",
                    format!("not found in {PROBE_MAX:?}"),
                ));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    table.push(Row::new(WHAT, "ms", percentile(&took, 50)).bars(1_000.0, 100.0));
    Ok(())
}

/// Asks for traces of the load by id, twice; the second time counts.
pub(super) async fn trace_by_id(
    client: &mut Client,
    trace_ids: &[[u8; 16]],
    table: &mut Table,
) -> Result<()> {
    let took = match by_id(client, trace_ids).await? {
        Ok(took) => took,
        Err(remark) => {
            table.push(Row::wrong(TRACE_P50, "ms", remark).bars(5.0, 1.0));
            return Ok(());
        }
    };
    let p50 = Row::new(TRACE_P50, "ms", percentile(&took, 50));
    table.push(p50.bars(5.0, 1.0));
    let p99 = Row::new(TRACE_P99, "ms", percentile(&took, 99));
    table.push(p99.bars(20.0, 5.0));
    Ok(())
}

/// How long each took the second time, or what is wrong.
pub(super) async fn by_id(
    client: &mut Client,
    trace_ids: &[[u8; 16]],
) -> Result<Result<Vec<Duration>, String>> {
    let mut took = Vec::new();
    let mut n_missing = 0;
    for is_counted in [false, true] {
        for id in trace_ids.iter().take(TRACES_MAX) {
            let (duration, is_found) = by_id_once(client, id).await?;
            if is_counted {
                took.push(duration);
                n_missing += usize::from(!is_found);
            }
        }
    }
    match n_missing > 0 || took.is_empty() {
        true => Ok(Err(format!("{n_missing} of {} not found", took.len()))),
        false => Ok(Ok(took)),
    }
}

/// How long it took, and whether it was found.
pub(super) async fn by_id_once(client: &mut Client, id: &[u8; 16]) -> Result<(Duration, bool)> {
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (duration, answer) = timed(client.get(&format!("/api/traces/{id}"), &[])).await?;
    Ok((duration, answer.status == 200))
}
