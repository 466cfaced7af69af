//! `tracewell export`: traces of a running server as OTLP JSON lines, one trace a line.
//!
//! The time is gone through in stretches, oldest first. A trace belongs to the stretch in which it starts,
//! so that none is written twice and nobody needs to remember them; see [`stretch`]. With a file, what is
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
use crate::{Usage, clock, output, runtime};
use progress::{Output, Task};
use stretch::Stretches;

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
}

pub(crate) fn run(arguments: &Export) -> Result<ExitCode> {
    check_connections(arguments.connections)?;
    let (start, end) = arguments.window.nanos(clock::now())?;
    let task = Task {
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
    if let Err(error) = exported {
        return match (output::is_closed(&error), output.resumable()) {
            // A reader that left, such as `head`.
            (true, _) => Ok(ExitCode::SUCCESS),
            (false, Some(how)) => Err(error.context(how)),
            (false, None) => Err(error),
        };
    }
    let report = output.finish()?;
    eprintln!("{report} in {:.1} s", started.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

// === impl Run ===

impl Run {
    async fn export(&mut self, output: &mut Output) -> Result<()> {
        let mut stretches = Stretches::new(output.next(), output.task().end);
        while let Some(stretch) = stretches.current() {
            let found = self.search(output.task(), &stretch).await?;
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
    async fn search(&mut self, task: &Task, stretch: &stretch::Stretch) -> Result<Vec<Match>> {
        let parameters = [
            ("q", task.query.clone()),
            ("start", decimal_seconds(stretch.start)),
            ("end", decimal_seconds(stretch.end)),
            ("limit", stretch.limit.to_string()),
            ("spss", "1".to_owned()),
        ];
        let takes_partial = self.takes_partial;
        let answer = ask(
            &mut self.searcher,
            "/api/search",
            &parameters,
            Accept::Json,
            takes_partial,
        )
        .await?
        .context("the server has no search")?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body)
            .context("the search was not answered with JSON")?;
        list(&answer, "traces")
            .iter()
            .map(|trace| {
                let start = text(trace, "startTimeUnixNano");
                Ok(Match {
                    id: format!("{:0>32}", text(trace, "traceID")),
                    start_unix_nano: match start.as_str() {
                        "" => 0,
                        start => start
                            .parse()
                            .with_context(|| format!("a start of {start:?}"))?,
                    },
                })
            })
            .collect()
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
            self.takes_partial,
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

/// Asks until the answer is whole; nothing where there is nothing (404).
async fn ask(
    client: &mut Client,
    path: &str,
    parameters: &[(&str, String)],
    accept: Accept,
    takes_partial: bool,
) -> Result<Option<Answer>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let wrong = match client.get_as(path, parameters, accept).await {
            Ok(answer) => match (answer.status, &answer.partial) {
                (200, None) => return Ok(Some(answer)),
                (200, Some(why)) if takes_partial => {
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
