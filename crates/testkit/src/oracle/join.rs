//! Which spans are one: those equal in every field, doubles by their bits.
//!
//! The engine and merging have an order of spans for it (`tracewell_model`'s `Trace::deduplicate`). Here is
//! what a span prints, so that a mistake there is not made here as well.

use std::collections::BTreeSet;

use tracewell_model::{AttributeValue, KeyValue, Span};

/// Keeps the first of spans that are equal.
pub(super) fn join(spans: &mut Vec<Span>) {
    let mut seen = BTreeSet::new();
    spans.retain(|span| seen.insert(identity(span)));
}

/// All fields as they print, and the bits of all doubles: a NaN prints as any other does.
fn identity(span: &Span) -> (String, Vec<u64>) {
    let mut bits = Vec::new();
    let events = span.events.iter().map(|event| &event.attributes);
    let links = span.links.iter().map(|link| &link.attributes);
    let own = [
        &span.attributes,
        &span.resource.attributes,
        &span.scope.attributes,
    ];
    for attributes in own.into_iter().chain(events).chain(links) {
        doubles_of(attributes, &mut bits);
    }
    (format!("{span:?}"), bits)
}

fn doubles_of(attributes: &[KeyValue], bits: &mut Vec<u64>) {
    let values = attributes.iter().map(|attribute| &attribute.value);
    values.for_each(|value| doubles_in(value, bits));
}

fn doubles_in(value: &AttributeValue, bits: &mut Vec<u64>) {
    match value {
        AttributeValue::Double(double) => bits.push(double.to_bits()),
        AttributeValue::Array(items) => items.iter().for_each(|item| doubles_in(item, bits)),
        AttributeValue::KvList(list) => doubles_of(list, bits),
        AttributeValue::Empty
        | AttributeValue::String(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Bytes(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracewell_model::{Event, Resource};

    use super::*;

    fn with(value: AttributeValue) -> Span {
        let key = "k".to_owned();
        Span {
            attributes: vec![KeyValue { key, value }],
            ..Span::default()
        }
    }

    fn n_of(spans: &[Span]) -> usize {
        let mut spans = spans.to_vec();
        join(&mut spans);
        spans.len()
    }

    #[test]
    fn spans_are_one_where_every_field_and_every_bit_is_equal() {
        let double = |bits| with(AttributeValue::Double(f64::from_bits(bits)));
        let nan = f64::NAN.to_bits();
        assert_eq!(n_of(&[double(nan), double(nan)]), 1);
        assert_eq!(n_of(&[double(nan), double(nan + 1)]), 2);
        assert_eq!(n_of(&[double(0), double(1 << 63)]), 2);
        let int = with(AttributeValue::Int(1));
        let text = with(AttributeValue::String("1".to_owned()));
        let other_resource = Span {
            resource: Arc::new(Resource {
                dropped_attributes_count: 1,
                ..Resource::default()
            }),
            ..int.clone()
        };
        let with_event = Span {
            events: vec![Event::default()],
            ..int.clone()
        };
        let all = [int, text, other_resource, with_event];
        assert_eq!(n_of(&[all.clone(), all].concat()), 4);
    }
}
