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
    /// The same the first time, on a server that was just started, with nothing of its files in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    cold: Option<f64>,
    /// The same over a bucket, where it was measured.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    bucket: Option<OverBucket>,
    remark: String,
    /// True if the server answered, and wrongly.
    failed: bool,
}

/// What a number of the local disk is over a bucket, in the same unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct OverBucket {
    /// Nothing of the bucket is on the local disk.
    #[serde(rename = "bucket_cold")]
    pub(super) cold: Option<f64>,
    #[serde(rename = "bucket_warm")]
    pub(super) warm: Option<f64>,
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
            cold: None,
            bucket: None,
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

    /// A value of this row as it is printed.
    fn measured(&self, value: Option<f64>) -> String {
        let text = |value| format!("{} {}", number(value), self.unit);
        value.map_or_else(|| "-".to_owned(), text)
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

    /// Puts the first answer of a server that was just started beside those that follow, or says what is wrong with it.
    pub(super) fn first(&mut self, name: &str, cold: Result<f64, String>) {
        let Some(row) = self.rows.iter_mut().find(|row| row.name == name) else {
            return;
        };
        match cold {
            Ok(cold) => row.cold = Some(cold),
            Err(reason) => {
                row.failed = true;
                row.remark = format!("of a server just started: {reason}");
            }
        }
    }

    /// Puts numbers of a bucket beside those of the local disk, or says what is wrong with its answers.
    pub(super) fn beside(&mut self, name: &str, over: Result<OverBucket, String>) {
        let Some(row) = self.rows.iter_mut().find(|row| row.name == name) else {
            return;
        };
        match over {
            Ok(over) => row.bucket = Some(over),
            Err(reason) => {
                row.bucket = Some(OverBucket::default());
                row.failed = true;
                row.remark = format!("over the bucket: {reason}");
            }
        }
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
        let goal = |goal: Option<f64>| goal.map_or_else(String::new, number);
        let rows = self.rows.iter().map(|row| {
            [
                row.name.clone(),
                row.measured(row.value),
                goal(row.bar),
                goal(row.ambition),
                row.verdict().to_owned(),
                match row.cold {
                    Some(cold) => format!("cold {}, {}", row.measured(Some(cold)), row.remark),
                    None => row.remark.clone(),
                },
            ]
        });
        let head = ["what", "measured", "bar", "ambition", "reached", ""].map(str::to_owned);
        let all: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        if self.rows.iter().all(|row| row.bucket.is_none()) {
            return f.write_str(&search::table(&all));
        }
        let over = |of: fn(&OverBucket) -> Option<f64>| {
            let cell = move |row: &Row| {
                row.bucket
                    .map_or_else(String::new, |it| row.measured(of(&it)))
            };
            self.rows.iter().map(cell)
        };
        let cold = std::iter::once("bucket, cold".to_owned()).chain(over(|it| it.cold));
        let warm = std::iter::once("bucket, warm".to_owned()).chain(over(|it| it.warm));
        let wide = all.into_iter().zip(cold.zip(warm));
        let wide: Vec<[String; 8]> = wide
            .map(
                |([name, value, bar, ambition, reached, remark], (cold, warm))| {
                    [name, value, cold, warm, bar, ambition, reached, remark]
                },
            )
            .collect();
        f.write_str(&search::table(&wide))
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
