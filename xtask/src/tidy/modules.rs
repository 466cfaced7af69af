//! Files as modules: no junk drawers, none too long, none that nobody names.

use std::collections::BTreeSet;

use super::{Complaint, File, Tree};

/// Names under which anything could lie, so everything does.
const JUNK_DRAWERS: &[&str] = &[
    "utils",
    "util",
    "common",
    "helpers",
    "helper",
    "misc",
    "tools_common",
];
/// Lines of a file without its tests.
const LINES_MAX: usize = 800;
/// Files that were too long when the rule came, with their length then: it may only shrink.
const RATCHET: &[(&str, usize)] = &[];

pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for file in tree.rust_files() {
        complaints.extend(junk_drawer(file));
        complaints.extend(too_long(file));
    }
    complaints.extend(dead_files(tree));
    for (path, _) in RATCHET {
        let line_count = tree.file(path).map_or(0, n_lines);
        if line_count <= LINES_MAX {
            complaints.push(Complaint(format!(
                "{path} is short now: take it off the ratchet list"
            )));
        }
    }
    complaints
}

fn junk_drawer(file: &File) -> Option<Complaint> {
    let name = file
        .path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
        .find(|part| JUNK_DRAWERS.contains(part))?;
    Some(Complaint(format!(
        "{}: `{name}` says nothing; name the module for what it holds",
        file.path
    )))
}

fn too_long(file: &File) -> Option<Complaint> {
    if file.is_test() {
        return None;
    }
    let max = RATCHET
        .iter()
        .find(|(path, _)| *path == file.path)
        .map_or(LINES_MAX, |(_, lines)| *lines);
    let lines = n_lines(file);
    (lines > max).then(|| {
        Complaint(format!(
            "{}: {lines} lines without tests, at most {max}: is there a second room in it?",
            file.path
        ))
    })
}

/// Lines up to the inline test module, which by our order stands last.
fn n_lines(file: &File) -> usize {
    file.text
        .lines()
        .zip(file.text.lines().skip(1).chain([""]))
        .position(|(line, next)| line == "#[cfg(test)]" && next == "mod tests {")
        .unwrap_or_else(|| file.text.lines().count())
}

/// Rust files that no `mod` line and no manifest leads to.
fn dead_files(tree: &Tree) -> Vec<Complaint> {
    let mut alive = BTreeSet::new();
    let mut waiting: Vec<&File> = tree
        .rust_files()
        .filter(|file| is_root(tree, file))
        .collect();
    while let Some(file) = waiting.pop() {
        if alive.insert(file.path.as_str()) {
            waiting.extend(children(tree, file));
        }
    }
    tree.rust_files()
        .filter(|file| !alive.contains(file.path.as_str()))
        .map(|file| Complaint(format!("{}: no `mod` line names it: dead file", file.path)))
        .collect()
}

/// Files that cargo compiles by themselves.
fn is_root(tree: &Tree, file: &File) -> bool {
    let Some((folder, name)) = file.path.rsplit_once('/') else {
        return false;
    };
    if name == "build.rs" {
        return true;
    }
    let in_source = folder.ends_with("/src") && matches!(name, "lib.rs" | "main.rs");
    let kind = folder.rsplit('/').next().unwrap_or_default();
    let package = folder.rsplit_once('/').map_or("", |(package, _)| package);
    let single = matches!(
        kind,
        "tests" | "benches" | "examples" | "bin" | "fuzz_targets"
    );
    let of_package = tree.file(&format!("{package}/Cargo.toml")).is_some();
    // tests/all/main.rs is one binary of a folder.
    let of_folder = name == "main.rs"
        && ["tests", "benches", "examples"].contains(&package.rsplit('/').next().unwrap_or(""));
    in_source || (single && (of_package || kind == "bin")) || of_folder
}

fn children<'a>(tree: &'a Tree, file: &File) -> Vec<&'a File> {
    let Some((folder, name)) = file.path.rsplit_once('/') else {
        return Vec::new();
    };
    let stem = name.trim_end_matches(".rs");
    let own_folder = match stem {
        "lib" | "main" | "mod" => folder.to_owned(),
        _ => format!("{folder}/{stem}"),
    };
    // Files of tests/, benches/ and the like look for their modules beside them.
    let folders = [own_folder.as_str(), folder];
    module_names(&file.text)
        .flat_map(|module| {
            folders.into_iter().flat_map(move |folder| {
                [
                    format!("{folder}/{module}.rs"),
                    format!("{folder}/{module}/mod.rs"),
                ]
            })
        })
        .filter_map(|path| tree.file(&path))
        .collect()
}

/// The names in lines such as `pub(crate) mod name;`.
fn module_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let declared = line.trim().strip_suffix(';')?;
        let (visibility, name) = declared.rsplit_once("mod ")?;
        let visible = visibility.is_empty() || visibility.starts_with("pub");
        visible.then(|| name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn junk_drawers_are_named() {
        assert!(junk_drawer(&file("crates/x/src/utils.rs", "")).is_some());
        assert!(junk_drawer(&file("crates/x/src/common/a.rs", "")).is_some());
        assert!(junk_drawer(&file("crates/x/src/commonality.rs", "")).is_none());
    }

    #[test]
    fn length_is_counted_without_tests() {
        let code = "//! x\n".repeat(LINES_MAX);
        let tests = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert!(too_long(&file("crates/x/src/a.rs", &tests)).is_none());
        let long = format!("{code}fn main() {{}}\n");
        assert!(too_long(&file("crates/x/src/a.rs", &long)).is_some());
        assert!(too_long(&file("crates/x/src/a/tests.rs", &long)).is_none());
    }

    #[test]
    fn a_file_that_nobody_names_is_dead() {
        let tree = Tree {
            root: std::path::PathBuf::new(),
            files: vec![
                file("crates/x/Cargo.toml", ""),
                file("crates/x/src/lib.rs", "mod a;\npub(crate) mod b;\n"),
                file("crates/x/src/a.rs", "#[cfg(test)]\nmod tests;\n"),
                file("crates/x/src/a/tests.rs", ""),
                file("crates/x/src/b/mod.rs", ""),
                file("crates/x/src/c.rs", ""),
                file("crates/x/tests/all/main.rs", "mod d;"),
                file("crates/x/tests/all/d.rs", ""),
            ],
        };
        let found: Vec<String> = dead_files(&tree).into_iter().map(|it| it.0).collect();
        assert_eq!(
            found,
            ["crates/x/src/c.rs: no `mod` line names it: dead file"]
        );
    }
}
