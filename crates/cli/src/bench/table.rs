//! The numbers and what they should be.

use std::fmt;

use serde::Serialize;

use crate::search;

/// All numbers of one run.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    n_spans: u64,
    connections: usize,
    batch: usize,
    cores: usize,
    version: &'static str,
    #[serde(skip)]
    pub(super) highest_rate: f64,
    rows: Vec<Row>,
}

/// One number.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    unit: &'static str,
    /// `None` where it could not be measured; then `remark` says why.
    value: Option<f64>,
    bar: Option<f64>,
    ambition: Option<f64>,
    better: Better,
    remark: String,
    /// True if the server answered, and wrongly.
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    Lower,
    Higher,
}

// === impl Row ===

impl Row {
    pub(super) fn new(name: &str, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            value: Some(value),
            bar: None,
            ambition: None,
            better: Better::Lower,
            remark: String::new(),
            failed: false,
        }
    }

    /// A number that could not be had.
    pub(super) fn missing(name: &str, unit: &'static str, remark: String) -> Self {
        Self {
            value: None,
            remark,
            ..Self::new(name, unit, 0.0)
        }
    }

    pub(super) fn bars(mut self, bar: f64, ambition: f64) -> Self {
        self.bar = Some(bar);
        self.ambition = Some(ambition);
        self
    }

    pub(super) fn better(mut self, better: Better) -> Self {
        self.better = better;
        self
    }

    pub(super) fn remark(mut self, remark: String) -> Self {
        self.remark = remark;
        self
    }

    /// An answer that was wrong; the remark says how.
    pub(super) fn wrong(name: &str, unit: &'static str, remark: String) -> Self {
        Self {
            failed: true,
            ..Self::missing(name, unit, remark)
        }
    }

    fn verdict(&self) -> &'static str {
        if self.failed {
            return "WRONG";
        }
        let (Some(value), Some(bar), Some(ambition)) = (self.value, self.bar, self.ambition) else {
            return "";
        };
        let reaches = |goal: f64| match self.better {
            Better::Lower => value <= goal,
            Better::Higher => value >= goal,
        };
        match (reaches(bar), reaches(ambition)) {
            (_, true) => "ambition",
            (true, false) => "bar",
            (false, false) => "MISSED",
        }
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(n_spans: u64, connections: usize, batch: usize) -> Self {
        Self {
            n_spans,
            connections,
            batch,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            version: env!("CARGO_PKG_VERSION"),
            highest_rate: 0.0,
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// What was answered wrongly.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = self.rows.iter().filter(|row| row.failed);
        failed
            .map(|row| format!("{} ({} spans): {}", row.name, self.n_spans, row.remark))
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "tracewell {} on {} cores: {} spans, {} a request, {} connections, the sender on the same cores",
            self.version, self.cores, self.n_spans, self.batch, self.connections
        )?;
        let head = ["what", "measured", "bar", "ambition", "reached", ""].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            let goal = |goal: Option<f64>| goal.map_or_else(String::new, number);
            [
                row.name.clone(),
                row.value.map_or_else(
                    || "-".to_owned(),
                    |value| format!("{} {}", number(value), row.unit),
                ),
                goal(row.bar),
                goal(row.ambition),
                row.verdict().to_owned(),
                row.remark.clone(),
            ]
        });
        let all: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        f.write_str(&search::table(&all))
    }
}

/// Three digits that matter; more where a number is large.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let lower = |value| Row::new("x", "ms", value).bars(20.0, 8.0).verdict();
        assert_eq!(
            [lower(8.0), lower(9.0), lower(21.0)],
            ["ambition", "bar", "MISSED"]
        );
        let higher = |value| {
            let row = Row::new("x", "/s", value).better(Better::Higher);
            row.bars(100.0, 250.0).verdict()
        };
        assert_eq!(
            [higher(300.0), higher(100.0), higher(99.0)],
            ["ambition", "bar", "MISSED"]
        );
        assert_eq!(
            Row::missing("x", "ms", "no".to_owned())
                .bars(1.0, 1.0)
                .verdict(),
            ""
        );
    }
}
