//! Spans, events and links within the walk. Everything that can refuse a span comes before its row
//! is pushed; rows of its attributes, events and links are taken back if it is refused.

use tracewell_model::batch::Rows;
use tracewell_model::{SpanId, TraceId};

use super::{REFUSED_IN_JSON, Stop, Walk, rows};
use crate::otlp::fields;
use crate::otlp::reject::{Place, Reason};
use crate::protobuf::{Cursor, Damage, END, FIXED32, tag_of};

/// The fields of a span while it is read; the last of each counts.
#[derive(Default)]
struct SpanFields<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    trace_state: &'a [u8],
    name: &'a [u8],
    kind: i32,
    flags: u32,
    start_unix_nano: u64,
    end_unix_nano: u64,
    dropped: [u32; 3],
    status_code: Option<i32>,
    status_message: &'a [u8],
}

/// The events and links of a span, which are read behind its attributes, so that each owner's
/// attributes are in a row. They are counted and walked again from the first, not remembered one by
/// one: a million empty ones must not cost more than their rows.
#[derive(Default)]
struct Deferred<'a> {
    n_events: usize,
    n_links: usize,
    /// The tag of the first, and what comes behind it.
    first: Option<(u32, Cursor<'a>)>,
}

const EVENT: u32 = 0x5a;
const LINK: u32 = 0x6a;

impl Walk<'_> {
    pub(super) fn spans(&mut self, scope_spans: &[u8], scope: u32) -> Result<(), Damage> {
        let mut cursor = Cursor::new(scope_spans);
        loop {
            match cursor.tag()? {
                END => return Ok(()),
                0x12 => {
                    let message = cursor.bytes()?;
                    let mark = self.mark();
                    let outcome = if self.spans.trace_id.len() as u64 >= self.caps.spans {
                        Err(Stop::Refused(Reason::TooManySpans))
                    } else {
                        self.span(message, scope)
                    };
                    match outcome {
                        Ok(()) => self.messages.push(self.slice(message)),
                        Err(Stop::Refused(reason)) => {
                            self.take_back(mark);
                            self.refuse(reason, 1, Place::Span);
                        }
                        Err(Stop::Damaged(damage)) => return Err(damage.inside("Span")),
                    }
                    self.n_spans += 1;
                }
                tag => cursor.unknown(tag, 0)?,
            }
        }
    }

    #[inline]
    fn span(&mut self, message: &[u8], scope: u32) -> Result<(), Stop> {
        const FLAGS: u32 = tag_of(16, FIXED32);
        let from = self.begin_attributes();
        let mut span = SpanFields::default();
        let mut deferred = Deferred::default();
        let mut cursor = Cursor::new(message);
        loop {
            let tag = cursor.tag()?;
            match tag {
                END => break,
                0x4a => self.attribute(cursor.bytes()?)?,
                0x0a => span.trace_id = cursor.bytes()?,
                0x12 => span.span_id = cursor.bytes()?,
                0x1a => span.trace_state = cursor.bytes()?,
                0x22 => span.parent_span_id = cursor.bytes()?,
                0x2a => span.name = cursor.bytes()?,
                0x30 => span.kind = cursor.varint()? as i32,
                0x39 => span.start_unix_nano = cursor.fixed64()?,
                0x41 => span.end_unix_nano = cursor.fixed64()?,
                0x50 => span.dropped[0] = cursor.varint()? as u32,
                EVENT | LINK => self.defer(&mut deferred, tag, &mut cursor)?,
                0x60 => span.dropped[1] = cursor.varint()? as u32,
                0x70 => span.dropped[2] = cursor.varint()? as u32,
                0x7a => status(&mut span, cursor.bytes()?)?,
                FLAGS => span.flags = cursor.fixed32()?,
                tag => cursor.unknown(tag, fields::SPAN)?,
            }
        }
        let attributes = self.attributes_since(from);
        self.add_items(attributes.len() + deferred.n_events + deferred.n_links)?;
        let (events, links) = self.deferred(&deferred)?;
        self.push_span(&span, scope, attributes, events, links, message.len())
    }

    /// Everything that can refuse the span comes before the first push.
    #[inline]
    fn push_span(
        &mut self,
        span: &SpanFields<'_>,
        scope: u32,
        attributes: Rows,
        events: Rows,
        links: Rows,
        n_bytes: usize,
    ) -> Result<(), Stop> {
        let trace_id = match <[u8; 16]>::try_from(span.trace_id) {
            Ok(id) if id != [0; 16] => TraceId(id),
            _ if self.caps.has_marks && span.trace_id == REFUSED_IN_JSON => {
                return Err(Stop::Refused(Reason::InvalidValue));
            }
            _ => return Err(Stop::Refused(Reason::InvalidTraceId)),
        };
        let span_id = match <[u8; 8]>::try_from(span.span_id) {
            Ok(id) if id != [0; 8] => SpanId(id),
            _ => return Err(Stop::Refused(Reason::InvalidSpanId)),
        };
        let parent_span_id = match <[u8; 8]>::try_from(span.parent_span_id) {
            Ok(id) => Some(SpanId(id)),
            Err(_) if span.parent_span_id.is_empty() => None,
            Err(_) => return Err(Stop::Refused(Reason::InvalidParentSpanId)),
        };
        let name = self.name(span.name)?;
        let trace_state = self.name(span.trace_state)?;
        if span.status_message.len() > self.caps.value_bytes {
            return Err(Stop::Refused(Reason::StatusMessageTooLarge));
        }
        let status_message = self.text(span.status_message)?;
        if let Some(admit) = &mut self.admit {
            admit.admit(trace_id, n_bytes).map_err(Stop::Refused)?;
        }
        let spans = &mut self.spans;
        spans.scope.push(scope);
        spans.trace_id.push(trace_id);
        spans.span_id.push(span_id);
        spans.parent_span_id.push(parent_span_id);
        spans.trace_state.push(trace_state);
        spans.flags.push(span.flags);
        spans.name.push(name);
        spans.kind.push(span.kind);
        spans.start_unix_nano.push(span.start_unix_nano);
        spans.end_unix_nano.push(span.end_unix_nano);
        spans.attributes.push(attributes);
        spans.events.push(events);
        spans.links.push(links);
        spans.dropped.push(span.dropped);
        spans.status_code.push(span.status_code);
        spans.status_message.push(status_message);
        Ok(())
    }

    /// Counts an event or a link of the span that is read.
    #[inline]
    fn defer<'a>(
        &self,
        deferred: &mut Deferred<'a>,
        tag: u32,
        cursor: &mut Cursor<'a>,
    ) -> Result<(), Stop> {
        if deferred.n_events + deferred.n_links >= self.caps.items.saturating_sub(self.items) {
            return Err(Stop::Refused(Reason::TooManyItems));
        }
        deferred.first.get_or_insert((tag, *cursor));
        cursor.bytes()?;
        match tag {
            EVENT => deferred.n_events += 1,
            _ => deferred.n_links += 1,
        }
        Ok(())
    }

    /// Reads the events and links that were counted.
    fn deferred(&mut self, deferred: &Deferred<'_>) -> Result<(Rows, Rows), Stop> {
        let (n_events, n_links) = (self.events.time_unix_nano.len(), self.links.trace_id.len());
        if let Some((mut tag, mut cursor)) = deferred.first {
            self.reserve_deferred(deferred);
            while tag != END {
                match tag {
                    EVENT => {
                        let event = self.event(cursor.bytes()?);
                        event.map_err(|stop| stop.inside("Event"))?;
                    }
                    LINK => {
                        let link = self.link(cursor.bytes()?);
                        link.map_err(|stop| stop.inside("Link"))?;
                    }
                    tag => cursor.unknown(tag, 0)?,
                }
                tag = cursor.tag()?;
            }
        }
        let events = rows(n_events, self.events.time_unix_nano.len());
        Ok((events, rows(n_links, self.links.trace_id.len())))
    }

    fn reserve_deferred(&mut self, deferred: &Deferred<'_>) {
        let (events, n) = (&mut self.events, deferred.n_events);
        events.time_unix_nano.reserve(n);
        events.name.reserve(n);
        events.attributes.reserve(n);
        events.dropped_attributes_count.reserve(n);
        let (links, n) = (&mut self.links, deferred.n_links);
        links.trace_id.reserve(n);
        links.span_id.reserve(n);
        links.trace_state.reserve(n);
        links.flags.reserve(n);
        links.attributes.reserve(n);
        links.dropped_attributes_count.reserve(n);
    }

    fn event(&mut self, message: &[u8]) -> Result<(), Stop> {
        let from = self.begin_attributes();
        let mut time_unix_nano = 0;
        let mut name: &[u8] = &[];
        let mut dropped = 0;
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => break,
                0x09 => time_unix_nano = cursor.fixed64()?,
                0x12 => name = cursor.bytes()?,
                0x1a => self.attribute(cursor.bytes()?)?,
                0x20 => dropped = cursor.varint()? as u32,
                tag => cursor.unknown(tag, fields::EVENT)?,
            }
        }
        let attributes = self.attributes_since(from);
        self.add_items(attributes.len())?;
        let name = self.name(name)?;
        self.events.time_unix_nano.push(time_unix_nano);
        self.events.name.push(name);
        self.events.attributes.push(attributes);
        self.events.dropped_attributes_count.push(dropped);
        Ok(())
    }

    fn link(&mut self, message: &[u8]) -> Result<(), Stop> {
        let from = self.begin_attributes();
        let (mut trace_id, mut span_id, mut trace_state): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let (mut dropped, mut flags) = (0, 0);
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => break,
                0x0a => trace_id = cursor.bytes()?,
                0x12 => span_id = cursor.bytes()?,
                0x1a => trace_state = cursor.bytes()?,
                0x22 => self.attribute(cursor.bytes()?)?,
                0x28 => dropped = cursor.varint()? as u32,
                0x35 => flags = cursor.fixed32()?,
                tag => cursor.unknown(tag, fields::LINK)?,
            }
        }
        let attributes = self.attributes_since(from);
        self.add_items(attributes.len())?;
        let trace_state = self.name(trace_state)?;
        let (Ok(trace_id), Ok(span_id)) =
            (<[u8; 16]>::try_from(trace_id), <[u8; 8]>::try_from(span_id))
        else {
            return Err(Stop::Refused(Reason::InvalidLinkId));
        };
        self.links.trace_id.push(TraceId(trace_id));
        self.links.span_id.push(SpanId(span_id));
        self.links.trace_state.push(trace_state);
        self.links.flags.push(flags);
        self.links.attributes.push(attributes);
        self.links.dropped_attributes_count.push(dropped);
        Ok(())
    }
}

fn status<'a>(span: &mut SpanFields<'a>, message: &'a [u8]) -> Result<(), Stop> {
    // A second status message is merged into the first, field by field.
    let code = span.status_code.get_or_insert(0);
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x12 => span.status_message = cursor.bytes()?,
            0x18 => *code = cursor.varint()? as i32,
            tag => cursor.unknown(tag, fields::STATUS)?,
        }
    }
}
