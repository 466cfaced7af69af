use tracewell_model::alias;
use tracewell_model::column::ColumnLevel;
use tracewell_model::predicate::values_match;
use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeScope, Event, Intrinsic, KeyValue, Level, Link, Span, Value};

use super::*;
use crate::fixtures;
use crate::limit::QueryLimit;
use crate::plan::series::SeriesPlan;
use crate::syntax::ast::{
    ArithmeticOp, ExprKind, IntrinsicField, Literal, LogicOp, SpansetExpr, SpansetKind, Stage,
};
use crate::syntax::parse;

fn plan(text: &str) -> Result<Plan> {
    let limits = PlanLimits::from(&tracewell_model::Limits::default());
    Plan::new(text, &parse(text)?, Aliases::Resolve, limits)
}

// === a naive evaluator: the definition of a filter, straight from the tree ===

#[derive(Clone, Copy)]
struct Scene<'a> {
    spans: &'a [Span],
    span: &'a Span,
    event: Option<&'a Event>,
    link: Option<&'a Link>,
}

/// True if the whole expression holds for one event and one link.
fn naive(expr: Option<&Expr>, spans: &[Span], span: &Span) -> bool {
    let Some(expr) = expr else { return true };
    let events: Vec<Option<&Event>> = match span.events.as_slice() {
        [] => vec![None],
        events => events.iter().map(Some).collect(),
    };
    let links: Vec<Option<&Link>> = match span.links.as_slice() {
        [] => vec![None],
        links => links.iter().map(Some).collect(),
    };
    events.iter().any(|event| {
        links.iter().any(|link| {
            let scene = Scene {
                spans,
                span,
                event: *event,
                link: *link,
            };
            scene.holds(expr)
        })
    })
}

/// An owned value: a text, or what borrows from the spans.
enum Naive<'a> {
    Text(String),
    Value(Value<'a>),
}

impl Naive<'_> {
    fn get(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::String(text),
            Self::Value(value) => *value,
        }
    }
}

impl<'a> Scene<'a> {
    fn holds(self, expr: &'a Expr) -> bool {
        self.value(expr).get() == Value::Bool(true)
    }

    fn value(self, expr: &'a Expr) -> Naive<'a> {
        let is_nil = |expr: &Expr| matches!(expr.kind, ExprKind::Literal(Literal::Nil));
        let value = match &expr.kind {
            ExprKind::Literal(literal) => match literal {
                Literal::Nil => Value::Nil,
                Literal::String(text) => Value::String(text),
                Literal::Int(value) => Value::Int(*value),
                Literal::Float(value) => Value::Float(*value),
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Duration(value) => Value::Duration(*value),
                Literal::Status(value) => Value::Status(*value),
                Literal::Kind(value) => Value::Kind(*value),
            },
            ExprKind::Attribute(name) => self.attribute(name.scope, &name.key),
            ExprKind::Intrinsic(name) => match name.field {
                IntrinsicField::Column(intrinsic) => return self.intrinsic(intrinsic),
                IntrinsicField::Parent => unreachable!("refused by the planner"),
            },
            ExprKind::Not(inner) => Value::Bool(self.value(inner).get() == Value::Bool(false)),
            ExprKind::Negate(inner) => match self.value(inner).get() {
                Value::Int(value) => Value::Int(-value),
                Value::Float(value) => Value::Float(-value),
                Value::Duration(value) => Value::Duration(-value),
                _ => Value::Nil,
            },
            ExprKind::Logic(op, terms) => Value::Bool(match op {
                LogicOp::And => terms.iter().all(|term| self.holds(term)),
                LogicOp::Or => terms.iter().any(|term| self.holds(term)),
            }),
            ExprKind::Compare(op, left, right) if is_nil(left) || is_nil(right) => {
                let other = self.value(if is_nil(left) { right } else { left });
                let absent = other.get().is_nil();
                let both_nil = is_nil(left) && is_nil(right);
                Value::Bool(!both_nil && absent == (*op == tracewell_model::CompareOp::Equal))
            }
            ExprKind::Compare(op, left, right) => {
                let (a, b) = (self.value(left), self.value(right));
                let trims = |expr: &Expr| match &expr.kind {
                    ExprKind::Intrinsic(name) => matches!(
                        name.field,
                        IntrinsicField::Column(Intrinsic::TraceId | Intrinsic::LinkTraceId)
                    ),
                    _ => false,
                };
                let trim = trims(left) || trims(right);
                let side = |value| match value {
                    Value::String(text) if trim => Value::String(text.trim_start_matches('0')),
                    value => value,
                };
                Value::Bool(values_match(side(a.get()), *op, side(b.get())))
            }
            ExprKind::Regex {
                negated,
                left,
                pattern,
                ..
            } => {
                let predicate =
                    tracewell_model::Predicate::regex(pattern, *negated, 1 << 20).unwrap();
                Value::Bool(predicate.matches(self.value(left).get()))
            }
            ExprKind::Arithmetic(op, left, right) => {
                arithmetic(*op, self.value(left).get(), self.value(right).get())
            }
        };
        Naive::Value(value)
    }

    fn attribute(self, scope: Option<AttributeScope>, key: &str) -> Value<'a> {
        use AttributeScope as S;
        let scopes = match scope {
            Some(scope) => vec![scope],
            None => vec![S::Span, S::Resource, S::Event, S::Link, S::Instrumentation],
        };
        for scope in scopes {
            let all: &[KeyValue] = match scope {
                S::Span => &self.span.attributes,
                S::Resource => &self.span.resource.attributes,
                S::Event => self.event.map_or(&[], |event| &event.attributes),
                S::Link => self.link.map_or(&[], |link| &link.attributes),
                S::Instrumentation => &self.span.scope.attributes,
            };
            for name in alias::names(scope, key) {
                if !name.kinds.holds(self.span.kind) {
                    continue;
                }
                let first = all.iter().find(|attribute| attribute.key == name.key);
                let value = first.map_or(Value::Nil, |first| first.value.as_value());
                let value = name.derived.map_or(value, |derived| derived.of(value));
                if !value.is_nil() {
                    return value;
                }
            }
        }
        Value::Nil
    }

    fn intrinsic(self, intrinsic: Intrinsic) -> Naive<'a> {
        let span = self.span;
        let root = self
            .spans
            .iter()
            .filter(|span| span.is_root())
            .min_by_key(|span| (span.start_unix_nano, span.span_id));
        let start = self.spans.iter().map(|span| span.start_unix_nano).min();
        let end = self.spans.iter().map(|span| span.end_unix_nano).max();
        let hex = |id: String| Naive::Text(id);
        Naive::Value(match intrinsic {
            Intrinsic::Name => Value::String(&span.name),
            Intrinsic::Duration => Value::Duration(span.duration_nano()),
            Intrinsic::Status => Value::Status(span.status_code()),
            Intrinsic::StatusMessage => {
                Value::String(span.status.as_ref().map_or("", |status| &status.message))
            }
            Intrinsic::Kind => Value::Kind(span.kind),
            Intrinsic::SpanId => return hex(span.span_id.to_string()),
            Intrinsic::ParentId => match span.parent_span_id {
                Some(parent) if !parent.is_zero() => return hex(parent.to_string()),
                _ => Value::Nil,
            },
            Intrinsic::TraceId => {
                return hex(span.trace_id.to_string().trim_start_matches('0').to_owned());
            }
            Intrinsic::TraceDuration => {
                Value::Duration(duration_nano(start.unwrap(), end.unwrap()))
            }
            Intrinsic::RootName => root.map_or(Value::Nil, |root| Value::String(&root.name)),
            Intrinsic::RootService => root.map_or(Value::Nil, |root| {
                Value::String(root.resource.service_name())
            }),
            Intrinsic::EventName => self
                .event
                .map_or(Value::Nil, |event| Value::String(&event.name)),
            Intrinsic::EventTimeSinceStart => self.event.map_or(Value::Nil, |event| {
                Value::Duration(event.time_unix_nano as i64 - span.start_unix_nano as i64)
            }),
            Intrinsic::LinkTraceId => match self.link {
                Some(link) => {
                    return hex(link.trace_id.to_string().trim_start_matches('0').to_owned());
                }
                None => Value::Nil,
            },
            Intrinsic::InstrumentationName => Value::String(&span.scope.name),
            _ => unreachable!("not generated"),
        })
    }
}

fn arithmetic(op: ArithmeticOp, left: Value<'_>, right: Value<'_>) -> Value<'static> {
    let number = |value| match value {
        Value::Int(value) | Value::Duration(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    };
    let (Some(a), Some(b)) = (number(left), number(right)) else {
        return Value::Nil;
    };
    let result = match op {
        ArithmeticOp::Add => a + b,
        ArithmeticOp::Subtract => a - b,
        ArithmeticOp::Multiply => a * b,
        ArithmeticOp::Divide => a / b,
        ArithmeticOp::Modulo => a % b,
        ArithmeticOp::Power => a.powf(b),
    };
    match (left, right, op) {
        (Value::Int(_), Value::Int(0), ArithmeticOp::Divide | ArithmeticOp::Modulo) => Value::Nil,
        // Small numbers: the cast cuts the fraction off, as whole division does.
        (Value::Int(_), Value::Int(_), _) => Value::Int(result as i64),
        _ => Value::Float(result),
    }
}

fn filter_exprs(query: &Query) -> Vec<Option<Expr>> {
    fn walk(expr: &SpansetExpr, all: &mut Vec<Option<Expr>>) {
        match &expr.kind {
            SpansetKind::Filter(inner) => all.push(inner.clone()),
            SpansetKind::Logic(_, terms) => terms.iter().for_each(|term| walk(term, all)),
            SpansetKind::Relation(..) | SpansetKind::Pipeline(_) => {}
        }
    }
    let mut all = Vec::new();
    if let Root::Pipeline(pipeline) = &query.root
        && let [Stage::Spanset(expr)] = pipeline.stages.as_slice()
    {
        walk(expr, &mut all);
    }
    all
}

fn has_nested_each(filter: &Filter) -> bool {
    fn inside(filter: &Filter) -> bool {
        match filter {
            Filter::And(inner) | Filter::Or(inner) => inner.iter().any(inside),
            Filter::Not(inner) => inside(inner),
            Filter::Each { .. } => true,
            Filter::Constant(_) | Filter::Leaf(_) | Filter::Compute(_) => false,
        }
    }
    match filter {
        Filter::And(inner) | Filter::Or(inner) => inner.iter().any(has_nested_each),
        Filter::Not(inner) => has_nested_each(inner),
        Filter::Each { filter, .. } => inside(filter),
        Filter::Constant(_) | Filter::Leaf(_) | Filter::Compute(_) => false,
    }
}

#[test]
fn filters_mean_what_the_definition_says() {
    let (mut n_some, mut n_refused, mut n_inexact) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut rng = fixtures::rng(seed);
        let text = fixtures::query(&mut rng);
        let plan = match plan(&text) {
            Ok(plan) => plan,
            Err(Error::Type { .. }) => {
                n_refused += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}: {text}: {error}"),
        };
        let exprs = filter_exprs(&parse(&text).unwrap());
        assert_eq!(exprs.len(), plan.filters.len());
        for trace in fixtures::traces(&mut rng, 6) {
            let mut any = false;
            for (expr, filter) in exprs.iter().zip(&plan.filters) {
                assert!(!has_nested_each(&filter.scan), "{text}");
                n_inexact += usize::from(!filter.scan_is_exact);
                for (index, span) in trace.spans.iter().enumerate() {
                    let says = |filter| fixtures::matches(filter, &trace.spans, index);
                    let expected = naive(expr.as_ref(), &trace.spans, span);
                    let hint = || format!("seed {seed}: {text}\n{:?}\n{span:?}", filter.exact);
                    assert_eq!(says(&filter.exact), expected, "{}", hint());
                    if filter.scan_is_exact {
                        assert_eq!(says(&filter.scan), expected, "{}", hint());
                    }
                    assert!(says(&filter.scan) >= expected, "{}", hint());
                    assert!(says(&filter.fragment) >= expected, "{}", hint());
                    any |= expected;
                }
            }
            n_some += usize::from(any);
        }
    }
    assert!(n_some > 1_500, "{n_some}");
    assert!(n_refused < 1_000, "{n_refused}");
    assert!(n_inexact > 0, "the weaker form is never needed");
}

// === what is refused ===

#[track_caller]
fn refused(text: &str, message: &str) {
    match plan(text) {
        Ok(plan) => panic!("{text} is planned as {:?}", plan.filters),
        Err(error) => assert_eq!(error.to_string(), message, "{text}"),
    }
}

#[test]
fn what_can_never_mean_anything_is_refused() {
    refused(
        "{ 1 = \"foo\" }",
        "type error at line 1, col 3: a number or duration never equals a string",
    );
    refused(
        "{ status = 2 }",
        "type error at line 1, col 3: a status never equals a number or duration",
    );
    refused(
        "{ status > ok }",
        "type error at line 1, col 3: a status takes only `=` and `!=`",
    );
    refused(
        "{ .a = 1 && !name = \"x\" }",
        "type error at line 1, col 14: `!` takes a condition, this is a string",
    );
    refused(
        "{ 1 + 1 }",
        "type error at line 1, col 3: a filter must be a condition, this is a number or duration",
    );
    refused(
        "{ status }",
        "type error at line 1, col 3: a filter must be a condition, this is a status",
    );
    refused(
        "{ name = nil }",
        "type error at line 1, col 3: `name` is never nil",
    );
    refused(
        "{ resource.service.name = nil }",
        "type error at line 1, col 3: `= nil` cannot be asked of `resource.service.name`",
    );
    refused(
        "{ .a =~ \"(\" }",
        "type error at line 1, col 9: the regular expression is invalid: unclosed group",
    );
    refused(
        "{ .a < nil }",
        "type error at line 1, col 3: nil takes only `=` and `!=`",
    );
    for text in [
        "{ kind < consumer }",
        "{ .a + \"x\" > 1 }",
        "{ name =~ \"x\" && 1 }",
        "{ -name = 1 }",
    ] {
        assert!(matches!(plan(text), Err(Error::Type { .. })), "{text}");
    }
}

#[test]
fn a_metrics_query_is_no_search() {
    let error = plan("{ } | rate()").unwrap_err().to_string();
    assert!(error.contains("/api/metrics/query_range"), "{error}");
}

#[test]
fn series_are_compared_with_seconds_where_a_duration_is_given() {
    let compared_with = |text: &str| {
        let query = format!("{{ }} | min_over_time(duration) > {text}");
        let limits = PlanLimits::from(&tracewell_model::Limits::default());
        let plan = SeriesPlan::new(&query, &parse(&query).unwrap(), Aliases::Resolve, limits);
        match plan.unwrap() {
            SeriesPlan::Compared { value, .. } => value,
            plan => panic!("{plan:?}"),
        }
    };
    assert_eq!(compared_with("1500ms"), 1.5);
    assert_eq!(compared_with("-1500ms"), -1.5);
    assert_eq!(compared_with("-(1500ms)"), -1.5);
    assert_eq!(compared_with("2 * 1500ms"), 3.0);
    assert_eq!(compared_with("-(1s - 500ms)"), -0.5);
    assert_eq!(compared_with("7 / 2"), 3.0, "whole numbers stay whole");
    assert_eq!(compared_with("-3"), -3.0);
}

#[test]
fn a_comparison_is_a_query_of_its_own() {
    let refused = |text: &str, why: &str| {
        let limits = PlanLimits::from(&tracewell_model::Limits::default());
        let plan = SeriesPlan::new(text, &parse(text).unwrap(), Aliases::Resolve, limits);
        let error = plan.unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    };
    let no_stage = "nothing can be done with the series of `compare()`";
    refused("{ } | compare({ .a }) | topk(3)", no_stage);
    refused("({ } | compare({ .a })) / ({ } | rate())", no_stage);
    refused("({ } | rate()) * ({ } | compare({ .a }))", no_stage);
    refused("{ } | compare({ .a }, 0)", "between 1 and 1000 values");
    refused("{ } | compare({ .a }, 1001)", "between 1 and 1000 values");
    refused("{ } | compare({ .a }, 5, 7, 7)", "starts before it ends");
    refused("{ } | compare({ name + 1 })", "type error");
}

#[test]
fn a_trace_needs_what_the_operators_require() {
    let required = |text: &str| format!("{:?}", plan(text).unwrap().combine);
    let both = "And([And([Filter(0), Filter(1)])])";
    for op in ["&&", ">", ">>", "<", "<<", "~", "&>", "&~"] {
        assert_eq!(required(&format!("{{ .a }} {op} {{ .b }}")), both, "{op}");
    }
    let either = "And([Or([Filter(0), Filter(1)])])";
    assert_eq!(required("{ .a } || { .b }"), either);
    for op in ["!>", "!<<", "!~"] {
        let right = "And([Filter(1)])";
        assert_eq!(required(&format!("{{ .a }} {op} {{ .b }}")), right, "{op}");
    }
    let first = "And([Filter(0)])";
    assert_eq!(required("{ .a } | count() > 2 | by(name)"), first);
    assert_eq!(required("count() > 2"), first);
    assert_eq!(
        required("{ .a } | select(.b) | { .c }"),
        "And([Filter(0), Filter(1)])"
    );
    for (text, is_enough) in [
        ("{ .a } && { .b }", true),
        ("{ .a } | select(.b)", true),
        ("({ .a } | select(.b)) || { .c }", true),
        ("{ .a } ~ { .b }", false),
        ("{ .a } | { .b }", false),
        ("{ .a } | count() > 0", false),
    ] {
        assert_eq!(plan(text).unwrap().combine_is_exact, is_enough, "{text}");
    }
}

#[test]
fn a_count_right_behind_the_only_filter_says_how_many_must_match() {
    for (text, least) in [
        ("{ } | count() > 2", 3),
        ("{ .a } | count() >= 2", 2),
        ("{ .a } | 2 < count()", 3),
        ("{ .a } | count() = 7 | by(name)", 7),
        ("{ .a } | count() < 2", 0),
        ("{ .a } | count() != 2", 0),
        ("{ .a } | count() > -2", 0),
        ("{ .a } | by(name) | count() > 2", 0),
        ("{ .a } | { .b } | count() > 2", 0),
        ("{ .a } | count() > 2 | { .b }", 0),
        ("{ .a } || { .b } | count() > 2", 0),
        ("{ .a } | max(duration) > 2", 0),
    ] {
        assert_eq!(plan(text).unwrap().matched_min, least, "{text}");
    }
}

#[test]
fn sources_are_not_asked_what_only_the_whole_trace_says() {
    for text in [
        "{ nestedSetParent < 0 && name = \"a\" }",
        "{ span:childCount > 1 && name = \"a\" }",
        "{ parent.a = 1 && name = \"a\" }",
        "{ .a + parent.span.b > nestedSetLeft && name = \"a\" }",
    ] {
        let plan = plan(text).unwrap();
        let filter = &plan.filters[0];
        assert!(!filter.scan_is_exact && !filter.fragment_is_exact, "{text}");
        for asked in [&filter.scan, &filter.fragment] {
            let mut n = 0;
            asked.for_each_column(&mut |column| {
                assert_ne!(column.level(), ColumnLevel::Tree, "{text}");
                n += 1;
            });
            assert!(n > 0, "{text}");
        }
    }
}

#[test]
fn pipelines_that_mean_nothing_are_refused() {
    for (text, message) in [
        (
            "{ } | max(name) > 1",
            "an aggregate takes numbers, this is a string",
        ),
        ("{ } | by(1 + 1)", "this is the same for every span"),
        ("{ } | sum(2) > 1", "this is the same for every span"),
        ("({ } | by(name)) && { }", "put `| coalesce()` behind it"),
        ("{ } | by(.a = name = 1)", "never equals"),
        ("{ parent = 1 }", "`parent` is a span and no value"),
        ("{ nestedSetLeft = nil }", "`nestedSetLeft` is never nil"),
        ("{ span:childCount = \"x\" }", "never equals"),
    ] {
        let error = plan(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(plan("({ } | by(name) | coalesce()) && { }").is_ok());
    assert!(plan("{ parent.resource.service.name = nil }").is_ok());
}

#[test]
fn constants_are_folded() {
    let filter = |text: &str| format!("{:?}", plan(text).unwrap().filters[0].scan);
    assert_eq!(filter("{ 2 ^ 3 = 8 }"), "Constant(true)");
    assert_eq!(filter("{ 1 / 0 = 1 || 1 % 0 != 1 }"), "Constant(false)");
    assert_eq!(filter("{ nil = nil || nil != nil }"), "Constant(false)");
    assert_eq!(filter("{ duration < 0 }"), "Constant(false)");
    assert_eq!(filter("{ span.a = ok }"), "Constant(false)");
    assert_eq!(filter("{ 1s = 1000ms && 1.5 * 2 = 3 }"), "Constant(true)");
    assert!(plan("{ false } && { .a }").unwrap().is_empty());
    assert!(!plan("{ false } || { .a }").unwrap().is_empty());
    let arithmetic = filter("{ duration > 2 * 3s }");
    assert!(arithmetic.starts_with("Leaf"), "{arithmetic}");
}

#[test]
fn each_stands_around_as_little_as_possible() {
    let count = |text: &str| {
        fn walk(filter: &Filter, found: &mut Vec<(Level, usize)>) {
            match filter {
                Filter::And(inner) | Filter::Or(inner) => {
                    inner.iter().for_each(|filter| walk(filter, found));
                }
                Filter::Not(inner) => walk(inner, found),
                Filter::Each { level, filter } => {
                    let mut n = 0;
                    filter.for_each_column(&mut |_| n += 1);
                    found.push((*level, n));
                }
                Filter::Constant(_) | Filter::Leaf(_) | Filter::Compute(_) => {}
            }
        }
        let mut found = Vec::new();
        walk(&plan(text).unwrap().filters[0].scan, &mut found);
        found
    };
    assert_eq!(count("{ name = \"a\" && span.b = 1 }"), []);
    assert_eq!(
        count("{ event.a = 1 && name = \"a\" && event.b = 2 }"),
        [(Level::Event, 2)]
    );
    assert_eq!(
        count("{ event.a = 1 || name = \"a\" || event.b = 2 }"),
        [(Level::Event, 2)]
    );
    assert_eq!(
        count("{ event.a = 1 && link.b = 1 }"),
        [(Level::Event, 1), (Level::Link, 1)]
    );
    let plan = plan("{ event.a = link.a }").unwrap();
    assert!(!plan.filters[0].scan_is_exact);
    let many = (0..12).map(|n| format!(".k{n} = 1")).collect::<Vec<_>>();
    assert!(self::plan(&format!("{{ {} }}", many.join(" && "))).is_ok());
    let list = self::plan(&format!("{{ {} }}", many.join(" || "))).unwrap();
    assert!(list.filters[0].scan_is_exact);
}

// === hostile texts ===

#[test]
fn regular_expressions_are_bounded() {
    // Nothing backtracks, and what would compile to a large program is refused.
    assert!(plan("{ .a =~ \"(a+)+$\" }").is_ok());
    for pattern in ["(.{1000}){1000}", "((a{100}){100}){100}", "[\\\\pL]{1000}"] {
        let error = plan(&format!("{{ .a =~ \"{pattern}\" }}")).unwrap_err();
        assert!(
            matches!(error.limit(), Some(QueryLimit::RegexBytes)),
            "{pattern}: {error}"
        );
    }
    let nested = format!(
        "{{ .a =~ \"{}a{}\" }}",
        "(".repeat(50_000),
        ")".repeat(50_000)
    );
    assert!(plan(&nested).is_err());
    let many = vec![".a =~ \"x\""; 65].join(" || ");
    let error = plan(&format!("{{ {many} }}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the query has 65 regular expressions, the limit is 64"
    );
}

#[test]
fn large_filters_are_planned_in_one_pass() {
    let size = |filter: &Filter| {
        let mut n = 0;
        filter.for_each_column(&mut |_| n += 1);
        n
    };
    let list = (0..6_000).map(|n| format!(".a = {n}")).collect::<Vec<_>>();
    let plan_of = |text: String| plan(&text).unwrap().filters.remove(0);
    let any = plan_of(format!("{{ {} }}", list.join(" || ")));
    assert!(any.scan_is_exact && size(&any.scan) < 6_000 * 20);
    // Unscoped names in one `&&` are what multiplies; the bound holds for any number of them.
    let all = plan_of(format!("{{ {} }}", list.join(" && ")));
    assert!(!all.scan_is_exact && size(&all.scan) < 6_000 * 20);
    let mut deep = ".a = 1".to_owned();
    for n in 0..60 {
        let op = if n % 2 == 0 { "&&" } else { "||" };
        deep = format!("({deep}) {op} (.k{n} = 1 || event.a = 1 && link.b = {n})");
    }
    let deep = plan_of(format!("{{ {deep} }}"));
    assert!(size(&deep.scan) < 500_000, "{}", size(&deep.scan));
    let braces = vec!["{ }"; 65].join(" && ");
    assert!(matches!(plan(&braces), Err(Error::TooLarge { .. })));
    let stages = |n: usize| plan(&format!("{{ }}{}", " | by(name)".repeat(n)));
    assert!(stages(63).is_ok());
    let error = stages(64).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the query has 65 stages, the limit is 64"
    );
    assert!(
        plan(&format!(
            "({{ }}{}) | count() > 1",
            " | coalesce()".repeat(64)
        ))
        .is_err()
    );
}
