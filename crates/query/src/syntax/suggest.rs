//! What was probably meant by a word that is not known.

/// No name of the language has as many letters.
const LETTERS_MAX: usize = 40;

/// The nearest of some names, if one is near: a third of its letters may be wrong, two at most.
pub(super) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let n_letters = word.chars().count();
    if n_letters > LETTERS_MAX {
        return None;
    }
    let most = (n_letters / 3).min(2);
    let near = names.into_iter().filter_map(|name| {
        let distance = distance(word, name);
        (distance <= most).then_some((distance, name))
    });
    // The first of those that are as near.
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Letters to add, to leave out, to replace or to swap with the next: the optimal string alignment distance.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, of_b) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + usize::from(of_a != of_b));
            let is_swapped =
                i > 0 && j > 0 && a.get(i - 1) == Some(of_b) && b.get(j - 1) == Some(of_a);
            if is_swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_far_apart_as_the_letters_that_differ() {
        for (a, b, n) in [
            ("", "", 0),
            ("rate", "rate", 0),
            ("rtae", "rate", 1),
            ("rat", "rate", 1),
            ("statuss", "status", 1),
            ("kimd", "kind", 1),
            ("abc", "", 3),
        ] {
            assert_eq!(distance(a, b), n, "{a} {b}");
            assert_eq!(distance(b, a), n, "{b} {a}");
        }
    }

    #[test]
    fn what_is_not_near_is_not_meant() {
        let names = ["status", "statusMessage", "kind", "name"];
        assert_eq!(nearest("statuss", names), Some("status"));
        assert_eq!(nearest("nmae", names), Some("name"));
        assert_eq!(nearest("foo", names), None);
        assert_eq!(nearest("ki", names), None);
    }
}
