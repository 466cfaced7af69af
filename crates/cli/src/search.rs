//! `tracewell query` and `tracewell tags`: questions to a running server, answers as tables.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use crate::arguments::{Query, Tags};
use crate::caret::pointed;
use crate::client::{escape, list, text};
use crate::explain::lines_of;
use crate::series::table_of_series;
use crate::{clock, output, runtime};

/// Longest text in a column of a table.
const CELL_MAX: usize = 60;

pub(crate) fn query(arguments: &Query) -> Result<ExitCode> {
    let is_series = tracewell_query::parse(&arguments.query).is_ok_and(|query| query.is_series());
    let is_explained = arguments.explain || arguments.analyze;
    let asked = runtime::small()?.block_on(async {
        let mut client = arguments.server.client()?;
        let mut parameters = arguments.window.parameters(clock::now() / 1_000_000_000)?;
        parameters.push(("q", arguments.query.clone()));
        if is_series {
            parameters.extend(arguments.step.clone().map(|step| ("step", step)));
        } else {
            parameters.push(("limit", arguments.limit.to_string()));
        }
        let path = match (is_explained, is_series) {
            (true, _) => {
                parameters.push(("analyze", arguments.analyze.to_string()));
                "/api/tracewell/explain"
            }
            (false, true) => "/api/metrics/query_range",
            (false, false) => "/api/search",
        };
        client.get_json(path, &parameters).await
    });
    let found = asked.map_err(|error| pointed(error, &arguments.query))?;
    found.warn_if_partial();
    let answer = found.value;
    if arguments.server.json {
        output::print_json(&answer)?;
    } else if is_explained {
        output::print(&lines_of(&answer))?;
    } else if is_series {
        output::print(&table_of_series(&answer))?;
        if list(&answer, "series").is_empty() {
            eprintln!("no span matches; look further back with --since 24h");
        }
    } else {
        output::print(&table_of_traces(&answer))?;
        if list(&answer, "traces").is_empty() {
            eprintln!("no trace matches; look further back with --since 24h");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn tags(arguments: &Tags) -> Result<ExitCode> {
    let found = runtime::small()?.block_on(async {
        let mut client = arguments.server.client()?;
        let mut parameters = arguments.window.parameters(clock::now() / 1_000_000_000)?;
        parameters.extend(arguments.query.iter().map(|query| ("q", query.clone())));
        let path = match &arguments.name {
            Some(name) => format!("/api/v2/search/tag/{}/values", escape(name)),
            None => {
                parameters.extend(arguments.scope.iter().map(|scope| ("scope", scope.clone())));
                "/api/v2/search/tags".to_owned()
            }
        };
        client.get_json(&path, &parameters).await
    })?;
    found.warn_if_partial();
    let answer = found.value;
    if arguments.server.json {
        output::print_json(&answer)?;
    } else if arguments.name.is_some() {
        let lines = list(&answer, "tagValues").iter().map(|value| {
            let kind = text(value, "type");
            let value = text(value, "value");
            match kind.as_str() {
                "string" | "keyword" => format!("{value}\n"),
                kind => format!("{value}  ({kind})\n"),
            }
        });
        output::print(&lines.collect::<String>())?;
    } else {
        let mut names = String::new();
        for scope in list(&answer, "scopes") {
            let prefix = match text(scope, "name").as_str() {
                "intrinsic" => String::new(),
                name => format!("{name}."),
            };
            for tag in list(scope, "tags").iter().filter_map(Value::as_str) {
                names.push_str(&format!("{prefix}{tag}\n"));
            }
        }
        output::print(&names)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table_of_traces(answer: &Value) -> String {
    let mut rows =
        vec![["trace", "started", "duration", "spans", "service", "name"].map(str::to_owned)];
    for trace in list(answer, "traces") {
        let nanos: u128 = text(trace, "startTimeUnixNano").parse().unwrap_or(0);
        let services = trace.get("serviceStats").and_then(Value::as_object);
        let n_spans: u64 = services
            .into_iter()
            .flat_map(|services| services.values())
            .filter_map(|service| service.get("spanCount")?.as_u64())
            .sum();
        let matched = list(trace, "spanSets")
            .first()
            .and_then(|set| set.get("matched")?.as_u64());
        let spans = match (matched, n_spans) {
            (Some(matched), 0) => matched.to_string(),
            (Some(matched), n_spans) => format!("{matched} of {n_spans}"),
            (None, n_spans) => n_spans.to_string(),
        };
        let milliseconds = trace.get("durationMs").and_then(Value::as_u64).unwrap_or(0);
        rows.push([
            format!("{:0>32}", text(trace, "traceID")),
            started(nanos),
            format!("{milliseconds} ms"),
            spans,
            text(trace, "rootServiceName"),
            text(trace, "rootTraceName"),
        ]);
    }
    match rows.len() {
        1 => String::new(),
        _ => table(&rows),
    }
}

/// Seconds precisely enough to tell traces apart, in UTC; `--start` and `--end` take it.
fn started(unix_nano: u128) -> String {
    let milliseconds = i64::try_from(unix_nano / 1_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(milliseconds)
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
        .unwrap_or_else(|_| unix_nano.to_string())
}

/// Columns as wide as their widest cell, two spaces between them.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let cell = |text: &String| -> String {
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        clean.take(CELL_MAX).collect()
    };
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(cell)).collect();
    let mut widths = [0usize; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_as_a_table() {
        let answer = serde_json::json!({"traces": [
            {"traceID": "abc", "rootServiceName": "edge", "rootTraceName": "GET /", "startTimeUnixNano": "1767225600123456789",
             "durationMs": 12, "spanSets": [{"matched": 2}], "serviceStats": {"edge": {"spanCount": 3}, "cart": {"spanCount": 4}}},
            {"traceID": "d", "startTimeUnixNano": "0"},
        ]});
        let table = table_of_traces(&answer);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            "00000000000000000000000000000abc  2026-01-01 00:00:00.123Z  12 ms     2 of 7  edge     GET /"
        );
        assert_eq!(table_of_traces(&serde_json::json!({})), "");
    }

    #[test]
    fn a_time_that_is_printed_is_an_argument() {
        let window = crate::arguments::Window {
            since: None,
            start: Some(started(1_767_225_600_123_456_789)),
            end: Some(started(1_767_225_601_123_456_789)),
        };
        assert_eq!(
            window.parameters(0).unwrap(),
            [
                ("start", "1767225600".to_owned()),
                ("end", "1767225602".to_owned())
            ]
        );
    }
}
