//! `-config.expand-env`: `${NAME}` and its kin in a Tempo file, before it is parsed as YAML.

use crate::config::yaml::Error;

/// Replaces `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:=default}`, `${NAME=default}`,
/// `${#NAME}` (its length) and `$$` (a dollar). A variable that is not set is empty, as Tempo has it.
/// Other forms are errors: guessing what they mean would change a configuration in silence.
pub(crate) fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Error> {
    let mut expanded = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        expand_line(line, variable, &mut expanded).map_err(|message| Error {
            line: Some(number),
            message,
        })?;
    }
    Ok(expanded)
}

fn expand_line(
    line: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    expanded: &mut String,
) -> Result<(), String> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (expression, after) = after
                .split_once('}')
                .ok_or_else(|| "`${` without `}`".to_owned())?;
            expanded.push_str(&evaluate(expression, variable)?);
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(())
}

fn evaluate(expression: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(name) = expression.strip_prefix('#') {
        let value = variable(checked(name, expression)?).unwrap_or_default();
        return Ok(value.chars().count().to_string());
    }
    let end = expression
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(expression.len());
    let (name, operation) = expression.split_at_checked(end).unwrap_or((expression, ""));
    let value = variable(checked(name, expression)?);
    let not_empty = value.clone().filter(|value| !value.is_empty());
    let default = |prefixes: [&str; 2]| {
        let strip = |prefix: &str| operation.strip_prefix(prefix);
        prefixes.into_iter().find_map(strip)
    };
    if operation.is_empty() {
        Ok(value.unwrap_or_default())
    } else if let Some(default) = default([":-", ":="]) {
        Ok(not_empty.unwrap_or_else(|| default.to_owned()))
    } else if let Some(default) = default(["-", "="]) {
        Ok(value.unwrap_or_else(|| default.to_owned()))
    } else {
        Err(unsupported(expression))
    }
}

fn checked<'a>(name: &'a str, expression: &str) -> Result<&'a str, String> {
    let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !valid {
        return Err(unsupported(expression));
    }
    Ok(name)
}

fn unsupported(expression: &str) -> String {
    format!("`${{{expression}}}` is not understood; ${{NAME}} and ${{NAME:-default}} are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults() {
        let variable = |name: &str| match name {
            "PORT" => Some("3201".to_owned()),
            "EMPTY" => Some(String::new()),
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
        for text in ["${PORT/3/4}", "a\n${", "${}", "${PORT^^}"] {
            assert!(expand(text, &variable).is_err(), "{text}");
        }
        assert_eq!(expand("a\n${", &variable).unwrap_err().line, Some(2));
    }
}
