use std::time::{Duration, Instant};

use super::*;
use crate::Value;
use crate::predicate::Predicate;

/// What a pattern says of texts, as RE2 has it.
#[track_caller]
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    let predicate = Predicate::regex(pattern, false, 1 << 20);
    let predicate = predicate.unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
    for (texts, expected) in [(matching, true), (others, false)] {
        for text in texts {
            let found = predicate.matches(Value::String(text));
            assert_eq!(found, expected, "{pattern:?} on {text:?}");
        }
    }
}

#[test]
fn escapes_are_those_of_re2() {
    check(r"a\<b", &["a<b"], &["ab", "a b"]);
    check(r"\<\>\_\-\/\%\'\ ", &["<>_-/%' "], &[]);
    check(r"\d+", &["12"], &["٣", "a"]);
    check(r"\D", &["٣", "a", "\n"], &["1"]);
    check(r"\w+", &["aZ_9"], &["é", "-"]);
    check(r"\W", &["é", "-"], &["a"]);
    check(r"\s", &[" ", "\t", "\n", "\r", "\x0c"], &["\u{a0}", "\x0b"]);
    check(r"\S", &["\u{a0}", "\x0b"], &[" "]);
    check(r"a\b.*", &["aé", "a", "a b"], &["ab"]);
    check(r"a\B.*", &["ab"], &["aé", "a"]);
    check(r".*\bfoo\b.*", &["a foo", "éfooé"], &["afoo"]);
    check(r"\Aa\z", &["a"], &["a\n"]);
    check(r"\a\f\n\r\t\v", &["\x07\x0c\n\r\t\x0b"], &[]);
    check(r"\101\0\07\1018", &["A\0\x07A8"], &[]);
    check(r"\x41\x{1F600}\x{0000000041}", &["A😀A"], &[]);
    check(r"\pL\PL", &["é1"], &["1é"]);
    check(r"\p{Greek}\P{Greek}", &["αa"], &["aα"]);
    check(r"\p{^Greek}\P{^Greek}", &["aα"], &["αa"]);
    check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb", "a.ba.b"]);
    check(r"\Q(a|b", &["(a|b"], &["a", "b"]);
    check(r"\Q\d\E\d", &[r"\d1"], &["11"]);
    check(r"a\Q\E*", &["", "aa"], &["b"]);
}

#[test]
fn classes_are_those_of_re2() {
    check("[a-z&&[^b]]", &["a]", "b]", "&]", "[]", "^]"], &["a", "A]"]);
    check("[+--]", &["+", ",", "-"], &["."]);
    check("[--a]", &["-", "A", "a"], &["b"]);
    check("[a~~b]", &["a", "~", "b"], &["c"]);
    check("[[a]", &["[", "a"], &["]"]);
    check("[]a]", &["]", "a"], &["["]);
    check("[^]a]", &["[", "é", "\n"], &["]", "a"]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[-a]", &["a", "-"], &["b"]);
    check("[a^]", &["a", "^"], &["b"]);
    check("[.*$#({|]+", &[".*$#({|"], &["a"]);
    check(r"[a\]\-\\]+", &[r"]-\a"], &["b"]);
    check(r"[\x41-\x43\d]", &["B", "0"], &["D", "٣"]);
    check(r"[^\D]", &["0"], &["٣", "a"]);
    check(r"[\W\d]+", &["é0-"], &["a"]);
    check(r"[\s\S]+", &["a \x0b"], &[]);
    check(r"[\p{Lu}\Pz]", &["É", "é"], &[]);
    check("[[:alpha:]-]+", &["a-Z"], &["é", "1"]);
    check("[[:^alpha:]]", &["é", "1"], &["a"]);
    check("[[:space:][:word:]]+", &["\x0b_"], &["-"]);
    check("[:alpha:]", &["p", ":"], &["z"]);
    check("[[:x]", &["[", ":", "x"], &["]"]);
    check("[[.a.]", &["[", ".", "a"], &["b"]);
}

#[test]
fn repetitions_and_braces_are_those_of_re2() {
    check("a{2}b{0}c{1,}d{0,1}", &["aacd", "aacc"], &["acd", "aabc"]);
    check("a{2,3}?b??c*?d+?", &["aad", "aaabccdd"], &["ad"]);
    check("a{,2}", &["a{,2}"], &["", "a", "aa"]);
    check("a{02}", &["a{02}"], &["aa"]);
    check("{x}{", &["{x}{"], &[]);
    check("a{1", &["a{1"], &["a"]);
    check("a{1000}", &[&"a".repeat(1_000)], &["a"]);
    check("a{1001", &["a{1001"], &[]);
    check("(?:a*)*", &["", "aa"], &["b"]);
    check("^*a", &["a"], &[]);
}

#[test]
fn groups_and_flags_are_those_of_re2() {
    check("(?P<1>a)(?<_b>b)(c)(?:d)", &["abcd"], &[]);
    check("a|(|b)|", &["a", "b", ""], &["ab"]);
    check("(?)a(?:b)", &["ab"], &["Ab"]);
    check("(?i)é", &["É", "é"], &["e"]);
    check("(?i)k", &["K", "\u{212a}"], &[]);
    check(r"(?i)\w\W", &["\u{17f}é"], &["éé"]);
    check("(?ii)A", &["a"], &[]);
    check("(?i-i)A", &["A"], &["a"]);
    check("(?i:A)b", &["ab"], &["aB"]);
    check("(?-i:A)", &["A"], &["a"]);
    check("a(?i)b|c", &["aB", "C"], &["AB"]);
    check(".", &["é", "\n"], &["", "aa"]);
    check("(?-s).", &["a"], &["\n"]);
    check("(?sm-U)a$\n^b", &["a\nb"], &[]);
    check("a$\n^b", &[], &["a\nb"]);
    check("(?U)a+", &["aa"], &[]);
}

const REFUSED: &[&str] = &[
    r"\Z",
    r"\C",
    r"\G",
    r"\K",
    r"\R",
    r"\X",
    r"\h",
    r"\u0041",
    r"\cA",
    r"\e",
    r"\é",
    r"\",
    r"\1",
    r"\18",
    r"\8",
    r"(a)\1",
    r"[\1]",
    r"[\b]",
    r"[\A]",
    r"[\Qa]",
    r"\E",
    r"[a-\d]",
    r"[z-a]",
    r"[a--b]",
    r"[a",
    r"[]",
    r"[^",
    r"[a-",
    r"[\",
    r"[[:nope:]]",
    r"[[:alpha]x[b:]]",
    r"[[:^^alpha:]]",
    r"(?=a)",
    r"(?!a)",
    r"(?<=a)",
    r"(?<!a)",
    r"(?>a)",
    r"(?#a)",
    r"(?x)a",
    r"(?u)a",
    r"(?R)a",
    r"(?P=a)",
    r"(?P>a)",
    r"(?P<a>b)(?P<a>c)",
    r"(?P<>a)",
    r"(?P<a b>c)",
    r"(?P<a",
    r"(?",
    r"(?i",
    r"(?-)",
    r"(?i-)a",
    r"(?i--i)",
    r"(?i",
    r"(",
    r"(a",
    r"a)",
    r"a)|(b",
    r"a**",
    r"a*+",
    r"a++",
    r"a{2}*",
    r"a*{2}",
    r"a*??",
    r"*a",
    r"(*)",
    r"a|*",
    r"{2}",
    r"a{1001}",
    r"a{1001,}",
    r"a{1,1001}",
    r"a{3,2}",
    r"a{99999999999}",
    r"\p",
    r"\pé",
    r"\p{}",
    r"\p{^}",
    r"\p{Nope}",
    r"\p{sc=Greek}",
    r"\p{Greek",
    r"\x",
    r"\x4",
    r"\xéé",
    r"\x{}",
    r"\x{4",
    r"\x{+41}",
    r"\x{110000}",
    r"\x{D800}",
];

#[test]
fn what_re2_refuses_is_refused() {
    for pattern in REFUSED {
        let error = Predicate::regex(pattern, false, 1 << 20).err();
        let error = error.unwrap_or_else(|| panic!("{pattern:?} is refused by RE2"));
        assert!(
            !error.is_too_large && !error.reason.is_empty(),
            "{pattern:?}"
        );
    }
}

#[test]
fn what_both_read_alike_stays_as_it_is() {
    for (pattern, text, is_plain) in [
        ("", "", true),
        ("abc é_<>", "abc é_<>", true),
        (".*a.b+c?.*", ".*a.b+c?.*", true),
        ("^[a-z]{2,3}$", "^[a-z]{2,3}$", true),
        (r"a\.b\\", r"a\.b\\", true),
        (r".*\bx\(.*", r".*(?-u:\b)x\(.*", true),
        ("a|b", "a|b", false),
        ("(a)", "(?:a)", false),
        ("(?i)a", "(?i)a", false),
        ("(?P<n>a)", "(?P<_n>a)", false),
    ] {
        let translated = translate(pattern).unwrap();
        let expected = Translated {
            text: text.to_owned(),
            is_plain,
        };
        assert_eq!(translated, expected, "{pattern:?}");
    }
}

/// Pieces at which the translation looks ahead, in any order: what comes out is a pattern of its own or
/// is refused, and never takes part of what stands around it.
#[test]
fn no_text_is_too_much() {
    const PIECES: [&str; 24] = [
        "[", "]", "[:", ":]", "^", "-", "\\", "\\Q", "\\E", "{", "}", "1,", "(", "(?", "(?P<", ")",
        ">", "i", "|", "*", "\\p{", "\\x", "a", "é",
    ];
    let mut state = 1u64;
    let mut n_translated = 0;
    for _ in 0..40_000 {
        let mut pattern = String::new();
        for _ in 0..state % 9 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            pattern.push_str(PIECES[(state >> 33) as usize % PIECES.len()]);
        }
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_041);
        n_translated += usize::from(translate(&pattern).is_ok());
        drop(Predicate::regex(&pattern, false, 1 << 16));
    }
    assert!(n_translated > 5_000, "{n_translated}");
    let begin = Instant::now();
    for piece in PIECES {
        for (before, behind) in [("", ""), ("[", ":]"), ("", "}"), ("", ">"), ("\\Q", "\\E")] {
            let pattern = format!(
                "{before}{}{behind}",
                piece.repeat((128 << 10) / piece.len())
            );
            drop(translate(&pattern));
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(20));
}
