//! The walk over an OTLP request body: bytes in, columns out, in one pass.
//!
//! It is the hot path of the product. Nothing is allocated per span, no text is copied: columns
//! name slices of the body. A span that breaks a limit or names no valid id is refused alone, with a
//! [`Reason`]; bytes that are no protobuf fail the whole body and say where. Rows are appended while
//! a span is read and taken back if it is refused.
//!
//! Two cases leave the straight path, each by writing a new body and walking that: a request with
//! refused spans (the new body holds the others), and one that writes a singular message twice
//! (`merge`), which protobuf allows and no known sender does.

use bytes::Bytes;
use tracewell_model::batch::{
    AttributeColumns, EventColumns, LinkColumns, ResourceRow, Rows, ScopeRow, Slice, SpanBatch,
    SpanColumns,
};
use tracewell_model::{Limits, TenantId, TraceId};

use super::fields;
use super::merge;
use super::reject::{Place, Reason, Rejections};
use crate::protobuf::{Cursor, Damage, END, Problem, Writer, is_utf8};

mod attribute;
mod span;

/// The accepted part of a request, and what was refused.
#[derive(Debug)]
pub struct Decoded {
    /// Its `body` is the request as received, unless spans were refused.
    pub batch: SpanBatch,
    pub rejected: Rejections,
}

/// Why a whole body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Answered with 413 / RESOURCE_EXHAUSTED.
    #[error("body of {seen} bytes exceeds limits.request_decoded_bytes_max, which is {limit}")]
    TooLarge { limit: u64, seen: u64 },
    /// Answered with 400 / INVALID_ARGUMENT.
    #[error("body is not OTLP protobuf: at byte {offset}, in {message}: {problem}")]
    Malformed {
        offset: usize,
        message: &'static str,
        problem: Problem,
    },
    /// Answered with 400 / INVALID_ARGUMENT.
    #[error("body is not OTLP/JSON: line {line}, column {column}: {reason}")]
    Json {
        line: usize,
        column: usize,
        reason: String,
    },
}

/// Values nest at most this deep, whatever the configuration says: the walk recurses.
pub const DEPTH_MAX: usize = 128;

/// Is asked for each span that nothing else refuses, in the order of the request.
pub trait Admit {
    /// A span of so many bytes on the wire.
    fn admit(&mut self, trace_id: TraceId, n_bytes: usize) -> Result<(), Reason>;

    /// All that was admitted is asked for again.
    fn start_again(&mut self);
}

/// Decodes a request as a client sent it.
pub fn decode(tenant: TenantId, body: Bytes, limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_admitted(tenant, body, limits, None)
}

/// As [`decode`]; `admit` may refuse spans that break no limit by themselves.
pub fn decode_admitted(
    tenant: TenantId,
    body: Bytes,
    limits: &Limits,
    admit: Option<&mut (dyn Admit + 'static)>,
) -> Result<Decoded, DecodeError> {
    decode_capped(tenant, body, Caps::of(limits), admit)
}

/// What stands for the trace id of a span that was refused when its JSON was read.
pub(super) const REFUSED_IN_JSON: &[u8] = &[0xff];

/// Decodes a request that was written from JSON.
pub(super) fn decode_marked(
    tenant: TenantId,
    body: Bytes,
    limits: &Limits,
    admit: Option<&mut (dyn Admit + 'static)>,
) -> Result<Decoded, DecodeError> {
    let caps = Caps {
        has_marks: true,
        ..Caps::of(limits)
    };
    decode_capped(tenant, body, caps, admit)
}

/// Decodes a body that was accepted before: no configured limit can refuse it now.
pub fn decode_stored(tenant: TenantId, body: Bytes) -> Result<Decoded, DecodeError> {
    decode_capped(tenant, body, Caps::NONE, None)
}

fn decode_capped(
    tenant: TenantId,
    body: Bytes,
    caps: Caps,
    mut admit: Option<&mut (dyn Admit + 'static)>,
) -> Result<Decoded, DecodeError> {
    let seen = body.len() as u64;
    if seen > caps.body_bytes {
        let limit = caps.body_bytes;
        return Err(DecodeError::TooLarge { limit, seen });
    }
    let walk = Walk::over(&body, caps, admit.as_deref_mut())?;
    if walk.ambiguous {
        drop(walk);
        if let Some(admit) = &mut admit {
            admit.start_again();
        }
        let merged = merge::merge_request(&body).map_err(|d| DecodeError::new(d, &body))?;
        let merged = Bytes::from(merged);
        let walk = Walk::over(&merged, caps, admit)?;
        debug_assert!(!walk.ambiguous, "a merged body is not merged");
        return walk.finish(tenant, &merged);
    }
    walk.finish(tenant, &body)
}

/// The limits of a walk.
#[derive(Debug, Clone, Copy)]
struct Caps {
    body_bytes: u64,
    spans: u64,
    items: usize,
    attributes: usize,
    key_bytes: usize,
    value_bytes: usize,
    depth: usize,
    name_bytes: usize,
    /// Spans may be marked by [`REFUSED_IN_JSON`].
    has_marks: bool,
}

/// One walk over one body.
struct Walk<'a> {
    /// Address of the body's first byte: slices are differences to it.
    base: usize,
    caps: Caps,
    /// What the walk fills; its `body` stays empty until the end.
    resources: Vec<ResourceRow>,
    scopes: Vec<ScopeRow>,
    spans: SpanColumns,
    events: EventColumns,
    links: LinkColumns,
    attributes: AttributeColumns,
    /// The message of each accepted span, to write a body without the refused ones.
    messages: Vec<Slice>,
    /// Where the attributes of the present owner reach the limit.
    attributes_end: usize,
    /// Attributes, events, links and nested values of what is accepted.
    items: usize,
    /// Spans met, refused ones included.
    n_spans: u64,
    /// `ResourceSpans` met, empty ones included.
    n_resources: u32,
    rejected: Rejections,
    admit: Option<&'a mut (dyn Admit + 'static)>,
    /// A resource or scope was refused and read no further, perhaps without a span below it: it must
    /// not be stored, because what was not read may be damaged.
    cut: bool,
    /// A singular message was written twice.
    ambiguous: bool,
}

/// What a `ResourceSpans` or `ScopeSpans` says beside the messages below it.
#[derive(Default)]
struct Envelope<'a> {
    /// The resource or the scope, the last one if it came more than once.
    owner: Option<&'a [u8]>,
    schema_url: &'a [u8],
    n_below: usize,
}

/// Why a part of the walk ended early.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Damaged(Damage),
    Refused(Reason),
}

/// What is taken back when a span is refused.
#[derive(Debug, Clone, Copy)]
struct Mark {
    events: usize,
    links: usize,
    attributes: usize,
    items: usize,
}

/// The smallest span on the wire that can be accepted: two ids and their headers.
const SPAN_BYTES_MIN: usize = 30;

// === impl Walk ===

impl<'a> Walk<'a> {
    fn new(body: &[u8], caps: Caps, admit: Option<&'a mut (dyn Admit + 'static)>) -> Self {
        Self {
            base: body.as_ptr().addr(),
            caps,
            resources: Vec::new(),
            scopes: Vec::new(),
            spans: SpanColumns::default(),
            events: Default::default(),
            links: Default::default(),
            attributes: Default::default(),
            messages: Vec::new(),
            attributes_end: 0,
            items: 0,
            n_spans: 0,
            n_resources: 0,
            rejected: Rejections::default(),
            admit,
            cut: false,
            ambiguous: false,
        }
    }

    fn over(
        body: &[u8],
        caps: Caps,
        admit: Option<&'a mut (dyn Admit + 'static)>,
    ) -> Result<Self, DecodeError> {
        let mut walk = Self::new(body, caps, admit);
        walk.request(body)
            .map_err(|damage| DecodeError::new(damage, body))?;
        Ok(walk)
    }

    /// Makes the batch; if spans were refused, of a new body without them.
    fn finish(self, tenant: TenantId, body: &Bytes) -> Result<Decoded, DecodeError> {
        let mut rejected = self.rejected.clone();
        rejected.set_n_spans(self.n_spans);
        rejected.name_services(body);
        if rejected.is_empty() && !self.cut {
            let batch = self.into_batch(tenant, body.clone());
            return Ok(Decoded { batch, rejected });
        }
        let accepted = Bytes::from(self.accepted_body(body));
        let caps = self.caps;
        // Its columns may be as large as those of the walk that comes now.
        drop(self);
        let walk = Walk::over(&accepted, caps, None)?;
        debug_assert!(walk.rejected.is_empty(), "an accepted span was refused");
        let batch = walk.into_batch(tenant, accepted.clone());
        Ok(Decoded { batch, rejected })
    }

    fn into_batch(self, tenant: TenantId, body: Bytes) -> SpanBatch {
        SpanBatch {
            tenant,
            body,
            resources: self.resources,
            scopes: self.scopes,
            spans: self.spans,
            events: self.events,
            links: self.links,
            attributes: self.attributes,
        }
    }

    fn request(&mut self, body: &[u8]) -> Result<(), Damage> {
        // Most attributes take 24 bytes or more; what is reserved and not used is never touched.
        let n_attributes = (body.len() / 24).min(1 << 16);
        self.attributes.keys.reserve(n_attributes);
        self.attributes.values.reserve(n_attributes);
        let mut cursor = Cursor::new(body);
        loop {
            match cursor.tag().map_err(|d| d.inside("the request"))? {
                END => return Ok(()),
                0x0a => {
                    let message = cursor.bytes().map_err(|d| d.inside("the request"))?;
                    self.resource_spans(message)
                        .map_err(|d| d.inside("ResourceSpans"))?;
                }
                tag => cursor
                    .unknown(tag, fields::REQUEST)
                    .map_err(|d| d.inside("the request"))?,
            }
        }
    }

    /// The first round over a `ResourceSpans` or a `ScopeSpans`, which number their fields alike:
    /// what is said of all that lies below, and how much lies below.
    fn envelope<'m>(&mut self, message: &'m [u8], known: u32) -> Result<Envelope<'m>, Damage> {
        let mut envelope = Envelope::default();
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => return Ok(envelope),
                0x0a => {
                    let content = cursor.bytes()?;
                    self.ambiguous |= envelope.owner.is_some();
                    envelope.owner = Some(content);
                }
                0x12 => {
                    cursor.bytes()?;
                    envelope.n_below += 1;
                }
                0x1a => envelope.schema_url = cursor.bytes()?,
                tag => cursor.unknown(tag, known)?,
            }
        }
    }

    /// Two rounds: the resource, wherever it stands in the message, then the spans below it.
    fn resource_spans(&mut self, message: &[u8]) -> Result<(), Damage> {
        let mut row = ResourceRow::default();
        self.n_resources += 1;
        let mark = self.mark();
        let envelope = self.envelope(message, fields::RESOURCE_SPANS)?;
        if envelope.n_below == 0 {
            return Ok(());
        }
        let refused = match self.resource(&mut row, envelope.owner, envelope.schema_url) {
            Ok(()) => None,
            Err(Stop::Refused(reason)) => {
                self.cut = true;
                Some((reason, Place::Resource))
            }
            Err(Stop::Damaged(damage)) => return Err(damage.inside("Resource")),
        };
        let n_rows = self.resources.len();
        self.resources.push(row);
        let spans_before = self.spans.trace_id.len();
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => break,
                0x12 => {
                    let scope_spans = cursor.bytes()?;
                    self.scope_spans(scope_spans, n_rows as u32, refused)
                        .map_err(|d| d.inside("ScopeSpans"))?;
                }
                tag => cursor.unknown(tag, 0)?,
            }
        }
        if self.spans.trace_id.len() == spans_before {
            // A resource without a span leaves no row: millions of empty ones must cost nothing.
            self.resources.truncate(n_rows);
            self.take_back(mark);
        }
        Ok(())
    }

    fn resource(
        &mut self,
        row: &mut ResourceRow,
        message: Option<&[u8]>,
        schema_url: &[u8],
    ) -> Result<(), Stop> {
        row.schema_url = self.name(schema_url)?;
        let from = self.begin_attributes();
        let mut n_refs = 0usize;
        if let Some(message) = message {
            row.message = Some(self.slice(message));
            let mut cursor = Cursor::new(message);
            loop {
                match cursor.tag()? {
                    END => break,
                    0x0a => self.attribute(cursor.bytes()?)?,
                    0x10 => drop(cursor.varint()?),
                    0x1a => n_refs += self.entity_ref(cursor.bytes()?)?,
                    tag => cursor.unknown(tag, fields::RESOURCE)?,
                }
                if n_refs > self.caps.attributes {
                    return Err(Stop::Refused(Reason::TooManyEntityRefs));
                }
            }
        }
        row.attributes = self.attributes_since(from);
        self.add_items(row.attributes.len() + n_refs)
    }

    /// Returns how much it counts: itself and its keys.
    fn entity_ref(&mut self, message: &[u8]) -> Result<usize, Stop> {
        let mut n = 1;
        let mut cursor = Cursor::new(message);
        loop {
            let tag = cursor.tag()?;
            match tag {
                END => return Ok(n),
                0x0a | 0x12 | 0x1a | 0x22 => {
                    self.name(cursor.bytes()?)?;
                    n += usize::from(tag >= 0x1a);
                }
                tag => cursor.unknown(tag, fields::ENTITY_REF)?,
            }
        }
    }

    /// Two rounds, as for the resource. `refused` says that the resource is refused already.
    fn scope_spans(
        &mut self,
        message: &[u8],
        resource: u32,
        mut refused: Option<(Reason, Place)>,
    ) -> Result<(), Damage> {
        let mark = self.mark();
        let envelope = self.envelope(message, fields::SCOPE_SPANS)?;
        let n_spans = envelope.n_below;
        let mut row = ScopeRow {
            resource,
            ..ScopeRow::default()
        };
        if refused.is_none() {
            match self.scope(&mut row, envelope.owner, envelope.schema_url) {
                Ok(()) => {}
                Err(Stop::Refused(reason)) => {
                    self.cut = true;
                    refused = Some((reason, Place::Scope));
                }
                Err(Stop::Damaged(damage)) => return Err(damage.inside("InstrumentationScope")),
            }
        }
        if let Some((reason, place)) = refused {
            self.refuse(reason, n_spans as u64, place);
            self.n_spans += n_spans as u64;
            self.take_back(mark);
            return Ok(());
        }
        let n_rows = self.scopes.len();
        self.scopes.push(row);
        self.reserve(n_spans.min(message.len() / SPAN_BYTES_MIN));
        let spans_before = self.spans.trace_id.len();
        self.spans(message, n_rows as u32)?;
        if self.spans.trace_id.len() == spans_before {
            self.scopes.truncate(n_rows);
            self.take_back(mark);
        }
        Ok(())
    }

    fn scope(
        &mut self,
        row: &mut ScopeRow,
        message: Option<&[u8]>,
        schema_url: &[u8],
    ) -> Result<(), Stop> {
        row.schema_url = self.name(schema_url)?;
        let from = self.begin_attributes();
        if let Some(message) = message {
            row.message = Some(self.slice(message));
            let mut cursor = Cursor::new(message);
            loop {
                match cursor.tag()? {
                    END => break,
                    0x0a => row.name = self.name(cursor.bytes()?)?,
                    0x12 => row.version = self.name(cursor.bytes()?)?,
                    0x1a => self.attribute(cursor.bytes()?)?,
                    0x20 => drop(cursor.varint()?),
                    tag => cursor.unknown(tag, fields::SCOPE)?,
                }
            }
        }
        row.attributes = self.attributes_since(from);
        self.add_items(row.attributes.len())
    }

    /// Writes the request again with the accepted spans only, each span as it was received.
    fn accepted_body(&self, body: &[u8]) -> Vec<u8> {
        let bytes = |slice: Slice| {
            let from = slice.offset as usize;
            body.get(from..from + slice.len as usize)
                .unwrap_or_default()
        };
        let mut spans = self.spans.scope.iter().zip(&self.messages).peekable();
        let mut scopes = self.scopes.iter().enumerate().peekable();
        let mut out = Writer::with_capacity(body.len());
        for (index, resource) in self.resources.iter().enumerate() {
            let resource_spans = out.begin(1);
            if let Some(message) = resource.message {
                out.bytes(1, bytes(message));
            }
            while let Some((scope_index, scope)) =
                scopes.next_if(|(_, scope)| scope.resource as usize == index)
            {
                let scope_spans = out.begin(2);
                if let Some(message) = scope.message {
                    out.bytes(1, bytes(message));
                }
                while let Some((_, message)) =
                    spans.next_if(|(scope, _)| **scope as usize == scope_index)
                {
                    out.bytes(2, bytes(*message));
                }
                out.bytes_unless_empty(3, bytes(scope.schema_url));
                out.end(scope_spans);
            }
            out.bytes_unless_empty(3, bytes(resource.schema_url));
            out.end(resource_spans);
        }
        out.into_bytes()
    }

    fn reserve(&mut self, n: usize) {
        let spans = &mut self.spans;
        spans.scope.reserve(n);
        spans.trace_id.reserve(n);
        spans.span_id.reserve(n);
        spans.parent_span_id.reserve(n);
        spans.trace_state.reserve(n);
        spans.flags.reserve(n);
        spans.name.reserve(n);
        spans.kind.reserve(n);
        spans.start_unix_nano.reserve(n);
        spans.end_unix_nano.reserve(n);
        spans.attributes.reserve(n);
        spans.events.reserve(n);
        spans.links.reserve(n);
        spans.dropped.reserve(n);
        spans.status_code.reserve(n);
        spans.status_message.reserve(n);
        self.messages.reserve(n);
    }

    /// The next spans are refused, all of the present resource.
    fn refuse(&mut self, reason: Reason, n: u64, place: Place) {
        let resource = self.n_resources - 1;
        self.rejected.add(reason, n, self.n_spans, place, resource);
    }

    fn mark(&self) -> Mark {
        Mark {
            events: self.events.time_unix_nano.len(),
            links: self.links.trace_id.len(),
            attributes: self.attributes.keys.len(),
            items: self.items,
        }
    }

    fn take_back(&mut self, mark: Mark) {
        self.items = mark.items;
        self.attributes.keys.truncate(mark.attributes);
        self.attributes.values.truncate(mark.attributes);
        let events = &mut self.events;
        events.time_unix_nano.truncate(mark.events);
        events.name.truncate(mark.events);
        events.attributes.truncate(mark.events);
        events.dropped_attributes_count.truncate(mark.events);
        let links = &mut self.links;
        links.trace_id.truncate(mark.links);
        links.span_id.truncate(mark.links);
        links.trace_state.truncate(mark.links);
        links.flags.truncate(mark.links);
        links.attributes.truncate(mark.links);
        links.dropped_attributes_count.truncate(mark.links);
    }

    /// The attributes of a new owner begin: their number is limited while they are appended.
    #[inline]
    fn begin_attributes(&mut self) -> usize {
        let from = self.attributes.keys.len();
        self.attributes_end = from.saturating_add(self.caps.attributes);
        from
    }

    #[inline]
    fn attributes_since(&self, from: usize) -> Rows {
        rows(from, self.attributes.keys.len())
    }

    #[inline]
    fn add_items(&mut self, n: usize) -> Result<(), Stop> {
        self.items += n;
        if self.items > self.caps.items {
            return Err(Stop::Refused(Reason::TooManyItems));
        }
        Ok(())
    }

    #[inline]
    fn slice(&self, bytes: &[u8]) -> Slice {
        Slice {
            // The body is at most 4 GiB (`Caps`), so both fit.
            offset: (bytes.as_ptr().addr() - self.base) as u32,
            len: bytes.len() as u32,
        }
    }

    #[inline]
    fn text(&self, bytes: &[u8]) -> Result<Slice, Stop> {
        if bytes.is_empty() {
            return Ok(Slice::default());
        }
        if !is_utf8(bytes) {
            return Err(Stop::Refused(Reason::InvalidUtf8));
        }
        Ok(self.slice(bytes))
    }

    #[inline]
    fn name(&self, bytes: &[u8]) -> Result<Slice, Stop> {
        if bytes.len() > self.caps.name_bytes {
            return Err(Stop::Refused(Reason::NameTooLarge));
        }
        self.text(bytes)
    }
}

fn rows(from: usize, to: usize) -> Rows {
    Rows {
        from: from as u32,
        to: to as u32,
    }
}

// === impl Caps ===

impl Caps {
    const NONE: Self = Self {
        body_bytes: u32::MAX as u64,
        spans: u64::MAX,
        items: usize::MAX,
        attributes: usize::MAX,
        key_bytes: usize::MAX,
        value_bytes: usize::MAX,
        depth: DEPTH_MAX,
        name_bytes: usize::MAX,
        has_marks: false,
    };

    fn of(limits: &Limits) -> Self {
        Self {
            // Slices are 32-bit.
            body_bytes: limits.request_decoded_bytes_max.min(u64::from(u32::MAX)),
            spans: limits.request_spans_max as u64,
            items: limits.request_items_max,
            attributes: limits.attributes_max,
            key_bytes: limits.attribute_key_bytes_max,
            value_bytes: limits.attribute_value_bytes_max,
            depth: limits.attribute_depth_max.min(DEPTH_MAX),
            name_bytes: limits.name_bytes_max,
            has_marks: false,
        }
    }
}

// === impl DecodeError ===

impl DecodeError {
    pub(super) fn new(damage: Damage, body: &[u8]) -> Self {
        Self::Malformed {
            offset: damage.offset_in(body),
            message: damage.message,
            problem: damage.problem,
        }
    }
}

// === impl Stop ===

impl Stop {
    fn inside(self, message: &'static str) -> Self {
        match self {
            Self::Damaged(damage) => Self::Damaged(damage.inside(message)),
            refused @ Self::Refused(_) => refused,
        }
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
