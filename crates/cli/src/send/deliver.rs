//! Several connections that share the requests of one queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::{Endpoint, Report, Request, Sender, Tell};
use crate::Usage;

/// Requests that wait between whoever makes them and each connection.
const WAITING_PER_CONNECTION: usize = 2;
const CONNECTIONS_MAX: usize = 256;
/// How often the progress of a long delivery is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The flag `--connections`.
pub(crate) fn check_connections(n: usize) -> Result<(), Usage> {
    match (1..=CONNECTIONS_MAX).contains(&n) {
        true => Ok(()),
        false => Err(Usage(format!(
            "--connections: expected 1 to {CONNECTIONS_MAX}"
        ))),
    }
}

/// What [`deliver_all`] takes its requests from.
pub(crate) fn queue(connections: usize) -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(connections * WAITING_PER_CONNECTION)
}

/// Sends all requests; ends after the last one, or when every connection gave up. What could not be delivered
/// is in the report; progress, and trouble that lasts, are told meanwhile.
pub(crate) async fn deliver_all(
    endpoint: &Endpoint,
    connections: usize,
    requests: mpsc::Receiver<Request>,
    tell: Tell,
) -> Report {
    let start = Instant::now();
    let requests = Arc::new(Mutex::new(requests));
    let n_delivered = Arc::new(AtomicU64::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for connection in 0..connections {
        let sender = Sender::new(endpoint.clone());
        // They all meet the same server: one of them speaks for all.
        let sender = match connection {
            0 => sender.telling(tell),
            _ => sender,
        };
        senders.spawn(deliver(
            sender,
            Arc::clone(&requests),
            Arc::clone(&n_delivered),
        ));
    }
    let mut report = Report::default();
    // Whoever makes the requests learns from a queue that is gone that all connections gave up.
    drop(requests);
    let mut ticks = tokio::time::interval(TELL_EVERY);
    ticks.reset();
    loop {
        tokio::select! {
            delivered = senders.join_next() => match delivered {
                Some(Ok(delivered)) => report.add(delivered),
                Some(Err(error)) => report.add(Report::broken(&error.to_string())),
                None => break,
            },
            _ = ticks.tick() => {
                let n = n_delivered.load(Ordering::Relaxed);
                let seconds = start.elapsed().as_secs_f64();
                tell(&format!("{n} spans in {seconds:.0} s: {:.0} spans/s", n as f64 / seconds));
            }
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    report
}

async fn deliver(
    mut sender: Sender,
    requests: Arc<Mutex<mpsc::Receiver<Request>>>,
    n_delivered: Arc<AtomicU64>,
) -> Report {
    loop {
        let request = requests.lock().await.recv().await;
        let Some(request) = request else {
            return sender.into_report();
        };
        let before = sender.report().n_spans;
        let is_there = sender.send(&request).await;
        n_delivered.fetch_add(sender.report().n_spans - before, Ordering::Relaxed);
        if !is_there {
            return sender.into_report();
        }
    }
}
