//! The named queries of benches/queries.txt.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::table::{Row, Table};
use super::target::Target;
use super::{percentile, timed};
use crate::arguments::Bench;
use crate::client::{Answer, Client, escape};
use crate::explain::{number, size};

const LIST: &str = include_str!("../../../../benches/queries.txt");

#[derive(Debug)]
pub(super) struct Query {
    kind: Kind,
    name: &'static str,
    /// First bar and ambition, where there are any.
    bars_ms: Option<(f64, f64)>,
    expected: Expected,
    text: &'static str,
}

/// What the load holds for a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nothing,
    /// However small the load is.
    Something,
    /// If the load is not small.
    SomethingOfMany,
}

/// A load of so many spans holds everything that the shop does.
const MANY_SPANS: u64 = 1_000_000;
/// Longer than any bar.
const SLOW: Duration = Duration::from_secs(5);
/// What an answer says that ran out of time or memory: a number that is missing, and no wrong one.
const LIMITS: [&str; 2] = [
    "the query took longer than",
    "limits.query_memory_bytes_max",
];
/// Results of a search.
const LIMIT: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Search,
    Range,
    Names,
    Values,
}

/// Asks every query once to warm up, then so many times.
pub(super) async fn ask(
    client: &mut Client,
    window: (u64, u64),
    (repeat, n_spans): (usize, u64),
    table: &mut Table,
) -> Result<()> {
    for query in all()? {
        let (took, outcome) = query.ask(client, window, (repeat, n_spans)).await?;
        let name = query.row();
        let row = match outcome {
            Outcome::Right(n_results) => {
                let p99 = percentile(&took, 99);
                // What takes so long is asked once.
                let cost = match took.iter().any(|took| *took > SLOW) {
                    true => String::new(),
                    // Of a remark alone: without it the number stands.
                    false => query.cost(client, window).await.unwrap_or_default(),
                };
                Row::new(&name, "ms", percentile(&took, 50))
                    .remark(format!("p99 {p99:.1} ms, {n_results} results{cost}"))
            }
            Outcome::None(reason) => Row::missing(&name, "ms", reason),
            Outcome::Wrong(error) => Row::wrong(&name, "ms", error),
        };
        table.push(match query.bars_ms {
            Some((bar, ambition)) => row.bars(bar, ambition),
            None => row,
        });
    }
    Ok(())
}

/// Asks every query once of a server of our own that was just started, with nothing of its files in memory.
pub(super) async fn ask_first(
    arguments: &Bench,
    target: &mut Target,
    (window, n_spans): ((u64, u64), u64),
    table: &mut Table,
) -> Result<()> {
    for query in all()? {
        let Some(mut client) = target.start_again(arguments).await? else {
            return Ok(());
        };
        let (took, outcome) = query.ask_once(&mut client, window, n_spans).await?;
        match outcome {
            Outcome::Right(_) => table.first(&query.row(), Ok(took.as_secs_f64() * 1e3)),
            Outcome::None(_) => {}
            Outcome::Wrong(error) => table.first(&query.row(), Err(error)),
        }
    }
    Ok(())
}

pub(super) fn all() -> Result<Vec<Query>> {
    parse(LIST)
}

/// What an answer is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With so many results.
    Right(usize),
    /// The server says that it cannot do it yet, or not within the time or memory of a query: a number that is
    /// missing, nothing wrong.
    None(String),
    Wrong(String),
}

/// `None` where the body is no answer at all.
fn n_results(body: &[u8]) -> Option<usize> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let lists = ["traces", "series", "scopes", "tagValues"];
    let found = lists.iter().find_map(|key| answer.get(*key));
    match found {
        Some(list) => list.as_array().map(Vec::len),
        // Tempo leaves empty lists out.
        None => answer.is_object().then_some(0),
    }
}

fn parse(list: &'static str) -> Result<Vec<Query>> {
    let lines = list
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| parse_line(line).with_context(|| format!("benches/queries.txt: {line}")))
        .collect()
}

fn parse_line(line: &'static str) -> Result<Query> {
    let mut fields = line.splitn(6, '|').map(str::trim);
    let mut field = |what: &'static str| fields.next().context(what);
    let kind = match field("kind")? {
        "search" => Kind::Search,
        "range" => Kind::Range,
        "names" => Kind::Names,
        "values" => Kind::Values,
        other => anyhow::bail!("unknown kind {other}"),
    };
    let name = field("name")?;
    let bars_ms = match (field("bar")?, field("ambition")?) {
        ("-", "-") => None,
        (bar, ambition) => Some((
            bar.parse().context("bar")?,
            ambition.parse().context("ambition")?,
        )),
    };
    Ok(Query {
        kind,
        name,
        bars_ms,
        expected: match field("results")? {
            "none" => Expected::Nothing,
            "some" => Expected::Something,
            "rare" => Expected::SomethingOfMany,
            other => anyhow::bail!("unknown number of results {other}"),
        },
        text: field("query")?,
    })
}

// === impl Query ===

impl Query {
    /// The name of its row.
    pub(super) fn row(&self) -> String {
        format!("query: {}, p50", self.name)
    }

    /// Asks once to warm up and then so many times, as long as the answers are right.
    pub(super) async fn ask(
        &self,
        client: &mut Client,
        window: (u64, u64),
        (repeat, n_spans): (usize, u64),
    ) -> Result<(Vec<Duration>, Outcome)> {
        let mut took = Vec::new();
        let mut outcome = Outcome::Right(0);
        for turn in 0..=repeat {
            let duration;
            (duration, outcome) = self.ask_once(client, window, n_spans).await?;
            if !matches!(outcome, Outcome::Right(_)) {
                break;
            }
            // What takes so long is asked once.
            let is_slow = duration > SLOW;
            if turn > 0 || is_slow {
                took.push(duration);
            }
            if is_slow {
                break;
            }
        }
        Ok((took, outcome))
    }

    pub(super) async fn ask_once(
        &self,
        client: &mut Client,
        window: (u64, u64),
        n_spans: u64,
    ) -> Result<(Duration, Outcome)> {
        let (path, parameters) = self.request(window);
        let (duration, answer) = timed(client.get(&path, &parameters)).await?;
        Ok((duration, self.judge(&answer, n_spans)))
    }

    /// The bytes that a search or series reads and how many row groups it rules out, for a remark; nothing of a
    /// server that does not tell.
    async fn cost(&self, client: &mut Client, window: (u64, u64)) -> Result<String> {
        if !matches!(self.kind, Kind::Search | Kind::Range) {
            return Ok(String::new());
        }
        let (_, mut parameters) = self.request(window);
        parameters.push(("analyze", "true".to_owned()));
        let answer = client.get("/api/tracewell/explain", &parameters).await?;
        let explained: Option<Value> = match answer.status {
            200 => serde_json::from_slice(&answer.body).ok(),
            _ => None,
        };
        let analysis = explained.as_ref().and_then(|it| it.get("analysis"));
        Ok(analysis.map_or_else(String::new, |analysis| {
            let n = |key| number(analysis, key);
            format!(
                ", {}, {} of {} groups out",
                size(n("inspectedBytes")),
                n("rowGroupsRuledOut"),
                n("rowGroups")
            )
        }))
    }

    fn judge(&self, answer: &Answer, n_spans: u64) -> Outcome {
        if answer.status != 200 {
            let error = answer.error();
            return match answer.status == 501 || error.contains("not built yet") {
                true => Outcome::None(error),
                false => Outcome::Wrong(error),
            };
        }
        if let Some(reason) = &answer.partial {
            if LIMITS.iter().any(|limit| reason.contains(limit)) {
                return Outcome::None(reason.clone());
            }
            return Outcome::Wrong(format!("the answer is partial: {reason}"));
        }
        let Some(n_results) = n_results(&answer.body) else {
            return Outcome::Wrong("the answer is no JSON of the API".to_owned());
        };
        let is_right = match self.expected {
            Expected::Nothing => n_results == 0,
            Expected::Something => n_results > 0,
            Expected::SomethingOfMany => n_results > 0 || n_spans < MANY_SPANS,
        };
        let fits = self.kind != Kind::Search || n_results <= LIMIT;
        match is_right && fits {
            true => Outcome::Right(n_results),
            false => Outcome::Wrong(format!(
                "{n_results} results, {} expected",
                match self.expected {
                    Expected::Nothing => "none were",
                    _ => "1 to 20 were",
                }
            )),
        }
    }

    fn request(&self, (from, to): (u64, u64)) -> (String, Vec<(&'static str, String)>) {
        let seconds = |nanos: u64| nanos / 1_000_000_000;
        let (tag, text) = match self.kind {
            Kind::Values => self.text.split_once(' ').unwrap_or((self.text, "{ }")),
            Kind::Search | Kind::Range | Kind::Names => ("", self.text),
        };
        let mut parameters = vec![
            ("q", text.to_owned()),
            ("start", seconds(from).saturating_sub(60).to_string()),
            ("end", (seconds(to) + 60).to_string()),
        ];
        match self.kind {
            Kind::Search => {
                parameters.push(("limit", LIMIT.to_string()));
                ("/api/search".to_owned(), parameters)
            }
            Kind::Range => {
                parameters.push(("step", "60s".to_owned()));
                ("/api/metrics/query_range".to_owned(), parameters)
            }
            Kind::Names => ("/api/v2/search/tags".to_owned(), parameters),
            Kind::Values => (
                format!("/api/v2/search/tag/{}/values", escape(tag)),
                parameters,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_queries_is_sound() {
        let queries = parse(LIST).unwrap();
        assert!(queries.len() >= 12);
        for query in &queries {
            let (bar, ambition) = query.bars_ms.unwrap_or((1.0, 1.0));
            assert!(ambition <= bar, "{}", query.name);
            let (_, parameters) = query.request((0, 1));
            let parsed = tracewell_query::syntax::parse(&parameters[0].1);
            assert!(parsed.is_ok(), "{}: {parsed:?}", query.text);
        }
    }

    #[test]
    fn a_wrong_answer_is_told_from_a_missing_one() {
        let queries = parse(LIST).unwrap();
        let of = |expected| queries.iter().find(|it| it.expected == expected).unwrap();
        let answer = |status, body: &str| Answer {
            status,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
            partial: None,
        };
        let (one, none) = (r#"{"traces":[{}],"metrics":{}}"#, r#"{"metrics":{}}"#);
        let some = of(Expected::Something);
        assert_eq!(some.judge(&answer(200, one), 10), Outcome::Right(1));
        for (status, body) in [(200, none), (200, "<html>"), (200, "[]"), (500, "oops")] {
            let outcome = some.judge(&answer(status, body), 10);
            assert!(matches!(outcome, Outcome::Wrong(_)), "{body}: {outcome:?}");
        }
        let not_built = answer(400, "count() (at line 1, col 5) is not built yet");
        assert!(matches!(some.judge(&not_built, 10), Outcome::None(_)));
        let late = Answer {
            partial: Some("the query took longer than 60000 ms".to_owned()),
            ..answer(200, one)
        };
        assert!(matches!(some.judge(&late, 10), Outcome::None(_)));
        let full = Answer {
            partial: Some(
                "the series hold more than 9 bytes, half of limits.query_memory_bytes_max"
                    .to_owned(),
            ),
            ..answer(200, one)
        };
        assert!(matches!(some.judge(&full, 10), Outcome::None(_)));
        let partial = Answer {
            partial: Some("a block".to_owned()),
            ..answer(200, one)
        };
        assert!(matches!(some.judge(&partial, 10), Outcome::Wrong(_)));
        let nothing = of(Expected::Nothing);
        assert_eq!(nothing.judge(&answer(200, none), 10), Outcome::Right(0));
        assert!(matches!(
            nothing.judge(&answer(200, one), 10),
            Outcome::Wrong(_)
        ));
        let rare = of(Expected::SomethingOfMany);
        assert_eq!(rare.judge(&answer(200, none), 10), Outcome::Right(0));
        let outcome = rare.judge(&answer(200, none), MANY_SPANS);
        assert!(matches!(outcome, Outcome::Wrong(_)), "{outcome:?}");
    }
}
