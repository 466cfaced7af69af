//! Where an export goes, and how far it is.
//!
//! A file `traces.jsonl` is written from its front to its end. `traces.jsonl.resume` beside it holds what was
//! asked for, how many bytes of the file are finished and up to when they go. It is replaced after the
//! file is synced and removed at the end, so that an export that was stopped anywhere goes on behind
//! the last stretch that is whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Match;
use super::stretch::Stretch;
use crate::{Usage, clock};

/// What is exported. Times are Unix nanoseconds; the end is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) server: String,
    pub(super) query: String,
    pub(super) tenant: Option<String>,
    /// As it was written, where the times come of it.
    pub(super) since: Option<String>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The content of the `.resume` file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    task: Task,
    /// Everything before it is written.
    next: u64,
    n_bytes: u64,
    n_traces: u64,
    n_gone: u64,
    /// Traces that are written and end behind `next`, with their ends: the stretches that they reach into find
    /// them again. One that is not among these was not written, wherever it starts: its root may have come late.
    reaching: BTreeMap<String, u64>,
}

pub(super) struct Output {
    to: BufWriter<Box<dyn Write + Send>>,
    place: Option<Place>,
    progress: Progress,
}

/// A file and what stands beside it.
struct Place {
    path: PathBuf,
    file: File,
    saved: Instant,
    n_bytes_saved: u64,
    was_resumed: bool,
}

/// Whoever read standard output left, such as `head`.
#[derive(Debug)]
pub(super) struct ReaderLeft;

/// Syncs cost time: after so much of it, or so many bytes.
const SAVE_EVERY: Duration = Duration::from_secs(2);
const SAVE_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 1 << 20;

// === impl ReaderLeft ===

impl std::error::Error for ReaderLeft {}

impl fmt::Display for ReaderLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the traces any more")
    }
}

// === impl Output ===

impl Output {
    pub(super) fn stdout(task: Task) -> Self {
        Self {
            to: BufWriter::with_capacity(BUFFER_BYTES, Box::new(std::io::stdout())),
            place: None,
            progress: Progress::new(task),
        }
    }

    /// A new file, or one that an export of the same began. `force` begins anew whatever is there.
    pub(super) fn file(path: &Path, task: Task, force: bool) -> Result<Self> {
        let found = match force {
            true => None,
            false => Progress::read(path)?,
        };
        let was_resumed = found.is_some();
        let (mut file, progress) = match found {
            Some(found) => (found.go_on(&task, path)?, found),
            None => (new_file(path, force)?, Progress::new(task)),
        };
        if was_resumed {
            eprintln!("going on with {}: {progress}", path.display());
        }
        let named = || path.display().to_string();
        file.seek(SeekFrom::End(0)).with_context(named)?;
        let writing = file.try_clone().with_context(named)?;
        let output = Self {
            to: BufWriter::with_capacity(BUFFER_BYTES, Box::new(writing)),
            place: Some(Place {
                path: path.to_owned(),
                file,
                saved: Instant::now(),
                n_bytes_saved: progress.n_bytes,
                was_resumed,
            }),
            progress,
        };
        if !was_resumed {
            output.progress.save(path)?;
        }
        Ok(output)
    }

    pub(super) fn task(&self) -> &Task {
        &self.progress.task
    }

    /// From when on nothing is written yet.
    pub(super) fn next(&self) -> u64 {
        self.progress.next
    }

    /// Ids of what is to be written with the stretch, by start: what starts in it or before it and was not
    /// written yet.
    pub(super) fn select(&mut self, mut found: Vec<Match>, stretch: &Stretch) -> Vec<String> {
        found.sort_by(|a, b| (a.start_unix_nano, &a.id).cmp(&(b.start_unix_nano, &b.id)));
        let reaching = &mut self.progress.reaching;
        found.retain(|found| {
            found.start_unix_nano < stretch.end && !reaching.contains_key(&found.id)
        });
        for found in &found {
            if found.end_unix_nano >= stretch.end {
                reaching.insert(found.id.clone(), found.end_unix_nano);
            }
        }
        found.into_iter().map(|found| found.id).collect()
    }

    pub(super) fn write(&mut self, line: &[u8]) -> Result<()> {
        let written = self.to.write_all(line);
        self.done(written)?;
        self.progress.n_bytes += line.len() as u64;
        self.progress.n_traces += 1;
        Ok(())
    }

    /// A trace that was found and is not there any more.
    pub(super) fn gone(&mut self) {
        self.progress.n_gone += 1;
    }

    /// Everything before `next` was written.
    pub(super) fn reached(&mut self, next: u64) -> Result<()> {
        self.progress.next = next;
        self.progress.reaching.retain(|_, end| *end >= next);
        let n_bytes = self.progress.n_bytes;
        // Whoever reads standard output need not wait for a full buffer.
        let is_due = self.place.as_ref().is_none_or(|place| {
            place.saved.elapsed() >= SAVE_EVERY || n_bytes - place.n_bytes_saved >= SAVE_BYTES
        });
        match is_due {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn save(&mut self) -> Result<()> {
        let flushed = self.to.flush();
        self.done(flushed)?;
        if let Some(place) = &mut self.place {
            place.file.sync_data().context("writing the traces")?;
            self.progress.save(&place.path)?;
            place.saved = Instant::now();
            place.n_bytes_saved = self.progress.n_bytes;
        }
        Ok(())
    }

    fn done(&self, written: std::io::Result<()>) -> Result<()> {
        match written {
            Err(error)
                if self.place.is_none() && error.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                Err(ReaderLeft.into())
            }
            written => written.context("writing the traces"),
        }
    }

    /// How to go on after an error, where that is possible.
    pub(super) fn resumable(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        Some(format!(
            "the same command goes on with {} from here",
            place.path.display()
        ))
    }

    pub(super) fn finish(mut self) -> Result<String> {
        let flushed = self.to.flush();
        self.done(flushed)?;
        if let Some(place) = &self.place {
            place.file.sync_all().context("writing the traces")?;
            let beside = beside(&place.path);
            std::fs::remove_file(&beside).with_context(|| beside.display().to_string())?;
        }
        let was_resumed = self.place.is_some_and(|place| place.was_resumed);
        let mut report = format!("exported {}", self.progress.counts());
        if was_resumed {
            report.push_str(" with what was there,");
        }
        Ok(report)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.progress.fmt(f)
    }
}

// === impl Progress ===

impl Progress {
    fn new(task: Task) -> Self {
        Self {
            next: task.start,
            task,
            n_bytes: 0,
            n_traces: 0,
            n_gone: 0,
            reaching: BTreeMap::new(),
        }
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let beside = beside(path);
        let bytes = match std::fs::read(&beside) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| beside.display().to_string()),
        };
        let progress = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is not what an export left; --force begins anew",
                beside.display()
            )
        })?;
        Ok(Some(progress))
    }

    /// The file as far as it is whole.
    fn go_on(&self, task: &Task, path: &Path) -> Result<File> {
        self.must_be_of(task, path)?;
        let named = || path.display().to_string();
        let file = match File::options().write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Usage(format!(
                    "{} is gone, and {} says how far it was: --force begins anew",
                    path.display(),
                    beside(path).display()
                ))
                .into());
            }
            opened => opened.with_context(named)?,
        };
        must_be_alone(&file, path)?;
        let len = file.metadata().with_context(named)?.len();
        if len < self.n_bytes {
            return Err(Usage(format!(
                "{} has {len} bytes where {} were written: it was changed since; --force begins anew",
                path.display(),
                self.n_bytes
            ))
            .into());
        }
        file.set_len(self.n_bytes).with_context(named)?;
        Ok(file)
    }

    /// What is gone on with must be what was asked for; `--since` still means what it meant at the start.
    fn must_be_of(&self, task: &Task, path: &Path) -> Result<(), Usage> {
        let asked = |task: &Task| {
            let times = task.since.is_none().then_some((task.start, task.end));
            (
                task.server.clone(),
                task.query.clone(),
                task.tenant.clone(),
                task.since.clone(),
                times,
            )
        };
        if asked(&self.task) == asked(task) {
            return Ok(());
        }
        Err(Usage(format!(
            "{} was begun with other arguments, --server {}, query {:?}{}: give the same to go on, name another file, \
             or begin anew with --force",
            path.display(),
            self.task.server,
            self.task.query,
            match &self.task.since {
                Some(since) => format!(" and --since {since}"),
                None => String::new(),
            }
        )))
    }

    fn save(&self, path: &Path) -> Result<()> {
        let beside = beside(path);
        let mut new = beside.clone().into_os_string();
        new.push(".new");
        let write = || -> Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_data()?;
            std::fs::rename(&new, &beside)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", beside.display()))
    }

    fn counts(&self) -> String {
        let mut counts = format!(
            "{} traces, {:.1} MB",
            self.n_traces,
            self.n_bytes as f64 / 1e6
        );
        if self.n_gone > 0 {
            counts.push_str(&format!(", {} deleted by retention meanwhile", self.n_gone));
        }
        counts
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up_to = clock::utc(self.next);
        let time = self.task.end.saturating_sub(self.task.start).max(1);
        let done = self.next.saturating_sub(self.task.start);
        let percent = u128::from(done) * 100 / u128::from(time);
        write!(
            f,
            "{}, up to {up_to} ({percent} % of the time)",
            self.counts()
        )
    }
}

/// An empty file; where one is that is not empty, only by force. An export that was killed at once leaves one
/// that is, and nothing beside it.
fn new_file(path: &Path, force: bool) -> Result<File> {
    let named = || path.display().to_string();
    if std::fs::metadata(path).is_ok_and(|known| !known.is_file()) {
        return Err(Usage(format!(
            "{} is no file: name one, or leave --output out and take what comes on standard output",
            path.display()
        ))
        .into());
    }
    let mut options = File::options();
    let file = match options.write(true).create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            options.create_new(false).open(path)
        }
        opened => opened,
    };
    let file = file.with_context(named)?;
    must_be_alone(&file, path)?;
    if !force && file.metadata().with_context(named)?.len() > 0 {
        return Err(Usage(format!(
            "{} is there already: name another file, or begin anew with --force",
            path.display()
        ))
        .into());
    }
    // Not before it is nobody else's.
    file.set_len(0).with_context(named)?;
    Ok(file)
}

/// Two exports to one file would spoil it.
fn must_be_alone(file: &File, path: &Path) -> Result<(), Usage> {
    let locked = rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    match locked {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Usage(format!(
            "{}: another export writes to it",
            path.display()
        ))),
        // A file system that knows no locks.
        _ => Ok(()),
    }
}

/// The file that holds how far the export to `path` is.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".resume");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(query: &str, since: Option<&str>, start: u64) -> Task {
        Task {
            server: "http://localhost:3200".to_owned(),
            query: query.to_owned(),
            tenant: None,
            since: since.map(str::to_owned),
            start,
            end: start + 100,
        }
    }

    #[test]
    fn what_was_stopped_goes_on_behind_what_is_whole() {
        let folder = std::env::temp_dir().join(format!("export-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("traces.jsonl");
        let mut output = Output::file(&path, task("{ }", Some("1h"), 500), false).unwrap();
        let early = |id: &str| {
            vec![Match {
                id: id.to_owned(),
                start_unix_nano: 3,
                end_unix_nano: 600,
            }]
        };
        let stretch = Stretch {
            start: 500,
            end: 550,
            limit: 10,
        };
        assert_eq!(output.select(early("e"), &stretch), ["e"]);
        output.write(b"one\n").unwrap();
        output.reached(550).unwrap();
        output.save().unwrap();
        // What a stretch that was not finished left.
        output.write(b"half of ano").unwrap();
        output.to.flush().unwrap();
        drop(output);

        let refused = |task: Task| match Output::file(&path, task, false) {
            Ok(_) => panic!("not refused"),
            Err(error) => error.to_string(),
        };
        let text = refused(task("{ .a = 1 }", Some("1h"), 700));
        assert!(text.contains("begun with other arguments"), "{text}");
        let mut output = Output::file(&path, task("{ }", Some("1h"), 700), false).unwrap();
        assert_eq!((output.task().start, output.next()), (500, 550));
        assert_eq!(output.select(early("e"), &stretch), Vec::<String>::new());
        output.write(b"two\n").unwrap();
        let report = output.finish().unwrap();
        assert!(report.contains("2 traces"), "{report}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert!(!beside(&path).exists());
        // It is finished, and not begun again by accident.
        let text = refused(task("{ }", Some("1h"), 700));
        assert!(text.contains("is there already"), "{text}");
        drop(Output::file(&path, task("{ }", None, 1), true).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        let text = refused(task("{ }", None, 2));
        assert!(text.contains("begun with other arguments"), "{text}");
        // Killed before it wrote down what it does.
        std::fs::remove_file(beside(&path)).unwrap();
        let output = Output::file(&path, task("{ }", None, 2), false).unwrap();
        assert!(output.place.is_some_and(|place| !place.was_resumed));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// A root that comes late makes a trace start earlier than what is written already.
    #[test]
    fn a_trace_is_written_with_the_first_stretch_that_finds_it_and_with_no_other() {
        let mut output = Output::stdout(task("{ }", None, 0));
        let stretch = |start| Stretch {
            start,
            end: start + 10,
            limit: 10,
        };
        let found = |id: &str, start, end| Match {
            id: id.to_owned(),
            start_unix_nano: start,
            end_unix_nano: end,
        };
        let first = vec![
            found("long", 5, 25),
            found("short", 5, 6),
            found("next", 10, 11),
        ];
        assert_eq!(output.select(first, &stretch(0)), ["long", "short"]);
        output.reached(10).unwrap();
        // "long" is found again, "late" started before and was not found then.
        let second = vec![
            found("long", 5, 25),
            found("late", 2, 15),
            found("next", 10, 11),
        ];
        assert_eq!(output.select(second, &stretch(10)), ["late", "next"]);
        output.reached(20).unwrap();
        // Retention took the first part of "long".
        assert_eq!(
            output.select(vec![found("long", 21, 25)], &stretch(20)),
            [""; 0]
        );
        output.reached(30).unwrap();
        assert!(output.progress.reaching.is_empty());
    }
}
