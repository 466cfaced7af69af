//! The status page in three forms.

use crate::api::Api;
use crate::host::{FactValue, Readiness, Section};
use crate::json::{Json, Pieces};

/// What the page shows.
pub(super) struct Page {
    version: String,
    readiness: Readiness,
    sections: Vec<Section>,
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"refresh\" content=\"5\"><meta name=\"viewport\" content=\"width=device-width\">\
<style>:root{color-scheme:light dark}body{font:15px/1.4 system-ui,sans-serif;margin:2em;max-width:70em}\
table{border-collapse:collapse}th{font-weight:normal;text-align:left;padding:.15em 2em .15em 0;vertical-align:top}\
td{font-variant-numeric:tabular-nums}h1{font-size:1.4em}h2{font-size:1.1em;margin:1.4em 0 .3em}\
.warning{border-left:4px solid #d80;padding-left:.6em}</style>";
const FOOT: &str = "<p><a href=\"/status/config\">configuration</a>, <a href=\"/status/endpoints\">endpoints</a>, \
<a href=\"/metrics\">metrics</a>, <a href=\"/ready?verbose\">ready</a></p></body></html>\n";

// === impl Page ===

impl Page {
    pub(super) fn of(api: &Api) -> Self {
        let mut services = Section::new("services");
        for service in api.host.services() {
            services.push(service.name, FactValue::Text(service.state));
        }
        let mut limits = Section::new("limits that bit");
        for (key, part, n) in api.limit_hits().bitten() {
            let name = match part {
                "" => key.to_owned(),
                part => format!("{key}, {part}"),
            };
            limits.push(name, FactValue::Count(n));
        }
        let mut sections = vec![services];
        sections.extend(api.host.status());
        sections.push(limits);
        Self {
            version: api.host.build().version,
            readiness: api.host.readiness(),
            sections,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for reason in &self.readiness.not_ready {
            text.push_str(&format!("not ready: {reason}\n"));
        }
        for warning in &self.readiness.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        for section in &self.sections {
            text.push_str(&format!("\n# {}\n", section.name));
            for fact in &section.facts {
                text.push_str(&format!("{}: {}\n", fact.name, for_people(&fact.value)));
            }
        }
        text
    }

    /// Sections and facts by their names, with `_` for what is no letter or digit; bytes, counts and
    /// seconds are numbers.
    pub(super) fn write_json<P: Pieces>(&self, json: &mut Json<P>) {
        json.object(|json| {
            json.key("ready").bool(self.readiness.not_ready.is_empty());
            json.key("version").string(&self.version);
            json.key("notReady")
                .array(&self.readiness.not_ready, |json, text| json.string(text));
            json.key("warnings")
                .array(&self.readiness.warnings, |json, text| json.string(text));
            for section in &self.sections {
                json.text_key(&key(section.name)).object(|json| {
                    for fact in &section.facts {
                        json.text_key(&key(&fact.name));
                        write_value(json, &fact.value);
                    }
                });
            }
        });
    }

    /// A page of its own without scripts, which looks again by itself.
    pub(super) fn html(&self) -> String {
        let state = match self.readiness.not_ready.is_empty() {
            true => "ready",
            false => "not ready",
        };
        let title = format!("Tracewell {}: {state}", self.version);
        let mut html = format!(
            "{HEAD}{}</head><body>{}",
            tag("title", &title),
            tag("h1", &title)
        );
        let Readiness {
            not_ready,
            warnings,
        } = &self.readiness;
        for text in not_ready.iter().chain(warnings) {
            html.push_str(&format!("<p class=\"warning\">{}</p>", escaped(text)));
        }
        for section in &self.sections {
            html.push_str(&tag("h2", section.name));
            if section.facts.is_empty() {
                html.push_str("<p>none</p>");
                continue;
            }
            html.push_str("<table>");
            for fact in &section.facts {
                let (name, value) = (tag("th", &fact.name), tag("td", &for_people(&fact.value)));
                html.push_str(&format!("<tr>{name}{value}</tr>\n"));
            }
            html.push_str("</table>");
        }
        html.push_str(FOOT);
        html
    }
}

fn write_value<P: Pieces>(json: &mut Json<P>, value: &FactValue) {
    match value {
        FactValue::Text(text) => json.string(text),
        FactValue::Count(n) | FactValue::Bytes(n) => json.plain(n),
        FactValue::Seconds(n) | FactValue::PerSecond(n) | FactValue::BytesPerSecond(n) => {
            // Rates and times are finite.
            json.plain(format_args!("{n:.3}"));
        }
        FactValue::Group(parts) => json.object(|json| {
            for (name, value) in parts {
                json.text_key(&key(name));
                write_value(json, value);
            }
        }),
    }
}

fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_ascii_alphanumeric() {
            true => key.push(c),
            false if key.ends_with('_') => {}
            false => key.push('_'),
        }
    }
    key
}

fn for_people(value: &FactValue) -> String {
    match value {
        FactValue::Text(text) => text.clone(),
        FactValue::Count(n) => thousands(*n),
        FactValue::Bytes(n) => bytes(*n as f64),
        FactValue::Seconds(seconds) => duration(*seconds),
        FactValue::PerSecond(n) => format!("{}/s", thousands(n.round() as u64)),
        FactValue::BytesPerSecond(n) => format!("{}/s", bytes(*n)),
        FactValue::Group(parts) => {
            let parts = parts.iter().map(|(name, value)| match value {
                FactValue::Bytes(_) => for_people(value),
                _ => format!("{} {name}", for_people(value)),
            });
            parts.collect::<Vec<String>>().join(", ")
        }
    }
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(n: f64) -> String {
    if n < 1_000.0 {
        return format!("{n:.0} B");
    }
    let mut n = n / 1_000.0;
    for unit in ["kB", "MB", "GB", "TB"] {
        if n < 1_000.0 {
            return format!("{n:.1} {unit}");
        }
        n /= 1_000.0;
    }
    format!("{n:.1} PB")
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

fn tag(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(text))
}

/// Text in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            version: "1.2.3".to_owned(),
            readiness: Readiness {
                not_ready: Vec::new(),
                warnings: vec!["block <b> & \"c\" is away".to_owned()],
            },
            sections: vec![
                Section::new("blocks")
                    .with("waiting for a merge", FactValue::Count(1_234_567))
                    .with(
                        "level 1",
                        FactValue::Group(vec![
                            ("blocks", FactValue::Count(2)),
                            ("bytes", FactValue::Bytes(1_500_000)),
                        ]),
                    ),
                Section::new("limits that bit"),
            ],
        }
    }

    #[test]
    fn text_and_html_are_for_people() {
        let text = page().text();
        let expected = "warning: block <b> & \"c\" is away\n\n# blocks\nwaiting for a merge: 1,234,567\n\
                        level 1: 2 blocks, 1.5 MB\n\n# limits that bit\n";
        assert_eq!(text, expected);
        let html = page().html();
        for part in [
            "block &lt;b&gt; &amp; &quot;c&quot; is away",
            "<th>level 1</th><td>2 blocks, 1.5 MB</td>",
            "<h2>limits that bit</h2><p>none</p>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn numbers_as_people_read_them() {
        for (value, text) in [
            (FactValue::Count(0), "0"),
            (FactValue::Count(1_000), "1,000"),
            (FactValue::Bytes(999), "999 B"),
            (FactValue::Bytes(1_000), "1.0 kB"),
            (FactValue::Bytes(u64::MAX), "18446.7 PB"),
            (FactValue::Seconds(59.94), "59.9 s"),
            (FactValue::Seconds(61.0), "1 min 1 s"),
            (FactValue::Seconds(7_260.0), "2 h 1 min"),
            (FactValue::Seconds(90_000.0), "1 d 1 h"),
            (FactValue::PerSecond(1_234.5), "1,235/s"),
            (FactValue::BytesPerSecond(2e6), "2.0 MB/s"),
        ] {
            assert_eq!(for_people(&value), text);
        }
        assert_eq!(key("level 1, local"), "level_1_local");
    }
}
