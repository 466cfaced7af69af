//! The attributes that spans have in a window, each as a column that can be asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracewell_model::clock::TimeRange;
use tracewell_model::source::{KeyQuery, KeyWhat};
use tracewell_model::{AttributeScope, Column, Filter};

use super::run::Run;
use crate::error::Result;

/// Attributes that are asked for at once: four row groups of 65,536 spans that have each value once are held
/// meanwhile, in 84 bytes each.
pub(super) const AT_ONCE: usize = 8;
/// Of more attributes each would be asked for by itself, and whole traces tell of all of them at once.
const ATTRIBUTES_MAX: usize = 256;

/// The attributes of spans and resources; `None` if they are too many to be asked for one by one.
pub(super) async fn compared(run: &mut Run, window: TimeRange) -> Result<Option<Vec<Column>>> {
    let query = KeyQuery {
        tenant: run.tenant.clone(),
        // Of all of its spans a source knows the attributes without looking.
        window: TimeRange::ALL,
        what: KeyWhat::Keys(vec![AttributeScope::Span, AttributeScope::Resource]),
        filter: Filter::Constant(true),
        n_max: ATTRIBUTES_MAX + 1,
        text_bytes_max: usize::MAX,
    };
    let mut all = BTreeSet::new();
    for source in run.sources.clone() {
        tokio::task::yield_now().await;
        if !run.may_go_on()? {
            break;
        }
        let summary = source.summary();
        if !window.intersects(summary.span_start_min, summary.span_start_max) {
            continue;
        }
        let answer = source.keys(&query, run.ctx.clone()).await;
        let Some(answer) = run.note(&*source, answer)? else {
            continue;
        };
        all.extend(answer.keys.into_iter().map(|info| Column::Attribute {
            scope: info.scope,
            key: Arc::from(info.key),
        }));
        if answer.truncated || all.len() > ATTRIBUTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(all.into_iter().collect()))
}
