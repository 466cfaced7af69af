//! Bugs inside of the engine, and whether the oracle tells each: the step `planted`.
//!
//! The product knows nothing of them. The step copies the sources to a folder below the target folder and
//! replaces expressions there by a choice between them and what is wrong (`planted/bugs.txt`). So one
//! build holds all bugs, and a test switches on one after the other. The copy shares the target folder, and
//! with it the dependencies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{steps, tidy};

const BUGS: &str = include_str!("planted/bugs.txt");
const SWITCH: &str = include_str!("planted/switch.txt");
const MAIN: &str = include_str!("planted/main.txt");
const DRIVER: &str = include_str!("planted/driver.txt");

/// What a workspace needs to be built.
const COPIED: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "crates",
    "tests",
    "xtask",
];
/// What holds the switch.
const SWITCH_CRATE: &str = "crates/model";
/// What the test is added to.
const COMPARISON: &str = "tests/tests/all/whole_traces.rs";

/// An expression, and what stands there with the bug.
#[derive(Debug)]
struct Bug<'t> {
    name: &'t str,
    path: &'t str,
    before: &'t str,
    right: &'t str,
    behind: &'t str,
    wrong: &'t str,
}

pub(crate) fn run(root: &Path) -> Result<()> {
    let bugs = parse(BUGS)?;
    let target = target(root);
    let copy = target.join("planted");
    let mut files = sources(root)?;
    plant_all(&bugs, &mut files)?;
    add_test(&bugs, &mut files)?;
    for (path, text) in &files {
        write(&copy.join(path), text)?;
    }
    let arguments = [
        "test",
        "--workspace",
        "--locked",
        "--test",
        "planted",
        "--",
        "--nocapture",
        "mutants::",
    ];
    let target = target.to_string_lossy();
    let variable = Some(("CARGO_TARGET_DIR", &*target));
    steps::cargo(&copy, &arguments, variable, steps::Output::Through)
}

fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root.join(target),
        None => root.join("target"),
    }
}

fn parse(text: &str) -> Result<Vec<Bug<'_>>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let (bugs, rest) = lines.as_chunks::<4>();
    ensure!(rest.is_empty(), "a bug of four lines lacks some: {rest:?}");
    let bugs = bugs.iter().map(|[name, path, place, wrong]| {
        let parts = place
            .split_once("[[")
            .and_then(|(before, rest)| Some((before, rest.split_once("]]")?)));
        let Some((before, (right, behind))) = parts else {
            bail!("bug {name:?} marks no expression");
        };
        Ok(Bug {
            name,
            path,
            before,
            right,
            behind,
            wrong,
        })
    });
    bugs.collect()
}

/// The text files of the workspace, by their paths.
fn sources(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for path in tidy::listed(root, &COPIED)? {
        // A deleted file stays listed; what is no text is no source.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.insert(path, text);
        }
    }
    Ok(files)
}

fn plant_all(bugs: &[Bug<'_>], files: &mut BTreeMap<String, String>) -> Result<()> {
    let mut by_path: BTreeMap<&str, Vec<(Range<usize>, String)>> = BTreeMap::new();
    for (number, bug) in (1..).zip(bugs) {
        let text = files.get(bug.path);
        let text = text.with_context(|| format!("bug {:?}: no file {}", bug.name, bug.path))?;
        let planted = (bug.place(text)?, bug.choice(number));
        by_path.entry(bug.path).or_default().push(planted);
    }
    for (path, mut places) in by_path {
        // From the last on, so that places stay where they were.
        places.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let text = files.get_mut(path).context("a file is gone")?;
        for (place, choice) in places {
            text.replace_range(place, &choice);
        }
    }
    Ok(())
}

/// The switch, the test, and profiles under which nothing of the copy is taken for the workspace itself.
fn add_test(bugs: &[Bug<'_>], files: &mut BTreeMap<String, String>) -> Result<()> {
    let mut switch = SWITCH.to_owned();
    let names: Vec<&str> = bugs.iter().map(|bug| bug.name).collect();
    writeln!(switch, "pub const NAMES: &[&str] = &{names:#?};")?;
    files.insert(format!("{SWITCH_CRATE}/src/planted.rs"), switch);
    append(
        files,
        &format!("{SWITCH_CRATE}/src/lib.rs"),
        "pub mod planted;\n",
    )?;
    append(files, COMPARISON, "\nmod mutants;\n")?;
    let folder = COMPARISON.trim_end_matches(".rs");
    files.insert(format!("{folder}/mutants.rs"), DRIVER.to_owned());
    files.insert("tests/tests/planted.rs".to_owned(), MAIN.to_owned());
    let manifest = files.get_mut("Cargo.toml").context("no Cargo.toml")?;
    *manifest = manifest.replace("debug = \"line-tables-only\"", "debug = false");
    // Choices stand in parentheses, wherever they stand.
    let lints = "[workspace.lints.rust]\n";
    *manifest = manifest.replace(
        lints,
        &format!("{lints}unused = {{ level = \"allow\", priority = -1 }}\n"),
    );
    *manifest = without_own_profiles(manifest);
    Ok(())
}

/// The bugs are found as well by code that is built in half the time.
fn without_own_profiles(manifest: &str) -> String {
    let sections = manifest.split_inclusive("\n\n");
    let kept = sections.filter(|section| !section.contains("[profile.dev.package.tracewell-"));
    kept.collect()
}

fn append(files: &mut BTreeMap<String, String>, path: &str, text: &str) -> Result<()> {
    let file = files.get_mut(path);
    file.with_context(|| format!("no file {path}"))?
        .push_str(text);
    Ok(())
}

/// What is as it was is not written, so that it is not built again.
fn write(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let folder = path.parent().context("a file lies in no folder")?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

// === impl Bug ===

impl Bug<'_> {
    /// Where the expression stands.
    fn place(&self, text: &str) -> Result<Range<usize>> {
        let around = format!("{}{}{}", self.before, self.right, self.behind);
        let mut found = text.match_indices(&around);
        let (Some((at, _)), None) = (found.next(), found.next()) else {
            let n = text.matches(&around).count();
            bail!(
                "bug {:?}: `{around}` occurs {n} times in {}, not once: follow the code in \
                 xtask/src/planted/bugs.txt",
                self.name,
                self.path
            );
        };
        let start = at + self.before.len();
        Ok(start..start + self.right.len())
    }

    fn choice(&self, number: usize) -> String {
        let krate = match self.path.starts_with(SWITCH_CRATE) {
            true => "crate",
            false => "tracewell_model",
        };
        format!(
            "(if {krate}::planted::on({number}) {{ {} }} else {{ {} }})",
            self.wrong, self.right
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_has_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let bugs = parse(BUGS).unwrap();
        assert!(bugs.len() >= 20);
        let mut files = sources(root).unwrap();
        plant_all(&bugs, &mut files).unwrap();
        for (number, bug) in (1..).zip(&bugs) {
            let text = files.get(bug.path).unwrap();
            assert!(text.contains(&bug.choice(number)), "{}", bug.name);
        }
    }

    #[test]
    fn a_place_that_is_not_there_once_is_named() {
        let bug = &parse("a bug\nlib.rs\nlet a = [[b]];\nc").unwrap()[0];
        assert_eq!(bug.place("let a = b;").unwrap(), 8..9);
        for text in ["let a = c;", "let a = b; let a = b;"] {
            let error = bug.place(text).unwrap_err().to_string();
            assert!(error.contains("\"a bug\""), "{error}");
        }
    }
}
