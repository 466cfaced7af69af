//! A planned span as protobuf.

use std::io::Write;

use super::Random;
use super::plan::{Outcome, PlannedSpan};
use crate::demo::encode::{Scalar, put_attribute, put_bytes, put_fixed32, put_fixed64};
use crate::demo::shop::{AGENTS, TERMS, Var};
use crate::demo::template::{Rare, Template};

/// What is the same in all traces of one visit.
#[derive(Debug)]
pub(super) struct Visit {
    user: u64,
    session: u64,
    order: u128,
    product: u64,
    client: u64,
    agent: &'static str,
    term: (&'static str, Option<&'static str>),
    total: f64,
}

/// Makes the values that differ from span to span. Holds its buffer.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    text: Vec<u8>,
    offset: i64,
}

/// W3C trace flags: sampled; and the two bits that say whether the parent was remote.
const FLAGS: u32 = 0x101;
const EVENT_TIME: u32 = 1;
const EVENT_NAME: u32 = 2;
const SPAN_EVENT: u32 = 11;
const SPAN_LINK: u32 = 13;

// === impl Visit ===

impl Visit {
    pub(super) fn new(random: &mut Random) -> Self {
        let word = |random: &mut Random| {
            let index = random.below(TERMS.len() as u64) as usize;
            TERMS.get(index).copied().unwrap_or_default()
        };
        let first = word(random);
        let second = (random.below(3) == 0).then(|| word(random));
        let agent = random.below(AGENTS.len() as u64) as usize;
        // Some users and products are far more frequent than others.
        let skewed = |random: &mut Random, bound: u64| random.below(bound).min(random.below(bound));
        Self {
            user: skewed(random, 50_000),
            session: random.next(),
            order: u128::from(random.next()) << 64 | u128::from(random.next()),
            product: skewed(random, 2_000),
            client: random.below(4_000),
            agent: AGENTS.get(agent).copied().unwrap_or_default(),
            term: (first, second),
            total: (500 + random.below(50_000)) as f64 / 100.0,
        }
    }
}

// === impl Renderer ===

impl Renderer {
    /// Appends the fields of the span.
    pub(super) fn render(
        &mut self,
        out: &mut Vec<u8>,
        span: &PlannedSpan,
        template: &Template,
        visit: &Visit,
        random: &mut Random,
    ) {
        put_bytes(out, 1, &span.trace_id);
        put_bytes(out, 2, &span.span_id);
        if let Some(parent) = &span.parent {
            put_bytes(out, 4, parent);
        }
        out.extend_from_slice(&template.fixed);
        put_fixed64(out, 7, span.start);
        put_fixed64(out, 8, span.end);
        for (key, variable) in &template.variables {
            self.attribute(out, key, *variable, span.outcome, visit, random);
        }
        if span.attempt > 0 {
            let attempt = Scalar::Int(i64::from(span.attempt));
            put_attribute(out, 9, "retry.attempt", attempt);
        }
        self.rare(out, template.rare, random);
        match span.outcome {
            Outcome::Fine => {}
            Outcome::Failed => {
                out.extend_from_slice(&template.failed);
                self.exception(out, span.end, template);
            }
            Outcome::FailedBelow => out.extend_from_slice(&template.failed_below),
        }
        if let Some((trace_id, span_id)) = &span.link {
            self.text.clear();
            put_bytes(&mut self.text, 1, trace_id);
            put_bytes(&mut self.text, 2, span_id);
            put_attribute(&mut self.text, 4, "messaging.batch.index", Scalar::Int(0));
            put_bytes(out, SPAN_LINK, &self.text);
        }
        put_fixed32(out, 16, FLAGS);
    }

    fn exception(&mut self, out: &mut Vec<u8>, time: u64, template: &Template) {
        self.text.clear();
        put_fixed64(&mut self.text, EVENT_TIME, time);
        put_bytes(&mut self.text, EVENT_NAME, b"exception");
        self.text.extend_from_slice(&template.exception);
        put_bytes(out, SPAN_EVENT, &self.text);
    }

    fn rare(&mut self, out: &mut Vec<u8>, rare: Rare, random: &mut Random) {
        match rare {
            Rare::No => {}
            Rare::Coupon if random.below(20) == 0 => {
                let number = random.below(60);
                let coupon = self.format(format_args!("WELCOME-{number:03}"));
                put_attribute(out, 9, "shop.coupon", Scalar::Text(coupon));
            }
            Rare::Note if random.below(25) == 0 => {
                let number = random.below(300);
                let key = format!("debug.note.{number:03}");
                put_attribute(out, 9, &key, Scalar::Text("left by an experiment"));
            }
            Rare::Coupon | Rare::Note => {}
        }
    }

    fn attribute(
        &mut self,
        out: &mut Vec<u8>,
        key: &str,
        variable: Var,
        outcome: Outcome,
        visit: &Visit,
        random: &mut Random,
    ) {
        let fine = outcome == Outcome::Fine;
        let value = match variable {
            Var::Rows => Scalar::Int(random.below(40) as i64),
            Var::Size => Scalar::Int(200 + random.below(60_000) as i64),
            Var::Port => Scalar::Int(32_768 + random.below(28_000) as i64),
            Var::Partition => Scalar::Int(random.below(12) as i64),
            Var::Thread => Scalar::Int(1 + random.below(64) as i64),
            Var::Offset => {
                self.offset += 1;
                Scalar::Int(48_000_000 + self.offset)
            }
            Var::HttpStatus if fine => Scalar::Int(200),
            Var::HttpStatus if outcome == Outcome::Failed => Scalar::Int(503),
            Var::HttpStatus => Scalar::Int(500),
            Var::GrpcStatus if fine => Scalar::Int(0),
            Var::GrpcStatus if outcome == Outcome::Failed => Scalar::Int(14),
            Var::GrpcStatus => Scalar::Int(13),
            Var::Total => Scalar::Double(visit.total),
            Var::Agent => Scalar::Text(visit.agent),
            Var::User
            | Var::Session
            | Var::Order
            | Var::Product
            | Var::ProductPath
            | Var::ProductUrl
            | Var::Term
            | Var::Client => Scalar::Text(self.text_of(variable, visit, random)),
        };
        put_attribute(out, 9, key, value);
    }

    fn text_of(&mut self, variable: Var, visit: &Visit, random: &mut Random) -> &str {
        match variable {
            Var::User => self.format(format_args!("user-{:05}", visit.user)),
            Var::Session => self.format(format_args!("{:016x}", visit.session)),
            Var::Order => {
                let order = visit.order;
                self.format(format_args!(
                    "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                    (order >> 96) as u32,
                    (order >> 80) as u16,
                    (order >> 64) as u16 & 0xfff,
                    (order >> 48) as u16 & 0xfff,
                    order as u64 & 0xffff_ffff_ffff,
                ))
            }
            Var::ProductPath => self.format(format_args!("/product/P{:04}", visit.product)),
            Var::ProductUrl => {
                // The first product is what was asked for, the others are recommendations.
                let product = (visit.product + random.below(20)) % 2_000;
                let reference = random.below(1 << 32);
                self.format(format_args!(
                    "http://catalog.shop.internal:8080/v1/products/P{product:04}?ref={reference:08x}"
                ))
            }
            Var::Term => match visit.term {
                (first, Some(second)) => self.format(format_args!("{first} {second}")),
                (first, None) => first,
            },
            Var::Client => self.format(format_args!(
                "203.0.{}.{}",
                visit.client / 250,
                visit.client % 250
            )),
            _ => self.format(format_args!("P{:04}", visit.product)),
        }
    }

    fn format(&mut self, arguments: std::fmt::Arguments<'_>) -> &str {
        self.text.clear();
        // Writing to a Vec cannot fail.
        self.text.write_fmt(arguments).unwrap_or_default();
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}
