//! The three OTLP signals: how much a request holds, without decoding it.
//!
//! Metrics and logs are refused with a `partial_success` that names the right number; only the path
//! from the request to the items is walked.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess};
use serde::de::{Unexpected, Visitor};

use super::decode::DecodeError;
use super::json::json_error;
use super::reject::{OTHER_SERVICES, RESOURCES_MAX};
use crate::protobuf::{BYTES, Cursor, Damage, Problem};

/// What an OTLP request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// The fields that lead one level down.
type Level = &'static [(u32, &'static str, &'static str)];

const TRACES: [Level; 3] = [
    &[(1, "resourceSpans", "resource_spans")],
    &[(2, "scopeSpans", "scope_spans")],
    &[(2, "spans", "spans")],
];
const METRICS: [Level; 5] = [
    &[(1, "resourceMetrics", "resource_metrics")],
    &[(2, "scopeMetrics", "scope_metrics")],
    &[(2, "metrics", "metrics")],
    &[
        (5, "gauge", "gauge"),
        (7, "sum", "sum"),
        (9, "histogram", "histogram"),
        (10, "exponentialHistogram", "exponential_histogram"),
        (11, "summary", "summary"),
    ],
    &[(1, "dataPoints", "data_points")],
];
const LOGS: [Level; 3] = [
    &[(1, "resourceLogs", "resource_logs")],
    &[(2, "scopeLogs", "scope_logs")],
    &[(2, "logRecords", "log_records")],
];

/// Of a name that becomes a label.
const SERVICE_CHARS_MAX: usize = 128;

// === impl Signal ===

impl Signal {
    /// The name in counters and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    fn levels(self) -> &'static [Level] {
        match self {
            Self::Traces => &TRACES,
            Self::Metrics => &METRICS,
            Self::Logs => &LOGS,
        }
    }

    /// Counts spans, data points or log records of a protobuf request.
    pub fn count_protobuf(self, body: &[u8]) -> Result<u64, DecodeError> {
        count(body, self.levels())
            .map_err(|damage| DecodeError::new(damage.inside("the request"), body))
    }

    /// Counts spans, data points or log records of a JSON request.
    pub fn count_json(self, body: &[u8]) -> Result<u64, DecodeError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let mut n = 0;
        let counter = Counter {
            levels: self.levels(),
            n: &mut n,
        };
        json.deserialize_map(counter)
            .and_then(|()| json.end())
            .map_err(|error| json_error(&error))?;
        Ok(n)
    }
}

/// Spans of a protobuf request by the service that sent them, which is empty where it has no name. Of the first
/// 256 resources; what lies behind them is counted under [`OTHER_SERVICES`].
pub fn spans_by_service(body: &[u8]) -> Result<BTreeMap<String, u64>, DecodeError> {
    let mut by_service = BTreeMap::new();
    let mut n_met = 0;
    let mut each = |resource_spans: &[u8]| -> Result<(), Damage> {
        let n = count(resource_spans, TRACES.get(1..).unwrap_or_default())?;
        n_met += 1;
        if n > 0 {
            let service = match n_met <= RESOURCES_MAX {
                true => service_name(resource_spans)?,
                false => OTHER_SERVICES.to_owned(),
            };
            *by_service.entry(service).or_default() += n;
        }
        Ok(())
    };
    each_of(body, 1, &mut each)
        .map_err(|damage| DecodeError::new(damage.inside("the request"), body))?;
    Ok(by_service)
}

/// The services of some resources of a request, by number (sorted).
pub(super) fn service_names(body: &[u8], numbers: &[u32]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let mut next = 0;
    let mut each = |resource_spans: &[u8]| -> Result<(), Damage> {
        if numbers.binary_search(&next).is_ok() {
            // A resource that was refused was read no further, and may be damaged behind that.
            let name = service_name(resource_spans).unwrap_or_default();
            names.insert(next, name);
        }
        next += 1;
        Ok(())
    };
    // The request itself was walked to its end before.
    each_of(body, 1, &mut each).unwrap_or_default();
    names
}

/// The `service.name` of a `ResourceSpans`.
fn service_name(resource_spans: &[u8]) -> Result<String, Damage> {
    let mut name = String::new();
    each_of(resource_spans, 1, &mut |resource| {
        each_of(resource, 1, &mut |attribute| {
            let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
            each_of(attribute, 1, &mut |content| {
                key = content;
                Ok(())
            })?;
            if key != b"service.name" {
                return Ok(());
            }
            each_of(attribute, 2, &mut |any_value| {
                each_of(any_value, 1, &mut |text| {
                    value = text;
                    Ok(())
                })
            })?;
            let text = String::from_utf8_lossy(value);
            name = text.chars().take(SERVICE_CHARS_MAX).collect();
            Ok(())
        })
    })?;
    Ok(name)
}

/// Calls for each length-delimited field of one number.
fn each_of<'m>(
    message: &'m [u8],
    number: u32,
    then: &mut dyn FnMut(&'m [u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    while let Some(field) = cursor.field()? {
        if field.number == number && field.wire_type == BYTES {
            then(field.content)?;
        }
    }
    Ok(())
}

/// It recurses over the levels, at most five, not over the data.
fn count(message: &[u8], levels: &[Level]) -> Result<u64, Damage> {
    let Some((level, below)) = levels.split_first() else {
        return Ok(1);
    };
    let mut n = 0;
    let mut cursor = Cursor::new(message);
    loop {
        let start = cursor;
        let Some(field) = cursor.field()? else {
            return Ok(n);
        };
        if level.iter().any(|(number, ..)| *number == field.number) {
            if field.wire_type != BYTES {
                return Err(start.damage(Problem::WrongWireType {
                    field: field.number,
                    wire_type: field.wire_type,
                }));
            }
            n += count(field.content, below)?;
        }
    }
}

/// Reads an object, a list of objects, or nothing, and counts what lies below.
struct Counter<'n> {
    levels: &'static [Level],
    n: &'n mut u64,
}

/// True if a key leads down.
struct Key(Level);

// === impl Counter ===

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.levels.is_empty() {
            *self.n += 1;
            value.deserialize_ignored_any(IgnoredAny).map(drop)
        } else {
            value.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list of objects")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((level, below)) = self.levels.split_first() else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        while let Some(leads_down) = map.next_key_seed(Key(level))? {
            if leads_down {
                map.next_value_seed(List(Counter {
                    levels: below,
                    n: &mut *self.n,
                }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The value of a key that leads down: a list of objects, or one object.
struct List<'n>(Counter<'n>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq
            .next_element_seed(Counter {
                levels: self.0.levels,
                n: &mut *self.0.n,
            })?
            .is_some()
        {}
        Ok(())
    }
}

// === impl Key ===

impl<'de> DeserializeSeed<'de> for Key {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(self
            .0
            .iter()
            .any(|(_, camel, snake)| *camel == name || *snake == name))
    }
}
