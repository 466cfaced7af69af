//! Expressions inside braces.
//!
//! From loose to tight: `&& ||` on one level; comparisons; `+ -` and unary minus; `!`; `* / %`;
//! `^`, which alone groups to the right.

use tracewell_model::CompareOp;

use super::super::ast::{ArithmeticOp, Expr, ExprKind, Literal, LogicOp};
use super::super::token::{Symbol, Token};
use super::{ParseResult, Parser};

#[derive(Debug, Clone, Copy)]
enum BinaryOp {
    Logic(LogicOp),
    Compare(CompareOp),
    Regex { negated: bool },
    Arithmetic(ArithmeticOp),
}

const LOGIC: u8 = 1;
const COMPARISON: u8 = 2;
const SUM: u8 = 3;
const NOT: u8 = 4;
const PRODUCT: u8 = 5;
const POWER: u8 = 6;

fn binary_op(symbol: Symbol) -> Option<(BinaryOp, u8)> {
    use ArithmeticOp as A;
    Some(match symbol {
        Symbol::And => (BinaryOp::Logic(LogicOp::And), LOGIC),
        Symbol::Or => (BinaryOp::Logic(LogicOp::Or), LOGIC),
        Symbol::Plus => (BinaryOp::Arithmetic(A::Add), SUM),
        Symbol::Minus => (BinaryOp::Arithmetic(A::Subtract), SUM),
        Symbol::Star => (BinaryOp::Arithmetic(A::Multiply), PRODUCT),
        Symbol::Slash => (BinaryOp::Arithmetic(A::Divide), PRODUCT),
        Symbol::Percent => (BinaryOp::Arithmetic(A::Modulo), PRODUCT),
        Symbol::Caret => (BinaryOp::Arithmetic(A::Power), POWER),
        Symbol::EqualRegex => (BinaryOp::Regex { negated: false }, COMPARISON),
        Symbol::NotRegex => (BinaryOp::Regex { negated: true }, COMPARISON),
        _ => (BinaryOp::Compare(compare_op(symbol)?), COMPARISON),
    })
}

/// The comparison that a symbol means between values.
pub(super) fn compare_op(symbol: Symbol) -> Option<CompareOp> {
    Some(match symbol {
        Symbol::Equal => CompareOp::Equal,
        Symbol::NotEqual => CompareOp::NotEqual,
        Symbol::Less => CompareOp::Less,
        Symbol::LessOrEqual => CompareOp::LessOrEqual,
        Symbol::Greater => CompareOp::Greater,
        Symbol::GreaterOrEqual => CompareOp::GreaterOrEqual,
        _ => return None,
    })
}

impl Parser<'_> {
    /// An expression whose operators all bind at least as tight as `tightness_min`.
    pub(super) fn field(&mut self, tightness_min: u8) -> ParseResult<Expr> {
        self.nested(|parser| {
            let mut left = parser.field_prefix()?;
            loop {
                let Some((op, tightness)) = parser.symbol().and_then(binary_op) else {
                    parser.expect_also("an operator");
                    return Ok(left);
                };
                if tightness < tightness_min {
                    return Ok(left);
                }
                parser.advance()?;
                left = parser.field_rest(left, op, tightness)?;
            }
        })
    }

    fn field_rest(&mut self, left: Expr, op: BinaryOp, tightness: u8) -> ParseResult<Expr> {
        let from = left.span.from;
        let kind = match op {
            BinaryOp::Regex { negated } => {
                let Token::String(pattern) = &self.token else {
                    self.expect_also("a string");
                    return Err(self.unexpected().with_hint(
                        "the right side of `=~` and `!~` is a regular expression in quotes",
                    ));
                };
                let pattern = pattern.as_str().into();
                let pattern_span = self.span;
                self.advance()?;
                ExprKind::Regex {
                    negated,
                    left: Box::new(left),
                    pattern,
                    pattern_span,
                }
            }
            BinaryOp::Compare(op) => {
                ExprKind::Compare(op, Box::new(left), Box::new(self.field(tightness + 1)?))
            }
            BinaryOp::Arithmetic(op) => {
                let right_min = tightness + u8::from(op != ArithmeticOp::Power);
                ExprKind::Arithmetic(op, Box::new(left), Box::new(self.field(right_min)?))
            }
            BinaryOp::Logic(op) => {
                let right = self.field(tightness + 1)?;
                match left.kind {
                    ExprKind::Logic(same, mut terms) if same == op => {
                        terms.push(right);
                        ExprKind::Logic(op, terms)
                    }
                    kind => ExprKind::Logic(op, vec![Expr { kind, ..left }, right]),
                }
            }
        };
        self.expr(kind, from)
    }

    fn expr(&self, kind: ExprKind, from: usize) -> ParseResult<Expr> {
        let expr = Expr::new(kind, self.since(from));
        self.check_height(expr.height, expr.span)?;
        Ok(expr)
    }

    fn field_prefix(&mut self) -> ParseResult<Expr> {
        let from = self.span.from;
        if self.take(Symbol::Not)? {
            let inner = self.field(NOT)?;
            return self.expr(ExprKind::Not(Box::new(inner)), from);
        }
        if self.take(Symbol::Minus)? {
            // Looser than a product: `-.a * .b` is `-(.a * .b)`, which has the same value.
            let inner = self.field(SUM + 1)?;
            return self.expr(ExprKind::Negate(Box::new(inner)), from);
        }
        if self.take(Symbol::LeftParen)? {
            let inner = self.field(0)?;
            self.expect(Symbol::RightParen)?;
            return Ok(inner);
        }
        if let Some(literal) = self.literal_here() {
            self.advance()?;
            return self.expr(ExprKind::Literal(literal), from);
        }
        self.field_name()
    }

    /// An attribute or intrinsic.
    pub(super) fn field_name(&mut self) -> ParseResult<Expr> {
        let from = self.span.from;
        let kind = match &self.token {
            Token::Attribute(name) => ExprKind::Attribute(name.clone()),
            Token::Intrinsic(name) => ExprKind::Intrinsic(*name),
            Token::Word(_) => {
                self.expect_names();
                return Err(self.unknown_word());
            }
            _ => {
                self.expect_names();
                return Err(self.unexpected());
            }
        };
        self.advance()?;
        self.expr(kind, from)
    }

    fn expect_names(&mut self) {
        self.expect_also("an attribute");
        self.expect_also("an intrinsic");
        self.expect_also("a constant");
    }

    /// `( expression )`, as aggregates and `by` take it.
    pub(super) fn field_in_parens(&mut self) -> ParseResult<Expr> {
        self.expect(Symbol::LeftParen)?;
        let expr = self.field(0)?;
        self.expect(Symbol::RightParen)?;
        Ok(expr)
    }

    /// Names between commas, up to and with the closing parenthesis.
    pub(super) fn field_names(&mut self) -> ParseResult<Vec<Expr>> {
        let mut names = vec![self.field_name()?];
        while self.take(Symbol::Comma)? {
            names.push(self.field_name()?);
        }
        self.expect(Symbol::RightParen)?;
        Ok(names)
    }

    /// A whole number that is not negative.
    pub(super) fn whole_number(&mut self) -> ParseResult<i64> {
        match self.literal_here() {
            Some(Literal::Int(value)) => {
                self.advance()?;
                Ok(value)
            }
            _ => {
                self.expect_also("a whole number");
                Err(self.unexpected())
            }
        }
    }
}
