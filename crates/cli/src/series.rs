//! Series of a metrics query as a table: their labels, a line of blocks over time, and figures.

use serde_json::Value;

use crate::client::{list, text};
use crate::search::table;

/// Blocks of a line, each the largest value of a stretch of time.
const BLOCKS: usize = 32;
const LEVELS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// The answer of `/api/metrics/query_range`; empty for one without series.
pub(crate) fn table_of_series(answer: &Value) -> String {
    let heads = ["series", "over time", "last", "min", "max"];
    let mut rows = vec![heads.map(str::to_owned)];
    let all: Vec<(&Value, Vec<(i64, f64)>)> = list(answer, "series")
        .iter()
        .map(|series| (series, samples_of(series)))
        .collect();
    let times = || {
        all.iter()
            .flat_map(|(_, samples)| samples.iter().map(|(time, _)| *time))
    };
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return String::new();
    };
    for (series, samples) in &all {
        let values = || samples.iter().map(|(_, value)| *value);
        let shown = |value: Option<f64>| value.map_or_else(String::new, number);
        rows.push([
            labels_of(series),
            line(samples, first, last),
            shown(values().next_back()),
            shown(values().reduce(f64::min)),
            shown(values().reduce(f64::max)),
        ]);
    }
    table(&rows)
}

/// Time in milliseconds and value; a value that is 0 is not written.
fn samples_of(series: &Value) -> Vec<(i64, f64)> {
    let samples = list(series, "samples").iter().filter_map(|sample| {
        let time = text(sample, "timestampMs").parse().ok()?;
        let value = sample.get("value").map_or(Some(0.0), Value::as_f64)?;
        Some((time, value))
    });
    samples.collect()
}

fn labels_of(series: &Value) -> String {
    let labels = list(series, "labels").iter().map(|label| {
        let key = text(label, "key");
        let value = label.get("value").and_then(Value::as_object);
        let value = value.and_then(|value| value.values().next());
        let value = match value {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        match key.as_str() {
            "__name__" => value,
            _ => format!("{key}={value}"),
        }
    });
    labels.collect::<Vec<String>>().join(" ")
}

/// From nothing, or from the smallest if that is below, to the largest.
fn line(samples: &[(i64, f64)], first: i64, last: i64) -> String {
    let span = (last - first).max(1) as f64;
    let mut largest = [None::<f64>; BLOCKS];
    for (time, value) in samples {
        let place = (*time - first) as f64 / span * (BLOCKS - 1) as f64;
        if let Some(block) = largest.get_mut(place.round() as usize) {
            *block = Some(block.map_or(*value, |known| known.max(*value)));
        }
    }
    let known = || largest.iter().flatten().copied();
    let low = known().fold(0.0, f64::min);
    let range = known().fold(low, f64::max) - low;
    let block = |value: &Option<f64>| {
        let Some(value) = value else { return ' ' };
        let share = if range > 0.0 {
            (value - low) / range
        } else {
            0.0
        };
        let level = (share * (LEVELS.len() - 1) as f64).round() as usize;
        LEVELS.get(level).copied().unwrap_or(' ')
    };
    let line: String = largest.iter().map(block).collect();
    line.trim_end().to_owned()
}

/// Four digits are enough to look at.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 1_000.0 => 0,
        size if size >= 1.0 => 3 - size.log10().floor() as usize,
        size => (3 - size.log10().floor() as i64).clamp(0, 12) as usize,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_as_a_table() {
        let sample = |time: i64, value: f64| match value {
            0.0 => serde_json::json!({"timestampMs": time.to_string()}),
            value => serde_json::json!({"timestampMs": time.to_string(), "value": value}),
        };
        let label = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
        let answer = serde_json::json!({"series": [
            {"labels": [label("name", "GET /")], "samples": [sample(0, 0.0), sample(31_000, 7.0)]},
            {"labels": [label("__name__", "rate")], "samples": [sample(0, 0.12345), sample(15_500, 3.5)]},
        ]});
        let table = table_of_series(&answer);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        let gap = " ".repeat(30);
        assert_eq!(
            lines[1],
            format!("name=GET /  \u{2581}{gap}\u{2588}  7     0       7")
        );
        assert!(lines[2].starts_with("rate        \u{2581}"), "{table}");
        assert!(lines[2].ends_with("3.5   0.1235  3.5") || lines[2].ends_with("3.5   0.1234  3.5"));
        assert_eq!(table_of_series(&serde_json::json!({})), "");
    }

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (1.23456, "1.235"),
            (123_456.7, "123457"),
            (0.000_123_456, "0.0001235"),
            (-2.5, "-2.5"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
