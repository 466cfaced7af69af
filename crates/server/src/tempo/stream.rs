//! `tempopb.StreamingQuerier`: the questions of the HTTP API over gRPC, answered as results are found.
//!
//! A call becomes the parameters that the same question has over HTTP, so that both mean the same and
//! are bounded in the same way. Each message holds what the ones before it did not; the last has what the
//! answer has cost.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracewell_model::source::{HeldMemory, QueryMemory};
use tracewell_query::request::TraceSummary;
use tracewell_query::{SeriesResponse, TagNamesResponse, TagValuesResponse};
use tracewell_wire::protobuf::{BYTES, Cursor, Damage, END, VARINT, Writer, tag_of};

use super::messages::{self, Samples};
use super::tags::{self, Version};
use super::{search, series};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::grpc::{Ended, Messages};
use crate::params::Params;
use crate::routes::Route;

/// A message is cut here: clients take 4 MiB by default.
const MESSAGE_BYTES: usize = 1 << 20;

/// The part of the path and the parameters that the question of a call has over HTTP.
pub(crate) fn question(route: Route, message: &[u8]) -> ApiResult<(String, Params)> {
    let parameters = parameters(route);
    let mut pairs = read(message, parameters).map_err(|damage| {
        let (problem, at) = (damage.problem, damage.offset_in(message));
        ApiError::BadRequest(format!(
            "the message is no request: {problem:?} at byte {at}"
        ))
    })?;
    let mut path_param = String::new();
    if parameters == TAG_VALUES {
        let tag = pairs.extract_if(.., |(name, _)| name == TAG_NAME).next();
        let tag = tag.filter(|(_, tag)| !tag.is_empty());
        let (_, tag) = tag.ok_or_else(|| ApiError::BadRequest("tagName is missing".to_owned()))?;
        path_param = format!("{tag}/values");
    }
    Ok((path_param, Params::of(pairs)))
}

pub(crate) async fn answer(api: &Api, call: &Call, out: Messages) -> Ended {
    let version = match call.route {
        Route::StreamTagNamesV1 | Route::StreamTagValuesV1 => Version::V1,
        _ => Version::V2,
    };
    let (pieces, partial, permit, held) = match call.route {
        Route::StreamSearch => return answer_search(api, call, &out).await,
        Route::StreamTagNamesV1 | Route::StreamTagNamesV2 => {
            let (found, permit) = tags::ask_names(api, call, version).await?;
            let pieces = names(&found, version);
            let partial = tags::partial_of(found.partial, found.truncated);
            let held = pieces.hold(api.queries.memory());
            (pieces, partial, permit, held)
        }
        Route::StreamTagValuesV1 | Route::StreamTagValuesV2 => {
            let (found, permit) = tags::ask_values(api, call, version).await?;
            let pieces = values(&found, version);
            let partial = tags::partial_of(found.partial, found.truncated);
            (pieces, partial, permit, found.held)
        }
        route => {
            let ((found, permit), samples) = match route {
                Route::StreamQueryRange => {
                    (series::ask_range(api, call).await?, Samples::EachInterval)
                }
                _ => (series::ask_instant(api, call).await?, Samples::One),
            };
            let pieces = all_series(&found, samples);
            let held = pieces.hold(api.queries.memory());
            (pieces, found.partial, permit, held)
        }
    };
    let _until_sent = (permit.until_sent(), held);
    out.send_all(pieces.messages()).await?;
    Ok(partial)
}

/// Traces as they are found, then those that were not sent, and the costs. The search goes on whether the client
/// reads or not.
async fn answer_search(api: &Api, call: &Call, out: &Messages) -> Ended {
    let (listener, mut found) = mpsc::unbounded_channel();
    let mut searching = Box::pin(search::ask(api, call, Some(listener)));
    let mut sent = Vec::new();
    let mut sending: Option<Sending<'_>> = None;
    let (answer, permit) = loop {
        tokio::select! {
            biased;
            answer = &mut searching => break answer?,
            ended = end_of(&mut sending) => {
                ended?;
                sending = None;
            }
            Some(trace) = found.recv(), if sending.is_none() => {
                let mut traces = vec![trace];
                while let Ok(trace) = found.try_recv() {
                    traces.push(trace);
                }
                sent.extend(traces.iter().map(|trace| trace.trace_id));
                let pieces = cut(traces.iter(), messages::write_trace);
                sending = Some(Box::pin(out.send_all(pieces.messages())));
            }
        }
    };
    let _until_sent = (permit.until_sent(), answer.held);
    sent.sort_unstable();
    let is_sent = |trace: &&TraceSummary| sent.binary_search(&trace.trace_id).is_ok();
    let rest = answer.traces.iter().filter(|trace| !is_sent(trace));
    let mut all = cut(rest, messages::write_trace);
    messages::write_search_metrics(&mut all.last, &answer.stats);
    if let Some(sending) = sending {
        sending.await?;
    }
    out.send_all(all.messages()).await?;
    Ok(answer.partial)
}

fn names(found: &TagNamesResponse, version: Version) -> Pieces {
    let mut all = match version {
        Version::V1 => {
            let names = found.scopes.iter().flat_map(|scope| &scope.names);
            let names: BTreeSet<&String> = names.collect();
            cut(names.into_iter(), |out, name| {
                out.bytes(1, name.as_bytes());
            })
        }
        Version::V2 => cut(tags::shown(found), messages::write_scope),
    };
    messages::write_metadata_metrics(&mut all.last, &found.stats);
    all
}

fn values(found: &TagValuesResponse, version: Version) -> Pieces {
    let mut all = match version {
        Version::V1 => {
            let values = found.values.iter().map(|value| &value.value);
            let values: BTreeSet<&String> = values.collect();
            cut(values.into_iter(), |out, value| {
                out.bytes(1, value.as_bytes())
            })
        }
        Version::V2 => cut(found.values.iter(), messages::write_tag_value),
    };
    messages::write_metadata_metrics(&mut all.last, &found.stats);
    all
}

fn all_series(found: &SeriesResponse, samples: Samples) -> Pieces {
    let axis = &found.axis;
    let mut all = cut(found.series.iter(), |out, series| {
        messages::write_series(out, axis, series, samples);
    });
    messages::write_search_metrics(&mut all.last, &found.stats);
    messages::write_status(&mut all.last, &found.partial);
    all
}

/// Messages of some items: those that are closed, being large enough, and the one that is not.
fn cut<T>(items: impl Iterator<Item = T>, write: impl Fn(&mut Writer, T)) -> Pieces {
    let mut pieces = Pieces::default();
    for item in items {
        if pieces.last.len() >= MESSAGE_BYTES {
            pieces.closed.push(std::mem::take(&mut pieces.last));
        }
        write(&mut pieces.last, item);
    }
    pieces
}

#[derive(Default)]
struct Pieces {
    closed: Vec<Writer>,
    last: Writer,
}

impl Pieces {
    /// Counts them among the memory of queries.
    fn hold(&self, memory: &Arc<QueryMemory>) -> HeldMemory {
        let all = self.closed.iter().chain([&self.last]);
        let mut held = HeldMemory::of(memory);
        held.resize(all.map(Writer::len).sum::<usize>() as u64);
        held
    }

    fn messages(self) -> impl Iterator<Item = Vec<u8>> + Send {
        let all = self.closed.into_iter().chain([self.last]);
        all.map(Writer::into_bytes)
    }
}

/// Messages that are being sent.
type Sending<'a> = Pin<Box<dyn Future<Output = ApiResult<()>> + Send + 'a>>;

async fn end_of(sending: &mut Option<Sending<'_>>) -> ApiResult<()> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

// === calls as parameters ===

/// A field of a request: its number, the parameter that it is over HTTP, and how that writes it.
type Parameter = (u32, &'static str, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// A duration in milliseconds, and in nanoseconds.
    Millis,
    Nanos,
    /// A time in nanoseconds since 1970.
    UnixNano,
    /// An entry of a map from text to text: one of the pairs in logfmt.
    Pair,
}

const SEARCH: &[Parameter] = &[
    (1, "tags", Kind::Pair),
    (2, "minDuration", Kind::Millis),
    (3, "maxDuration", Kind::Millis),
    (4, "limit", Kind::Number),
    (5, "start", Kind::Number),
    (6, "end", Kind::Number),
    (8, "q", Kind::Text),
    (9, "spss", Kind::Number),
];
const TAG_NAMES: &[Parameter] = &[
    (1, "scope", Kind::Text),
    (2, "q", Kind::Text),
    (3, "start", Kind::Number),
    (4, "end", Kind::Number),
    (5, "limit", Kind::Number),
];
const TAG_VALUES: &[Parameter] = &[
    (1, TAG_NAME, Kind::Text),
    (2, "q", Kind::Text),
    (4, "start", Kind::Number),
    (5, "end", Kind::Number),
    (6, "limit", Kind::Number),
];
const TAG_NAME: &str = "tagName";
const QUERY_RANGE: &[Parameter] = &[
    (1, "q", Kind::Text),
    (2, "start", Kind::UnixNano),
    (3, "end", Kind::UnixNano),
    (4, "step", Kind::Nanos),
    (16, "exemplars", Kind::Number),
    (17, "maxSeries", Kind::Number),
];
const QUERY_INSTANT: &[Parameter] = &[
    (1, "q", Kind::Text),
    (2, "start", Kind::UnixNano),
    (3, "end", Kind::UnixNano),
];

fn parameters(route: Route) -> &'static [Parameter] {
    match route {
        Route::StreamSearch => SEARCH,
        Route::StreamTagNamesV1 | Route::StreamTagNamesV2 => TAG_NAMES,
        Route::StreamTagValuesV1 | Route::StreamTagValuesV2 => TAG_VALUES,
        Route::StreamQueryRange => QUERY_RANGE,
        _ => QUERY_INSTANT,
    }
}

/// The fields of a message that are parameters; a default is none, as it is not sent.
fn read(message: &[u8], parameters: &[Parameter]) -> Result<Vec<(String, String)>, Damage> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut cursor = Cursor::new(message);
    loop {
        let tag = cursor.tag()?;
        if tag == END {
            return Ok(pairs);
        }
        let known = parameters.iter().find(|(field, ..)| *field == tag >> 3);
        let Some((field, name, kind)) = known else {
            cursor.unknown(tag, 0)?;
            continue;
        };
        let wire_type = match kind {
            Kind::Text | Kind::Pair => BYTES,
            _ => VARINT,
        };
        if tag != tag_of(*field, wire_type) {
            cursor.unknown(tag, *field)?;
            continue;
        }
        let value = match kind {
            Kind::Text => cursor.text()?.to_owned(),
            Kind::Pair => pair(cursor.bytes()?)?,
            Kind::Number => number(cursor.varint()?, |n| n.to_string()),
            Kind::Millis => number(cursor.varint()?, |n| format!("{n}ms")),
            Kind::Nanos => number(cursor.varint()?, |n| format!("{n}ns")),
            // With a fraction it cannot be taken for seconds.
            Kind::UnixNano => number(cursor.varint()?, |n| {
                format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000)
            }),
        };
        match pairs.iter_mut().find(|(known, _)| known == name) {
            // Of a field that is there twice the last holds; a map has an entry in each.
            Some((_, known)) if matches!(kind, Kind::Pair) => known.push_str(&format!(" {value}")),
            Some((_, known)) => *known = value,
            None => pairs.push(((*name).to_owned(), value)),
        }
    }
}

fn number(value: u64, shown: impl FnOnce(u64) -> String) -> String {
    match value {
        0 => String::new(),
        _ => shown(value),
    }
}

/// An entry of a map in logfmt.
fn pair(message: &[u8]) -> Result<String, Damage> {
    let (mut key, mut value) = ("", "");
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => break,
            KEY => key = cursor.text()?,
            VALUE => value = cursor.text()?,
            tag => cursor.unknown(tag, 2)?,
        }
    }
    // Logfmt has no way to write these in a key, and refuses one in quotes.
    let is_written = !key.contains(|c: char| c.is_whitespace() || matches!(c, '=' | '"'));
    let quote = if is_written { "" } else { "\"" };
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("{quote}{key}{quote}=\"{value}\""))
}

const KEY: u32 = tag_of(1, BYTES);
const VALUE: u32 = tag_of(2, BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parameters: &[Parameter], write: impl FnOnce(&mut Writer)) -> Vec<String> {
        let mut message = Writer::default();
        write(&mut message);
        let pairs = read(&message.into_bytes(), parameters).unwrap();
        pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn a_call_is_the_question_that_it_is_over_http() {
        let entry = |out: &mut Writer, key: &str, value: &str| {
            out.message(1, |out| {
                out.bytes(1, key.as_bytes());
                out.bytes(2, value.as_bytes());
            });
        };
        let long = "x".repeat(200);
        let pairs = of(SEARCH, |out| {
            entry(out, "service.name", "shop");
            entry(out, "said", &format!("\"{long}\\"));
            out.varint(2, 5);
            out.varint(4, 20);
            out.varint(5, 1_700_000_000);
            out.bytes(77, b"later versions");
        });
        assert_eq!(
            pairs,
            [
                format!("tags=service.name=\"shop\" said=\"\\\"{long}\\\\\""),
                "minDuration=5ms".to_owned(),
                "limit=20".to_owned(),
                "start=1700000000".to_owned(),
            ]
        );
        let pairs = of(QUERY_RANGE, |out| {
            out.bytes(1, b"{ } | rate()");
            out.varint(2, 1_700_000_000_000_000_001);
            out.varint(4, 15_000_000_000);
        });
        assert_eq!(
            pairs,
            [
                "q={ } | rate()",
                "start=1700000000.000000001",
                "step=15000000000ns"
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_told_with_its_place() {
        let mut message = Writer::default();
        message.bytes(8, &[0xff, 0xfe]);
        let error = question(Route::StreamSearch, &message.into_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the message is no request: NotUtf8 at byte 1"
        );
    }
}
