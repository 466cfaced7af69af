//! The automation of this repository: `cargo xtask tidy|check|test|steps`.
//!
//! It is not a build system: `make` calls it, and it calls cargo. Read [`steps`] for what CI runs
//! and [`tidy`] for the rules that no compiler checks.

mod planted;
mod steps;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask COMMAND

  tidy            check the rules that no compiler checks
  check           fmt, lints, unit, model and golden tests, tidy, deny, doc links
  test [STEP...]  all that CI runs, or only the named steps
  steps           list the steps of `test`";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = repository_root()?;
    match arguments.split_first() {
        Some((command, [])) if command == "tidy" => tidy::run(&root),
        Some((command, [])) if command == "check" => steps::run(&root, steps::Set::Check),
        Some((command, [])) if command == "test" => steps::run(&root, steps::Set::All),
        Some((command, names)) if command == "test" => {
            steps::run(&root, steps::Set::Named(names.to_vec()))
        }
        Some((command, [])) if command == "steps" => {
            steps::list();
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("{USAGE}"),
    }
}

/// The folder that holds the workspace's Cargo.toml.
fn repository_root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .context("xtask lies in a folder of the repository")
}
