//! Patterns of RE2, which are those of TraceQL, in the syntax of the `regex` crates.
//!
//! Most patterns mean the same in both. In RE2 `\d`, `\s`, `\w` and `\b` are of ASCII, while `.`,
//! `\p{..}` and the folding of case are of Unicode; a class holds no set operations and, but for
//! `[:name:]`, no other class; `\Q..\E` quotes; a `{` that begins no count stands for itself, and every
//! escaped punctuation too. What RE2 refuses is refused: a repetition of a repetition, other flags than
//! `imsU`, other escapes than its own. Its limit on nested counts is not kept, since the size of what is
//! compiled is limited; nor is a repetition behind flags (`a(?i)*`) understood.
//!
//! One pass without recursion. Groups are not matched here: what compiles the result does that.
//! The syntax: <https://github.com/google/re2/wiki/Syntax>.

#[cfg(test)]
mod tests;

use super::{RegexError, push_literal};

/// A pattern for the `regex` crates.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    pub(super) text: String,
    /// True if it has neither groups nor alternatives nor flags.
    pub(super) is_plain: bool,
}

/// Larger counts are refused.
const COUNT_MAX: u32 = 1_000;
/// Classes that stand in others as `[:name:]`; both syntaxes have these.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let last_end = pattern.rfind(":]");
    let mut translator = Translator {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        is_plain: true,
        after_repetition: false,
        named_end: last_end.map(|at| pattern.len() - at),
    };
    while let Some(c) = translator.rest.chars().next() {
        translator.token(c)?;
    }
    Ok(Translated {
        text: translator.out,
        is_plain: translator.is_plain,
    })
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
    is_plain: bool,
    /// True directly behind `*` and the like.
    after_repetition: bool,
    /// How much is left where the last `:]` begins.
    named_end: Option<usize>,
}

impl<'p> Translator<'p> {
    fn token(&mut self, c: char) -> Result<(), RegexError> {
        let after_repetition = std::mem::take(&mut self.after_repetition);
        if c == '\\' {
            return self.escape();
        }
        let (token, behind) = self.rest.split_at(c.len_utf8());
        self.rest = behind;
        match c {
            '(' => self.group()?,
            ')' | '|' => {
                self.is_plain = false;
                self.out.push(c);
            }
            '^' | '$' | '.' => self.out.push(c),
            '[' => self.class()?,
            '*' | '+' | '?' => self.repetition(token, after_repetition)?,
            '{' => match self.count()? {
                Some(count) => {
                    self.out.push('{');
                    self.repetition(count, after_repetition)?;
                }
                None => push_literal(&mut self.out, c),
            },
            _ => push_literal(&mut self.out, c),
        }
        Ok(())
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    // === repetitions ===

    fn repetition(&mut self, text: &str, after_repetition: bool) -> Result<(), RegexError> {
        if after_repetition {
            return Err(refused("a repetition directly behind another"));
        }
        self.out.push_str(text);
        if self.eat("?") {
            self.out.push('?');
        }
        self.after_repetition = true;
        Ok(())
    }

    /// What stands behind a `{`, up to and with the `}`; `None` if it is no count.
    fn count(&mut self) -> Result<Option<&'p str>, RegexError> {
        let Some((min, mut rest)) = number(self.rest) else {
            return Ok(None);
        };
        let mut max = min;
        if let Some(behind) = rest.strip_prefix(',') {
            (max, rest) = match number(behind) {
                Some(found) => found,
                None => (COUNT_MAX, behind),
            };
        }
        let Some(rest) = rest.strip_prefix('}') else {
            return Ok(None);
        };
        if max > COUNT_MAX || min > max {
            return Err(refused(
                "a count above 1000, or one that ends before it begins",
            ));
        }
        let (count, rest) = self.rest.split_at(self.rest.len() - rest.len());
        self.rest = rest;
        Ok(Some(count))
    }

    // === groups ===

    /// What stands behind a `(`.
    fn group(&mut self) -> Result<(), RegexError> {
        self.is_plain = false;
        if !self.eat("?") {
            // Nobody asks what a group has matched.
            self.out.push_str("(?:");
            return Ok(());
        }
        if self.eat("P<") || self.eat("<") {
            return self.name();
        }
        self.flags()
    }

    fn name(&mut self) -> Result<(), RegexError> {
        let is_other = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let end = self.rest.find(is_other).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let Some(rest) = rest.strip_prefix('>').filter(|_| !name.is_empty()) else {
            return Err(refused(
                "look-behind, or a name of a group that is not of letters, digits and `_`",
            ));
        };
        self.rest = rest;
        // Here it may begin with a digit; and none may be there twice.
        for part in ["(?P<_", name, ">"] {
            self.out.push_str(part);
        }
        Ok(())
    }

    fn flags(&mut self) -> Result<(), RegexError> {
        let (mut on, mut off) = (String::new(), String::new());
        let (mut is_negated, mut has_flag) = (false, false);
        loop {
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => {
                    // The last word on a flag counts, and it may be said but once.
                    on.retain(|c| c != flag);
                    off.retain(|c| c != flag);
                    if is_negated { &mut off } else { &mut on }.push(flag);
                    has_flag = true;
                }
                Some('-') if !is_negated => (is_negated, has_flag) = (true, false),
                Some(end @ (':' | ')')) if has_flag || !is_negated => {
                    if end == ')' && on.is_empty() && off.is_empty() {
                        return Ok(());
                    }
                    let minus = if off.is_empty() { "" } else { "-" };
                    for part in ["(?", &on, minus, &off] {
                        self.out.push_str(part);
                    }
                    self.out.push(end);
                    return Ok(());
                }
                _ => {
                    return Err(refused(
                        "look-around, or a flag of a group that is not one of i, m, s and U",
                    ));
                }
            }
        }
    }

    // === classes ===

    /// What stands behind a `[`.
    fn class(&mut self) -> Result<(), RegexError> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.eat("]") {
            is_first = false;
            if self.named_class()? || self.set_escape()? {
                continue;
            }
            let from = self.class_character()?;
            push_literal(&mut self.out, from);
            let mut behind = self.rest.chars();
            if behind.next() == Some('-') && !matches!(behind.next(), None | Some(']')) {
                self.next();
                let to = self.class_character()?;
                if to < from {
                    return Err(refused("a range in a class that ends before it begins"));
                }
                self.out.push('-');
                push_literal(&mut self.out, to);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` and the like.
    fn named_class(&mut self) -> Result<bool, RegexError> {
        let Some(inner) = self.rest.strip_prefix("[:") else {
            return Ok(false);
        };
        let name = inner.strip_prefix('^').unwrap_or(inner);
        let is_other = |c: char| !c.is_ascii_lowercase();
        let (name, rest) = name.split_at(name.find(is_other).unwrap_or(name.len()));
        if let (Some(rest), true) = (rest.strip_prefix(":]"), CLASSES.contains(&name)) {
            let (class, _) = self.rest.split_at(self.rest.len() - rest.len());
            self.out.push_str(class);
            self.rest = rest;
            return Ok(true);
        }
        // Wherever it ends, RE2 takes what is between for a name.
        match self.named_end {
            Some(end) if end <= inner.len() => Err(refused("a class of this name")),
            _ => Ok(false),
        }
    }

    fn class_character(&mut self) -> Result<char, RegexError> {
        match self.next() {
            None => Err(refused("a class without its `]`")),
            Some('\\') => self.escaped_character(),
            Some(c) => Ok(c),
        }
    }

    // === escapes ===

    /// At a `\` outside of a class.
    fn escape(&mut self) -> Result<(), RegexError> {
        for (escape, text) in [
            (r"\A", r"\A"),
            (r"\z", r"\z"),
            (r"\b", r"(?-u:\b)"),
            (r"\B", r"(?-u:\B)"),
        ] {
            if self.eat(escape) {
                self.out.push_str(text);
                return Ok(());
            }
        }
        if self.eat(r"\Q") {
            let (quoted, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            quoted.chars().for_each(|c| push_literal(&mut self.out, c));
            self.rest = rest;
            return Ok(());
        }
        if !self.set_escape()? {
            self.next();
            let c = self.escaped_character()?;
            push_literal(&mut self.out, c);
        }
        Ok(())
    }

    /// An escape that stands for a set of characters.
    fn set_escape(&mut self) -> Result<bool, RegexError> {
        for (escape, class) in [
            (r"\d", "[0-9]"),
            (r"\D", "[^0-9]"),
            (r"\s", r"[\t\n\f\r ]"),
            (r"\S", r"[^\t\n\f\r ]"),
            (r"\w", "[0-9A-Za-z_]"),
            (r"\W", "[^0-9A-Za-z_]"),
        ] {
            if self.eat(escape) {
                self.out.push_str(class);
                return Ok(true);
            }
        }
        let is_negated = self.rest.starts_with(r"\P");
        if !self.eat(r"\p") && !self.eat(r"\P") {
            return Ok(false);
        }
        let (name, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or_default(),
            None => {
                let first = self.rest.chars().next();
                self.rest.split_at(first.map_or(0, char::len_utf8))
            }
        };
        self.rest = rest;
        let (name, is_opposite) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
        if name.is_empty() || !name.chars().all(is_of_name) {
            return Err(refused("a property of Unicode of this name"));
        }
        let p = if is_negated == is_opposite {
            r"\p{"
        } else {
            r"\P{"
        };
        for part in [p, name, "}"] {
            self.out.push_str(part);
        }
        Ok(true)
    }

    /// What stands behind a `\` for one character.
    fn escaped_character(&mut self) -> Result<char, RegexError> {
        Ok(match self.next() {
            None => return Err(refused(r"a `\` at the end")),
            Some('a') => '\x07',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some('x') => self.hexadecimal()?,
            Some(first @ '0'..='7') => self.octal(first)?,
            Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            Some(c) => return Err(refused(&format!(r"`\{c}`"))),
        })
    }

    /// Up to three digits; one alone, unless it is 0, would be a reference to a group.
    fn octal(&mut self, first: char) -> Result<char, RegexError> {
        let mut code = first.to_digit(8).unwrap_or(0);
        let mut n_digits = 1;
        while let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8))
            && n_digits < 3
        {
            self.next();
            code = code * 8 + digit;
            n_digits += 1;
        }
        if first != '0' && n_digits == 1 {
            return Err(refused("a reference to a group"));
        }
        char::from_u32(code).ok_or_else(|| refused("this character"))
    }

    /// Two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Result<char, RegexError> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or_default(),
            None => self.rest.split_at_checked(2).unwrap_or_default(),
        };
        self.rest = rest;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_number);
        let c = code.and_then(char::from_u32);
        c.ok_or_else(|| refused(r"a `\x` without the number of a character"))
    }
}

/// A number without leading zeros, and what is behind it; one too large is the largest.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_number = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
    is_number.then(|| (digits.parse().unwrap_or(u32::MAX), rest))
}

fn refused(what: &str) -> RegexError {
    RegexError {
        reason: format!("RE2 does not have {what}"),
        is_too_large: false,
    }
}
