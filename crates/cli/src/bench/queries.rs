//! The named queries of benches/queries.txt.

use anyhow::{Context, Result};
use serde_json::Value;

use super::table::{Row, Table};
use super::{percentile, timed};
use crate::client::Client;

const LIST: &str = include_str!("../../../../benches/queries.txt");

#[derive(Debug)]
struct Query {
    kind: Kind,
    name: &'static str,
    bar_ms: f64,
    ambition_ms: f64,
    text: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Search,
    Range,
}

/// Asks every query once to warm up, then so many times.
pub(super) async fn ask(
    client: &mut Client,
    window: (u64, u64),
    repeat: usize,
    table: &mut Table,
) -> Result<()> {
    for query in parse(LIST)? {
        let (path, parameters) = query.request(window);
        let mut took = Vec::new();
        let mut outcome = Ok(0);
        for turn in 0..=repeat {
            let (duration, answer) = timed(client.get(path, &parameters)).await?;
            if answer.status != 200 {
                outcome = Err(answer.error());
                break;
            }
            if turn > 0 {
                took.push(duration);
            }
            outcome = Ok(n_results(&answer.body));
        }
        let name = format!("query: {}, p50", query.name);
        let row = match outcome {
            Ok(n_results) => {
                let p99 = percentile(&took, 99);
                Row::new(&name, "ms", percentile(&took, 50))
                    .remark(format!("p99 {p99:.1} ms, {n_results} results"))
            }
            Err(error) => Row::missing(&name, "ms", error),
        };
        table.push(row.bars(query.bar_ms, query.ambition_ms));
    }
    Ok(())
}

fn n_results(body: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    ["traces", "series"]
        .iter()
        .find_map(|key| answer.get(*key)?.as_array().map(Vec::len))
        .unwrap_or(0)
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
    let mut fields = line.splitn(5, '|').map(str::trim);
    let mut field = |what: &'static str| fields.next().context(what);
    let kind = match field("kind")? {
        "search" => Kind::Search,
        "range" => Kind::Range,
        other => anyhow::bail!("unknown kind {other}"),
    };
    Ok(Query {
        kind,
        name: field("name")?,
        bar_ms: field("bar")?.parse().context("bar")?,
        ambition_ms: field("ambition")?.parse().context("ambition")?,
        text: field("query")?,
    })
}

// === impl Query ===

impl Query {
    fn request(&self, (from, to): (u64, u64)) -> (&'static str, Vec<(&'static str, String)>) {
        let seconds = |nanos: u64| nanos / 1_000_000_000;
        let mut parameters = vec![
            ("q", self.text.to_owned()),
            ("start", seconds(from).saturating_sub(60).to_string()),
            ("end", (seconds(to) + 60).to_string()),
        ];
        match self.kind {
            Kind::Search => {
                parameters.push(("limit", "20".to_owned()));
                ("/api/search", parameters)
            }
            Kind::Range => {
                parameters.push(("step", "60s".to_owned()));
                ("/api/metrics/query_range", parameters)
            }
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
            assert!(query.ambition_ms <= query.bar_ms, "{}", query.name);
            let parsed = tracewell_query::syntax::parse(query.text);
            assert!(parsed.is_ok(), "{}: {parsed:?}", query.text);
        }
    }
}
