//! Tempo's search by tags: not TraceQL, and with a meaning of its own.
//!
//! - A tag with a mapping of its own is a substring (or a number, or a status), and different
//!   spans of a trace may satisfy different ones.
//! - All other tags are exact strings of the span or its resource, and all of them must be found
//!   within one resource of the trace.
//! - Durations are those of the whole trace.

use std::sync::Arc;

use tracewell_model::predicate::Operand;
use tracewell_model::{AttributeScope, Column, CompareOp, Filter, Intrinsic, Predicate};

use super::condition::{compare_any, too_large};
use super::name::{Candidate, candidates, leaf};
use super::resources::Resources;
use super::spelling::Spelling;
use super::{Combine, Plan, PlanLimits, SpansetPlan, StagePlan, bind_filter};
use crate::error::{Error, Result};
use crate::request::{Aliases, TagSearch};
use crate::row::TraceFacts;
use crate::syntax::ast::{AttributeName, LogicOp, STATUSES};

/// A search by tags, ready to be executed.
#[derive(Debug, Clone)]
pub struct TagPlan {
    /// Upper bound: every condition somewhere in the trace.
    pub plan: Plan,
    /// Indices of filters that must hold within one resource.
    same_resource: Vec<usize>,
}

/// What a tag of this name is compared with.
enum Mapping {
    Text(Column),
    Attribute(AttributeScope),
    Status,
    Number,
}

fn mapping(key: &str) -> Option<Mapping> {
    use AttributeScope::{Resource, Span};
    Some(match key {
        "name" => Mapping::Text(Column::Intrinsic(Intrinsic::Name)),
        "root.name" => Mapping::Text(Column::Intrinsic(Intrinsic::RootName)),
        "root.service.name" => Mapping::Text(Column::Intrinsic(Intrinsic::RootService)),
        "status.code" => Mapping::Status,
        "http.status_code" => Mapping::Number,
        "http.method" | "http.url" => Mapping::Attribute(Span),
        "service.name" | "cluster" | "namespace" | "pod" | "container" | "k8s.cluster.name"
        | "k8s.namespace.name" | "k8s.pod.name" | "k8s.container.name" => {
            Mapping::Attribute(Resource)
        }
        _ => return None,
    })
}

impl TagPlan {
    pub fn new(search: &TagSearch, aliases: Aliases, limits: PlanLimits) -> Result<Self> {
        let n = search.tags.len() + 1;
        if n > limits.filters_max {
            return Err(Error::TooLarge {
                what: "tags",
                seen: search.tags.len() as u64,
                limit: limits.filters_max as u64 - 1,
            });
        }
        let mut filters = vec![bind_filter(duration_filter(search))];
        let mut same_resource = Vec::new();
        for (key, value) in &search.tags {
            let filter = match mapping(key) {
                Some(mapping) => mapped_filter(mapping, key, value, aliases, limits)?,
                None => {
                    same_resource.push(filters.len());
                    exact_filter(key, value, aliases)
                }
            };
            filters.push(bind_filter(filter));
        }
        let combine = Combine::And((0..filters.len()).map(Combine::Filter).collect());
        let all = (0..filters.len()).map(SpansetPlan::Filter).collect();
        Ok(Self {
            plan: Plan {
                filters,
                combine,
                combine_is_exact: true,
                matched_min: 0,
                stages: vec![StagePlan::Spanset(SpansetPlan::Logic(LogicOp::And, all))],
                shown: Vec::new(),
            },
            same_resource,
        })
    }

    /// True if the upper bound is the meaning.
    pub fn plan_is_exact(&self) -> bool {
        self.same_resource.len() < 2
    }

    /// Whether a whole trace matches.
    pub fn matches(&self, facts: &TraceFacts<'_>) -> bool {
        if crate::pipeline::spansets(&self.plan, facts).is_empty() {
            return false;
        }
        if self.same_resource.is_empty() {
            return true;
        }
        let mut resources = Resources::default();
        // Which conditions hold in which resource.
        let mut found: Vec<Vec<bool>> = Vec::new();
        for row in facts.rows() {
            let index = resources.index(&row.span().resource);
            if index >= found.len() {
                found.push(vec![false; self.same_resource.len()]);
            }
            let Some(holds) = found.get_mut(index) else {
                continue;
            };
            for (holds, filter) in holds.iter_mut().zip(&self.same_resource) {
                *holds |= self
                    .plan
                    .filters
                    .get(*filter)
                    .is_some_and(|filter| row.matches(&filter.exact));
            }
        }
        found.iter().any(|holds| holds.iter().all(|holds| *holds))
    }
}

fn duration_filter(search: &TagSearch) -> Filter {
    let side = |op, nanos: Option<u64>| {
        nanos.map(|nanos| {
            let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
            compare(
                Column::Intrinsic(Intrinsic::TraceDuration),
                op,
                Operand::Duration(nanos),
            )
        })
    };
    let sides = [
        side(CompareOp::GreaterOrEqual, search.duration_nano_min),
        side(CompareOp::LessOrEqual, search.duration_nano_max),
    ];
    Filter::And(sides.into_iter().flatten().collect())
}

fn mapped_filter(
    mapping: Mapping,
    key: &str,
    value: &str,
    aliases: Aliases,
    limits: PlanLimits,
) -> Result<Filter> {
    let columns = |scope| columns_of(scope, key, aliases);
    Ok(match mapping {
        Mapping::Text(column) => leaf(column, substring(value, limits)?),
        Mapping::Attribute(scope) => {
            let predicate = substring(value, limits)?;
            Filter::Or(
                columns(scope)
                    .into_iter()
                    .map(|candidate| of_kind(&candidate, leaf_of(&candidate, predicate.clone())))
                    .collect(),
            )
        }
        Mapping::Status => match STATUSES.iter().find(|(name, _)| *name == value) {
            Some((_, code)) => compare(
                Column::Intrinsic(Intrinsic::Status),
                CompareOp::Equal,
                Operand::Status(*code),
            ),
            None => {
                return Err(Error::Request(
                    "status.code is one of ok, error and unset".to_owned(),
                ));
            }
        },
        Mapping::Number => match value.parse() {
            Ok(number) => compare_any(
                &columns(AttributeScope::Span),
                CompareOp::Equal,
                &Operand::Int(number),
            ),
            Err(_) => exact_filter(key, value, aliases),
        },
    })
}

/// An exact string, of the span or of its resource.
fn exact_filter(key: &str, value: &str, aliases: Aliases) -> Filter {
    let constant = Operand::String(Arc::from(value));
    Filter::Or(
        [AttributeScope::Span, AttributeScope::Resource]
            .into_iter()
            .map(|scope| {
                let name = name_of(scope, key);
                let names = candidates(&name, aliases);
                let plain = compare_any(&names, CompareOp::Equal, &constant);
                match Spelling::of(&name, aliases) {
                    Some(spelling) => spelling.comparison(CompareOp::Equal, &constant, plain),
                    None => plain,
                }
            })
            .collect(),
    )
}

fn columns_of(scope: AttributeScope, key: &str, aliases: Aliases) -> Vec<Candidate> {
    candidates(&name_of(scope, key), aliases)
}

fn name_of(scope: AttributeScope, key: &str) -> AttributeName {
    AttributeName {
        scope: Some(scope),
        of_parent: false,
        key: Arc::from(key),
    }
}

fn leaf_of(candidate: &Candidate, predicate: Predicate) -> Filter {
    leaf(candidate.column.clone(), predicate)
}

fn of_kind(candidate: &Candidate, filter: Filter) -> Filter {
    match candidate.kind_filter() {
        Some(kinds) => Filter::And(vec![kinds, filter]),
        None => filter,
    }
}

fn compare(column: Column, op: CompareOp, operand: Operand) -> Filter {
    leaf(column, Predicate::Compare { op, operand })
}

fn substring(text: &str, limits: PlanLimits) -> Result<Predicate> {
    Predicate::substring(text, limits.regex_bytes_max).map_err(|error| match error.is_too_large {
        true => too_large(&error),
        false => Error::Request(error.reason),
    })
}
