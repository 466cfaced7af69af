//! Names of attributes and how often they occur: from the counts of a block whose every span is asked
//! about, and from the rows of one of which some are.

use std::collections::BTreeMap;

use tracewell_model::source::{KeyAnswer, KeyInfo, KeyQuery, KeyWhat, SpanSource};
use tracewell_model::value::{AttributeType, KeyValue};
use tracewell_model::{AttributeScope, Filter, TimeRange};

use super::*;
use crate::scan::tests::values;

const SCOPES: [AttributeScope; 5] = [
    AttributeScope::Span,
    AttributeScope::Resource,
    AttributeScope::Instrumentation,
    AttributeScope::Event,
    AttributeScope::Link,
];

pub(super) type Key = (AttributeScope, String, AttributeType);

/// Attributes of a span, scope by scope; those of what the span stands in count once for each span.
fn naive<'s>(spans: impl Iterator<Item = &'s Span>) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    let mut add = |scope, list: &[KeyValue]| {
        for attribute in list {
            let value_type = attribute.value.attribute_type();
            let key = (scope, attribute.key.clone(), value_type);
            *counts.entry(key).or_default() += 1;
        }
    };
    for span in spans {
        add(AttributeScope::Span, &span.attributes);
        add(AttributeScope::Resource, &span.resource.attributes);
        add(AttributeScope::Instrumentation, &span.scope.attributes);
        for event in &span.events {
            add(AttributeScope::Event, &event.attributes);
        }
        for link in &span.links {
            add(AttributeScope::Link, &link.attributes);
        }
    }
    counts
}

fn key_of(info: &KeyInfo) -> Key {
    (info.scope, info.key.clone(), info.value_type)
}

/// Names in all scopes, so many of each.
async fn ask(
    source: &BlockSource,
    tenant: &TenantId,
    (n_max, text_bytes_max): (usize, usize),
) -> KeyAnswer {
    let query = KeyQuery {
        tenant: tenant.clone(),
        window: TimeRange::ALL,
        what: KeyWhat::Keys(SCOPES.to_vec()),
        filter: Filter::Constant(true),
        n_max,
        text_bytes_max,
    };
    let ctx = QueryContext::unlimited();
    let answer = source.keys(&query, ctx.clone()).await.unwrap();
    assert_eq!(ctx.memory().held_bytes(), 0);
    answer
}

/// All names of a tenant beside those of the spans that went in.
pub(super) async fn check_names(
    source: &BlockSource,
    tenant: &TenantId,
    spans: &[(TenantId, Span)],
    what: &str,
) -> BTreeMap<Key, u64> {
    let of_tenant = spans.iter().filter(|(of, _)| of == tenant);
    let mut expected = naive(of_tenant.map(|(_, span)| span));
    let all = ask(source, tenant, (usize::MAX, usize::MAX)).await;
    assert!(!all.truncated);
    let found = all.keys.iter().map(|info| (key_of(info), info.n));
    let mut found: BTreeMap<_, _> = found.collect();
    let is_alone = source.summary().tenant.as_ref() == Some(tenant);
    for (key, n) in found.iter_mut().chain(&mut expected) {
        // Of a whole block's resources and scopes it is not counted how often they occur.
        if is_alone
            && matches!(
                key.0,
                AttributeScope::Resource | AttributeScope::Instrumentation
            )
        {
            *n = 0;
        }
    }
    assert_eq!(found, expected, "{what}");
    expected
}

/// Names up to a number of each scope, or up to a number of bytes: the first of all.
pub(super) async fn check_first(
    source: &BlockSource,
    tenant: &TenantId,
    all: &BTreeMap<Key, u64>,
    (n_max, bytes_max): (usize, usize),
) {
    let few = ask(source, tenant, (n_max, bytes_max)).await;
    let first_of = |scope| {
        let mut n_bytes = 0;
        let of_scope = all.keys().filter(move |key| key.0 == scope);
        let of_scope = of_scope.take(n_max).take_while(move |key| {
            n_bytes += key.1.len();
            n_bytes <= bytes_max
        });
        of_scope.cloned()
    };
    let expected: Vec<Key> = SCOPES.into_iter().flat_map(first_of).collect();
    let mut found: Vec<Key> = few.keys.iter().map(key_of).collect();
    found.sort_by_key(|key| SCOPES.iter().position(|scope| *scope == key.0));
    assert_eq!(found, expected, "{n_max} of each, {bytes_max} bytes");
    assert!(few.truncated);
}

#[tokio::test]
async fn names_are_counted_and_limited_scope_by_scope() {
    let tenant = TenantId::new("a").unwrap();
    for (seed, alone) in [(40, true), (41, false), (42, true), (43, false)] {
        let mut spans = random_spans(seed, 400);
        // Alone in the block, a tenant is answered from the counts of the whole block.
        spans.retain(|(of, _)| !alone || *of == tenant);
        let store = memory();
        write(&store, ID, (seed % 3 != 0).into(), &spans).await;
        let source = BlockSource::new(Arc::new(open(&store, ID).await)).unwrap();
        let what = format!("seed {seed}");
        let expected = check_names(&source, &tenant, &spans, &what).await;
        for limits in [(1, usize::MAX), (3, usize::MAX), (usize::MAX, 40)] {
            check_first(&source, &tenant, &expected, limits).await;
        }
    }
}

#[tokio::test]
async fn values_are_held_once_up_to_a_limit_on_bytes() {
    let spans = values::spans().into_iter();
    let spans: Vec<_> = spans.map(|span| (TenantId::single(), span)).collect();
    let store = memory();
    write(&store, ID, 1, &spans).await;
    let source = BlockSource::new(Arc::new(open(&store, ID).await)).unwrap();
    values::check_limits(&source).await;
}
