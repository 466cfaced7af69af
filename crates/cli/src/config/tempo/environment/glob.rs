//! What `${NAME#start}` and `${NAME%end}` cut away: a pattern as a shell has it, with `*`, `?`, `[a-z]`, `[!a]` and a
//! backslash before what is meant literally.

/// Where a pattern is cut away, and how much of what it may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    ShortestStart,
    LongestStart,
    ShortestEnd,
    LongestEnd,
}

/// A part of a pattern.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[a-z]`, or with `!` or `^` everything else.
    Set {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

/// A value without what the pattern matches at its start or end; the whole value where it matches nothing.
pub(super) fn cut(value: &str, pattern: &str, cut: Cut) -> String {
    let parts = parse(pattern);
    let characters: Vec<char> = value.chars().collect();
    let n = characters.len();
    let mut lengths: Vec<usize> = (0..=n).collect();
    if matches!(cut, Cut::LongestStart | Cut::LongestEnd) {
        lengths.reverse();
    }
    let at_start = matches!(cut, Cut::ShortestStart | Cut::LongestStart);
    for length in lengths {
        let at = if at_start { length } else { n - length };
        let Some((start, end)) = characters.split_at_checked(at) else {
            continue;
        };
        let (cut_away, kept) = if at_start { (start, end) } else { (end, start) };
        if matches(&parts, cut_away) {
            return kept.iter().collect();
        }
    }
    value.to_owned()
}

fn parse(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        rest = after;
        parts.push(match character {
            '*' => Part::Any,
            '?' => Part::One,
            '[' => match set(after) {
                Some((set, behind)) => {
                    rest = behind;
                    set
                }
                // One that is not closed is a bracket.
                None => Part::Literal('['),
            },
            '\\' => {
                let escaped = after.chars().next().unwrap_or('\\');
                rest = after.get(escaped.len_utf8()..).unwrap_or_default();
                Part::Literal(escaped)
            }
            character => Part::Literal(character),
        });
    }
    parts
}

/// What stands behind `[`, and what behind its `]`. One that comes first is a member.
fn set(text: &str) -> Option<(Part, &str)> {
    let negated = text.starts_with(['!', '^']);
    let inner = if negated { text.get(1..)? } else { text };
    let first = inner.chars().next()?.len_utf8();
    let end = first + inner.get(first..)?.find(']')?;
    let members: Vec<char> = inner.get(..end)?.chars().collect();
    let mut ranges = Vec::new();
    let mut members = members.as_slice();
    while let Some((from, after)) = members.split_first() {
        members = match after {
            ['-', to, behind @ ..] => {
                ranges.push((*from, *to));
                behind
            }
            _ => {
                ranges.push((*from, *from));
                after
            }
        };
    }
    Some((Part::Set { ranges, negated }, inner.get(end + 1..)?))
}

/// The whole of a text. After a mismatch the last `*` takes one character more.
fn matches(parts: &[Part], text: &[char]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (parts.get(part), text.get(at)) {
            (Some(Part::Any), _) => {
                star = Some((part, at));
                part += 1;
            }
            (Some(wanted), Some(character)) if wanted.takes(*character) => {
                part += 1;
                at += 1;
            }
            (None, None) => return true,
            _ => match &mut star {
                Some((of, from)) if *from < text.len() => {
                    *from += 1;
                    (part, at) = (*of + 1, *from);
                }
                _ => return false,
            },
        }
    }
}

// === impl Part ===

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == character,
            Self::One => true,
            Self::Any => false,
            Self::Set { ranges, negated } => {
                let is_in = |(from, to): &(char, char)| (*from..=*to).contains(&character);
                ranges.iter().any(is_in) != *negated
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What bash prints for the same.
    #[test]
    fn patterns_are_cut_away_as_a_shell_does() {
        let path = "s3://bucket/a/b.tar.gz";
        for (value, pattern, of, expected) in [
            (path, "*/", Cut::ShortestStart, "/bucket/a/b.tar.gz"),
            (path, "*/", Cut::LongestStart, "b.tar.gz"),
            (path, ".*", Cut::ShortestEnd, "s3://bucket/a/b.tar"),
            (path, ".*", Cut::LongestEnd, "s3://bucket/a/b"),
            (path, "s?:", Cut::ShortestStart, "//bucket/a/b.tar.gz"),
            (path, "x*", Cut::ShortestStart, path),
            (path, "*", Cut::ShortestStart, path),
            (path, "*", Cut::LongestStart, ""),
            (path, "*", Cut::ShortestEnd, path),
            ("v12-eu", "v[0-9]", Cut::ShortestStart, "2-eu"),
            ("v12-eu", "-[!0-9]*", Cut::LongestEnd, "v12"),
            ("v12-eu", "*[2-]", Cut::LongestStart, "eu"),
            ("]x", "[]]", Cut::ShortestStart, "x"),
            ("[x", "[", Cut::ShortestStart, "x"),
            ("*x", r"\*", Cut::ShortestStart, "x"),
            ("ax", r"\*", Cut::ShortestStart, "ax"),
            ("größe", "gr?", Cut::ShortestStart, "ße"),
            ("aaab", "*a*b", Cut::ShortestStart, ""),
            ("", "*", Cut::LongestEnd, ""),
            ("abc", "", Cut::ShortestEnd, "abc"),
        ] {
            assert_eq!(
                cut(value, pattern, of),
                expected,
                "{value} without {pattern}, {of:?}"
            );
        }
    }
}
