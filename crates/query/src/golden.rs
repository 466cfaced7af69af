//! The golden corpus of TraceQL.
//!
//! Every file in `golden/parsing` holds texts, each with what it is: the query as the program would write it and what
//! it yields, or what is wrong and where. `⏎` in a text is a line break. Every file in `golden/traceql` holds
//! spans and then queries, each with its answer: the names of the spans that match, or series, over the intervals that the
//! line `range START END STEP` (in nanoseconds) gives. With `UPDATE_GOLDEN=1` what stands behind `=` is written anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use tracewell_model::{
    AttributeValue, Event, KeyValue, Limits, Link, Resource, Scope, Span, SpanId, Status, Trace,
    TraceId,
};

use crate::engine::Engine;
use crate::fixtures::{PlainSource, StillClock, block_on, caller, snapshots};
use crate::plan::series::SeriesPlan;
use crate::plan::{Plan, PlanLimits};
use crate::row::TraceFacts;
use crate::syntax::ast::Root;
use crate::{Aliases, Error, SeriesRequest, parse, pipeline};

#[test]
fn the_corpus_is_answered_as_written() {
    compare("golden/traceql", answer);
}

#[test]
fn every_text_is_what_is_written() {
    compare("golden/parsing", examine);
}

fn compare(folder: &str, answer: fn(&str, &Path) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let answered = answer(&text, &file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, answered).unwrap();
        } else {
            assert_eq!(answered, text, "{} (UPDATE_GOLDEN=1)", file.display());
        }
    }
}

/// The file with what its texts are.
fn examine(text: &str, _: &Path) -> String {
    let mut examined = String::new();
    for line in text.lines().filter(|line| !line.starts_with("= ")) {
        writeln!(examined, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with('#') {
            writeln!(examined, "= {}", what(&line.replace('⏎', "\n"))).unwrap();
        }
    }
    examined
}

fn what(text: &str) -> String {
    let limits = PlanLimits::from(&Limits::default());
    let planned = parse(text).map_err(Error::from).and_then(|query| {
        Ok(match query.root {
            Root::Metrics(_) => {
                SeriesPlan::new(text, &query, Aliases::Resolve, limits)?;
                format!("series: {query}")
            }
            Root::Pipeline(_) => {
                Plan::new(text, &query, Aliases::Resolve, limits)?;
                format!("traces: {query}")
            }
        })
    });
    planned.unwrap_or_else(|error| error.to_string())
}

/// The file with its answers: lines that begin with `=` stand behind the query that they answer.
fn answer(text: &str, file: &Path) -> String {
    let mut traces: Vec<Trace> = Vec::new();
    let mut range = [0, 1, 1];
    let mut answered = String::new();
    for line in text.lines() {
        if line.starts_with("= ") {
            continue;
        }
        writeln!(answered, "{line}").unwrap();
        let place = || format!("{}: {line}", file.display());
        if line.is_empty() || line.starts_with('#') {
            continue;
        } else if let Some(id) = line.strip_prefix("trace ") {
            traces.push(Trace {
                trace_id: TraceId::from_hex(id).unwrap(),
                spans: Vec::new(),
            });
        } else if let Some(words) = line.strip_prefix("range ") {
            let numbers: Vec<u64> = words.split(' ').map(|it| it.parse().unwrap()).collect();
            range = numbers.try_into().unwrap();
        } else if let Some(words) = line.strip_prefix("  ") {
            let trace = traces.last_mut().unwrap();
            let id = trace.trace_id;
            add(trace, id, &words_of(words), &place());
        } else {
            let is_series = parse(line).is_ok_and(|query| query.is_series());
            let found = match is_series {
                true => series(line, &traces, range),
                false => matches(line, &traces),
            };
            writeln!(answered, "= {found}").unwrap();
        }
    }
    answered
}

fn matches(query: &str, traces: &[Trace]) -> String {
    let plan = parse(query)
        .map_err(|error| error.to_string())
        .and_then(|tree| {
            let limits = PlanLimits::from(&Limits::default());
            Plan::new(query, &tree, Aliases::Resolve, limits).map_err(|error| error.to_string())
        });
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return error,
    };
    let found: Vec<String> = traces
        .iter()
        .filter_map(|trace| {
            let sets = pipeline::spansets(&plan, &TraceFacts::of(&trace.spans));
            let sets: Vec<String> = sets.iter().map(|set| shown(set, trace)).collect();
            (!sets.is_empty()).then(|| sets.join(" + "))
        })
        .collect();
    if found.is_empty() {
        "nothing".to_owned()
    } else {
        found.join(" | ")
    }
}

/// Each series with its labels, and its values one after the other; `-` for none.
fn series(query: &str, traces: &[Trace], [start, end, step]: [u64; 3]) -> String {
    let spans = traces
        .iter()
        .flat_map(|trace| trace.spans.clone())
        .collect();
    let source = PlainSource::new("all", spans, BTreeSet::new(), 2);
    let limits = Limits::default();
    let engine = Engine::new(snapshots(vec![source]), limits, Arc::new(StillClock));
    let answer = engine.series(SeriesRequest {
        caller: caller(),
        query: query.to_owned(),
        start,
        end,
        step_nano: Some(step),
        exemplars_max: 0,
        series_max: None,
    });
    let found = match block_on(answer) {
        Ok(found) => found,
        Err(error) => return error.to_string(),
    };
    let shown = found.series.iter().map(|series| {
        let labels = series.shown_labels().into_iter();
        let labels = labels.map(|label| format!("{}={}", label.key, shown_value(&label.value)));
        let values = series.values.iter().map(|value| match value {
            None => "-".to_owned(),
            Some(value) => value.to_string(),
        });
        let labels = labels.collect::<Vec<_>>().join(", ");
        format!("{labels}: {}", values.collect::<Vec<_>>().join(" "))
    });
    let all = shown.chain(found.partial.clone()).collect::<Vec<_>>();
    match all.is_empty() {
        true => "nothing".to_owned(),
        false => all.join(" | "),
    }
}

fn shown_value(value: &AttributeValue) -> String {
    match value {
        AttributeValue::String(text) => text.clone(),
        AttributeValue::Int(value) => value.to_string(),
        AttributeValue::Double(value) => format!("{value:?}"),
        other => format!("{other:?}"),
    }
}

/// The names of the spans, and the attributes of the spanset in brackets.
fn shown(set: &pipeline::Spanset, trace: &Trace) -> String {
    let names = set
        .spans
        .iter()
        .map(|index| trace.spans[*index].name.as_str());
    let names: Vec<&str> = names.collect();
    let mut shown = names.join(" ");
    for (key, value) in &set.attributes {
        let value = match value {
            None => "nil".to_owned(),
            Some(value) => format!("{value:?}"),
        };
        write!(shown, " [{key} = {value}]").unwrap();
    }
    shown
}

/// Words between spaces; quotes keep theirs.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut in_quotes = false;
    for c in line.chars() {
        match c {
            ' ' if !in_quotes => words.push(String::new()),
            c => {
                in_quotes ^= c == '"';
                words.last_mut().unwrap().push(c);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line is a span, or an event or link of the span before it: a word and `key=value` pairs.
fn add(trace: &mut Trace, id: TraceId, words: &[String], place: &str) {
    let pairs = words[1..].iter().map(|word| {
        let (key, value) = word.split_once('=').expect(place);
        (key, value)
    });
    match words[0].as_str() {
        "event" => {
            let mut event = Event::default();
            for (key, value) in pairs {
                match key {
                    "name" => event.name = value.to_owned(),
                    "time" => event.time_unix_nano = value.parse().unwrap(),
                    _ => event.attributes.push(attribute(key, value)),
                }
            }
            trace.spans.last_mut().unwrap().events.push(event);
        }
        "link" => {
            let mut link = Link::default();
            for (key, value) in pairs {
                match key {
                    "trace" => link.trace_id = TraceId::from_hex(value).unwrap(),
                    "span" => link.span_id = SpanId::from_hex(value).unwrap(),
                    _ => link.attributes.push(attribute(key, value)),
                }
            }
            trace.spans.last_mut().unwrap().links.push(link);
        }
        name => {
            let mut span = Span {
                trace_id: id,
                name: name.to_owned(),
                span_id: SpanId((trace.spans.len() as u64 + 1).to_be_bytes()),
                ..Span::default()
            };
            for (key, value) in pairs {
                set(&mut span, key, value);
            }
            trace.spans.push(span);
        }
    }
}

fn set(span: &mut Span, key: &str, value: &str) {
    match key {
        "parent" => span.parent_span_id = Some(SpanId::from_hex(value).unwrap()),
        "kind" => span.kind = value.parse().unwrap(),
        "status" => {
            span.status = Some(Status {
                code: value.parse().unwrap(),
                message: String::new(),
            });
        }
        "start" => {
            span.start_unix_nano = value.parse().unwrap();
            span.end_unix_nano = span.start_unix_nano;
        }
        "nanos" => span.end_unix_nano = span.start_unix_nano + value.parse::<u64>().unwrap(),
        _ => match key.split_once(':') {
            Some(("resource", key)) => {
                let mut resource = Resource::clone(&span.resource);
                resource.attributes.push(attribute(key, value));
                span.resource = Arc::new(resource);
            }
            Some(("scope", key)) => {
                let mut scope = Scope::clone(&span.scope);
                scope.attributes.push(attribute(key, value));
                span.scope = Arc::new(scope);
            }
            _ => span.attributes.push(attribute(key, value)),
        },
    }
}

/// `"text"`, a number, a truth value, `empty`, `bytes`, or a list between brackets.
fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: value_of(value),
    }
}

fn value_of(text: &str) -> AttributeValue {
    if let Some(list) = text.strip_prefix('[') {
        let items = list.trim_end_matches(']').split(',');
        return AttributeValue::Array(
            items
                .filter(|item| !item.is_empty())
                .map(value_of)
                .collect(),
        );
    }
    if let Some(text) = text.strip_prefix('"') {
        return AttributeValue::String(text.trim_end_matches('"').to_owned());
    }
    match text {
        "true" => AttributeValue::Bool(true),
        "false" => AttributeValue::Bool(false),
        "empty" => AttributeValue::Empty,
        "bytes" => AttributeValue::Bytes(vec![1, 2]),
        _ if text.contains('.') => AttributeValue::Double(text.parse().unwrap()),
        _ => AttributeValue::Int(text.parse().unwrap()),
    }
}
