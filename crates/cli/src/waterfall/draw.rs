//! Rows as text: a tree on the left, bars on the right, as wide as the terminal.

use super::spans::{Row, Span};

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) width: usize,
    pub(super) color: bool,
    pub(super) attributes: bool,
}

const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";
/// Colours that tell services apart on dark and light ground.
const SERVICE_COLORS: &[&str] = &[
    "\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[96m", "\x1b[93m", "\x1b[95m",
];
/// Columns of the duration, with its space.
const DURATION_WIDTH: usize = 10;

pub(super) fn waterfall(id: &str, rows: &[Row], style: Style) -> String {
    let start = rows.iter().map(|row| row.span.start).min().unwrap_or(0);
    let end = rows
        .iter()
        .map(|row| row.span.end)
        .max()
        .unwrap_or(0)
        .max(start);
    let mut services: Vec<&str> = Vec::new();
    for row in rows {
        if !services.contains(&row.span.service.as_str()) {
            services.push(&row.span.service);
        }
    }
    let n_failed = rows.iter().filter(|row| row.span.failed).count();
    let mut text = style.paint(BOLD, &format!("trace {id}"));
    text.push_str(&format!(
        "  {}, {} spans, {} services",
        duration(end - start),
        rows.len(),
        services.len()
    ));
    if n_failed > 0 {
        text.push_str(", ");
        text.push_str(&style.paint(RED, &format!("{n_failed} failed")));
    }
    text.push('\n');
    let bars = (style.width / 3).clamp(16, 80);
    let labels = style.width - bars - DURATION_WIDTH - 1;
    for row in rows {
        text.push_str(&line(row, start, end, labels, bars, &services, style));
        text.push('\n');
        if row.span.failed && !row.span.message.is_empty() {
            let indent = " ".repeat((row.depth * 2 + 4).min(labels / 2));
            let message = cut(&row.span.message, style.width.saturating_sub(indent.len()));
            text.push_str(&style.paint(RED, &format!("{indent}{message}")));
            text.push('\n');
        }
        if style.attributes {
            text.push_str(&details(row, style));
        }
    }
    text
}

fn line(
    row: &Row,
    start: u64,
    end: u64,
    labels: usize,
    bars: usize,
    services: &[&str],
    style: Style,
) -> String {
    let span = &row.span;
    let indent = "  ".repeat(row.depth.min(labels / 4));
    let mark = match (span.failed, row.orphan) {
        (true, _) => "✗ ",
        (false, true) => "? ",
        (false, false) => "",
    };
    let room = labels.saturating_sub(indent.len() + mark.chars().count());
    // Something of the name shall stay visible beside a long service.
    let service = cut(&span.service, room * 2 / 3);
    let name = cut(&span.name, room.saturating_sub(service.chars().count() + 1));
    let used =
        indent.len() + mark.chars().count() + service.chars().count() + 1 + name.chars().count();
    let padding = " ".repeat(labels.saturating_sub(used));
    let index = services
        .iter()
        .position(|known| *known == span.service)
        .unwrap_or(0);
    let color = SERVICE_COLORS
        .get(index % SERVICE_COLORS.len())
        .copied()
        .unwrap_or_default();
    let bar = bar(span, start, end, bars);
    let took = format!(
        "{:>DURATION_WIDTH$}",
        duration(span.end.saturating_sub(span.start))
    );
    format!(
        "{indent}{}{} {name}{padding}{took} {}",
        style.paint(RED, mark),
        style.paint(color, &service),
        style.paint(if span.failed { RED } else { color }, &bar),
    )
    .trim_end()
    .to_owned()
}

/// At least one block, wherever the span lies within the trace.
fn bar(span: &Span, start: u64, end: u64, width: usize) -> String {
    let total = (end - start).max(1) as f64;
    let place = |time: u64| {
        let share = time.saturating_sub(start) as f64 / total;
        ((share * width as f64) as usize).min(width)
    };
    let from = place(span.start).min(width - 1);
    let to = place(span.end.max(span.start)).clamp(from + 1, width);
    format!("{}{}", " ".repeat(from), "█".repeat(to - from))
}

fn details(row: &Row, style: Style) -> String {
    let indent = "  ".repeat(row.depth.min(style.width / 8) + 2);
    let mut text = String::new();
    let mut push = |line: &str| {
        let line = cut(&format!("{indent}{line}"), style.width);
        text.push_str(&style.paint(DIM, &line));
        text.push('\n');
    };
    push(&format!("span {} {}", row.span.id, row.span.kind));
    for (key, value) in &row.span.attributes {
        push(&format!("{key} = {value}"));
    }
    for (time, name, attributes) in &row.span.events {
        push(&format!(
            "+{} {name}",
            duration(time.saturating_sub(row.span.start))
        ));
        for (key, value) in attributes {
            push(&format!("  {key} = {value}"));
        }
    }
    text
}

/// At most so many characters; an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn duration(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        _ => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

// === impl Style ===

impl Style {
    fn paint(self, color: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("{color}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(depth: usize, service: &str, name: &str, start: u64, end: u64, failed: bool) -> Row {
        Row {
            span: Span {
                service: service.to_owned(),
                name: name.to_owned(),
                start,
                end,
                failed,
                message: if failed {
                    "out of stock".to_owned()
                } else {
                    String::new()
                },
                ..Span::default()
            },
            depth,
            orphan: false,
        }
    }

    #[test]
    fn a_waterfall() {
        const MS: u64 = 1_000_000;
        let rows = [
            row(0, "edge", "GET /", 0, 100 * MS, false),
            row(1, "cart", "HGETALL", 25 * MS, 50 * MS, true),
            row(1, "late", "before and after", 500 * MS, 400 * MS, false),
        ];
        let style = Style {
            width: 72,
            color: false,
            attributes: false,
        };
        let drawn = waterfall("1", &rows, style);
        let expected = "\
trace 1  400.0 ms, 3 spans, 3 services, 1 failed
edge GET /                             100.0 ms ██████
  ✗ cart HGETALL                        25.0 ms  ██
      out of stock
  late before and after                    0 ns                        █
";
        assert_eq!(drawn, expected);
        for line in drawn.lines() {
            assert!(line.chars().count() <= style.width, "{line}");
        }
    }

    #[test]
    fn narrow_terminals_and_long_names_fit() {
        let rows = [row(60, &"s".repeat(300), &"n".repeat(300), 0, 1, true)];
        for width in [60, 80, 200] {
            let style = Style {
                width,
                color: false,
                attributes: true,
            };
            for line in waterfall("1", &rows, style).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}
