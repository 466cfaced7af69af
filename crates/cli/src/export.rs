//! `tracewell export`: traces of a running server as OTLP JSON lines, one trace a line.
//!
//! The time is gone through in stretches, oldest first; see [`stretch`]. A trace is written with the first
//! stretch that finds it, mostly the one in which it starts, and remembered while it reaches into the next. With a file, what is
//! written and how far it goes is kept beside it ([`progress`]), and the same command goes on.

mod progress;
mod stretch;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;
use tracewell_wire::otlp;

use crate::arguments::Export;
use crate::client::{Accept, Answer, Client, list, text};
use crate::send::check_connections;
use crate::{Usage, clock, runtime};
use progress::{Output, ReaderLeft, Task};
use stretch::{Stretch, Stretches};

/// How often whoever waits is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Tries of a question whose answer is not whole, or is none.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// A run over one server.
struct Run {
    searcher: Client,
    fetchers: Mutex<Vec<Client>>,
    n_connections: usize,
    takes_partial: bool,
    told: Instant,
}

/// Of a trace that a search found.
struct Match {
    id: String,
    start_unix_nano: u64,
    end_unix_nano: u64,
}

/// What to do with an answer that is partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnPartial {
    /// To tell of it.
    Warn,
    /// To ask again, and to give up in the end.
    AskAgain,
    /// To leave it to whoever asked.
    Give,
}

pub(crate) fn run(arguments: &Export) -> Result<ExitCode> {
    check_connections(arguments.connections)?;
    let (start, end) = arguments.window.nanos(clock::now())?;
    let task = Task {
        server: arguments.server.clone(),
        query: arguments.query.clone(),
        tenant: arguments.tenant.as_ref().map(ToString::to_string),
        since: arguments.window.since.clone(),
        start,
        end,
    };
    let mut output = match &arguments.output {
        Some(path) => Output::file(path, task, arguments.force)?,
        None => Output::stdout(task),
    };
    let started = Instant::now();
    let exported = runtime::sending()?.block_on(async {
        let client = || Client::new(&arguments.server, arguments.tenant.as_ref());
        let fetchers: Result<Vec<Client>> = (0..arguments.connections).map(|_| client()).collect();
        let mut run = Run {
            searcher: client()?,
            fetchers: Mutex::new(fetchers?),
            n_connections: arguments.connections,
            takes_partial: arguments.allow_partial,
            told: started,
        };
        run.export(&mut output).await
    });
    let how_to_go_on = output.resumable();
    let report = match exported.and_then(|()| output.finish()) {
        Ok(report) => report,
        Err(error) if error.is::<ReaderLeft>() => return Ok(ExitCode::SUCCESS),
        Err(error) => {
            return Err(match how_to_go_on {
                Some(how) => error.context(how),
                None => error,
            });
        }
    };
    eprintln!("{report} in {:.1} s", started.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

// === impl Run ===

impl Run {
    async fn export(&mut self, output: &mut Output) -> Result<()> {
        let mut stretches = Stretches::new(output.next(), output.task().end);
        while let Some(stretch) = stretches.current() {
            let Some(found) = self.search(output.task(), &stretch, &mut stretches).await? else {
                continue;
            };
            let starting = found.iter().filter(|it| stretch.holds(it.start_unix_nano));
            if stretches.is_too_much(found.len(), starting.count())? {
                continue;
            }
            let ids = output.select(found, &stretch);
            self.fetch(ids, output).await?;
            output.reached(stretch.end)?;
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                eprintln!("{output}");
            }
        }
        Ok(())
    }

    /// Matches with a span in the stretch, newest first, at most so many as the stretch asks for. A server
    /// takes an end that is about now for none: newer traces are among them.
    /// Nothing if the server does not get through so much at once: the next stretch is shorter.
    async fn search(
        &mut self,
        task: &Task,
        stretch: &Stretch,
        stretches: &mut Stretches,
    ) -> Result<Option<Vec<Match>>> {
        let parameters = [
            ("q", task.query.clone()),
            ("start", decimal_seconds(stretch.start)),
            ("end", decimal_seconds(stretch.end)),
            ("limit", stretch.limit.to_string()),
            ("spss", "1".to_owned()),
        ];
        let mut on_partial = match self.takes_partial {
            true => OnPartial::Warn,
            false => OnPartial::Give,
        };
        let answer = loop {
            let searcher = &mut self.searcher;
            let answer = ask(
                searcher,
                "/api/search",
                &parameters,
                Accept::Json,
                on_partial,
            );
            let answer = answer.await?.context("the server has no search")?;
            if on_partial != OnPartial::Give || answer.partial.is_none() {
                break answer;
            }
            if stretches.narrow() {
                return Ok(None);
            }
            // What is missing may come back.
            on_partial = OnPartial::AskAgain;
        };
        let answer: serde_json::Value = serde_json::from_slice(&answer.body)
            .context("the search was not answered with JSON")?;
        let found = list(&answer, "traces").iter().map(Match::of);
        found.collect::<Result<_>>().map(Some)
    }

    /// Writes traces in order, several fetched at the same time.
    async fn fetch(&self, ids: Vec<String>, output: &mut Output) -> Result<()> {
        let lines = futures::stream::iter(ids)
            .map(|id| self.line(id))
            .buffered(self.n_connections);
        let mut lines = std::pin::pin!(lines);
        while let Some(line) = lines.try_next().await? {
            match line {
                Some(line) => output.write(&line)?,
                // Retention was faster.
                None => output.gone(),
            }
        }
        Ok(())
    }

    /// One trace as its line, or nothing if it is not there any more.
    async fn line(&self, id: String) -> Result<Option<Vec<u8>>> {
        let Some(mut client) = self.fetchers.lock().await.pop() else {
            bail!("more fetches than connections");
        };
        let path = format!("/api/traces/{id}");
        // As it was sent.
        let parameters = [("raw", "true".to_owned())];
        let answer = ask(
            &mut client,
            &path,
            &parameters,
            Accept::Protobuf,
            match self.takes_partial {
                true => OnPartial::Warn,
                false => OnPartial::AskAgain,
            },
        )
        .await;
        self.fetchers.lock().await.push(client);
        let Some(answer) = answer? else {
            return Ok(None);
        };
        let mut line = Vec::with_capacity(answer.body.len() * 2);
        otlp::protobuf_to_json(&answer.body, &mut line).with_context(|| format!("trace {id}"))?;
        line.push(b'\n');
        Ok(Some(line))
    }
}

// === impl Match ===

impl Match {
    /// Of the answer of a search.
    fn of(trace: &serde_json::Value) -> Result<Self> {
        let start = match text(trace, "startTimeUnixNano").as_str() {
            "" => 0,
            start => start
                .parse()
                .with_context(|| format!("a start of {start:?}"))?,
        };
        let milliseconds = trace["durationMs"].as_u64().unwrap_or(0);
        // Rounded down by the server.
        let nanos = milliseconds.saturating_add(1).saturating_mul(1_000_000);
        Ok(Self {
            id: format!("{:0>32}", text(trace, "traceID")),
            start_unix_nano: start,
            end_unix_nano: start.saturating_add(nanos),
        })
    }
}

/// Asks until the answer is whole; nothing where there is nothing (404).
async fn ask(
    client: &mut Client,
    path: &str,
    parameters: &[(&str, String)],
    accept: Accept,
    on_partial: OnPartial,
) -> Result<Option<Answer>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let wrong = match client.get_as(path, parameters, accept).await {
            Ok(answer) => match (answer.status, &answer.partial) {
                (200, None) => return Ok(Some(answer)),
                (200, Some(_)) if on_partial == OnPartial::Give => return Ok(Some(answer)),
                (200, Some(why)) if on_partial == OnPartial::Warn => {
                    eprintln!("warning: {path} is partial: {why}");
                    return Ok(Some(answer));
                }
                (200, Some(why)) => anyhow::anyhow!(
                    "the answer is partial: {why} (--allow-partial takes what there is)"
                ),
                (404, _) => return Ok(None),
                (400, _) => return Err(Usage(answer.error()).into()),
                _ => anyhow::anyhow!("{}", answer.error()),
            },
            Err(error) => error,
        };
        if tries == TRIES_MAX {
            return Err(wrong.context(format!("asking for {path}")));
        }
        eprintln!("{path}: {wrong:#}; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Exactly, in a form that every server of this API reads.
fn decimal_seconds(unix_nano: u64) -> String {
    format!(
        "{}.{:09}",
        unix_nano / 1_000_000_000,
        unix_nano % 1_000_000_000
    )
}
