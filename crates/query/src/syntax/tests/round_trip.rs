//! Random trees of the whole language: what is printed parses to the same tree.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tracewell_model::{AttributeScope, CompareOp};

use super::super::ast::*;
use super::super::{SyntaxLimits, parse_with};

fn span() -> TextSpan {
    TextSpan::default()
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    use CompareOp as C;
    prop_oneof![
        Just(C::Equal),
        Just(C::NotEqual),
        Just(C::Less),
        Just(C::LessOrEqual),
        Just(C::Greater),
        Just(C::GreaterOrEqual),
    ]
}

fn arithmetic_op() -> impl Strategy<Value = ArithmeticOp> {
    use ArithmeticOp as A;
    prop_oneof![
        Just(A::Add),
        Just(A::Subtract),
        Just(A::Multiply),
        Just(A::Divide),
        Just(A::Modulo),
        Just(A::Power),
    ]
}

fn series_op() -> impl Strategy<Value = ArithmeticOp> {
    use ArithmeticOp as A;
    prop_oneof![
        Just(A::Add),
        Just(A::Subtract),
        Just(A::Multiply),
        Just(A::Divide),
    ]
}

fn logic_op() -> impl Strategy<Value = LogicOp> {
    prop_oneof![Just(LogicOp::And), Just(LogicOp::Or)]
}

fn number() -> impl Strategy<Value = Literal> {
    prop_oneof![
        (0..=i64::MAX).prop_map(Literal::Int),
        (0.0..1e300f64).prop_map(Literal::Float),
        (0..=i64::MAX).prop_map(Literal::Duration),
    ]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        number(),
        any::<String>().prop_map(|text| Literal::String(text.into())),
        any::<bool>().prop_map(Literal::Bool),
        Just(Literal::Nil),
        Just(Literal::Int(i64::MIN)),
        (0..3i32).prop_map(Literal::Status),
        (0..6i32).prop_map(Literal::Kind),
    ]
}

fn attribute() -> impl Strategy<Value = Expr> {
    let scope = option::of(prop_oneof![
        Just(AttributeScope::Span),
        Just(AttributeScope::Resource),
        Just(AttributeScope::Event),
        Just(AttributeScope::Link),
        Just(AttributeScope::Instrumentation),
    ]);
    let key = prop_oneof![
        "[a-z.0-9+*/-]{1,8}",
        ".{1,6}",
        Just("span.x".to_owned()),
        Just("a\\\"b".to_owned()),
    ];
    (scope, key, any::<bool>()).prop_map(|(scope, key, of_parent)| {
        // Of a parent there are the scopes of a span and its resource, and any.
        let of_parent = of_parent
            && matches!(
                scope,
                None | Some(AttributeScope::Span | AttributeScope::Resource)
            );
        let name = AttributeName {
            scope,
            of_parent,
            key: key.into(),
        };
        Expr::new(ExprKind::Attribute(name), span())
    })
}

fn name() -> impl Strategy<Value = Expr> {
    prop_oneof![
        attribute(),
        (0..INTRINSICS.len())
            .prop_map(|index| Expr::new(ExprKind::Intrinsic(INTRINSICS[index]), span())),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        2 => name(),
        1 => literal().prop_map(|literal| Expr::new(ExprKind::Literal(literal), span())),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(ExprKind::Not),
            boxed().prop_map(ExprKind::Negate),
            (arithmetic_op(), boxed(), boxed())
                .prop_map(|(op, left, right)| ExprKind::Arithmetic(op, left, right)),
            (compare_op(), boxed(), boxed())
                .prop_map(|(op, left, right)| ExprKind::Compare(op, left, right)),
            (any::<bool>(), boxed(), any::<String>()).prop_map(|(negated, left, pattern)| {
                ExprKind::Regex {
                    negated,
                    left,
                    pattern: pattern.into(),
                    pattern_span: span(),
                }
            }),
            (logic_op(), vec(inner.clone(), 2..4)).prop_map(|(op, terms)| logic(op, terms)),
        ]
        .prop_map(|kind| Expr::new(kind, span()))
    })
}

/// As the parser builds it: what begins with the same logic is one node.
fn logic(op: LogicOp, terms: Vec<Expr>) -> ExprKind {
    let mut terms = terms.into_iter();
    let first = terms.next().unwrap();
    let mut all = match first.kind {
        ExprKind::Logic(same, inner) if same == op => inner,
        _ => vec![first],
    };
    all.extend(terms);
    ExprKind::Logic(op, all)
}

fn filter() -> impl Strategy<Value = SpansetExpr> {
    option::of(expr()).prop_map(|inner| SpansetExpr::new(SpansetKind::Filter(inner), span()))
}

fn relation() -> impl Strategy<Value = Relation> {
    let kin = prop_oneof![
        Just(Kin::Child),
        Just(Kin::Descendant),
        Just(Kin::Parent),
        Just(Kin::Ancestor),
        Just(Kin::Sibling),
    ];
    let mode = prop_oneof![
        Just(RelationMode::Plain),
        Just(RelationMode::Negated),
        Just(RelationMode::Union),
    ];
    (kin, mode).prop_map(|(kin, mode)| Relation { kin, mode })
}

fn spanset() -> impl Strategy<Value = SpansetExpr> {
    filter().prop_recursive(3, 8, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (relation(), boxed(), boxed())
                .prop_map(|(relation, left, right)| SpansetKind::Relation(relation, left, right)),
            (logic_op(), vec(inner.clone(), 2..4)).prop_map(|(op, terms)| {
                let mut terms = terms.into_iter();
                let first = terms.next().unwrap();
                let mut all = match first.kind {
                    SpansetKind::Logic(same, inner) if same == op => inner,
                    _ => vec![first],
                };
                all.extend(terms);
                SpansetKind::Logic(op, all)
            }),
            (inner.clone(), stages()).prop_map(|(first, stages)| {
                let mut all = vec![Stage::Spanset(first)];
                all.extend(stages);
                SpansetKind::Pipeline(Box::new(Pipeline { stages: all }))
            }),
        ]
        .prop_map(|kind| SpansetExpr::new(kind, span()))
    })
}

fn scalar() -> impl Strategy<Value = ScalarExpr> {
    let literal = || number().prop_map(ScalarKind::Literal);
    let aggregate = prop_oneof![
        Just(ScalarKind::Aggregate(Aggregate::Count, None)),
        expr().prop_map(|of| ScalarKind::Aggregate(Aggregate::Max, Some(Box::new(of)))),
    ];
    let leaf = prop_oneof![literal(), aggregate].prop_map(|kind| ScalarExpr::new(kind, span()));
    leaf.prop_recursive(2, 6, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (series_op(), boxed(), boxed())
                .prop_map(|(op, left, right)| ScalarKind::Arithmetic(op, left, right)),
            boxed().prop_map(ScalarKind::Negate),
        ]
        .prop_map(|kind| ScalarExpr::new(kind, span()))
    })
}

/// One stage at least, and a comparison among them, so that parentheses are not for nothing.
fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let count = || {
        ScalarExpr::new(
            ScalarKind::Aggregate(Aggregate::Count, None),
            TextSpan::default(),
        )
    };
    let stage = prop_oneof![
        (scalar(), compare_op()).prop_map(move |(right, op)| Stage::ScalarFilter {
            left: count(),
            op,
            right,
            span: span(),
        }),
        expr().prop_map(|expr| Stage::By(expr, span())),
        Just(Stage::Coalesce(span())),
        vec(name(), 1..3).prop_map(|names| Stage::Select(names, span())),
        filter().prop_map(Stage::Spanset),
    ];
    vec(stage, 1..3)
}

fn function() -> impl Strategy<Value = MetricsFunction> {
    prop_oneof![
        Just(MetricsFunction::Rate),
        Just(MetricsFunction::CountOverTime),
        name().prop_map(|of| MetricsFunction::OverTime(OverTime::Avg, Box::new(of))),
        (name(), vec(0.0..1.0f64, 1..3))
            .prop_map(|(of, quantiles)| MetricsFunction::QuantileOverTime(Box::new(of), quantiles)),
        (option::of(expr()), 0..100i64).prop_map(|(selection, top)| MetricsFunction::Compare {
            selection: selection.map(Box::new),
            top: Some(top),
            window: Some((1, 2)),
        }),
    ]
}

fn metrics() -> impl Strategy<Value = MetricsExpr> {
    let leaf = (spanset(), function(), vec(name(), 0..3)).prop_map(|(first, function, by)| {
        let kind = MetricsKind::Pipeline {
            pipeline: Pipeline {
                stages: vec![Stage::Spanset(first)],
            },
            function,
            by,
        };
        MetricsExpr::new(kind, span())
    });
    leaf.prop_recursive(3, 6, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let stage = prop_oneof![
            (0..9i64).prop_map(MetricsStage::Top),
            (0..9i64).prop_map(MetricsStage::Bottom),
            (compare_op(), number()).prop_map(|(op, number)| {
                MetricsStage::Compare(op, ScalarExpr::new(ScalarKind::Literal(number), span()))
            }),
        ];
        prop_oneof![
            (boxed(), stage).prop_map(|(inner, stage)| MetricsKind::Stage(inner, stage)),
            (series_op(), boxed(), boxed())
                .prop_map(|(op, left, right)| MetricsKind::Arithmetic(op, left, right)),
        ]
        .prop_map(|kind| MetricsExpr::new(kind, span()))
    })
}

fn query() -> impl Strategy<Value = Query> {
    let root = prop_oneof![
        spanset().prop_map(|first| Root::Pipeline(Pipeline {
            stages: vec![Stage::Spanset(first)],
        })),
        (spanset(), stages()).prop_map(|(first, stages)| {
            let mut all = vec![Stage::Spanset(first)];
            all.extend(stages);
            Root::Pipeline(Pipeline { stages: all })
        }),
        metrics().prop_map(Root::Metrics),
    ];
    let hint = ("[a-z_]{1,8}", number()).prop_map(|(name, value)| Hint {
        name: format!("h{name}"),
        value,
    });
    (root, vec(hint, 0..3)).prop_map(|(root, hints)| Query { root, hints })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_printed_parses_to_the_same_tree(query in query()) {
        let limits = SyntaxLimits {
            depth_max: 1_000,
            ..SyntaxLimits::default()
        };
        let printed = query.to_string();
        let again = parse_with(&printed, limits)
            .map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(&again, &query, "{}", printed);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn any_text_is_answered(text in ".{0,60}") {
        drop(super::super::parse(&text));
        drop(super::super::parse_lenient(&text, SyntaxLimits::default()));
    }

    #[test]
    fn any_tokens_are_answered(
        tokens in vec(
            prop::sample::select(vec![
                "{", "}", "(", ")", ".a", "span.b", "name", "=", "!=", "!~", "=~", "\"x\"", "1",
                "2ms", "&&", "||", "|", ">>", "!<", "&~", "+", "-", "*", "^", "!", "nil", "true",
                "error", "count", "()", "by", "rate()", "with", ",", "topk(1)", "avg(duration)",
            ]),
            0..20,
        )
    ) {
        let text = tokens.join(" ");
        if let Ok(query) = super::super::parse(&text) {
            let printed = query.to_string();
            let again = super::super::parse(&printed)
                .map_err(|error| TestCaseError::fail(format!("{text} as {printed}: {error}")))?;
            prop_assert_eq!(again, query, "{} as {}", text, printed);
        }
    }
}
