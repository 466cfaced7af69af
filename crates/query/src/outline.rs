//! What a text of TraceQL is, for editors: its tree with types, and what is wrong with it.
//!
//! One shape of node for the whole language, so that a reader needs to know no more of it than it shows.

use tracewell_model::Limits;

use crate::error::Error;
use crate::plan::series::SeriesPlan;
use crate::plan::{Plan, PlanLimits, static_type};
use crate::request::Aliases;
use crate::syntax::ast::{
    Expr, ExprKind, Literal, MetricsExpr, MetricsFunction, MetricsKind, MetricsStage, Pipeline,
    Query, Root, ScalarExpr, ScalarKind, SpansetExpr, SpansetKind, Stage, TextSpan,
};
use crate::syntax::{
    Position, SyntaxLimits, aggregate_text, arithmetic_text, compare_text, logic_text, parse_with,
};

/// A text, examined.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// `None` where the text is no TraceQL.
    pub tree: Option<Outline>,
    /// The query as the program would write it.
    pub canonical: Option<String>,
    /// True for a metrics query, which yields series.
    pub is_series: bool,
    /// Empty for a query that can be executed. The first thing that is wrong hides those behind it.
    pub problems: Vec<Problem>,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    pub kind: &'static str,
    /// The operator, the name or the constant.
    pub text: String,
    /// Of an expression over a span, what is known of its value before any span is.
    pub value_type: Option<&'static str>,
    /// Bytes of the text; `None` where they are not kept.
    pub span: Option<TextSpan>,
    pub children: Vec<Outline>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// `syntax`, `type` or `limit`.
    pub kind: &'static str,
    pub span: TextSpan,
    pub position: Position,
    pub message: String,
    pub expected: Vec<&'static str>,
    pub hint: Option<String>,
}

/// Parses a text and checks its types; nothing is executed.
pub fn examine(text: &str, aliases: Aliases, limits: &Limits) -> Examined {
    let query = match parse_with(text, SyntaxLimits::from(limits)) {
        Ok(query) => query,
        Err(error) => {
            return Examined {
                tree: None,
                canonical: None,
                is_series: false,
                problems: vec![Problem::of(text, Error::from(error))],
            };
        }
    };
    let is_series = query.is_series();
    let of_plan = PlanLimits::from(limits);
    let planned = match is_series {
        true => SeriesPlan::new(text, &query, aliases, of_plan).map(drop),
        false => Plan::new(text, &query, aliases, of_plan).map(drop),
    };
    let problems = planned.err().map(|error| Problem::of(text, error));
    Examined {
        tree: Some(of_query(&query)),
        canonical: Some(query.to_string()),
        is_series,
        problems: problems.into_iter().collect(),
    }
}

impl Problem {
    fn of(text: &str, error: Error) -> Self {
        let kind = match (error.limit(), &error) {
            (Some(_), _) => "limit",
            (None, Error::Syntax(_)) => "syntax",
            (None, _) => "type",
        };
        let (span, message) = match error {
            Error::Syntax(error) => {
                return Self {
                    kind,
                    span: error.span,
                    position: error.position,
                    message: error.message,
                    expected: error.expected,
                    hint: error.hint,
                };
            }
            Error::Type { span, message, .. } => (span, message),
            Error::NotBuilt {
                span, construct, ..
            } => (span, format!("{construct} is not built yet")),
            // About the whole text.
            other => (TextSpan::new(0, text.len()), other.to_string()),
        };
        Self {
            kind,
            span,
            position: Position::of(text, span.from),
            message,
            expected: Vec::new(),
            hint: None,
        }
    }
}

impl Outline {
    fn new(kind: &'static str, text: impl Into<String>, children: Vec<Outline>) -> Self {
        Self {
            kind,
            text: text.into(),
            value_type: None,
            span: None,
            children,
        }
    }

    fn at(mut self, span: TextSpan) -> Self {
        self.span = Some(span);
        self
    }
}

fn of_query(query: &Query) -> Outline {
    let root = match &query.root {
        Root::Pipeline(pipeline) => of_pipeline(pipeline),
        Root::Metrics(expr) => of_metrics(expr),
    };
    let hints = query.hints.iter();
    let hints = hints.map(|hint| Outline::new("hint", &hint.name, vec![of_literal(&hint.value)]));
    Outline::new("query", "", std::iter::once(root).chain(hints).collect())
}

fn of_pipeline(pipeline: &Pipeline) -> Outline {
    Outline::new(
        "pipeline",
        "",
        pipeline.stages.iter().map(of_stage).collect(),
    )
}

fn of_stage(stage: &Stage) -> Outline {
    match stage {
        Stage::Spanset(expr) => of_spanset(expr),
        Stage::ScalarFilter {
            left,
            op,
            right,
            span,
        } => {
            let sides = vec![of_scalar(left), of_scalar(right)];
            Outline::new("scalar filter", compare_text(*op), sides).at(*span)
        }
        Stage::By(expr, span) => Outline::new("by", "", vec![of_expr(expr)]).at(*span),
        Stage::Coalesce(span) => Outline::new("coalesce", "", Vec::new()).at(*span),
        Stage::Select(exprs, span) => {
            Outline::new("select", "", exprs.iter().map(of_expr).collect()).at(*span)
        }
    }
}

fn of_spanset(expr: &SpansetExpr) -> Outline {
    let outline = match &expr.kind {
        SpansetKind::Filter(condition) => {
            Outline::new("filter", "", condition.iter().map(of_expr).collect())
        }
        SpansetKind::Logic(op, terms) => Outline::new(
            "spanset logic",
            logic_text(*op),
            terms.iter().map(of_spanset).collect(),
        ),
        SpansetKind::Relation(relation, left, right) => {
            let sides = vec![of_spanset(left), of_spanset(right)];
            Outline::new("relation", relation.to_string(), sides)
        }
        SpansetKind::Pipeline(pipeline) => return of_pipeline(pipeline).at(expr.span),
    };
    outline.at(expr.span)
}

fn of_scalar(expr: &ScalarExpr) -> Outline {
    let outline = match &expr.kind {
        ScalarKind::Literal(literal) => of_literal(literal),
        ScalarKind::Aggregate(aggregate, of) => {
            let of = of.iter().map(|of| of_expr(of));
            Outline::new("aggregate", aggregate_text(*aggregate), of.collect())
        }
        ScalarKind::Arithmetic(op, left, right) => {
            let sides = vec![of_scalar(left), of_scalar(right)];
            Outline::new("arithmetic", arithmetic_text(*op), sides)
        }
        ScalarKind::Negate(inner) => Outline::new("negate", "-", vec![of_scalar(inner)]),
        ScalarKind::Pipeline(pipeline, end) => {
            let mut outline = of_pipeline(pipeline);
            outline.children.push(of_scalar(end));
            outline
        }
    };
    outline.at(expr.span)
}

fn of_metrics(expr: &MetricsExpr) -> Outline {
    let outline = match &expr.kind {
        MetricsKind::Pipeline {
            pipeline,
            function,
            by,
        } => {
            let mut children = vec![of_pipeline(pipeline), of_function(function)];
            if !by.is_empty() {
                children.push(Outline::new("by", "", by.iter().map(of_expr).collect()));
            }
            Outline::new("series", "", children)
        }
        MetricsKind::Stage(inner, stage) => {
            let of = of_metrics(inner);
            match stage {
                MetricsStage::Top(n) => Outline::new("topk", n.to_string(), vec![of]),
                MetricsStage::Bottom(n) => Outline::new("bottomk", n.to_string(), vec![of]),
                MetricsStage::Compare(op, with) => {
                    let sides = vec![of, of_scalar(with)];
                    Outline::new("series filter", compare_text(*op), sides)
                }
            }
        }
        MetricsKind::Arithmetic(op, left, right) => {
            let sides = vec![of_metrics(left), of_metrics(right)];
            Outline::new("arithmetic", arithmetic_text(*op), sides)
        }
        MetricsKind::Scalar(scalar) => return of_scalar(scalar),
    };
    outline.at(expr.span)
}

fn of_function(function: &MetricsFunction) -> Outline {
    let text = function.to_string();
    let name = text.split('(').next().unwrap_or_default();
    let children = match function {
        MetricsFunction::Rate | MetricsFunction::CountOverTime => Vec::new(),
        MetricsFunction::OverTime(_, of) | MetricsFunction::QuantileOverTime(of, _) => {
            vec![of_expr(of)]
        }
        MetricsFunction::Compare { selection, .. } => selection
            .iter()
            .map(|selection| of_expr(selection))
            .collect(),
    };
    Outline::new("function", name, children)
}

fn of_expr(expr: &Expr) -> Outline {
    let mut outline = match &expr.kind {
        ExprKind::Literal(literal) => of_literal(literal),
        ExprKind::Attribute(_) => Outline::new("attribute", expr.to_string(), Vec::new()),
        ExprKind::Intrinsic(name) => Outline::new("intrinsic", name.written, Vec::new()),
        ExprKind::Not(inner) => Outline::new("not", "!", vec![of_expr(inner)]),
        ExprKind::Negate(inner) => Outline::new("negate", "-", vec![of_expr(inner)]),
        ExprKind::Arithmetic(op, left, right) => {
            let sides = vec![of_expr(left), of_expr(right)];
            Outline::new("arithmetic", arithmetic_text(*op), sides)
        }
        ExprKind::Compare(op, left, right) => {
            let sides = vec![of_expr(left), of_expr(right)];
            Outline::new("comparison", compare_text(*op), sides)
        }
        ExprKind::Regex {
            negated,
            left,
            pattern,
            pattern_span,
        } => {
            let op = if *negated { "!~" } else { "=~" };
            let pattern = Outline::new("pattern", &**pattern, Vec::new()).at(*pattern_span);
            Outline::new("regex", op, vec![of_expr(left), pattern])
        }
        ExprKind::Logic(op, terms) => Outline::new(
            "logic",
            logic_text(*op),
            terms.iter().map(of_expr).collect(),
        ),
    };
    outline.value_type = static_type(expr);
    outline.at(expr.span)
}

fn of_literal(literal: &Literal) -> Outline {
    Outline::new("constant", literal.to_string(), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(text: &str) -> Examined {
        examine(text, Aliases::Resolve, &Limits::default())
    }

    /// A node a line, indented by its depth.
    fn lines(outline: &Outline, depth: usize, text: &str, out: &mut Vec<String>) {
        let value_type = outline
            .value_type
            .map_or(String::new(), |it| format!(" : {it}"));
        let here = outline.span.and_then(|span| text.get(span.from..span.to));
        let here = here.map_or(String::new(), |here| format!(" [{here}]"));
        let indent = "  ".repeat(depth);
        out.push(format!(
            "{indent}{} {}{value_type}{here}",
            outline.kind, outline.text
        ));
        for child in &outline.children {
            lines(child, depth + 1, text, out);
        }
    }

    fn tree(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        lines(&examined(text).tree.unwrap(), 0, text, &mut out);
        out
    }

    #[test]
    fn a_tree_has_names_types_and_places() {
        let text = "{ span.a + 1 > 2 && name =~ \"x\" } >> { } | count() > 2";
        assert_eq!(
            tree(text),
            [
                "query ",
                "  pipeline ",
                "    relation >> [{ span.a + 1 > 2 && name =~ \"x\" } >> { }]",
                "      filter  [{ span.a + 1 > 2 && name =~ \"x\" }]",
                "        logic && : boolean [span.a + 1 > 2 && name =~ \"x\"]",
                "          comparison > : boolean [span.a + 1 > 2]",
                "            arithmetic + : number [span.a + 1]",
                "              attribute span.a : any [span.a]",
                "              constant 1 : number [1]",
                "            constant 2 : number [2]",
                "          regex =~ : boolean [name =~ \"x\"]",
                "            intrinsic name : string [name]",
                "            pattern x [\"x\"]",
                "      filter  [{ }]",
                "    scalar filter > [count() > 2]",
                "      aggregate count [count()]",
                "      constant 2 [2]",
            ]
        );
        let series = tree("{ } | rate() by (name) | topk(3)");
        let kinds = series
            .iter()
            .filter_map(|line| line.split_whitespace().next());
        let expected = [
            "query",
            "topk",
            "series",
            "pipeline",
            "filter",
            "function",
            "by",
            "intrinsic",
        ];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_problem_says_what_where_and_how() {
        let wrong = examined("{\n  statuss = error }");
        assert_eq!((wrong.tree, wrong.canonical), (None, None));
        let [problem] = wrong.problems.as_slice() else {
            panic!("{:?}", wrong.problems);
        };
        assert_eq!(
            (problem.kind, problem.span.from, problem.span.to),
            ("syntax", 4, 11)
        );
        assert_eq!((problem.position.line, problem.position.column), (2, 3));
        assert_eq!(
            problem.message,
            "unknown intrinsic \"statuss\": did you mean \"status\"?"
        );
        let text = "{ name > 2 && kind = server }";
        let wrong = examined(text);
        assert!(wrong.tree.is_some());
        let [problem] = wrong.problems.as_slice() else {
            panic!("{:?}", wrong.problems);
        };
        assert_eq!(problem.kind, "type");
        assert_eq!(
            text.get(problem.span.from..problem.span.to),
            Some("name > 2")
        );
        let deep = format!("{{ {} }}", "!(".repeat(10_000));
        assert_eq!(examined(&deep).problems[0].kind, "limit");
        let right = examined("{status=error}|rate()");
        assert_eq!(right.problems, []);
        assert_eq!(
            right.canonical.as_deref(),
            Some("{ status = error } | rate()")
        );
        assert!(right.is_series);
    }
}
