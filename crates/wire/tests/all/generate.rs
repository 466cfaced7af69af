//! Random OTLP messages as prost types, from a seed.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) struct Generator {
    random: SmallRng,
    /// Leaves out what the serde form of the prost types cannot write or read back.
    pub(crate) plain_values: bool,
}

impl Generator {
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.random.random_range(0..end)
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            plain_values: false,
        }
    }

    pub(crate) fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_range(0..one_in) == 0
    }

    fn many<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.random.random_range(0..=max);
        (0..n).map(|_| make(self)).collect()
    }

    pub(crate) fn text(&mut self) -> String {
        const PARTS: [&str; 8] = ["http.", "status", "é", "数", "/api/v1/", "\0", "x", "GET "];
        let n = match self.random.random_range(0..20) {
            0 => 0,
            1 => 60,
            _ => self.random.random_range(1..6),
        };
        (0..n)
            .map(|_| PARTS[self.random.random_range(0..PARTS.len())])
            .collect()
    }

    fn number(&mut self) -> u64 {
        let shift = self.random.random_range(0..64);
        self.random.random::<u64>() >> shift
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.random.random()).collect()
    }

    pub(crate) fn value(&mut self, depth: u32) -> AnyValue {
        let kinds = if depth == 0 { 6 } else { 9 };
        let value = match self.random.random_range(0..kinds) {
            0 => None,
            1 | 2 => Some(Value::StringValue(self.text())),
            3 => Some(Value::BoolValue(self.random.random())),
            4 => Some(Value::IntValue(self.number() as i64)),
            5 if self.plain_values => Some(Value::DoubleValue(self.random.random())),
            5 => Some(Value::DoubleValue(f64::from_bits(self.random.random()))),
            6 => {
                let len = self.random.random_range(0..40);
                Some(Value::BytesValue(self.bytes(len)))
            }
            7 => Some(Value::ArrayValue(ArrayValue {
                values: if self.chance(2) {
                    self.many(3, |g| AnyValue {
                        value: Some(Value::StringValue(g.text())),
                    })
                } else {
                    self.many(4, |g| g.value(depth - 1))
                },
            })),
            _ => Some(Value::KvlistValue(KeyValueList {
                values: self.many(4, |g| g.attribute(depth - 1)),
            })),
        };
        AnyValue { value }
    }

    pub(crate) fn attribute(&mut self, depth: u32) -> KeyValue {
        KeyValue {
            key: self.text(),
            value: (self.plain_values || !self.chance(20)).then(|| self.value(depth)),
            key_strindex: 0,
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(6, |g| g.attribute(3))
    }

    pub(crate) fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            entity_refs: self.many(2, |g| EntityRef {
                schema_url: g.text(),
                r#type: g.text(),
                id_keys: g.many(3, Self::text),
                description_keys: g.many(3, Self::text),
            }),
        }
    }

    pub(crate) fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    fn event(&mut self) -> Event {
        Event {
            time_unix_nano: self.number(),
            name: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
        }
    }

    fn link(&mut self) -> Link {
        Link {
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            trace_state: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            flags: self.number() as u32,
        }
    }

    pub(crate) fn span(&mut self) -> Span {
        let parent = [0, 8][self.random.random_range(0..2)];
        Span {
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            trace_state: self.text(),
            parent_span_id: self.bytes(parent),
            flags: self.number() as u32,
            name: self.text(),
            kind: if self.chance(10) {
                self.number() as i32
            } else {
                self.random.random_range(0..6)
            },
            start_time_unix_nano: self.number(),
            end_time_unix_nano: self.number(),
            attributes: self.attributes(),
            dropped_attributes_count: self.number() as u32,
            events: self.many(3, Self::event),
            dropped_events_count: self.number() as u32,
            links: self.many(2, Self::link),
            dropped_links_count: self.number() as u32,
            status: (!self.chance(4)).then(|| Status {
                message: self.text(),
                code: self.random.random_range(0..4),
            }),
        }
    }

    pub(crate) fn scope_spans(&mut self) -> ScopeSpans {
        ScopeSpans {
            scope: (!self.chance(4)).then(|| self.scope()),
            spans: self.many(4, Self::span),
            schema_url: self.text(),
        }
    }

    pub(crate) fn resource_spans(&mut self) -> ResourceSpans {
        ResourceSpans {
            resource: (!self.chance(4)).then(|| self.resource()),
            scope_spans: self.many(3, Self::scope_spans),
            schema_url: self.text(),
        }
    }

    pub(crate) fn request(&mut self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: self.many(3, Self::resource_spans),
        }
    }
}
