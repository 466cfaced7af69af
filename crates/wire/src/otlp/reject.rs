//! Why spans were refused, counted, and the sentence that tells the sender.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::signal::service_names;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a span was refused alone. The labels are stable: they name counters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in counters and messages.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

reasons! {
    /// Not 16 bytes, or all zero.
    InvalidTraceId = "invalid_trace_id",
    /// Not 8 bytes, or all zero.
    InvalidSpanId = "invalid_span_id",
    /// Neither absent nor 8 bytes.
    InvalidParentSpanId = "invalid_parent_span_id",
    /// A link's trace id is not 16 bytes or its span id not 8; zeros are allowed there.
    InvalidLinkId = "invalid_link_id",
    /// In JSON: a field has a value of a type or range that it cannot have.
    InvalidValue = "invalid_value",
    /// A text of the span, or of its resource or scope, is not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// `limits.name_bytes_max`: a name, trace state, schema URL, scope name or version.
    NameTooLarge = "name_too_large",
    /// `limits.attribute_value_bytes_max`, which holds for status messages too.
    StatusMessageTooLarge = "status_message_too_large",
    /// `limits.attributes_max`.
    TooManyAttributes = "too_many_attributes",
    /// `limits.attribute_key_bytes_max`.
    AttributeKeyTooLarge = "attribute_key_too_large",
    /// `limits.attribute_value_bytes_max`.
    AttributeTooLarge = "attribute_too_large",
    /// `limits.attribute_depth_max`.
    AttributeTooDeep = "attribute_too_deep",
    /// `limits.attributes_max`, which holds for entity references and their keys too.
    TooManyEntityRefs = "too_many_entity_refs",
    /// `limits.request_spans_max`: the spans behind the limit.
    TooManySpans = "too_many_spans",
    /// `limits.request_items_max`: the span with which the request exceeded it.
    TooManyItems = "too_many_items",
    /// `limits.tenant_traces_max`: the first spans of a new trace.
    LiveTracesExceeded = "live_traces_exceeded",
    /// `limits.trace_bytes_max`: the span with which its trace exceeded it.
    TraceTooLarge = "trace_too_large",
}

impl Reason {
    /// The key of the limit that refuses the span; `None` where the span itself is wrong.
    pub fn limit(self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidTraceId
            | Self::InvalidSpanId
            | Self::InvalidParentSpanId
            | Self::InvalidLinkId
            | Self::InvalidValue
            | Self::InvalidUtf8 => return None,
            Self::NameTooLarge => "limits.name_bytes_max",
            Self::StatusMessageTooLarge | Self::AttributeTooLarge => {
                "limits.attribute_value_bytes_max"
            }
            Self::TooManyAttributes | Self::TooManyEntityRefs => "limits.attributes_max",
            Self::AttributeKeyTooLarge => "limits.attribute_key_bytes_max",
            Self::AttributeTooDeep => "limits.attribute_depth_max",
            Self::TooManySpans => "limits.request_spans_max",
            Self::TooManyItems => "limits.request_items_max",
            Self::LiveTracesExceeded => "limits.tenant_traces_max",
            Self::TraceTooLarge => "limits.trace_bytes_max",
        })
    }
}

/// Where the problem lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Resource,
    Scope,
    Span,
}

/// How many spans of a request were refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    counts: [u64; Reason::ALL.len()],
    /// The first refused span: its number in the request from 0, where it failed, and why.
    first: Option<(u64, Place, Reason)>,
    n_spans: u64,
    /// By the number of the resource in the request; [`MANY`] stands for all behind the first ones.
    by_resource: BTreeMap<(u32, Reason), u64>,
    by_service: BTreeMap<(String, Reason), u64>,
    /// What is wrong with the value of the first span that was refused for one.
    detail: Option<String>,
}

/// Resources, and reasons of each, that are told apart in one request.
pub(super) const RESOURCES_MAX: usize = 256;
const MANY: u32 = u32::MAX;
/// What refused spans are counted under that are not told apart.
pub const OTHER_SERVICES: &str = "_other";

// === impl Rejections ===

impl Rejections {
    /// `resource` is its number in the request.
    pub(super) fn add(
        &mut self,
        reason: Reason,
        n: u64,
        first_span: u64,
        place: Place,
        resource: u32,
    ) {
        if n == 0 {
            return;
        }
        let is_told_apart = self.by_resource.len() < RESOURCES_MAX
            || self.by_resource.contains_key(&(resource, reason));
        let resource = if is_told_apart { resource } else { MANY };
        *self.by_resource.entry((resource, reason)).or_default() += n;
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += n;
        }
        self.first.get_or_insert((first_span, place, reason));
    }

    pub(super) fn set_n_spans(&mut self, n: u64) {
        self.n_spans = n;
    }

    /// Looks up in the request whose spans were refused.
    pub(super) fn name_services(&mut self, body: &[u8]) {
        if self.by_resource.is_empty() {
            return;
        }
        let mut numbers: Vec<u32> = self.by_resource.keys().map(|(number, _)| *number).collect();
        numbers.dedup();
        let names = service_names(body, &numbers);
        for ((number, reason), n) in std::mem::take(&mut self.by_resource) {
            let name = names.get(&number).map_or(OTHER_SERVICES, |name| name);
            *self
                .by_service
                .entry((name.to_owned(), reason))
                .or_default() += n;
        }
    }

    /// Refused spans by the service that sent them, which is empty where it has no name.
    pub fn by_service(&self) -> impl Iterator<Item = (&str, Reason, u64)> {
        let counts = self.by_service.iter();
        counts.map(|((service, reason), n)| (service.as_str(), *reason, *n))
    }

    pub(super) fn set_detail(&mut self, detail: Option<String>) {
        self.detail = detail;
    }

    /// Refused spans, all reasons together: OTLP's `rejected_spans`.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// True if a limit refused spans that has room again after a while: the same request may pass then.
    pub fn may_pass_later(&self) -> bool {
        let passing = [Reason::LiveTracesExceeded, Reason::TraceTooLarge];
        self.iter().any(|(reason, _)| passing.contains(&reason))
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Spans in the request, refused ones included.
    pub fn n_spans(&self) -> u64 {
        self.n_spans
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .iter()
            .copied()
            .zip(self.counts.iter().copied())
            .filter(|(_, count)| *count > 0)
    }

    /// What `partial_success.error_message` says; empty if nothing was refused.
    pub fn sentence(&self) -> String {
        let Some((first, place, reason)) = self.first else {
            return String::new();
        };
        let mut text = format!("refused {} of {} spans:", self.total(), self.n_spans);
        for (reason, count) in self.iter() {
            // Writing to a string cannot fail.
            let _ok = write!(text, " {count} {},", reason.label());
        }
        text.pop();
        let whose = match place {
            Place::Resource => "the resource of ",
            Place::Scope => "the scope of ",
            Place::Span => "",
        };
        let _ok = write!(
            text,
            "; the first is {whose}span {first} of the request (counted from 0): {}",
            reason.explanation()
        );
        if let Some(detail) = &self.detail {
            let _ok = write!(text, "; {}: {detail}", Reason::InvalidValue.label());
        }
        text
    }
}

// === impl Reason ===

impl Reason {
    /// What was expected, for the sender.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::InvalidTraceId => "a trace id is 16 bytes (32 hex digits in JSON), not all zero",
            Self::InvalidSpanId => "a span id is 8 bytes (16 hex digits in JSON), not all zero",
            Self::InvalidParentSpanId => {
                "a parent span id is absent or 8 bytes (16 hex digits in JSON)"
            }
            Self::InvalidLinkId => "a link names a trace id of 16 bytes and a span id of 8 bytes",
            Self::InvalidValue => "a field has a value that it cannot have",
            Self::InvalidUtf8 => "names, keys and string values must be UTF-8",
            Self::NameTooLarge => {
                "a name, trace state or schema URL is longer than limits.name_bytes_max"
            }
            Self::StatusMessageTooLarge => {
                "the status message is longer than limits.attribute_value_bytes_max"
            }
            Self::TooManyAttributes => "more attributes than limits.attributes_max",
            Self::AttributeKeyTooLarge => {
                "an attribute key is longer than limits.attribute_key_bytes_max"
            }
            Self::AttributeTooLarge => {
                "an attribute value is longer than limits.attribute_value_bytes_max"
            }
            Self::AttributeTooDeep => {
                "an attribute value has more levels than limits.attribute_depth_max"
            }
            Self::TooManyEntityRefs => "more entity references and keys than limits.attributes_max",
            Self::TooManySpans => "more spans in one request than limits.request_spans_max",
            Self::TooManyItems => {
                "more attributes, events and links in one request than limits.request_items_max"
            }
            Self::LiveTracesExceeded => {
                "the tenant has limits.tenant_traces_max traces that still grow, and this is a new one"
            }
            Self::TraceTooLarge => "its trace has reached limits.trace_bytes_max",
        }
    }
}
