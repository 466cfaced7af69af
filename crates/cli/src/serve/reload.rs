//! Reads the file of overrides, and certificates, again while the server runs. A version with an error is refused as a whole,
//! and the limits that held go on holding.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::tenants::Tenants;
use tracewell_ingest::tls::Tls;
use tracewell_server::metrics::{Metric, Samples};

use crate::config::{Config, overrides, tokens as config_tokens};

/// Watches one file.
#[derive(Debug)]
pub(super) struct Reload {
    config: Config,
    path: PathBuf,
    every: Duration,
    tenants: Arc<Tenants>,
    /// What was read last, good or bad: each version is judged and told of once.
    last: Mutex<Option<Result<String, String>>>,
    counters: Arc<Counters>,
}

/// How it went so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    reloads: AtomicU64,
    failures: AtomicU64,
    /// Why the newest version is refused, while it is.
    refused: Mutex<Option<String>>,
}

/// How often the files of certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// Takes new certificates up as they come.
pub(super) async fn certificates(tls: Arc<Tls>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(CERTIFICATES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looking = Arc::clone(&tls);
        match tokio::task::spawn_blocking(move || looking.reload()).await {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                said.clear();
                let cert = tls.files().cert.display();
                tracing::info!(%cert, "new certificates hold for new connections");
            }
            // Files that cannot be read are the same each time.
            Ok(Err(error)) if error.to_string() == said => {}
            Ok(Err(error)) => {
                said = error.to_string();
                tracing::error!(
                    %error,
                    "new certificates are refused, and those that there were go on to serve: mend the files"
                );
            }
            Err(error) => {
                tracing::error!(%error, "reading certificates ended badly, which is a bug")
            }
        }
    }
}

/// Takes new tokens up as they come. A version with an error is refused as a whole.
pub(super) async fn tokens(
    path: PathBuf,
    every: Duration,
    tenants: Arc<Tenants>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = std::fs::read_to_string(&path).ok();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let reading = path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(reading)).await;
        let read = read.map_err(std::io::Error::other).flatten();
        let text = read.as_ref().ok().cloned();
        if text == last {
            continue;
        }
        let refused = match read {
            Ok(text) => {
                let (tokens, findings) = config_tokens::parse(&path, &text);
                let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
                match errors.is_empty() {
                    true => {
                        tenants.set_tokens(Some(tokens));
                        tracing::info!(path = %path.display(), "new tokens hold");
                        None
                    }
                    false => Some(errors.join("; ")),
                }
            }
            Err(error) => Some(format!("{}: {error}", path.display())),
        };
        if let Some(reason) = refused {
            tracing::error!(
                reason,
                "a new version of the tokens is refused, and those that there were are asked for: mend the file"
            );
        }
        last = text;
    }
}

// === impl Reload ===

impl Reload {
    /// None where there is no file.
    pub(super) fn new(
        config: &Config,
        tenants: &Arc<Tenants>,
        counters: &Arc<Counters>,
    ) -> Option<Arc<Self>> {
        let path = config.tenants.overrides_path.clone()?;
        Some(Arc::new(Self {
            last: Mutex::new(std::fs::read_to_string(&path).ok().map(Ok)),
            config: config.clone(),
            every: config.tenants.overrides_period,
            path,
            tenants: Arc::clone(tenants),
            counters: Arc::clone(counters),
        }))
    }

    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || this.look());
            if let Err(error) = looked.await {
                tracing::error!(%error, "reading the overrides ended badly, which is a bug");
            }
        }
    }

    fn look(&self) {
        let read = std::fs::read_to_string(&self.path).map_err(|error| error.to_string());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&read) {
            return;
        }
        let judged = match &read {
            Ok(text) => {
                let (limits, findings) = overrides::parse(&self.config, &self.path, text);
                for warning in &findings.warnings {
                    tracing::warn!("{warning}");
                }
                let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
                match errors.is_empty() {
                    true => Ok(limits),
                    false => Err(errors.join("; ")),
                }
            }
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        };
        *last = Some(read);
        match judged {
            Ok(limits) => {
                tracing::info!(tenants = limits.named.len(), "new overrides hold");
                self.tenants.replace(limits);
                self.counters.reloads.fetch_add(1, Ordering::Relaxed);
                self.counters.set_refused(None);
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "a new version of the overrides is refused, and the limits stay as they are: mend the file"
                );
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                self.counters.set_refused(Some(reason));
            }
        }
    }
}

// === impl Counters ===

impl Counters {
    pub(super) fn measure(&self, samples: &mut Samples) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        samples.add(Metric::OverridesReloads, Vec::new(), get(&self.reloads));
        samples.add(Metric::OverridesFailures, Vec::new(), get(&self.failures));
        let is_failing = self.refused().is_some();
        samples.add(Metric::OverridesFailing, Vec::new(), u64::from(is_failing));
    }

    /// Why the newest version is refused, while it is.
    pub(super) fn refused(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    fn set_refused(&self, reason: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
