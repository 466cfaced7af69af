//! What stands in the files: messages, paths of one machine, links, leftovers.

use super::{Complaint, File, Tree};

/// Where messages start, and whether the text is the macro's first argument or comes later.
const LOG_MACROS: &[&str] = &["trace!(", "debug!(", "info!(", "warn!(", "error!("];
/// Leftovers; spelled in two halves so that this file does not hold them.
const LEFTOVERS: &[(&str, &str)] = &[
    ("TO", "DO"),
    ("FIX", "ME"),
    ("#[ig", "nore"),
    ("#[should_", "panic"),
    ("unimplem", "ented!("),
];
/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[(&str, &str)] = &[
    ("/ho", "me/"),
    ("/ro", "ot/"),
    ("/Us", "ers/"),
    ("/wo", "rk/"),
];
/// The only shell script.
const SHELL_SCRIPT: &str = ".ci/run";

pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for file in &tree.files {
        complaints.extend(machine_paths(file));
        if file.path.ends_with(".rs") {
            complaints.extend(messages(file));
            complaints.extend(leftovers(file));
        }
        if file.path.ends_with(".md") {
            complaints.extend(links(tree, file));
        }
        if file.path.ends_with("package-lock.json") && file.text.contains("\"resolved\"") {
            complaints.push(Complaint(format!(
                "{}: holds `resolved` lines, which name a registry host: strip them",
                file.path
            )));
        }
        let shell = file.path.ends_with(".sh") || file.text.starts_with("#!/usr/bin/env bash");
        if shell && file.path != SHELL_SCRIPT {
            complaints.push(Complaint(format!(
                "{}: automation is Rust in xtask; {SHELL_SCRIPT} is the only script",
                file.path
            )));
        }
    }
    complaints.extend(adr_index(tree));
    complaints
}

fn machine_paths(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in numbered(&file.text) {
        for (left, right) in MACHINE_PATHS {
            let path = format!("{left}{right}");
            // A path starts a word; the same folder within a relative path is none.
            let found = line.match_indices(&path).any(|(at, _)| {
                let before = line.get(..at).and_then(|text| text.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || "._-*/".contains(c))
            });
            if found {
                complaints.push(Complaint(format!(
                    "{}:{number}: `{path}` is a path of one machine",
                    file.path
                )));
            }
        }
    }
    complaints
}

fn leftovers(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (number, line) in numbered(&file.text) {
        for (left, right) in LEFTOVERS {
            let word = format!("{left}{right}");
            if line.contains(&word) && !line.contains("(#") {
                complaints.push(Complaint(format!(
                    "{}:{number}: `{word}` is a leftover: finish it or name its issue as (#12)",
                    file.path
                )));
            }
        }
    }
    complaints
}

/// Log messages and error texts start in lower case and end without a full stop.
fn messages(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    // Tests hold texts of every kind, bad ones on purpose.
    let code = file
        .text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let mut complain = |at: usize, message: &str, kind: &str| {
        let line = code.get(..at).unwrap_or("").matches('\n').count() + 1;
        let mend = if starts_upper(message) {
            "starts in upper case"
        } else if message.ends_with('.') && !message.ends_with("..") {
            "ends with a full stop"
        } else {
            return;
        };
        complaints.push(Complaint(format!(
            "{}:{line}: {kind} {message:?} {mend}",
            file.path
        )));
    };
    for name in LOG_MACROS {
        for (at, _) in code.match_indices(name) {
            let before = code.get(..at).and_then(|text| text.chars().next_back());
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let call = code.get(at + name.len()..).unwrap_or("");
            if let Some(message) = log_message(call) {
                complain(at, &message, "log message");
            }
        }
    }
    let error = concat!("#[err", "or(\"");
    for (at, _) in code.match_indices(error) {
        let rest = code.get(at + error.len() - 1..).unwrap_or("");
        if let Some((message, _)) = string_literal(rest) {
            complain(at, &message, "error text");
        }
    }
    complaints
}

/// Upper case, unless it is an acronym or a name such as `OTLP`.
fn starts_upper(message: &str) -> bool {
    let mut chars = message.chars();
    let first = chars.next().is_some_and(char::is_uppercase);
    first && chars.next().is_some_and(char::is_lowercase)
}

/// The text of a call such as `warn!(path = %p, "text {x}")`: its first string that is no field.
fn log_message(call: &str) -> Option<String> {
    let mut depth = 0u32;
    let mut rest = call;
    let mut last = ' ';
    while let Some(c) = rest.chars().next() {
        match c {
            '"' => {
                let (text, after) = string_literal(rest)?;
                if depth == 0 && last != '=' && last != ':' {
                    return Some(text);
                }
                last = '"';
                rest = after;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if !c.is_whitespace() {
            last = c;
        }
        rest = rest.get(c.len_utf8()..)?;
    }
    None
}

/// A string literal at the start of the text, and what follows it.
fn string_literal(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut literal = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
                literal.push(' ');
            }
            '"' => return Some((literal, inner.get(at + 1..)?)),
            _ => literal.push(c),
        }
    }
    None
}

/// Relative links of a document lead to files that exist.
fn links(tree: &Tree, file: &File) -> Vec<Complaint> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut complaints = Vec::new();
    for (number, line) in numbered(&file.text) {
        for target in line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !tree.root.join(folder).join(target).exists() {
                complaints.push(Complaint(format!(
                    "{}:{number}: link to {target}, which does not exist",
                    file.path
                )));
            }
        }
    }
    complaints
}

/// The index of decisions names every decision.
fn adr_index(tree: &Tree) -> Vec<Complaint> {
    let index = tree
        .file("docs/adr/README.md")
        .map_or("", |file| &file.text);
    tree.files
        .iter()
        .filter_map(|file| file.path.strip_prefix("docs/adr/"))
        .filter(|name| *name != "README.md" && !index.contains(&format!("({name})")))
        .map(|name| Complaint(format!("docs/adr/README.md does not link {name}")))
        .collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        let file = File {
            path: "crates/x/src/a.rs".to_owned(),
            text: text.to_owned(),
        };
        messages(&file).len() + leftovers(&file).len() + machine_paths(&file).len()
    }

    #[test]
    fn messages_are_lower_case_without_full_stop() {
        assert_eq!(found("warn!(path = %p, \"cannot read\");"), 0);
        assert_eq!(
            found("warn!(path = \"Upper is a value\", \"cannot read\");"),
            0
        );
        assert_eq!(found("warn!(\"OTLP is an acronym\");"), 0);
        assert_eq!(found(concat!("warn!(n, \"Can", "not read\");")), 1);
        assert_eq!(found(concat!("tracing::info!(\"read", ".\");")), 1);
        assert_eq!(found(concat!("#[err", "or(\"Bad thing\")]")), 1);
        assert_eq!(found("my_error!(\"Upper\");"), 0);
    }

    #[test]
    fn leftovers_and_machine_paths_are_found() {
        assert_eq!(found(concat!("// TO", "DO: later")), 1);
        assert_eq!(found(concat!("let p = \"/ho", "me/me/x\";")), 1);
        assert_eq!(found(concat!("let p = \"a/wo", "rk/x\";")), 0);
    }
}
