//! `-config.expand-env`: `${NAME}` and its kin in a Tempo file, before it is parsed as YAML.

mod glob;

use crate::config::yaml::Error;
use glob::Cut;

/// Defaults within defaults, `${A:-${B:-${C}}}`, go no deeper.
const DEPTH_MAX: usize = 8;

/// Replaces what Tempo replaces: `${NAME}`; `${NAME:-default}` and `${NAME:=default}`, without the
/// colon only where it is not set; `${#NAME}`, its length; `${NAME/a/b}` once, `//` each, `/#` at the
/// start, `/%` at the end; `${NAME#a}` and `${NAME%a}` without the shortest start or end that a pattern matches,
/// `##` and `%%` without the longest; `${NAME^}`, `^^`, `,` and `,,` in another case; `${NAME:from:length}`;
/// `$$`, a dollar. A variable that is not set is empty, as Tempo has it. Other forms, and `/` with `*`, `?` or
/// `[`, are errors: guessing what they mean would change a configuration in silence.
pub(crate) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Error> {
    let mut expanded = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        expand_line(line, variable, DEPTH_MAX, &mut expanded).map_err(|message| Error {
            line: Some(number),
            message,
        })?;
    }
    Ok(expanded)
}

fn expand_line(
    line: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    depth: usize,
    expanded: &mut String,
) -> Result<(), String> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (expression, after) = until_closed(after)
                .ok_or_else(|| "`${` without `}`; write `$$` for a dollar".to_owned())?;
            expanded.push_str(&evaluate(expression, variable, depth)?);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(())
}

/// What stands before the brace that closes an expression, and what stands behind it.
fn until_closed(text: &str) -> Option<(&str, &str)> {
    let mut open = 1usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            let (expression, after) = text.split_at_checked(at)?;
            return Some((expression, after.strip_prefix('}')?));
        }
    }
    None
}

fn evaluate(
    expression: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, String> {
    if let Some(name) = expression.strip_prefix('#') {
        let value = variable(checked(name, expression)?).unwrap_or_default();
        return Ok(value.chars().count().to_string());
    }
    let end = expression
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(expression.len());
    let (name, operation) = expression.split_at_checked(end).unwrap_or((expression, ""));
    let value = variable(checked(name, expression)?);
    let default = |prefixes: [&str; 2]| {
        let strip = |prefix: &str| operation.strip_prefix(prefix);
        prefixes.into_iter().find_map(strip)
    };
    let nested = |text: &str| {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| format!("more than {DEPTH_MAX} defaults within defaults"))?;
        let mut expanded = String::new();
        expand_line(text, variable, depth, &mut expanded)?;
        Ok(expanded)
    };
    if operation.is_empty() {
        Ok(value.unwrap_or_default())
    } else if let Some(default) = default([":-", ":="]) {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => nested(default),
        }
    } else if let Some(default) = default(["-", "="]) {
        match value {
            Some(value) => Ok(value),
            None => nested(default),
        }
    } else {
        changed(&value.unwrap_or_default(), operation).ok_or_else(|| unsupported(expression))
    }
}

/// A value after an operation; `None` for one that is not known.
fn changed(value: &str, operation: &str) -> Option<String> {
    let of_first = |change: fn(&str) -> String| {
        let first = value.chars().next().map_or(0, char::len_utf8);
        let (first, rest) = value.split_at_checked(first)?;
        Some(format!("{}{rest}", change(first)))
    };
    match operation {
        "^" => return of_first(str::to_uppercase),
        "," => return of_first(str::to_lowercase),
        "^^" => return Some(value.to_uppercase()),
        ",," => return Some(value.to_lowercase()),
        _ => {}
    }
    let (kind, operand) = operation.split_at_checked(1)?;
    match kind {
        ":" => substring(value, operand),
        "/" => replaced(value, operand),
        "#" => Some(match operand.strip_prefix('#') {
            Some(pattern) => glob::cut(value, pattern, Cut::LongestStart),
            None => glob::cut(value, operand, Cut::ShortestStart),
        }),
        "%" => Some(match operand.strip_prefix('%') {
            Some(pattern) => glob::cut(value, pattern, Cut::LongestEnd),
            None => glob::cut(value, operand, Cut::ShortestEnd),
        }),
        _ => None,
    }
}

/// `from` or `from:length`, in characters.
fn substring(value: &str, operand: &str) -> Option<String> {
    let (from, length) = match operand.split_once(':') {
        Some((from, length)) => (from, length.parse().ok()?),
        None => (operand, usize::MAX),
    };
    let from: usize = from.parse().ok()?;
    Some(value.chars().skip(from).take(length).collect())
}

/// `what/by`, with `/`, `#` or `%` before it.
fn replaced(value: &str, operand: &str) -> Option<String> {
    let where_at = |mark: char| operand.strip_prefix(mark);
    let marked = where_at('/').or(where_at('#')).or(where_at('%'));
    let (what, by) = marked.unwrap_or(operand).split_once('/')?;
    // A pattern would be one of a shell.
    if what.is_empty() || what.contains(['*', '?', '[']) {
        return None;
    }
    Some(match operand.chars().next() {
        Some('/') => value.replace(what, by),
        Some('#') => match value.strip_prefix(what) {
            Some(rest) => format!("{by}{rest}"),
            None => value.to_owned(),
        },
        Some('%') => match value.strip_suffix(what) {
            Some(rest) => format!("{rest}{by}"),
            None => value.to_owned(),
        },
        _ => value.replacen(what, by, 1),
    })
}

fn checked<'a>(name: &'a str, expression: &str) -> Result<&'a str, String> {
    let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !valid {
        return Err(unsupported(expression));
    }
    Ok(name)
}

fn unsupported(expression: &str) -> String {
    format!(
        "`${{{expression}}}` is not understood; ${{NAME}} and ${{NAME:-default}} are, and `$$` is a dollar"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults() {
        let variable = |name: &str| match name {
            "PORT" => Some("3201".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOST" => Some("tempo-EU-1".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("port: ${PORT}\n", "port: 3201\n"),
            ("${NONE}|${NONE:-a}|${NONE-b}|${NONE:=c}", "|a|b|c"),
            ("${EMPTY:-a}|${EMPTY-b}|${#PORT}", "a||4"),
            ("$$5 $PORT a$", "$5 $PORT a$"),
            ("pipe: ${NONE:-http://x:1/}", "pipe: http://x:1/"),
        ] {
            assert_eq!(expand(text, &variable).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("${NONE:-${EMPTY:-${PORT}}}/x", "3201/x"),
            ("${NONE:-{a}}", "{a}"),
            ("${HOST/tempo/tw}|${HOST//-/.}", "tw-EU-1|tempo.EU.1"),
            (
                "${HOST/#tempo/a}|${HOST/%1/2}|${HOST/#x/a}",
                "a-EU-1|tempo-EU-2|tempo-EU-1",
            ),
            (
                "${HOST#tempo-}|${HOST%%-1}|${HOST##x}",
                "EU-1|tempo-EU|tempo-EU-1",
            ),
            (
                "${HOST^}|${HOST^^}|${HOST,,}",
                "Tempo-EU-1|TEMPO-EU-1|tempo-eu-1",
            ),
            ("${HOST:6:2}|${HOST:6}|${HOST:99}", "EU|EU-1|"),
            ("${NONE^}", ""),
            (
                "${HOST#*-}|${HOST##*-}|${HOST%-*}|${HOST%%-*}|${HOST%[0-9]}",
                "EU-1|1|tempo-EU|tempo|tempo-EU-",
            ),
        ] {
            assert_eq!(expand(text, &variable).unwrap(), expected, "{text}");
        }
        let deep = format!("{}x{}", "${N:-".repeat(99), "}".repeat(99));
        for text in [
            "a\n${",
            "${}",
            "${PORT@Q}",
            "${PORT/3}",
            "${PORT/*/3}",
            "${PORT:x}",
            "${PORT:?not set}",
            &deep,
        ] {
            assert!(expand(text, &variable).is_err(), "{text}");
        }
        assert_eq!(expand("a\n${", &variable).unwrap_err().line, Some(2));
    }
}
