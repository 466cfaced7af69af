//! Tokens to a syntax tree: precedence climbing over two kinds of expressions.
//!
//! `field` parses what stands inside braces, `pipeline` what stands around them. Recursion is
//! bounded by the depth limit on the way in, and the height of every tree on the way out, so that
//! whoever walks a tree may recurse.

mod field;
mod pipeline;

use super::SyntaxLimits;
use super::ast::{
    Expr, ExprKind, Hint, INTRINSICS, KINDS, Literal, Query, Root, STATUSES, TextSpan,
};
use super::error::SyntaxError;
use super::lexer::Lexer;
use super::suggest::nearest;
use super::token::{Symbol, Token, excerpt};
use crate::limit::QueryLimit;
use pipeline::Operand;

type ParseResult<T> = Result<T, SyntaxError>;

/// Words that stand before a parenthesis, for suggestions.
const FUNCTIONS: [&str; 20] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "avg_over_time",
    "histogram_over_time",
    "quantile_over_time",
    "compare",
    "topk",
    "bottomk",
    "count",
    "min",
    "max",
    "avg",
    "sum",
    "by",
    "coalesce",
    "select",
    "with",
];

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token,
    span: TextSpan,
    /// End of the token before the current one.
    end: usize,
    /// What was looked for at the current token.
    expected: Vec<&'static str>,
    depth: usize,
    limits: SyntaxLimits,
}

pub(super) fn parse_query(text: &str, limits: SyntaxLimits) -> ParseResult<Query> {
    let mut parser = Parser::new(text, limits)?;
    let operand = parser.pipeline()?;
    let root = parser.root(operand)?;
    let mut hints = Vec::new();
    while parser.at_word("with") {
        // Of several the last counts.
        hints = parser.hints()?;
    }
    parser.expect_end()?;
    Ok(Query { root, hints })
}

/// The name of an attribute or intrinsic that stands alone, as tag values take it.
pub(super) fn parse_attribute_name(text: &str, limits: SyntaxLimits) -> ParseResult<Expr> {
    let mut parser = Parser::new(text, limits)?;
    let name = parser.field_name()?;
    parser.expect_end()?;
    Ok(name)
}

/// What can be saved of a query that filters tag values: the whole of a single filter, else those
/// terms of its top-level `&&` that parse. `None` where nothing can be.
pub(super) fn parse_lenient(text: &str, limits: SyntaxLimits) -> Option<Query> {
    if text.len() > limits.bytes_max {
        return None;
    }
    if let Ok(query) = parse_query(text, limits) {
        return Some(query);
    }
    let open = text.find('{')?;
    let body = text.get(open + 1..)?;
    let terms: Vec<Expr> = top_level_terms(body)?
        .into_iter()
        .filter_map(|term| {
            let mut parser = Parser::new(term, limits).ok()?;
            let expr = parser.field(0).ok()?;
            parser.expect_end().ok()?;
            Some(expr)
        })
        .collect();
    let filter = match terms.len() {
        0 => return None,
        1 => terms.into_iter().next(),
        _ => Some(Expr::new(
            ExprKind::Logic(super::ast::LogicOp::And, terms),
            TextSpan::default(),
        )),
    };
    Some(Query {
        root: Root::Pipeline(pipeline::single(filter)),
        hints: Vec::new(),
    })
}

/// Cuts the inside of braces at its outermost `&&`. `None` where an `||` stands beside them:
/// to leave out a term of it would hide values.
fn top_level_terms(body: &str) -> Option<Vec<&str>> {
    let mut lexer = Lexer::new(body);
    let mut terms = Vec::new();
    let (mut from, mut depth) = (0, 0usize);
    // What the lexer refuses is part of one broken term: the rest.
    while let Ok((token, span)) = lexer.next() {
        match token {
            Token::End => break,
            Token::Symbol(Symbol::LeftParen) => depth += 1,
            Token::Symbol(Symbol::RightParen) => depth = depth.saturating_sub(1),
            Token::Symbol(Symbol::Or) if depth == 0 => return None,
            Token::Symbol(Symbol::And) if depth == 0 => {
                terms.push(body.get(from..span.from)?);
                from = span.to;
            }
            Token::Symbol(Symbol::RightBrace) => {
                terms.push(body.get(from..span.from)?);
                return Some(terms);
            }
            _ => {}
        }
    }
    terms.push(body.get(from..)?);
    Some(terms)
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, limits: SyntaxLimits) -> ParseResult<Self> {
        if text.len() > limits.bytes_max {
            return Err(SyntaxError::new(
                text,
                TextSpan::default(),
                format!(
                    "the query has {} bytes, the limit is {}",
                    text.len(),
                    limits.bytes_max
                ),
            )
            .with_limit(QueryLimit::TextBytes));
        }
        let mut parser = Self {
            text,
            lexer: Lexer::new(text),
            token: Token::End,
            span: TextSpan::default(),
            end: 0,
            expected: Vec::new(),
            depth: 0,
            limits,
        };
        parser.advance()?;
        parser.end = 0;
        Ok(parser)
    }

    // === tokens ===

    fn advance(&mut self) -> ParseResult<Token> {
        self.end = self.span.to;
        self.expected.clear();
        let (token, span) = self.lexer.next()?;
        self.span = span;
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// True if the current token is the symbol; if not, remembers that it could have been.
    fn at(&mut self, symbol: Symbol) -> bool {
        let here = self.token == Token::Symbol(symbol);
        if !here {
            self.expect_also(symbol.quoted());
        }
        here
    }

    fn at_word(&mut self, word: &'static str) -> bool {
        matches!(&self.token, Token::Word(here) if here == word)
    }

    fn take(&mut self, symbol: Symbol) -> ParseResult<bool> {
        let here = self.at(symbol);
        if here {
            self.advance()?;
        }
        Ok(here)
    }

    fn expect(&mut self, symbol: Symbol) -> ParseResult<()> {
        if self.take(symbol)? {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect_end(&mut self) -> ParseResult<()> {
        if self.token == Token::End {
            return Ok(());
        }
        self.expect_also("end of query");
        Err(self.unexpected())
    }

    fn expect_also(&mut self, what: &'static str) {
        if !self.expected.contains(&what) {
            self.expected.push(what);
        }
    }

    fn symbol(&self) -> Option<Symbol> {
        match self.token {
            Token::Symbol(symbol) => Some(symbol),
            _ => None,
        }
    }

    /// From the start of something to the end of the last token.
    fn since(&self, from: usize) -> TextSpan {
        TextSpan::new(from, self.end.max(from))
    }

    // === errors and limits ===

    fn token_text(&self) -> &'a str {
        self.text
            .get(self.span.from..self.span.to)
            .unwrap_or_default()
    }

    fn unexpected(&mut self) -> SyntaxError {
        let mut error =
            SyntaxError::new(self.text, self.span, self.token.describe(self.token_text()));
        error.expected = std::mem::take(&mut self.expected);
        match &self.token {
            Token::Word(word) if word == "and" || word == "or" => {
                error.with_hint("logic is written `&&` and `||`")
            }
            Token::Word(word) => match nearest(word, FUNCTIONS.iter().copied()) {
                Some(meant) if meant != word => {
                    error.with_hint(format!("did you mean \"{meant}\"?"))
                }
                _ => error,
            },
            _ => error,
        }
    }

    fn error_at(&self, span: TextSpan, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.text, span, message)
    }

    fn too_deep(&self, span: TextSpan) -> SyntaxError {
        self.error_at(
            span,
            format!(
                "the query is nested deeper than {} levels",
                self.limits.depth_max
            ),
        )
        .with_limit(QueryLimit::Depth)
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> ParseResult<T>) -> ParseResult<T> {
        if self.depth >= self.limits.depth_max {
            return Err(self.too_deep(self.span));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn check_height(&self, height: usize, span: TextSpan) -> ParseResult<()> {
        if height > self.limits.depth_max {
            Err(self.too_deep(span))
        } else {
            Ok(())
        }
    }

    // === the outermost level ===

    fn root(&mut self, operand: Operand) -> ParseResult<Root> {
        match operand {
            Operand::Spanset(expr) => Ok(Root::Pipeline(pipeline::of_spanset(expr))),
            Operand::Stages(pipeline) => Ok(Root::Pipeline(pipeline)),
            Operand::Metrics(expr) => Ok(Root::Metrics(expr)),
            // An operator that numbers do not have.
            Operand::Scalar(_) if self.token != Token::End => Err(self.unexpected()),
            Operand::Scalar(expr) => Err(self
                .error_at(expr.span, "a query cannot end in a number")
                .with_hint("compare the aggregate, as in `count() > 2`")),
        }
    }

    fn hints(&mut self) -> ParseResult<Vec<Hint>> {
        self.advance()?;
        self.expect(Symbol::LeftParen)?;
        let mut hints = Vec::new();
        loop {
            let Token::Word(name) = &self.token else {
                self.expect_also("the name of a hint");
                return Err(self.unexpected());
            };
            let name = name.clone();
            self.advance()?;
            self.expect(Symbol::Equal)?;
            let value = self.literal()?;
            hints.push(Hint { name, value });
            if !self.take(Symbol::Comma)? {
                break;
            }
        }
        self.expect(Symbol::RightParen)?;
        Ok(hints)
    }

    /// A constant, or an error that says that one is expected.
    fn literal(&mut self) -> ParseResult<Literal> {
        let Some(literal) = self.literal_here() else {
            self.expect_also("a constant");
            return Err(self.unexpected());
        };
        self.advance()?;
        Ok(literal)
    }

    /// The constant that the current token is.
    fn literal_here(&self) -> Option<Literal> {
        Some(match &self.token {
            Token::String(text) => Literal::String(text.as_str().into()),
            Token::Int(value) => Literal::Int(*value),
            Token::Float(value) => Literal::Float(*value),
            Token::Duration(nanos) => Literal::Duration(*nanos),
            Token::Word(word) => match word.as_str() {
                "nil" => Literal::Nil,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "minInt" => Literal::Int(i64::MIN),
                "maxInt" => Literal::Int(i64::MAX),
                word => {
                    let code = |table: &[(&str, i32)]| {
                        table
                            .iter()
                            .find(|(name, _)| *name == word)
                            .map(|(_, code)| *code)
                    };
                    code(STATUSES)
                        .map(Literal::Status)
                        .or_else(|| code(KINDS).map(Literal::Kind))?
                }
            },
            _ => return None,
        })
    }

    fn unknown_word(&mut self) -> SyntaxError {
        let text = self.token_text();
        let word = excerpt(text);
        let constants = STATUSES.iter().chain(KINDS).map(|(name, _)| *name);
        let constants = constants.chain(["nil", "true", "false"]);
        let meant = match nearest(text, INTRINSICS.iter().map(|it| it.written)) {
            Some(meant) => Some(("intrinsic", meant)),
            None => nearest(text, constants).map(|meant| ("constant", meant)),
        };
        let mut error = self.unexpected();
        if let Some((what, meant)) = meant {
            error.message = format!("unknown {what} \"{word}\": did you mean \"{meant}\"?");
            error.expected.clear();
        }
        error.with_hint(format!(
            "an attribute needs a scope: `span.{word}`, `resource.{word}`, or `.{word}` for any; text needs double quotes"
        ))
    }
}
