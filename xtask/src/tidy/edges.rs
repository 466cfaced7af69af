//! ARCHITECTURE.md against the manifests: its table of edges is the list of edges, and the crates
//! that it names are the crates that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Complaint, Tree};

const MAP: &str = "ARCHITECTURE.md";
/// The table lies between these two lines.
const TABLE_FROM: &str = "<!-- edges -->";
const TABLE_TO: &str = "<!-- /edges -->";
/// May be a dev-dependency of any crate, and a plain dependency of none but the tests.
const TESTKIT: &str = "testkit";
const PREFIX: &str = "tracewell-";
/// A workspace each.
const WORKSPACES: [&str; 2] = [".", "fuzz"];

type Edges = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(tree: &Tree) -> Result<Vec<Complaint>> {
    let Some(map) = tree.file(MAP) else {
        return Ok(vec![Complaint(format!("{MAP} is missing"))]);
    };
    let manifests = edges_of_manifests(tree)?;
    Ok(compare(&map.text, &manifests, &|folder| {
        tree.has_folder(folder)
    }))
}

fn compare(map: &str, manifests: &Edges, has_folder: &dyn Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let table = edges_of_table(map);
    for (name, uses) in manifests {
        let Some(allowed) = table.get(name) else {
            complaints.push(Complaint(format!(
                "{MAP}: crate {name} has no row in the table of edges"
            )));
            continue;
        };
        for edge in uses.difference(allowed) {
            complaints.push(Complaint(format!(
                "{name} uses {edge}, an edge that {MAP} does not list: is it the right room?"
            )));
        }
        for edge in allowed.difference(uses) {
            complaints.push(Complaint(format!(
                "{MAP} lists the edge {name} to {edge}, which no manifest has: take it out"
            )));
        }
    }
    for name in table.keys().filter(|name| !manifests.contains_key(*name)) {
        complaints.push(Complaint(format!(
            "{MAP} lists crate {name}, which does not exist"
        )));
    }
    for folder in named_folders(map).filter(|folder| !has_folder(folder)) {
        complaints.push(Complaint(format!(
            "{MAP} names {folder}, which does not exist"
        )));
    }
    let headings: BTreeSet<&str> = headings(map).collect();
    for name in manifests.keys() {
        let folder = format!("crates/{name}");
        if has_folder(&folder) && !headings.contains(folder.as_str()) {
            complaints.push(Complaint(format!("{MAP} has no heading `{folder}`")));
        }
    }
    complaints
}

/// Rows of the form "| `store` | `model` `wire` | ... |".
fn edges_of_table(map: &str) -> Edges {
    let table = map
        .split_once(TABLE_FROM)
        .and_then(|(_, rest)| rest.split_once(TABLE_TO))
        .map_or("", |(table, _)| table);
    let mut edges = Edges::new();
    for line in table.lines() {
        let mut cells = line.trim().trim_start_matches('|').split('|');
        let (Some(name), Some(uses)) = (cells.next(), cells.next()) else {
            continue;
        };
        let [name] = code_words(name)[..] else {
            continue;
        };
        let uses = code_words(uses).into_iter().map(str::to_owned).collect();
        edges.insert(name.to_owned(), uses);
    }
    edges
}

/// The words between backticks.
fn code_words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Headings that name a folder: "### `crates/store`: ...".
fn headings(map: &str) -> impl Iterator<Item = &str> {
    map.lines()
        .filter(|line| line.starts_with('#'))
        .flat_map(code_words)
        .map(|word| word.trim_end_matches('/'))
}

/// Every `crates/...` and `docs/...` in backticks, wherever it stands, and what a line of a list is about.
fn named_folders(map: &str) -> impl Iterator<Item = &str> {
    let about = |line| code_words(line).into_iter().next();
    let of_lists = map.lines().filter(|line| line.starts_with("- `"));
    map.lines()
        .flat_map(code_words)
        .filter(|word| word.starts_with("crates/") || word.starts_with("docs/"))
        .filter(|word| !word.contains(['*', '<', ' ']))
        .chain(of_lists.filter_map(about))
        .map(|word| word.trim_end_matches('/'))
        .filter(|word| !word.ends_with(".rs"))
}

/// The edges between our packages, without the prefix of their names.
fn edges_of_manifests(tree: &Tree) -> Result<Edges> {
    let mut packages = Vec::new();
    for workspace in WORKSPACES {
        packages.extend(packages_of(&tree.root.join(workspace))?);
    }
    let names: BTreeSet<&str> = packages.iter().filter_map(|it| text(it, "name")).collect();
    let mut edges = Edges::new();
    for package in &packages {
        let name = text(package, "name").context("a package has no name")?;
        edges.insert(short(name), uses(package, name, &names));
    }
    Ok(edges)
}

fn packages_of(workspace: &Path) -> Result<Vec<Value>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(workspace)
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(array(&metadata, "packages").to_vec())
}

fn uses(package: &Value, name: &str, names: &BTreeSet<&str>) -> BTreeSet<String> {
    let is_edge = |dependency: &&Value| {
        let dev = text(dependency, "kind") == Some("dev");
        let testkit = text(dependency, "name") == Some(&format!("{PREFIX}{TESTKIT}"));
        // The tests package has nothing but dev-dependencies, and they are its edges.
        !dev || !testkit || name == "tracewell-tests"
    };
    let dependencies = array(package, "dependencies").iter().filter(is_edge);
    dependencies
        .filter_map(|dependency| text(dependency, "name"))
        .filter(|dependency| names.contains(dependency) && *dependency != name)
        .map(short)
        .collect()
}

fn short(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "### `crates/model`: nouns\n### `crates/wire`: bytes\n<!-- edges -->\n\
        | crate | uses | |\n|---|---|---|\n| `model` | | |\n| `wire` | `model` | |\n<!-- /edges -->\n";

    fn found(map: &str, edges: &[(&str, &[&str])]) -> Vec<String> {
        let manifests: Edges = edges
            .iter()
            .map(|(name, uses)| {
                let uses = uses.iter().map(|edge| (*edge).to_owned()).collect();
                ((*name).to_owned(), uses)
            })
            .collect();
        let folders = ["crates/model", "crates/wire", "crates/store"];
        compare(map, &manifests, &|folder| folders.contains(&folder))
            .into_iter()
            .map(|Complaint(text)| text)
            .collect()
    }

    #[test]
    fn the_map_and_the_manifests_agree() {
        assert_eq!(
            found(MAP, &[("model", &[]), ("wire", &["model"])]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_edge_that_is_not_listed_is_named() {
        let found = found(MAP, &[("model", &["wire"]), ("wire", &["model"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("model uses wire"), "{found:?}");
    }

    #[test]
    fn ghosts_in_both_directions_are_named() {
        let ghost = MAP.replace(
            "<!-- /edges -->",
            "| `ghost` | | |\n<!-- /edges -->\n`crates/ghost`",
        );
        let found = found(&ghost, &[("model", &[]), ("wire", &[]), ("store", &[])]);
        assert_eq!(found.len(), 5, "{found:?}");
    }

    #[test]
    fn folders_beside_the_crates_exist() {
        let map = format!("{MAP}- `deploy`: files.\n- `crates/model`, and `docs/none`\n");
        let found = found(&map, &[("model", &[]), ("wire", &["model"])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("docs/none") && found[1].contains("deploy"));
    }

    #[test]
    fn the_edges_of_every_workspace_are_seen() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let edges = edges_of_manifests(&Tree::read(&root).unwrap()).unwrap();
        let of = |name: &str| edges[name].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(of("wire"), ["model"]);
        assert!(of("fuzz").contains(&"store"));
    }
}
