//! The one encoding by which a resource or scope is known: its bytes are hashed into the identity
//! that blocks and joins use, so it may never change (docs/format/block.md).
//!
//! It is OTLP protobuf: `ResourceSpans { resource, schema_url }` and `ScopeSpans { scope,
//! schema_url }` without content, fields in the order of their numbers, attributes in the order
//! sent, defaults left out, the value of an attribute always written.

use tracewell_model::span::EntityRef;
use tracewell_model::{Resource, Scope};

use super::decode::{DEPTH_MAX, DecodeError};
use super::fields;
use super::value::{read_key_value, write_key_value};
use crate::protobuf::{Cursor, Damage, END, Writer};

pub fn canonical_resource(resource: &Resource) -> Vec<u8> {
    let mut out = Writer::default();
    write_resource(&mut out, resource);
    out.bytes_unless_empty(3, resource.schema_url.as_bytes());
    out.into_bytes()
}

pub fn canonical_scope(scope: &Scope) -> Vec<u8> {
    let mut out = Writer::default();
    write_scope(&mut out, scope);
    out.bytes_unless_empty(3, scope.schema_url.as_bytes());
    out.into_bytes()
}

/// The inverse of [`canonical_resource`]; reads every `ResourceSpans`, spans are skipped.
pub fn decode_resource(message: &[u8]) -> Result<Resource, DecodeError> {
    let mut resource = Resource::default();
    read_resource_spans(&mut resource, message)
        .map_err(|damage| DecodeError::new(damage.inside("ResourceSpans"), message))?;
    Ok(resource)
}

/// The inverse of [`canonical_scope`]; reads every `ScopeSpans`, spans are skipped.
pub fn decode_scope(message: &[u8]) -> Result<Scope, DecodeError> {
    let mut scope = Scope::default();
    read_scope_spans(&mut scope, message)
        .map_err(|damage| DecodeError::new(damage.inside("ScopeSpans"), message))?;
    Ok(scope)
}

/// Field 1 of `ResourceSpans`, if the sender wrote it.
pub(super) fn write_resource(out: &mut Writer, resource: &Resource) {
    if !resource.present {
        return;
    }
    out.message(1, |out| {
        for attribute in &resource.attributes {
            write_key_value(out, 1, attribute);
        }
        out.varint_unless_zero(2, u64::from(resource.dropped_attributes_count));
        for entity in &resource.entity_refs {
            out.message(3, |out| {
                out.bytes_unless_empty(1, entity.schema_url.as_bytes());
                out.bytes_unless_empty(2, entity.entity_type.as_bytes());
                for key in &entity.id_keys {
                    out.bytes(3, key.as_bytes());
                }
                for key in &entity.description_keys {
                    out.bytes(4, key.as_bytes());
                }
            });
        }
    });
}

/// Field 1 of `ScopeSpans`, if the sender wrote it.
pub(super) fn write_scope(out: &mut Writer, scope: &Scope) {
    if !scope.present {
        return;
    }
    out.message(1, |out| {
        out.bytes_unless_empty(1, scope.name.as_bytes());
        out.bytes_unless_empty(2, scope.version.as_bytes());
        for attribute in &scope.attributes {
            write_key_value(out, 3, attribute);
        }
        out.varint_unless_zero(4, u64::from(scope.dropped_attributes_count));
    });
}

fn read_resource_spans(resource: &mut Resource, message: &[u8]) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => merge_resource(resource, cursor.bytes()?)?,
            0x1a => resource.schema_url = cursor.text()?.to_owned(),
            tag => cursor.unknown(tag, fields::RESOURCE_SPANS & !(1 << 2))?,
        }
    }
}

pub(super) fn merge_resource(resource: &mut Resource, message: &[u8]) -> Result<(), Damage> {
    resource.present = true;
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => resource
                .attributes
                .push(read_key_value(cursor.bytes()?, DEPTH_MAX)?),
            0x10 => resource.dropped_attributes_count = cursor.varint()? as u32,
            0x1a => resource.entity_refs.push(read_entity(cursor.bytes()?)?),
            tag => cursor.unknown(tag, fields::RESOURCE)?,
        }
    }
}

fn read_entity(message: &[u8]) -> Result<EntityRef, Damage> {
    let mut entity = EntityRef::default();
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(entity),
            0x0a => entity.schema_url = cursor.text()?.to_owned(),
            0x12 => entity.entity_type = cursor.text()?.to_owned(),
            0x1a => entity.id_keys.push(cursor.text()?.to_owned()),
            0x22 => entity.description_keys.push(cursor.text()?.to_owned()),
            tag => cursor.unknown(tag, fields::ENTITY_REF)?,
        }
    }
}

fn read_scope_spans(scope: &mut Scope, message: &[u8]) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => merge_scope(scope, cursor.bytes()?)?,
            0x1a => scope.schema_url = cursor.text()?.to_owned(),
            tag => cursor.unknown(tag, fields::SCOPE_SPANS & !(1 << 2))?,
        }
    }
}

pub(super) fn merge_scope(scope: &mut Scope, message: &[u8]) -> Result<(), Damage> {
    scope.present = true;
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => scope.name = cursor.text()?.to_owned(),
            0x12 => scope.version = cursor.text()?.to_owned(),
            0x1a => scope
                .attributes
                .push(read_key_value(cursor.bytes()?, DEPTH_MAX)?),
            0x20 => scope.dropped_attributes_count = cursor.varint()? as u32,
            tag => cursor.unknown(tag, fields::SCOPE)?,
        }
    }
}
