//! Names and values of attributes, for those who write queries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracewell_model::alias::KindRule;
use tracewell_model::clock::TimeRange;
use tracewell_model::column::ColumnLevel;
use tracewell_model::source::{KeyAnswer, KeyQuery, KeyWhat, SourceSummary};
use tracewell_model::{AttributeScope, AttributeValue, Column, Filter, Intrinsic};

use super::Engine;
use super::run::Run;
use crate::error::{Error, Result};
use crate::limit::QueryLimit;
use crate::plan::{Candidate, Plan, PlanLimits, candidates_of};
use crate::request::{
    Aliases, ScopeTags, TagName, TagNamesRequest, TagNamesResponse, TagScope, TagValue,
    TagValueType, TagValuesRequest, TagValuesResponse,
};
use crate::syntax::ast::{
    AttributeName, Expr, ExprKind, INTRINSICS, IntrinsicField, IntrinsicName, KINDS, STATUSES,
    TextSpan,
};
use crate::syntax::{SyntaxLimits, parse_attribute_name, parse_lenient};

pub(super) async fn tag_names(
    engine: &Engine,
    request: TagNamesRequest,
) -> Result<TagNamesResponse> {
    let mut run = engine.run(&request.caller);
    let mut names: BTreeMap<AttributeScope, (BTreeSet<String>, usize)> = BTreeMap::new();
    let scopes: Vec<AttributeScope> = request
        .scopes
        .iter()
        .filter_map(|scope| match scope {
            TagScope::Attribute(scope) => Some(*scope),
            TagScope::Intrinsic => None,
        })
        .collect();
    let mut truncated = false;
    if !scopes.is_empty() {
        let query = KeyQuery {
            tenant: run.tenant.clone(),
            window: request.window,
            what: KeyWhat::Keys(scopes),
            filter: lenient_filter(engine, request.filter.as_deref(), request.caller.aliases),
            n_max: request.limit,
            text_bytes_max: request.bytes_max,
        };
        keys(&mut run, request.window, &query, &mut |_, answer| {
            truncated |= answer.truncated;
            for info in answer.keys {
                let (known, n_bytes) = names.entry(info.scope).or_default();
                // Of each scope: many keys of spans must not leave those of resources out.
                let bytes = *n_bytes + info.key.len();
                if known.len() >= request.limit || bytes > request.bytes_max {
                    truncated |= !known.contains(&info.key);
                } else if known.insert(info.key) {
                    *n_bytes = bytes;
                }
            }
            0
        })
        .await?;
    }
    let scopes = request
        .scopes
        .iter()
        .map(|scope| ScopeTags {
            scope: *scope,
            names: match scope {
                TagScope::Attribute(scope) => names
                    .remove(scope)
                    .unwrap_or_default()
                    .0
                    .into_iter()
                    .collect(),
                TagScope::Intrinsic => intrinsic_names(),
            },
        })
        .collect();
    if truncated {
        run.limits_hit.insert(QueryLimit::Tags);
    }
    let (stats, partial) = run.finish();
    Ok(TagNamesResponse {
        scopes,
        stats,
        partial,
        truncated,
    })
}

pub(super) async fn tag_values(
    engine: &Engine,
    request: TagValuesRequest,
) -> Result<TagValuesResponse> {
    let name = tag_name(engine, &request.name)?;
    let mut run = engine.run(&request.caller);
    let mut values = BTreeSet::new();
    let mut truncated = false;
    let (mut n_bytes, mut held_bytes) = (0, 0);
    if let Some(fixed) = fixed_values(&name) {
        values.extend(fixed);
    } else {
        let candidates = candidates_of(&name, request.caller.aliases)
            .filter(|all| {
                !all.iter()
                    .any(|it| matches!(it.column, Column::OfParent(_)))
            })
            .ok_or_else(|| Error::Request("this name has no values".to_owned()))?;
        let filter = lenient_filter(engine, request.filter.as_deref(), request.caller.aliases);
        for (kinds, group) in by_kinds(candidates) {
            let query = values_query(&run, &request, &filter, kinds, &group);
            keys(&mut run, request.window, &query, &mut |_, answer| {
                truncated |= answer.truncated;
                for info in answer.values {
                    let Some(value) = tag_value(&group, &info.column, &info.value) else {
                        continue;
                    };
                    let bytes = value.value.len();
                    if values.len() >= request.limit || n_bytes + bytes > request.bytes_max {
                        truncated |= !values.contains(&value);
                        continue;
                    }
                    if values.insert(value) {
                        n_bytes += bytes;
                    }
                }
                held_bytes = (n_bytes + values.len() * size_of::<TagValue>()) as u64;
                held_bytes
            })
            .await?;
        }
    }
    if truncated {
        run.limits_hit.insert(QueryLimit::Tags);
    }
    let held = run.ctx.keep(held_bytes);
    let (stats, partial) = run.finish();
    Ok(TagValuesResponse {
        values: values.into_iter().collect(),
        stats,
        partial,
        truncated,
        held,
    })
}

/// Asks every source with a span in the window. `take` says how many bytes of an answer it holds by now.
pub(super) async fn keys(
    run: &mut Run,
    window: TimeRange,
    query: &KeyQuery,
    take: &mut (dyn FnMut(&SourceSummary, KeyAnswer) -> u64 + Send),
) -> Result<()> {
    for source in run.sources.clone() {
        tokio::task::yield_now().await;
        if !run.may_go_on()? {
            break;
        }
        let summary = source.summary();
        if !window.intersects(summary.span_start_min, summary.span_start_max) {
            continue;
        }
        let answer = source.keys(query, run.ctx.clone()).await;
        if let Some(answer) = run.note(&*source, answer)? {
            let asks_values = matches!(query.what, KeyWhat::Values(_));
            if asks_values && answer.truncated && run.ctx.is_full() {
                run.leave_out_values();
            }
            let held_bytes = take(summary, answer);
            run.ctx.release(held_bytes);
        }
    }
    Ok(())
}

fn values_query(
    run: &Run,
    request: &TagValuesRequest,
    filter: &Filter,
    kinds: Option<Filter>,
    group: &[Candidate],
) -> KeyQuery {
    let filter = match kinds {
        Some(kinds) => Filter::And(vec![kinds, filter.clone()]),
        None => filter.clone(),
    };
    let window: TimeRange = request.window;
    KeyQuery {
        tenant: run.tenant.clone(),
        window,
        what: KeyWhat::Values(
            group
                .iter()
                .map(|candidate| candidate.column.clone())
                .collect(),
        ),
        filter,
        n_max: request.limit,
        text_bytes_max: request.bytes_max,
    }
}

/// Candidates that are asked for together: those of one rule for the kind of span.
fn by_kinds(candidates: Vec<Candidate>) -> Vec<(Option<Filter>, Vec<Candidate>)> {
    let mut groups: Vec<(KindRule, Vec<Candidate>)> = Vec::new();
    for candidate in candidates {
        match groups
            .iter_mut()
            .find(|(kinds, _)| *kinds == candidate.kinds)
        {
            Some((_, group)) => group.push(candidate),
            None => groups.push((candidate.kinds, vec![candidate])),
        }
    }
    groups
        .into_iter()
        .filter_map(|(_, group)| Some((group.first()?.kind_filter(), group)))
        .collect()
}

/// A value as a source has it; renamed ones by their new name.
fn tag_value(group: &[Candidate], column: &Column, value: &AttributeValue) -> Option<TagValue> {
    let candidate = group.iter().find(|candidate| candidate.column == *column)?;
    if let Some(derived) = candidate.derived {
        return TagValue::of_value(derived.of(value.as_value()));
    }
    match (candidate.values, value) {
        // An intrinsic that was not set.
        (_, AttributeValue::String(text))
            if text.is_empty() && matches!(column, Column::Intrinsic(_)) =>
        {
            None
        }
        (Some(map), AttributeValue::String(text)) => Some(TagValue {
            value_type: TagValueType::String,
            value: map.apply(text).to_owned(),
        }),
        _ => TagValue::of_value(value.as_value()),
    }
}

fn tag_name(engine: &Engine, name: &TagName) -> Result<Expr> {
    let kind = match name {
        TagName::TraceQl(text) => {
            return Ok(parse_attribute_name(
                text,
                SyntaxLimits::from(&engine.limits),
            )?);
        }
        TagName::Bare(text) => match IntrinsicName::find(text) {
            Some(name) => ExprKind::Intrinsic(name),
            None => ExprKind::Attribute(AttributeName {
                scope: None,
                of_parent: false,
                key: Arc::from(text.as_str()),
            }),
        },
    };
    Ok(Expr::new(kind, TextSpan::default()))
}

/// The values of an intrinsic that are known without looking; none for numbers and ids.
fn fixed_values(name: &Expr) -> Option<Vec<TagValue>> {
    let ExprKind::Intrinsic(name) = &name.kind else {
        return None;
    };
    let keywords = |table: &[(&str, i32)]| {
        table
            .iter()
            .map(|(name, _)| TagValue {
                value_type: TagValueType::Keyword,
                value: (*name).to_owned(),
            })
            .collect()
    };
    match name.field {
        IntrinsicField::Column(column) => match column {
            Intrinsic::Status => Some(keywords(STATUSES)),
            Intrinsic::Kind => Some(keywords(KINDS)),
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::RootName
            | Intrinsic::RootService
            | Intrinsic::EventName
            | Intrinsic::InstrumentationName
            | Intrinsic::InstrumentationVersion => None,
            _ => Some(Vec::new()),
        },
        IntrinsicField::Parent => Some(Vec::new()),
    }
}

fn intrinsic_names() -> Vec<String> {
    let mut names: Vec<String> = INTRINSICS
        .iter()
        .filter(|name| match name.field {
            IntrinsicField::Column(column) => column.level() != ColumnLevel::Tree,
            IntrinsicField::Parent => false,
        })
        .map(|name| name.written.to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// What can be saved of a filter; without one, everything counts.
fn lenient_filter(engine: &Engine, text: Option<&str>, aliases: Aliases) -> Filter {
    let all = Filter::Constant(true);
    let Some(text) = text else {
        return all;
    };
    let Some(query) = parse_lenient(text, SyntaxLimits::from(&engine.limits)) else {
        return all;
    };
    match Plan::new(text, &query, aliases, PlanLimits::from(&engine.limits)) {
        Ok(plan) => plan.single().map_or(all, |filter| filter.scan.clone()),
        Err(_) => all,
    }
}
