//! `tracewell block` over the golden blocks, and over copies that were damaged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{binary, root};

const ID: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

#[test]
fn a_block_is_inspected_as_text_and_as_json() {
    let folder = golden();
    for path in [
        folder.clone(),
        folder.join("meta.json"),
        folder.join("spans.parquet"),
    ] {
        let text = output_of(&run("inspect", &path, &[]), 0);
        for words in ["18 spans", "spans.trace_id", "span.http.method", ID] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    let text = output_of(&run("inspect", &folder, &["--json"]), 0);
    let block: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(block["id"], ID);
    assert_eq!(block["spans"], 18);
    let tables = block["tables"].as_array().unwrap();
    for table in tables {
        let name = table["name"].as_str().unwrap();
        let file = folder.join(format!("{name}.parquet"));
        assert_eq!(table["bytes"], file.metadata().unwrap().len(), "{name}");
        let columns = table["columns"].as_array().unwrap();
        let bytes: u64 = columns.iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
        let footer = table["footer_bytes"].as_u64().unwrap();
        assert!(
            bytes + footer <= table["bytes"].as_u64().unwrap(),
            "{table}"
        );
    }
    let attributes = block["attributes"].as_array().unwrap();
    let method = attributes.iter().find(|it| it["key"] == "http.method");
    assert!(method.unwrap()["stored_bytes"].as_u64().unwrap() > 0);
    let table = |name: &str| tables.iter().find(|it| it["name"] == name).unwrap();
    let shared: u64 = attributes
        .iter()
        .filter(|it| it["column"].is_null())
        .map(|it| it["stored_bytes_estimate"].as_u64().unwrap())
        .sum();
    let all = table("attributes")["columns"].as_array().unwrap();
    let all: u64 = all.iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
    assert!(shared <= all && shared > all * 9 / 10, "{shared} of {all}");
}

#[test]
fn a_whole_block_passes_and_reading_changes_nothing() {
    let copy = tempfile::tempdir().unwrap();
    let folder = copied(copy.path());
    let text = output_of(&run("verify", &folder, &[]), 0);
    assert!(
        text.contains("whole") && text.contains("18 spans"),
        "{text}"
    );
    let text = output_of(&run("verify", &folder, &["--json"]), 0);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["damage"], serde_json::json!([]));
    let names: Vec<_> = std::fs::read_dir(copy.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is created beside the block");
}

#[test]
fn damage_is_named_with_its_place_and_fails() {
    let names = [
        "spans.parquet",
        "shapes.parquet",
        "checksums",
        "shared",
        "meta.json",
    ];
    for name in names {
        let copy = tempfile::tempdir().unwrap();
        let folder = copied(copy.path());
        let file = folder.join(name);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        std::fs::write(&file, bytes).unwrap();
        let output = run("verify", &folder, &[]);
        let text = output_of(&output, 1);
        assert!(text.contains("damaged") && text.contains(name), "{text}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("to mend it"), "{errors}");
        let text = output_of(&run("verify", &folder, &["--json"]), 1);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["damage"].as_array().unwrap().len(), 1, "{report}");
    }
}

#[test]
fn a_file_that_is_missing_or_cut_is_damage() {
    for name in ["meta.json", "links.parquet", "checksums"] {
        let copy = tempfile::tempdir().unwrap();
        let folder = copied(copy.path());
        let bytes = std::fs::read(folder.join(name)).unwrap();
        std::fs::write(folder.join(name), &bytes[..bytes.len() - 1]).unwrap();
        let text = output_of(&run("verify", &folder, &[]), 1);
        assert!(text.contains(name), "{text}");
        std::fs::remove_file(folder.join(name)).unwrap();
        let text = output_of(&run("verify", &folder, &[]), 1);
        assert!(text.contains(name), "{text}");
        let inspected = run("inspect", &folder, &[]);
        let errors = String::from_utf8_lossy(&inspected.stderr);
        assert_eq!(inspected.status.code(), Some(1), "{errors}");
        assert!(errors.contains("block verify"), "{errors}");
    }
}

#[test]
fn a_path_that_is_no_block_is_a_wrong_argument() {
    let output = run("verify", root(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("is no block"), "{errors}");
    let output = run("verify", &root().join(ID), &[]);
    assert_eq!(output.status.code(), Some(1), "a block that is not there");
}

fn golden() -> PathBuf {
    root().join("crates/store/tests/golden/block_v1").join(ID)
}

fn copied(into: &Path) -> PathBuf {
    let folder = into.join(ID);
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn run(command: &str, path: &Path, flags: &[&str]) -> Output {
    Command::new(binary())
        .args(["block", command])
        .arg(path)
        .args(flags)
        .output()
        .unwrap()
}

fn output_of(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}{errors}");
    text
}
