//! A row of a table as an owned span, as it was sent.

use std::ops::Range;
use std::sync::Arc;

use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeValue, Event, KeyValue, Link, Span, Status};
use tracewell_wire::otlp::{DecodeError, decode_any_value};

use super::{Dictionary, STATUS_ABSENT, SpanTable, StringCode};

/// A table that is not what its columns promise: damage that no checksum saw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    #[error("row {row} of {n_rows} names what is not there")]
    Broken { row: usize, n_rows: usize },
    #[error("attribute value: {source}")]
    Value {
        #[from]
        source: DecodeError,
    },
}

impl SpanTable {
    /// One span, lossless.
    pub fn span(&self, dictionary: &Dictionary, row: usize) -> Result<Span, RowError> {
        self.span_at(dictionary, row).unwrap_or_else(|| {
            Err(RowError::Broken {
                row,
                n_rows: self.n_spans(),
            })
        })
    }

    /// `None` if a column is too short.
    fn span_at(&self, dictionary: &Dictionary, row: usize) -> Option<Result<Span, RowError>> {
        let spans = &self.spans;
        let strings = &dictionary.strings;
        let text = |code: &StringCode| strings.text(*code).to_owned();
        let resource = dictionary
            .resources
            .get(*spans.resource.get(row)? as usize)?;
        let scope = dictionary.scopes.get(*spans.scope.get(row)? as usize)?;
        let status = match *spans.status_code.get(row)? {
            STATUS_ABSENT => None,
            code => Some(Status {
                code,
                message: text(spans.status_message.get(row)?),
            }),
        };
        let lists = || {
            Ok((
                self.attributes_of(dictionary, spans.attributes.get(row))?,
                self.events_of(dictionary, spans.events.get(row))?,
                self.links_of(dictionary, spans.links.get(row))?,
            ))
        };
        let (attributes, events, links) = match lists() {
            Ok(lists) => lists,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Span {
            resource: Arc::clone(&resource.resource),
            scope: Arc::clone(&scope.scope),
            trace_id: *spans.trace_id.get(row)?,
            span_id: *spans.span_id.get(row)?,
            parent_span_id: spans
                .has_parent
                .get(row)?
                .then_some(*spans.parent_span_id.get(row)?),
            trace_state: text(spans.trace_state.get(row)?),
            flags: *spans.flags.get(row)?,
            name: text(spans.name.get(row)?),
            kind: *spans.kind.get(row)?,
            start_unix_nano: *spans.start_unix_nano.get(row)?,
            end_unix_nano: *spans.end_unix_nano.get(row)?,
            attributes,
            dropped_attributes_count: *spans.dropped_attributes.get(row)?,
            events,
            dropped_events_count: *spans.dropped_events.get(row)?,
            links,
            dropped_links_count: *spans.dropped_links.get(row)?,
            status,
        }))
    }

    /// The value of one attribute row.
    pub fn attribute_value(
        &self,
        dictionary: &Dictionary,
        row: usize,
    ) -> Result<AttributeValue, RowError> {
        let broken = || RowError::Broken {
            row,
            n_rows: self.attributes.len(),
        };
        let value = *self.attributes.value.get(row).ok_or_else(broken)?;
        let bytes = || {
            // Only codes are asked for here, and codes are 32 bits.
            dictionary.strings.get(StringCode(value as u32))
        };
        let value_type = self.attributes.value_type.get(row).ok_or_else(broken)?;
        Ok(match value_type {
            AttributeType::Empty => AttributeValue::Empty,
            AttributeType::String => {
                AttributeValue::String(dictionary.strings.text(StringCode(value as u32)).to_owned())
            }
            AttributeType::Bool => AttributeValue::Bool(value != 0),
            AttributeType::Int => AttributeValue::Int(value as i64),
            AttributeType::Double => AttributeValue::Double(f64::from_bits(value)),
            AttributeType::Bytes => AttributeValue::Bytes(bytes().to_vec()),
            AttributeType::Array | AttributeType::Strings | AttributeType::KvList => {
                decode_any_value(bytes())?
            }
        })
    }

    pub(crate) fn attributes_of(
        &self,
        dictionary: &Dictionary,
        rows: Range<usize>,
    ) -> Result<Vec<KeyValue>, RowError> {
        let mut attributes = Vec::with_capacity(rows.len().min(self.attributes.len()));
        for row in rows {
            let key = self.attributes.key.get(row).copied().unwrap_or_default();
            attributes.push(KeyValue {
                key: dictionary.strings.text(key).to_owned(),
                value: self.attribute_value(dictionary, row)?,
            });
        }
        Ok(attributes)
    }

    fn events_of(
        &self,
        dictionary: &Dictionary,
        rows: Range<usize>,
    ) -> Result<Vec<Event>, RowError> {
        let events = &self.events;
        let mut out = Vec::with_capacity(rows.len().min(events.len()));
        for row in rows {
            let (Some(time), Some(name), Some(dropped)) = (
                events.time_unix_nano.get(row),
                events.name.get(row),
                events.dropped_attributes.get(row),
            ) else {
                let n_rows = events.len();
                return Err(RowError::Broken { row, n_rows });
            };
            out.push(Event {
                time_unix_nano: *time,
                name: dictionary.strings.text(*name).to_owned(),
                attributes: self.attributes_of(dictionary, events.attributes.get(row))?,
                dropped_attributes_count: *dropped,
            });
        }
        Ok(out)
    }

    fn links_of(&self, dictionary: &Dictionary, rows: Range<usize>) -> Result<Vec<Link>, RowError> {
        let links = &self.links;
        let mut out = Vec::with_capacity(rows.len().min(links.len()));
        for row in rows {
            let (Some(trace_id), Some(span_id), Some(trace_state), Some(flags), Some(dropped)) = (
                links.trace_id.get(row),
                links.span_id.get(row),
                links.trace_state.get(row),
                links.flags.get(row),
                links.dropped_attributes.get(row),
            ) else {
                let n_rows = links.len();
                return Err(RowError::Broken { row, n_rows });
            };
            out.push(Link {
                trace_id: *trace_id,
                span_id: *span_id,
                trace_state: dictionary.strings.text(*trace_state).to_owned(),
                attributes: self.attributes_of(dictionary, links.attributes.get(row))?,
                dropped_attributes_count: *dropped,
                flags: *flags,
            });
        }
        Ok(out)
    }
}
