//! What a query would do, without doing it.

use tracewell_model::clock::TimeRange;

use super::Engine;
use super::series::{Hints, counted_by};
use crate::error::Result;
use crate::plan::series::SeriesPlan;
use crate::plan::{Explained, Plan, PlanLimits};
use crate::request::{Caller, Explanation, SourceSums};
use crate::syntax::{SyntaxLimits, parse_with};

pub(super) fn explain(
    engine: &Engine,
    text: &str,
    caller: &Caller,
    window: TimeRange,
) -> Result<Explanation> {
    let query = parse_with(text, SyntaxLimits::from(&engine.limits))?;
    let limits = PlanLimits::from(&engine.limits);
    let is_series = query.is_series();
    let plans = match is_series {
        true => {
            let plan = SeriesPlan::new(text, &query, caller.aliases, limits)?;
            let mut plans = Vec::new();
            let hints = Hints::of(&query.hints, 0, false);
            plan.for_each_spans(&mut |spans| {
                let columns = counted_by(spans, hints.extrapolate);
                plans.push(Explained::of_series(spans, columns));
            });
            plans
        }
        false => {
            let plan = Plan::new(text, &query, caller.aliases, limits)?;
            vec![Explained::of(&plan)]
        }
    };
    let run = engine.run(caller);
    let (mut all, mut in_window) = (SourceSums::default(), SourceSums::default());
    for source in &run.sources {
        let summary = source.summary();
        all.add(summary);
        if window.intersects(summary.span_start_min, summary.span_start_max) {
            in_window.add(summary);
        }
    }
    Ok(Explanation {
        canonical: query.to_string(),
        is_series,
        plans,
        all,
        in_window,
        missing: run.finish().1,
    })
}
