//! Reads what the configuration names again while the server runs: overrides, tokens, certificates. A version with
//! an error is refused as a whole, and what held goes on holding.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::tenants::Tenants;
use tracewell_ingest::tls::Tls;
use tracewell_server::metrics::{Metric, Samples};

use crate::config::raw::Findings;
use crate::config::{Config, overrides, tokens as config_tokens};

/// Watches the file of overrides.
#[derive(Debug)]
pub(super) struct Reload {
    config: Config,
    file: Watched,
    tenants: Arc<Tenants>,
    counters: Arc<Counters>,
}

/// One file.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What was read last, good or bad: each version is judged and told of once.
    last: Mutex<Option<Result<String, String>>>,
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

/// Looks again and again until the server stops. Looking may block.
async fn repeat(
    what: &'static str,
    every: Duration,
    stop: CancellationToken,
    look: impl Fn() + Send + Sync + 'static,
) {
    let look = Arc::new(look);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looking = Arc::clone(&look);
        if let Err(error) = tokio::task::spawn_blocking(move || looking()).await {
            tracing::error!(%error, "reading {what} ended badly, which is a bug");
        }
    }
}

/// Takes new certificates up as they come.
pub(super) async fn certificates(tls: Arc<Tls>, stop: CancellationToken) {
    // Files that cannot be read are the same each time.
    let said = Mutex::new(None);
    let look = move || {
        let refused = match tls.reload() {
            Ok(false) => return,
            Ok(true) => {
                let cert = tls.files().cert.display();
                tracing::info!(%cert, "new certificates hold for new connections");
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &refused
            && refused != *said
        {
            tracing::error!(
                %error,
                "new certificates are refused, and those that there were go on to serve: mend the files"
            );
        }
        *said = refused;
    };
    repeat("certificates", CERTIFICATES_EVERY, stop, look).await;
}

/// Takes new tokens up as they come.
pub(super) async fn tokens(
    path: PathBuf,
    every: Duration,
    tenants: Arc<Tenants>,
    stop: CancellationToken,
) {
    let file = Watched::new(path);
    let look = move || match file.news(|text| config_tokens::parse(&file.path, text)) {
        None => {}
        Some(Ok(tokens)) => {
            tenants.set_tokens(Some(tokens));
            tracing::info!(path = %file.path.display(), "new tokens hold");
        }
        Some(Err(reason)) => tracing::error!(
            reason,
            "a new version of the tokens is refused, and those that there were are asked for: mend the file"
        ),
    };
    repeat("the tokens", every, stop, look).await;
}

// === impl Watched ===

impl Watched {
    /// As it is now.
    fn new(path: PathBuf) -> Self {
        Self {
            last: Mutex::new(std::fs::read_to_string(&path).ok().map(Ok)),
            path,
        }
    }

    /// What a version says that was not seen before, or why it is refused.
    fn news<T>(&self, parse: impl FnOnce(&str) -> (T, Findings)) -> Option<Result<T, String>> {
        let read = std::fs::read_to_string(&self.path).map_err(|error| error.to_string());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&read) {
            return None;
        }
        let judged = match &read {
            Ok(text) => {
                let (value, findings) = parse(text);
                for warning in &findings.warnings {
                    tracing::warn!("{warning}");
                }
                let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
                match errors.is_empty() {
                    true => Ok(value),
                    false => Err(errors.join("; ")),
                }
            }
            Err(error) => Err(format!("{}: {error}", self.path.display())),
        };
        *last = Some(read);
        Some(judged)
    }
}

// === impl Reload ===

impl Reload {
    /// None where there is no file.
    pub(super) fn new(
        config: &Config,
        tenants: &Arc<Tenants>,
        counters: &Arc<Counters>,
    ) -> Option<Self> {
        let path = config.tenants.overrides_path.clone()?;
        Some(Self {
            file: Watched::new(path),
            config: config.clone(),
            tenants: Arc::clone(tenants),
            counters: Arc::clone(counters),
        })
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let every = self.config.tenants.overrides_period;
        repeat("the overrides", every, stop, move || self.look()).await;
    }

    fn look(&self) {
        let parse = |text: &str| overrides::parse(&self.config, &self.file.path, text);
        match self.file.news(parse) {
            None => {}
            Some(Ok(limits)) => {
                tracing::info!(tenants = limits.named.len(), "new overrides hold");
                self.tenants.replace(limits);
                self.counters.reloads.fetch_add(1, Ordering::Relaxed);
                self.counters.set_refused(None);
            }
            Some(Err(reason)) => {
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
