use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray};

use super::*;

fn compare(op: CompareOp, operand: Operand) -> Predicate {
    Predicate::Compare { op, operand }
}

fn check(predicate: &Predicate, array: ArrayRef, kind: ArrayKind, expected: &str) {
    let bits = predicate.evaluate(&array, kind);
    let text: String = bits.iter().map(|bit| if bit { '1' } else { '0' }).collect();
    assert_eq!(text, expected, "{predicate:?}");
}

#[test]
fn numbers_mix_and_other_types_never_match() {
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    check(
        &compare(CompareOp::Greater, Operand::Int(1)),
        ints.clone(),
        ArrayKind::Plain,
        "001",
    );
    check(
        &compare(CompareOp::GreaterOrEqual, Operand::Float(0.5)),
        ints.clone(),
        ArrayKind::Duration,
        "101",
    );
    check(
        &compare(CompareOp::NotEqual, Operand::String("x".into())),
        ints,
        ArrayKind::Plain,
        "000",
    );
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 2.0]));
    check(
        &compare(CompareOp::NotEqual, Operand::Float(1.0)),
        floats,
        ArrayKind::Plain,
        "01",
    );
}

#[test]
fn a_dictionary_is_tested_once_per_value() {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    for text in [Some("GET"), Some("PUT"), None, Some("GET")] {
        builder.append_option(text);
    }
    let array: ArrayRef = Arc::new(builder.finish());
    check(
        &compare(CompareOp::Equal, Operand::String("GET".into())),
        array.clone(),
        ArrayKind::Plain,
        "1001",
    );
    check(
        &compare(CompareOp::NotEqual, Operand::String("GET".into())),
        array.clone(),
        ArrayKind::Plain,
        "0100",
    );
    check(&Predicate::Exists, array, ArrayKind::Plain, "1101");
}

#[test]
fn a_regex_is_anchored_and_dot_matches_newline() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["abc", "xabc", "a\nc"]));
    let predicate = Predicate::regex("a.c", false, 1 << 20).unwrap();
    check(&predicate, array.clone(), ArrayKind::Plain, "101");
    let predicate = Predicate::regex("a|xab.", true, 1 << 20).unwrap();
    check(&predicate, array, ArrayKind::Plain, "101");
    assert!(Predicate::regex("a)|(b", false, 1 << 20).is_err());
    assert!(Predicate::regex("(", false, 1 << 20).is_err());
}

#[test]
fn a_substring_means_nothing_but_itself() {
    let finds = |text: &str, value: &str| {
        let predicate = Predicate::substring(text, 1 << 20).unwrap();
        predicate.matches(Value::String(value))
    };
    let punctuation: Vec<char> = (0..128u8).map(char::from).collect();
    let punctuation = punctuation.iter().filter(|c| c.is_ascii_punctuation());
    for c in punctuation.copied().chain(['é', '\n']) {
        for text in [format!("{c}"), format!("a{c}b"), format!("{c}{c}")] {
            assert!(finds(&text, &text), "{text:?}");
            assert!(finds(&text, &format!("one\n{text} two")), "{text:?}");
            assert!(!finds(&text, "ab a b"), "{text:?}");
        }
    }
    assert!(finds("", "") && finds("", "a"));
    assert!(!finds("A", "a"));
    let error = Predicate::substring(&"a".repeat(10_000), 1_000).unwrap_err();
    assert!(error.is_too_large);
}

#[test]
fn lists_match_any_element_and_differ_by_all() {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.append_value([Some("x"), Some("y")]);
    builder.append_value([Some("y")]);
    builder.append_null();
    let array: ArrayRef = Arc::new(builder.finish());
    check(
        &compare(CompareOp::Equal, Operand::String("x".into())),
        array.clone(),
        ArrayKind::Plain,
        "100",
    );
    check(
        &compare(CompareOp::NotEqual, Operand::String("x".into())),
        array,
        ArrayKind::Plain,
        "010",
    );
}

#[test]
fn ids_compare_as_hex() {
    let ids = FixedSizeBinaryArray::try_from_iter([[0u8, 0xab], [1, 2]].iter()).unwrap();
    let array: ArrayRef = Arc::new(ids);
    let ab = compare(CompareOp::Equal, Operand::String("ab".into()));
    check(&ab, array.clone(), ArrayKind::HexTrimmed, "10");
    check(&ab, array, ArrayKind::Hex, "00");
}

#[test]
fn bounds_exclude_only_what_cannot_match() {
    let above = compare(CompareOp::Greater, Operand::Duration(10));
    assert!(!above.may_match(Bounds::Int { min: 0, max: 10 }));
    assert!(above.may_match(Bounds::Int { min: 0, max: 11 }));
    let equal = compare(CompareOp::Equal, Operand::String("m".into()));
    assert!(!equal.may_match(Bounds::String {
        min: b"n",
        max: b"z"
    }));
    assert!(equal.may_match(Bounds::String {
        min: b"a",
        max: b"n"
    }));
    let differs = compare(CompareOp::NotEqual, Operand::Int(5));
    assert!(!differs.may_match(Bounds::Int { min: 5, max: 5 }));
}

#[test]
fn what_is_searched_for_matches_as_the_whole_pattern_does() {
    let texts = [
        "", "a", "b", "ab", "xaby", "a.b", "a\nb", "x\nab\ny", "aab", "a*", "[a]", "\\", "ba",
        "a|b",
    ];
    let patterns = [
        ".*a.*",
        ".*ab.*",
        ".*a.b.*",
        ".*a|b.*",
        ".*(a|b).*",
        ".*?ab.*",
        ".*ab.*?",
        ".**a.*",
        ".*^a.*",
        ".*b$.*",
        ".*[ab].*",
        ".*\\.*",
        ".*\\\\.*",
        ".*.*",
        ".*",
        ".*\\ba.*",
        ".*a\\B.*",
        ".*\\(a.*",
        ".*\\Qa.*",
        ".*a\\Q.*\\E.*",
        ".*a+.*",
        ".*a{2}.*",
        ".*(?i)A.*",
        ".*(?-s).b.*",
        ".*a\\.b.*",
        ".*[.].*",
        ".*(?x) a .*",
        ".*\\z.*",
        ".*\\Aa.*",
    ];
    for pattern in patterns {
        let Ok(predicate) = Predicate::regex(pattern, false, 1 << 20) else {
            continue;
        };
        let syntax = regex_automata::util::syntax::Config::new().dot_matches_new_line(true);
        let whole = regex_automata::meta::Regex::builder()
            .syntax(syntax)
            .build(&format!("^(?:{})$", re2::translate(pattern).unwrap().text))
            .unwrap();
        for text in texts {
            let found = predicate.matches(Value::String(text));
            assert_eq!(found, whole.is_match(text), "{pattern:?} on {text:?}");
        }
    }
}
