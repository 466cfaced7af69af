//! The different resources of a trace, numbered.
//!
//! A sender may give every span a resource of its own: each is looked up by what it holds, never
//! compared with all the others.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt};
use tracewell_model::{AttributeValue, KeyValue, Resource};

/// Resources by their number, those that are equal by one.
#[derive(Debug)]
pub(super) struct Resources<'a> {
    by_place: HashMap<*const Resource, usize>,
    by_hash: HashMap<u64, Vec<(&'a Resource, usize)>>,
    hasher: RandomState,
    n: usize,
}

// === impl Resources ===

impl Default for Resources<'_> {
    fn default() -> Self {
        Self {
            by_place: HashMap::new(),
            by_hash: HashMap::new(),
            hasher: RandomState::default(),
            n: 0,
        }
    }
}

impl<'a> Resources<'a> {
    /// The number of a resource; one that is new has the next.
    pub(super) fn index(&mut self, resource: &'a Arc<Resource>) -> usize {
        let place = Arc::as_ptr(resource);
        if let Some(index) = self.by_place.get(&place) {
            return *index;
        }
        let mut state = self.hasher.build_hasher();
        hash_resource(resource, &mut state);
        let equal = self.by_hash.entry(state.finish()).or_default();
        let known = equal.iter().find(|(other, _)| *other == &**resource);
        let index = known.map_or(self.n, |(_, index)| *index);
        if index == self.n {
            equal.push((resource, index));
            self.n += 1;
        }
        self.by_place.insert(place, index);
        index
    }
}

/// The same for resources that are equal.
fn hash_resource(resource: &Resource, state: &mut impl Hasher) {
    let Resource {
        present,
        attributes,
        dropped_attributes_count,
        entity_refs,
        schema_url,
    } = resource;
    (present, dropped_attributes_count, schema_url).hash(state);
    entity_refs.len().hash(state);
    for entity in entity_refs {
        (&entity.schema_url, &entity.entity_type).hash(state);
        (&entity.id_keys, &entity.description_keys).hash(state);
    }
    hash_attributes(attributes, state);
}

fn hash_attributes(attributes: &[KeyValue], state: &mut impl Hasher) {
    attributes.len().hash(state);
    for attribute in attributes {
        attribute.key.hash(state);
        hash_value(&attribute.value, state);
    }
}

fn hash_value(value: &AttributeValue, state: &mut impl Hasher) {
    std::mem::discriminant(value).hash(state);
    match value {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => text.hash(state),
        AttributeValue::Bool(value) => value.hash(state),
        AttributeValue::Int(value) => value.hash(state),
        // The two zeros are equal.
        AttributeValue::Double(value) => (value + 0.0).to_bits().hash(state),
        AttributeValue::Bytes(bytes) => bytes.hash(state),
        AttributeValue::Array(items) => {
            items.len().hash(state);
            items.iter().for_each(|item| hash_value(item, state));
        }
        AttributeValue::KvList(items) => hash_attributes(items, state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(last: AttributeValue) -> Arc<Resource> {
        let attribute = |n: usize, value| KeyValue {
            key: format!("key {n}"),
            value,
        };
        let mut attributes: Vec<KeyValue> = (0..20)
            .map(|n| attribute(n, AttributeValue::Int(1)))
            .collect();
        attributes.push(attribute(20, last));
        Arc::new(Resource {
            present: true,
            attributes,
            ..Resource::default()
        })
    }

    #[test]
    fn equal_resources_have_one_number() {
        let all = [
            resource(AttributeValue::Double(0.0)),
            resource(AttributeValue::Double(1.0)),
            resource(AttributeValue::Double(-0.0)),
            resource(AttributeValue::Array(vec![AttributeValue::Empty])),
            resource(AttributeValue::Array(vec![AttributeValue::Empty])),
            resource(AttributeValue::Empty),
        ];
        let mut resources = Resources::default();
        let twice = all.iter().chain(&all);
        let numbers: Vec<usize> = twice.map(|resource| resources.index(resource)).collect();
        assert_eq!(numbers, [0, 1, 0, 2, 2, 3, 0, 1, 0, 2, 2, 3]);
    }

    /// Compared with each other, these would take minutes.
    #[test]
    fn as_many_resources_as_spans_are_numbered() {
        let all: Vec<Arc<Resource>> = (0..50_000)
            .map(|n| resource(AttributeValue::Int(n)))
            .collect();
        let mut resources = Resources::default();
        for (index, resource) in all.iter().enumerate() {
            assert_eq!(resources.index(resource), index);
        }
        let longest = resources.by_hash.values().map(Vec::len).max();
        assert!(longest < Some(4), "{longest:?}");
    }
}
