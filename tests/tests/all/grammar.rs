//! Another opinion on what is TraceQL: the grammar of Grafana's editor (npm `@grafana/lezer-traceql`) over the golden
//! texts that Tracewell takes. Where it does not take them, `fixtures/lezer-differences.txt` says who is right.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{packages, root};

#[test]
fn the_grammar_of_an_editor_takes_what_tracewell_takes() {
    let texts: Vec<String> = taken_texts();
    assert!(texts.len() > 300, "{}", texts.len());
    let is_taken = ask(&texts);
    assert_eq!(is_taken.len(), texts.len());
    let refused: BTreeSet<&str> = texts
        .iter()
        .zip(&is_taken)
        .filter(|(_, is_taken)| !**is_taken)
        .map(|(text, _)| text.as_str())
        .collect();
    let list = std::fs::read_to_string(root().join("tests/fixtures/lezer-differences.txt"));
    let list = list.unwrap();
    let known: BTreeSet<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    println!(
        "{} texts, {} of them not taken by the grammar",
        texts.len(),
        refused.len()
    );
    let new: Vec<_> = refused.difference(&known).collect();
    assert!(
        new.is_empty(),
        "who is right about these, and why? {new:#?}"
    );
    let gone: Vec<_> = known.difference(&refused).collect();
    assert!(
        gone.is_empty(),
        "there is no difference any more: {gone:#?}"
    );
}

/// Those of the golden files that are queries, line breaks as they are written there: what stands before an answer
/// that is no error.
fn taken_texts() -> Vec<String> {
    let mut texts = BTreeSet::new();
    for folder in ["parsing", "traceql"] {
        let folder = root().join("crates/query/golden").join(folder);
        for file in std::fs::read_dir(folder).unwrap() {
            let file = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let lines: Vec<&str> = file.lines().collect();
            let is_taken =
                |answer: &str| answer.starts_with("= ") && !answer.contains(" error at line ");
            let taken = lines.windows(2).filter(|pair| is_taken(pair[1]));
            texts.extend(taken.map(|pair| pair[0].to_owned()));
        }
    }
    texts.into_iter().collect()
}

fn ask(texts: &[String]) -> Vec<bool> {
    let asked: Vec<String> = texts.iter().map(|text| text.replace('⏎', "\n")).collect();
    let mut program = Command::new("node")
        .arg("parse.mjs")
        .current_dir(packages::lezer())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = program.stdin.take().unwrap();
    stdin
        .write_all(&serde_json::to_vec(&asked).unwrap())
        .unwrap();
    drop(stdin);
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
