//! Dependencies that nobody uses: of a crate, and of the workspace.
//!
//! A plain look at the text: a crate's name, with underscores, occurs in the sources of the package
//! that depends on it. So a name that stands in a comment alone passes; one that stands nowhere does
//! not.

use super::{Complaint, File, Tree};

const WORKSPACE: &str = "Cargo.toml";
/// Used by what another dependency brings, which the sources do not name: crate and why.
const EXCEPTIONS: &[(&str, &str)] = &[];

pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    let manifests = || {
        let all = tree.files.iter();
        all.filter(|file| file.path.ends_with("/Cargo.toml"))
    };
    let mut complaints = Vec::new();
    for manifest in manifests() {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        let sources: Vec<&str> = tree
            .rust_files()
            .filter(|file| file.path.starts_with(folder))
            .map(|file| file.text.as_str())
            .collect();
        for name in unused(&dependencies(&manifest.text), &sources) {
            complaints.push(Complaint(format!(
                "{}: {name} occurs in none of the sources below {folder}: take it out",
                manifest.path
            )));
        }
    }
    let named: Vec<String> = manifests()
        .flat_map(|manifest: &File| dependencies(&manifest.text))
        .collect();
    for name in tree
        .file(WORKSPACE)
        .map_or_else(Vec::new, |file| dependencies(&file.text))
    {
        if !named.contains(&name) {
            complaints.push(Complaint(format!(
                "{WORKSPACE}: no crate of the workspace depends on {name}: take it out"
            )));
        }
    }
    complaints
}

/// The names below every heading that ends in `dependencies`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_list = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            is_list = heading.trim_end_matches(']').ends_with("dependencies");
        } else if is_list && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

fn unused(names: &[String], sources: &[&str]) -> Vec<String> {
    let is_excepted = |name: &str| EXCEPTIONS.iter().any(|(known, _)| *known == name);
    let is_used = |name: &str| {
        let module = name.replace('-', "_");
        sources.iter().any(|text| holds_word(text, &module))
    };
    let unused = names
        .iter()
        .filter(|name| !is_excepted(name) && !is_used(name));
    unused.cloned().collect()
}

/// True if the word stands in the text and is no part of a longer one.
fn holds_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text.get(..at), text.get(at + word.len()..));
        let before = before.and_then(|text| text.chars().next_back());
        let after = after.and_then(|text| text.chars().next());
        !is_part(before) && !is_part(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_source_names_is_found() {
        let manifest = "[package]\nname = \"a\"\n\n[dependencies]\nserde.workspace = true\n\
             # why\nasync-trait = \"1\"\n\n[target.'cfg(unix)'.dev-dependencies]\nlibc = { version = \"1\" }\n\n\
             [lints]\nworkspace = true\n";
        let names = dependencies(manifest);
        assert_eq!(names, ["serde", "async-trait", "libc"]);
        let sources = [
            "use async_trait::async_trait;",
            "use serde_json::Value; // libc_x",
        ];
        assert_eq!(unused(&names, &sources), ["serde", "libc"]);
        assert!(unused(&names, &["libc::c_int, async_trait!() serde::Serialize"]).is_empty());
    }
}
