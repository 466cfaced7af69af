//! The rules that no compiler checks: `cargo xtask tidy`, and a test of this crate.
//!
//! Every rule is a function from the tracked files to complaints; a complaint says where and how to
//! mend it. Rules of style that clippy knows are not here.

mod dependencies;
mod edges;
mod modules;
mod text;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// The tracked files of the repository, read once.
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<File>,
}

/// A tracked file. `text` is empty for files that are not UTF-8.
pub(crate) struct File {
    /// Relative to the root, with forward slashes.
    path: String,
    text: String,
}

/// What is wrong and where.
pub(crate) struct Complaint(String);

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    check(root)?;
    Ok(ExitCode::SUCCESS)
}

/// Fails with all complaints at once.
pub(crate) fn check(root: &Path) -> Result<()> {
    let complaints = complaints(root)?;
    if complaints.is_empty() {
        eprintln!("tidy: no complaints");
        return Ok(());
    }
    for Complaint(text) in &complaints {
        eprintln!("tidy: {text}");
    }
    bail!("tidy has {} complaints", complaints.len())
}

fn complaints(root: &Path) -> Result<Vec<Complaint>> {
    let tree = Tree::read(root)?;
    let mut all = edges::check(&tree)?;
    all.extend(dependencies::check(&tree));
    all.extend(modules::check(&tree));
    all.extend(text::check(&tree));
    Ok(all)
}

/// The files that are or may be kept, below these paths or all; one that was deleted may be among them.
pub(crate) fn listed(root: &Path, below: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .args(below)
        .current_dir(root)
        .output()
        .context("starting git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    Ok(paths.map(str::to_owned).collect())
}

// === impl Tree ===

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in listed(root, &[])? {
            // A deleted file stays listed until the deletion is staged.
            let Ok(bytes) = std::fs::read(root.join(&path)) else {
                continue;
            };
            files.push(File {
                path,
                text: String::from_utf8(bytes).unwrap_or_default(),
            });
        }
        Ok(Self {
            root: root.to_path_buf(),
            files,
        })
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn has_folder(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.files.iter().any(|file| file.path.starts_with(&prefix))
    }

    fn rust_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

// === impl File ===

impl File {
    /// Code that only tests see: test files and everything under a `tests` folder.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let found: Vec<String> = complaints(root)
            .unwrap()
            .into_iter()
            .map(|Complaint(text)| text)
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
