//! The place of an error in a query, as a line with carets below it.

use anyhow::Error;
use tracewell_model::Limits;
use tracewell_query::Aliases;
use tracewell_query::outline::{Problem, examine};

use crate::Usage;

/// Of a longer line, what is around the place.
const CHARS_BEFORE: usize = 40;
const CHARS_MAX: usize = 100;

/// A server's refusal of a query with the place that it is about. The server has the last word: what this program
/// would take is left as it is.
pub(crate) fn pointed(error: Error, query: &str) -> Error {
    let problem = match error.is::<Usage>() {
        true => examine(query, Aliases::Resolve, &Limits::default()).problems,
        false => Vec::new(),
    };
    match problem.first() {
        Some(problem) => Usage(format!("{error}\n{}", drawn(query, problem))).into(),
        None => error,
    }
}

fn drawn(query: &str, problem: &Problem) -> String {
    let line = query.split('\n').nth(problem.position.line - 1);
    let line: Vec<char> = line.unwrap_or_default().chars().collect();
    let at = problem.position.column - 1;
    let from = match line.len() > CHARS_MAX {
        true => at.saturating_sub(CHARS_BEFORE),
        false => 0,
    };
    let shown = line.iter().skip(from).take(CHARS_MAX);
    let shown: String = shown
        .map(|c| if c.is_control() { ' ' } else { *c })
        .collect();
    let marked = query.get(problem.span.from..problem.span.to);
    let marked = marked.and_then(|marked| marked.split('\n').next());
    let n_marked = marked.map_or(0, |marked| marked.chars().count());
    let n_marked = n_marked.clamp(1, CHARS_MAX.saturating_sub(at - from).max(1));
    format!(
        "  {shown}\n  {}{}",
        " ".repeat(at - from),
        "^".repeat(n_marked)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn_of(query: &str) -> String {
        let problems = examine(query, Aliases::Resolve, &Limits::default()).problems;
        drawn(query, &problems[0])
    }

    #[test]
    fn the_place_is_marked() {
        assert_eq!(
            drawn_of("{ statuss = error }"),
            "  { statuss = error }\n    ^^^^^^^"
        );
        assert_eq!(
            drawn_of("{ .\u{e4} = 1 &&\n\tname > 2 }"),
            "   name > 2 }\n   ^^^^^^^^"
        );
        assert_eq!(drawn_of("{ .a = "), "  { .a = \n         ^");
        let long = format!("{{ .a = \"{}\" && name > 2 }}", "x".repeat(500));
        let drawn = drawn_of(&long);
        let (line, carets) = drawn.split_once('\n').unwrap();
        let at = carets.find('^').unwrap();
        assert_eq!(line.get(at..at + 8), Some("name > 2"), "{drawn}");
    }

    #[test]
    fn what_is_no_refusal_stays_as_it_is() {
        let away = anyhow::anyhow!("no server answers");
        assert_eq!(
            pointed(away, "{ statuss }").to_string(),
            "no server answers"
        );
        let other = Error::from(Usage(
            "the server answered 400: start is after end".to_owned(),
        ));
        let text = pointed(other, "{ }").to_string();
        assert_eq!(text, "the server answered 400: start is after end");
    }
}
