//! Reads what the configuration names again while the server runs: overrides, tokens, certificates. A version with
//! an error is refused as a whole, and what held goes on holding.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::tenants::Tenants;
use tracewell_server::metrics::{Metric, Samples};
use tracewell_store::Store;

use crate::config::load::Loaded;
use crate::config::raw::Findings;
use crate::config::{overrides, tokens};

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Overrides,
    Tokens,
    Certificates,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// What holds is what is there.
    None,
    /// Something else, which the next look will judge if it is still the same: nobody takes up half of a file
    /// that is written at this moment.
    Changing,
    Taken,
    Refused(String),
}

/// A text file.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    /// What holds.
    held: Option<String>,
    /// What the last look found, where that is something else.
    changing: Option<String>,
}

/// How it went so far, file by file.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    overrides: Counters,
    tokens: Counters,
    certificates: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    failures: AtomicU64,
    /// Why the newest version is refused, while it is.
    refused: Mutex<Option<String>>,
}

/// How often the files of certificates are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// Watches all files that the configuration names, until the server stops.
pub(super) fn watch(
    runtime: &Runtime,
    loaded: &Loaded,
    (tenants, store): (&Arc<Tenants>, &Arc<Store>),
    reloads: &Arc<Reloads>,
    stop: &CancellationToken,
) {
    let config = loaded.config.clone();
    let every = config.tenants.overrides_period;
    let repeat = |file, every, look: Box<dyn Fn() -> News + Send + Sync>| {
        let reloads = Arc::clone(reloads);
        runtime.spawn(repeat(file, every, stop.clone(), move || {
            reloads.note(file, look());
        }));
    };
    if let Some(path) = config.tenants.overrides_path.clone() {
        let file = Watched::new(path, loaded.overrides_text.clone());
        let (tenants, store) = (Arc::clone(tenants), Arc::clone(store));
        let look = move || {
            let parse = |text: &str| overrides::parse(&config, &file.path, text);
            file.look(parse, |limits| {
                store.set_retention_ages(limits.retention.clone());
                tenants.replace(limits);
            })
        };
        repeat(File::Overrides, every, Box::new(look));
    }
    if let Some(path) = loaded.config.tenants.tokens_path.clone() {
        let file = Watched::new(path, loaded.tokens_text.clone());
        let tenants = Arc::clone(tenants);
        let look = move || {
            let parse = |text: &str| tokens::parse(&file.path, text);
            file.look(parse, |tokens| tenants.set_tokens(Some(tokens)))
        };
        repeat(File::Tokens, every, Box::new(look));
    }
    if let Some(tls) = loaded.tls.clone() {
        let look = move || match tls.reload() {
            Ok(tracewell_ingest::tls::Reload::Unchanged) => News::None,
            Ok(tracewell_ingest::tls::Reload::Changing) => News::Changing,
            Ok(tracewell_ingest::tls::Reload::New) => News::Taken,
            Err(error) => News::Refused(error.to_string()),
        };
        repeat(File::Certificates, CERTIFICATES_EVERY, Box::new(look));
    }
}

/// Looks again and again until the server stops. Looking may block.
async fn repeat(
    file: File,
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
            tracing::error!(%error, "reading {} ended badly, which is a bug", file.name());
        }
    }
}

// === impl File ===

impl File {
    const ALL: [Self; 3] = [Self::Overrides, Self::Tokens, Self::Certificates];

    fn name(self) -> &'static str {
        match self {
            Self::Overrides => "overrides",
            Self::Tokens => "tokens",
            Self::Certificates => "certificates",
        }
    }
}

// === impl Watched ===

impl Watched {
    /// `held` is what the server began with.
    fn new(path: PathBuf, held: Option<String>) -> Self {
        let changing = None;
        Self {
            path,
            texts: Mutex::new(Texts { held, changing }),
        }
    }

    /// Takes a new version that is good and has stayed as it is since the last look.
    fn look<T>(&self, parse: impl FnOnce(&str) -> (T, Findings), take: impl FnOnce(T)) -> News {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) => return News::Refused(format!("{}: {error}", self.path.display())),
        };
        if texts.held.as_ref() == Some(&text) {
            texts.changing = None;
            return News::None;
        }
        if texts.changing.as_ref() != Some(&text) {
            texts.changing = Some(text);
            return News::Changing;
        }
        let (value, findings) = parse(&text);
        if !findings.errors.is_empty() {
            let errors: Vec<String> = findings.errors.iter().map(ToString::to_string).collect();
            return News::Refused(errors.join("; "));
        }
        for warning in &findings.warnings {
            tracing::warn!("{warning}");
        }
        take(value);
        texts.held = texts.changing.take();
        News::Taken
    }
}

// === impl Reloads ===

impl Reloads {
    fn of(&self, file: File) -> &Counters {
        match file {
            File::Overrides => &self.overrides,
            File::Tokens => &self.tokens,
            File::Certificates => &self.certificates,
        }
    }

    /// Counts and tells what is new about a file.
    fn note(&self, file: File, news: News) {
        let counters = self.of(file);
        let name = file.name();
        let refused = match news {
            News::Changing => return,
            News::None => None,
            News::Taken => {
                counters.taken.fetch_add(1, Ordering::Relaxed);
                tracing::info!("new {name} hold");
                None
            }
            News::Refused(reason) => Some(reason),
        };
        let mut before = counters.refused();
        if let Some(reason) = &refused
            && refused != *before
        {
            counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                reason,
                "new {name} are refused, and those that there were go on to hold: mend the file"
            );
        }
        *before = refused;
    }

    pub(super) fn measure(&self, samples: &mut Samples) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for file in File::ALL {
            let counters = self.of(file);
            let label = || vec![("file", file.name().to_owned())];
            samples.add(Metric::Reloads, label(), get(&counters.taken));
            samples.add(Metric::ReloadFailures, label(), get(&counters.failures));
            let is_failing = u64::from(self.refused(file).is_some());
            samples.add(Metric::ReloadsFailing, label(), is_failing);
        }
    }

    /// Why the newest version is refused, while it is.
    pub(super) fn refused(&self, file: File) -> Option<String> {
        self.of(file).refused().clone()
    }

    /// What an operator should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let failing = File::ALL.iter().filter_map(|file| {
            let (name, reason) = (file.name(), self.refused(*file)?);
            Some(format!("new {name} are refused, older ones hold: {reason}"))
        });
        failing.collect()
    }
}

// === impl Counters ===

impl Counters {
    fn refused(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version that two looks have found is judged; what cannot be read or is wrong is told of once, and the old
    /// one that comes back is good.
    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        let a = "tokens:\n  a: aaaaaaaaaaaaaaaa\n";
        let whole = "tokens:\n  a: aaaaaaaaaaaaaaaa\n  '*': oooooooooooooooo\n";
        std::fs::write(&path, whole).unwrap();
        let file = Watched::new(path.clone(), Some(whole.to_owned()));
        let reloads = Reloads::default();
        let mut held = Vec::new();
        let mut look = |text: Option<&str>| {
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let parse = |text: &str| tokens::parse(&file.path, text);
            let news = file.look(parse, |tokens| held.push(tokens.has_operator()));
            let told = format!("{news:?}");
            reloads.note(File::Tokens, news);
            let failures = reloads.tokens.failures.load(Ordering::Relaxed);
            (told, failures, reloads.warnings().len())
        };
        let is =
            |(told, failures, warnings): (String, u64, usize), expected: &str, n: (u64, usize)| {
                assert!(told.starts_with(expected), "{told}");
                assert_eq!((failures, warnings), n, "{expected}");
            };
        is(look(Some(whole)), "None", (0, 0));
        is(look(Some(a)), "Changing", (0, 0));
        is(look(Some(whole)), "None", (0, 0));
        is(look(Some("tokens: 5")), "Changing", (0, 0));
        is(look(Some("tokens: 5")), "Refused", (1, 1));
        is(look(Some("tokens: 5")), "Refused", (1, 1));
        is(look(Some(whole)), "None", (1, 0));
        is(look(None), "Refused", (2, 1));
        is(look(Some(a)), "Changing", (2, 1));
        is(look(Some(a)), "Taken", (2, 0));
        is(look(Some(a)), "None", (2, 0));
        assert_eq!(held, [false]);
    }
}
