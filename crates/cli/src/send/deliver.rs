//! Several connections that share the requests of one queue.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{Endpoint, Report, Request, Sender};
use crate::Usage;

/// Requests that wait between whoever makes them and each connection.
const WAITING_PER_CONNECTION: usize = 2;
const CONNECTIONS_MAX: usize = 256;

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

/// Sends all requests; ends after the last one. What could not be delivered is in the report.
pub(crate) async fn deliver_all(
    endpoint: &Endpoint,
    connections: usize,
    requests: mpsc::Receiver<Request>,
) -> Report {
    let start = std::time::Instant::now();
    let requests = Arc::new(Mutex::new(requests));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let sender = Sender::new(endpoint.clone());
        senders.spawn(deliver(sender, Arc::clone(&requests)));
    }
    let mut report = Report::default();
    // Whoever makes the requests learns from a queue that is gone that all connections gave up.
    drop(requests);
    while let Some(delivered) = senders.join_next().await {
        report.add(delivered.unwrap_or_else(|error| Report::broken(&error.to_string())));
    }
    report.seconds = start.elapsed().as_secs_f64();
    report
}

async fn deliver(mut sender: Sender, requests: Arc<Mutex<mpsc::Receiver<Request>>>) -> Report {
    loop {
        let request = requests.lock().await.recv().await;
        match request {
            Some(request) => sender.send(&request).await,
            None => return sender.into_report(),
        }
    }
}
