//! The demo: the traffic of a made-up shop, live or as fast as a server acknowledges it.
//!
//! It is not a load generator for other protocols, and it measures only what a sender sees; the
//! server's side is [`crate::bench`]'s. [`shop`] is what the shop does, [`traffic`] makes requests
//! of it, [`crate::send`] delivers them.

mod encode;
mod shop;
mod template;
pub(crate) mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::arguments::Demo;
use crate::clock::now;
use crate::config::values::parse_duration;
use crate::send::{
    Endpoint, Report, Request, Sender, Tell, check_connections, deliver_all, queue, tell,
};
use crate::{Usage, output};
use traffic::{Pace, Traffic};

/// How often live traffic is made and sent.
const TICK: Duration = Duration::from_millis(200);
/// What a visit makes on average.
const SPANS_PER_VISIT: u64 = 11;
/// Trace ids that are remembered of a load.
const SAMPLE: usize = 1_000;
const RATE_MAX: f64 = 10_000.0;

/// A load of a fixed number of spans.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) endpoint: Endpoint,
    pub(crate) seed: u64,
    pub(crate) n_spans: u64,
    pub(crate) batch: usize,
    pub(crate) connections: usize,
    /// When the last trace starts, in Unix nanoseconds.
    pub(crate) until: u64,
    /// The time over which the traces are spread.
    pub(crate) spread: Duration,
    /// Spans a second; as fast as possible without it.
    pub(crate) spans_per_second: Option<f64>,
}

pub(crate) fn run(arguments: &Demo) -> Result<ExitCode> {
    check_connections(arguments.connections)?;
    check_rate("--rate", arguments.rate)?;
    let mut endpoint: Endpoint = arguments.endpoint.parse()?;
    endpoint.tenant.clone_from(&arguments.tenant);
    let runtime = crate::runtime::sending()?;
    let report = match arguments.spans {
        Some(n_spans) => {
            let spread = parse_duration(&arguments.spread).ok_or_else(|| {
                Usage(format!(
                    "--spread {}: expected a duration such as 1h",
                    arguments.spread
                ))
            })?;
            let load = Load {
                endpoint,
                seed: arguments.seed,
                n_spans,
                batch: arguments.batch,
                connections: arguments.connections,
                until: arguments
                    .until
                    .map_or_else(now, |seconds| seconds.saturating_mul(1_000_000_000)),
                spread,
                spans_per_second: None,
            };
            runtime.block_on(async {
                load.endpoint.reach("--endpoint").await?;
                anyhow::Ok(send_all(load).await)
            })?
        }
        None => {
            eprintln!(
                "sending {} traces a second to {endpoint}; ctrl-c stops it",
                arguments.rate
            );
            let stop = CancellationToken::new();
            let stopping = stop.clone();
            runtime.spawn(async move {
                if tokio::signal::ctrl_c().await.is_ok() {
                    stopping.cancel();
                }
            });
            runtime.block_on(live(endpoint, arguments.seed, arguments.rate, stop, tell))
        }
    };
    if arguments.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.to_string())?;
    }
    Ok(match report.n_lost {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Traces a second of live traffic, given by a flag.
pub(crate) fn check_rate(flag: &str, rate: f64) -> Result<(), Usage> {
    match rate > 0.0 && rate <= RATE_MAX {
        true => Ok(()),
        false => Err(Usage(format!(
            "{flag}: expected more than 0, at most {RATE_MAX} traces a second"
        ))),
    }
}

/// Sends a fixed number of spans. What could not be delivered is in the report.
pub(crate) async fn send_all(load: Load) -> Report {
    let (requests, waiting) = queue(load.connections);
    // Making the requests is work for a processor, not for the runtime.
    let paced = load.clone();
    let generator = std::thread::spawn(move || generate(&paced, &requests));
    let mut report = deliver_all(&load.endpoint, load.connections, waiting, tell).await;
    match generator.join() {
        Ok(trace_ids) => report.trace_ids = trace_ids,
        Err(_) => report.add(Report::broken("the generator panicked")),
    }
    report
}

/// Makes all requests, as fast as they are taken or at the pace that was asked for.
/// Returns the ids of some of the traces.
fn generate(load: &Load, requests: &mpsc::Sender<Request>) -> Vec<[u8; 16]> {
    let mut traffic = Traffic::new(load.seed, load.batch, load.n_spans);
    let spread = u64::try_from(load.spread.as_nanos()).unwrap_or(u64::MAX);
    // The last visits pile up at the end if the estimate is wrong.
    let step = spread / (load.n_spans / SPANS_PER_VISIT + 1);
    let mut time = load.until.saturating_sub(spread);
    let start = std::time::Instant::now();
    let mut n_sent = 0usize;
    let mut hand_over = |traffic: &mut Traffic| {
        while let Some(mut request) = traffic.pop() {
            if let Some(rate) = load.spans_per_second {
                let due = Duration::from_secs_f64(n_sent as f64 / rate);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                request.due = Some(start + due);
            }
            n_sent += request.n_spans;
            // Nobody receives any more when every connection gave up.
            if requests.blocking_send(request).is_err() {
                return false;
            }
        }
        true
    };
    let mut trace_ids = Vec::new();
    let sample_every = load.n_spans / (SAMPLE as u64 * SPANS_PER_VISIT) + 1;
    let mut n_visits = 0u64;
    while !traffic.is_done() {
        traffic.visit(time.min(load.until), Pace::Bulk);
        time += step;
        n_visits += 1;
        if n_visits.is_multiple_of(sample_every) && trace_ids.len() < SAMPLE {
            trace_ids.extend(traffic.trace_id());
        }
        if !hand_over(&mut traffic) {
            return trace_ids;
        }
    }
    traffic.release(u64::MAX);
    traffic.flush();
    hand_over(&mut traffic);
    trace_ids
}

/// Sends live traffic until it is stopped. Trouble that lasts is told meanwhile.
pub(crate) async fn live(
    endpoint: Endpoint,
    seed: u64,
    rate: f64,
    stop: CancellationToken,
    tell: Tell,
) -> Report {
    const BATCH: usize = 512;
    let start = std::time::Instant::now();
    // Another run shall not send the same traces again.
    let mut traffic = Traffic::new(seed ^ now(), BATCH, u64::MAX);
    let mut sender = Sender::new(endpoint).telling(tell);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut credit = 1.0;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        credit += rate * TICK.as_secs_f64();
        let n_visits = credit as u64;
        credit -= n_visits as f64;
        let time = now();
        let step = TICK.as_nanos() as u64 / n_visits.max(1);
        for visit in 0..n_visits {
            traffic.visit(time.saturating_sub(step * visit), Pace::Live);
        }
        traffic.release(time);
        traffic.flush();
        while let Some(request) = traffic.pop() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = sender.send(&request) => {}
            }
        }
    }
    let mut report = sender.into_report();
    report.seconds = start.elapsed().as_secs_f64();
    report
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn demo(words: &[&str]) -> anyhow::Error {
        let words = ["tracewell", "demo"].iter().chain(words);
        let Some(Command::Demo(arguments)) = Arguments::parse_from(words).command else {
            panic!("another command than demo");
        };
        run(&arguments).unwrap_err()
    }

    #[test]
    fn wrong_arguments_are_told_from_what_goes_wrong() {
        for words in [
            ["--rate", "0"].as_slice(),
            &["--rate=-1"],
            &["--rate", "inf"],
            &["--spans", "1", "--connections", "0"],
            &["--spans", "1", "--connections", "257"],
            &["--spans", "1", "--spread", "x"],
        ] {
            let error = demo(words);
            assert!(error.is::<Usage>(), "{words:?}: {error}");
        }
    }

    /// Port 1 takes no connection, and `.invalid` is no host.
    #[test]
    fn a_load_without_a_server_fails_at_once() {
        for endpoint in [
            "grpc://127.0.0.1:1",
            "http://127.0.0.1:1/v1/traces",
            "grpc://x.invalid:1",
        ] {
            let error = demo(&["--spans", "10", "--endpoint", endpoint]);
            assert!(!error.is::<Usage>());
            let error = format!("{error:#}");
            let expected = format!("no server answers at {endpoint}");
            assert!(error.starts_with(&expected), "{error}");
            assert!(error.contains("name another with --endpoint: "), "{error}");
        }
    }
}
