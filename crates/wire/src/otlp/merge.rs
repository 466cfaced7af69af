//! Singular messages that were written more than once, merged by protobuf's rules.
//!
//! A parser must treat two `resource` messages like one that holds the fields of both: repeated
//! fields are appended, the last scalar counts. No known sender writes that; the walk, which names
//! each message by one slice, only notices it. This slow path writes an equal body in which each
//! singular message stands once. Values within arrays and lists are left alone: [`super::value`]
//! merges those when it reads them. A span's status is merged by the walk.

use crate::protobuf::{BYTES, Cursor, Damage, Field, Writer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    KeyValue,
    AnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occurs {
    Once,
    Often,
}

/// Writes the request again, each singular message once.
pub(super) fn merge_request(body: &[u8]) -> Result<Vec<u8>, Damage> {
    let mut out = Writer::with_capacity(body.len());
    rewrite(Kind::Request, &[body], &mut out)?;
    Ok(out.into_bytes())
}

/// The messages that a field of a message holds, if they matter here.
fn child(kind: Kind, field: u32) -> Option<(Kind, Occurs)> {
    Some(match (kind, field) {
        (Kind::Request, 1) => (Kind::ResourceSpans, Occurs::Often),
        (Kind::ResourceSpans, 1) => (Kind::Resource, Occurs::Once),
        (Kind::ResourceSpans, 2) => (Kind::ScopeSpans, Occurs::Often),
        (Kind::ScopeSpans, 1) => (Kind::Scope, Occurs::Once),
        (Kind::ScopeSpans, 2) => (Kind::Span, Occurs::Often),
        (Kind::Resource, 1) | (Kind::Scope, 3) | (Kind::Span, 9) => (Kind::KeyValue, Occurs::Often),
        (Kind::Span, 11) => (Kind::Event, Occurs::Often),
        (Kind::Span, 13) => (Kind::Link, Occurs::Often),
        (Kind::Event, 3) | (Kind::Link, 4) => (Kind::KeyValue, Occurs::Often),
        (Kind::KeyValue, 2) => (Kind::AnyValue, Occurs::Once),
        _ => return None,
    })
}

/// Writes one message that is the concatenation of `parts`. It recurses over the schema, which is
/// seven levels deep, not over the data.
fn rewrite(kind: Kind, parts: &[&[u8]], out: &mut Writer) -> Result<(), Damage> {
    if kind == Kind::AnyValue {
        return any_value(parts, out);
    }
    let mut written = 0u32;
    for part in parts {
        let mut cursor = Cursor::new(part);
        while let Some(field) = cursor.field()? {
            let child = child(kind, field.number).filter(|_| field.wire_type == BYTES);
            match child {
                None => out.raw(field.raw),
                Some((kind, Occurs::Often)) => {
                    let start = out.begin(field.number);
                    rewrite(kind, &[field.content], out)?;
                    out.end(start);
                }
                Some(_) if written >> field.number & 1 == 1 => {}
                Some((kind, Occurs::Once)) => {
                    written |= 1 << field.number;
                    let all = contents(parts, field.number)?;
                    let start = out.begin(field.number);
                    rewrite(kind, &all, out)?;
                    out.end(start);
                }
            }
        }
    }
    Ok(())
}

/// The contents of every occurrence of a field.
fn contents<'a>(parts: &[&'a [u8]], number: u32) -> Result<Vec<&'a [u8]>, Damage> {
    let mut all = Vec::new();
    for part in parts {
        let mut cursor = Cursor::new(part);
        while let Some(field) = cursor.field()? {
            if field.number == number && field.wire_type == BYTES {
                all.push(field.content);
            }
        }
    }
    Ok(all)
}

/// A oneof: the last field counts, and a message of the same kind is merged into the one before.
fn any_value(parts: &[&[u8]], out: &mut Writer) -> Result<(), Damage> {
    let mut chosen: Vec<Field<'_>> = Vec::new();
    for part in parts {
        let mut cursor = Cursor::new(part);
        while let Some(field) = cursor.field()? {
            let merges = matches!(field.number, 5 | 6)
                && chosen
                    .last()
                    .is_some_and(|last| last.number == field.number);
            if matches!(field.number, 1..=7) {
                if !merges {
                    chosen.clear();
                }
                chosen.push(field);
            }
        }
    }
    match chosen.as_slice() {
        [] => {}
        [one] => out.raw(one.raw),
        [first, ..] => {
            let start = out.begin(first.number);
            chosen.iter().for_each(|field| out.raw(field.content));
            out.end(start);
        }
    }
    Ok(())
}
