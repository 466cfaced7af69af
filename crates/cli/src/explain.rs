//! What `tracewell query --explain` and `--analyze` show of a query.

use std::fmt::Write as _;

use serde_json::Value;

use crate::client::{list, text};

/// The answer of `/api/tracewell/explain` as lines of a name and what it is.
pub(crate) fn lines_of(answer: &Value) -> String {
    let mut lines = Lines::default();
    lines.add("query", &text(answer, "canonical"));
    lines.add("yields", &text(answer, "yields"));
    let plans = list(answer, "plans");
    for (index, plan) in plans.iter().enumerate() {
        if plans.len() > 1 {
            lines.add(&format!("pipeline {}", index + 1), "");
        }
        add_plan(&mut lines, plan);
    }
    let sums = |key| answer.get(key).unwrap_or(&Value::Null);
    let (all, in_window) = (sums("sources"), sums("sourcesInWindow"));
    lines.add(
        "sources",
        &format!(
            "{} of {} have spans in the window: {} spans, {}{}",
            number(in_window, "count"),
            number(all, "count"),
            number(in_window, "spans"),
            size(number(in_window, "bytes")),
            match number(in_window, "shared") {
                0 => String::new(),
                n => format!(", but for {n} with other tenants' spans too"),
            },
        ),
    );
    for reason in list(answer, "missing").iter().filter_map(Value::as_str) {
        lines.add("missing", reason);
    }
    if let Some(analysis) = answer.get("analysis") {
        add_analysis(&mut lines, analysis, &text(answer, "yields"));
    }
    lines.0
}

fn add_plan(lines: &mut Lines, plan: &Value) {
    for (index, filter) in list(plan, "filters").iter().enumerate() {
        let name = format!("filter {}", index + 1);
        lines.add(&name, &text(filter, "asked"));
        let fragment = filter.get("askedOfFragments").and_then(Value::as_str);
        if let Some(fragment) = fragment {
            let note = format!("{fragment}    (of traces that may lie in several sources)");
            lines.add("", &note);
        }
    }
    if let Some(selection) = plan.get("selection").and_then(Value::as_str) {
        lines.add("selection", selection);
    }
    if list(plan, "filters").len() > 1 {
        let requires = format!("{} in one trace", text(plan, "requires"));
        lines.add("requires", &requires);
    }
    let columns: Vec<&str> = list(plan, "columns")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let decided = match text(plan, "decidedBy").as_str() {
        "filters" => "which spans match".to_owned(),
        "columns" => format!("columns of the spans that match: {}", columns.join(", ")),
        _ => "whole traces, of those that may match".to_owned(),
    };
    lines.add("decided by", &decided);
}

fn add_analysis(lines: &mut Lines, analysis: &Value, yields: &str) {
    let n = |key| number(analysis, key);
    let elapsed = n("elapsedMicros") as f64 / 1_000.0;
    lines.add("took", &format!("{elapsed:.1} ms"));
    lines.add("found", &format!("{} {yields}", n("found")));
    lines.add(
        "row groups",
        &format!(
            "{} of {} ruled out by times, statistics and filters",
            n("rowGroupsRuledOut"),
            n("rowGroups")
        ),
    );
    lines.add(
        "read",
        &format!(
            "{}; looked at {} spans and {} traces",
            size(n("inspectedBytes")),
            n("inspectedSpans"),
            n("inspectedTraces")
        ),
    );
    for reason in list(analysis, "partial").iter().filter_map(Value::as_str) {
        lines.add("partial", reason);
    }
}

/// Decimal units, as disks are sold.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let bytes = bytes as f64;
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

pub(crate) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, what: &str) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.0, "{}", format!("{name:<11} {what}").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_is_a_table_of_lines() {
        let answer = json!({
            "canonical": "{ status = error } && { name = \"a\" } | count() > 1",
            "yields": "traces",
            "plans": [{
                "filters": [
                    {"asked": "status = error", "askedOfFragments": "true", "exact": true},
                    {"asked": "name = \"a\"", "exact": true},
                ],
                "requires": "1 and 2",
                "decidedBy": "columns",
                "columns": ["span:start"],
            }],
            "sources": {"count": 5, "spans": 100, "bytes": 20_000},
            "sourcesInWindow": {"count": 2, "shared": 1, "spans": 40, "bytes": 8_192},
            "missing": ["block 3 is set aside"],
            "analysis": {
                "elapsedMicros": 12_345, "found": 3, "inspectedBytes": 2_097_152, "inspectedSpans": 40,
                "inspectedTraces": 7, "rowGroups": 8, "rowGroupsRuledOut": 6, "partial": ["block 7 is damaged"],
            },
        });
        assert_eq!(
            lines_of(&answer),
            "\
query       { status = error } && { name = \"a\" } | count() > 1
yields      traces
filter 1    status = error
            true    (of traces that may lie in several sources)
filter 2    name = \"a\"
requires    1 and 2 in one trace
decided by  columns of the spans that match: span:start
sources     2 of 5 have spans in the window: 40 spans, 8.2 kB, but for 1 with other tenants' spans too
missing     block 3 is set aside
took        12.3 ms
found       3 traces
row groups  6 of 8 ruled out by times, statistics and filters
read        2.1 MB; looked at 40 spans and 7 traces
partial     block 7 is damaged
"
        );
        let two = json!({
            "canonical": "x", "yields": "series",
            "plans": [
                {"filters": [{"asked": "true", "exact": true}], "requires": "1", "decidedBy": "traces"},
                {"filters": [{"asked": "true", "exact": true}], "requires": "1", "decidedBy": "traces",
                 "selection": "span:status = error"},
            ],
            "sources": {}, "sourcesInWindow": {},
        });
        assert_eq!(
            lines_of(&two),
            "\
query       x
yields      series
pipeline 1
filter 1    true
decided by  whole traces, of those that may match
pipeline 2
filter 1    true
selection   span:status = error
decided by  whole traces, of those that may match
sources     0 of 0 have spans in the window: 0 spans, 0 bytes
"
        );
    }
}
