//! The attributes that spans have in a window, each as a column that can be asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracewell_model::clock::TimeRange;
use tracewell_model::source::{KeyQuery, KeyWhat};
use tracewell_model::{AttributeScope, Column, Filter};

use super::run::Run;
use super::tags;
use crate::error::Result;

/// Attributes that are asked for at once: four row groups of 65,536 spans that have each value once are held
/// meanwhile, in 84 bytes each.
const AT_ONCE: usize = 8;
/// Of those that few spans have, and only of these is something held.
const RARE_AT_ONCE: usize = 32;
/// One span in so many has a rare attribute, in every source that has it at all.
const RARE_ONE_IN: u64 = 64;
/// Of more attributes each would be asked for by itself, and whole traces tell of all of them at once.
const ATTRIBUTES_MAX: usize = 1_024;

/// The attributes of spans and resources, by those that are asked for at once; `None` if they are too many to be
/// asked for one by one.
pub(super) async fn compared(run: &mut Run, window: TimeRange) -> Result<Option<Vec<Vec<Column>>>> {
    let query = KeyQuery {
        tenant: run.tenant.clone(),
        // Of all of its spans a source knows the attributes without looking.
        window: TimeRange::ALL,
        what: KeyWhat::Keys(vec![AttributeScope::Span, AttributeScope::Resource]),
        filter: Filter::Constant(true),
        n_max: ATTRIBUTES_MAX + 1,
        text_bytes_max: usize::MAX,
    };
    let mut all: BTreeMap<Column, bool> = BTreeMap::new();
    let mut are_too_many = false;
    tags::keys(run, window, &query, &mut |summary, answer| {
        are_too_many |= answer.truncated;
        for info in answer.keys {
            if are_too_many {
                break;
            }
            let column = Column::Attribute {
                scope: info.scope,
                key: Arc::from(info.key),
            };
            // What is not counted may be everywhere, and so may what many tenants' spans are counted with.
            let is_rare = info.n > 0
                && summary.tenant.is_some()
                && info.n.saturating_mul(RARE_ONE_IN) <= summary.n_spans;
            *all.entry(column).or_insert(true) &= is_rare;
            are_too_many |= all.len() > ATTRIBUTES_MAX;
        }
        0
    })
    .await?;
    if are_too_many {
        return Ok(None);
    }
    let (rare, common): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, is_rare)| *is_rare);
    let columns = |of: Vec<(Column, bool)>| of.into_iter().map(|(column, _)| column);
    let (rare, common): (Vec<Column>, Vec<Column>) =
        (columns(rare).collect(), columns(common).collect());
    let common = common.chunks(AT_ONCE);
    let all = common.chain(rare.chunks(RARE_AT_ONCE));
    Ok(Some(all.map(<[Column]>::to_vec).collect()))
}
