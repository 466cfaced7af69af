//! Programs that a step needs and a fresh machine may lack.
//!
//! System programs come by the system's package manager where this process may use it, and are
//! named with their package otherwise. `cargo-deny` is built once into a cache folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The version whose rules deny.toml is written for.
const DENY_VERSION: &str = "0.20.2";

/// Program and the Debian package that brings it.
const PACKAGES: &[(&str, &str)] = &[
    ("strace", "strace"),
    ("python3", "python3-venv"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// Makes sure that a program can be started.
pub(crate) fn require(program: &str) -> Result<()> {
    if starts(program, &["--version"]) {
        return Ok(());
    }
    let package = PACKAGES
        .iter()
        .find(|(name, _)| *name == program)
        .map_or(program, |(_, package)| package);
    let may_install = starts("apt-get", &["--version"]) && is_root();
    if may_install {
        eprintln!("installing {package} by apt-get, for {program}");
        let updated = apt(&["update", "-q"]);
        if updated && apt(&["install", "-y", "-q", "--no-install-recommends", package]) {
            return Ok(());
        }
    }
    bail!(
        "{program} is missing: install the package `{package}` (Debian and Ubuntu: \
         `sudo apt-get install {package}`) and run this again"
    )
}

fn apt(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn starts(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `cargo deny check` with the rules of deny.toml.
pub(crate) fn deny(root: &Path) -> Result<()> {
    let program = deny_program(root)?;
    let status = Command::new(&program)
        .args(["--locked", "--workspace", "check"])
        .args(["--hide-inclusion-graph", "bans", "licenses", "sources"])
        .current_dir(root)
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    if !status.success() {
        bail!("cargo deny ended with {status}; the rules and their exceptions are in deny.toml");
    }
    Ok(())
}

/// A `cargo-deny` of the right version: the one on the path, or one built into the tools folder.
fn deny_program(root: &Path) -> Result<PathBuf> {
    let folder = match std::env::var_os("TRACEWELL_TOOLS_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => root.join("target").join("tools"),
    };
    let own = folder.join("bin").join("cargo-deny");
    for candidate in [Path::new("cargo-deny"), &own] {
        if version_of(candidate).as_deref() == Some(DENY_VERSION) {
            return Ok(candidate.to_path_buf());
        }
    }
    eprintln!(
        "building cargo-deny {DENY_VERSION} into {}, once",
        folder.display()
    );
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(["install", "cargo-deny", "--version", DENY_VERSION])
        // A debug build takes 70 s on two cores, and checks a workspace in seconds all the same.
        .args(["--locked", "--profile", "dev", "--root"])
        .arg(&folder)
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("starting cargo install")?;
    if !status.success() {
        bail!("building cargo-deny ended with {status}");
    }
    Ok(own)
}

fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().last().map(str::to_owned)
}

/// Seconds for which each fuzz target runs; the first build takes minutes.
const FUZZ_SECONDS: u32 = 20;

/// Runs every target of the `fuzz` folder for a short time over its corpus.
pub(crate) fn fuzz(root: &Path) -> Result<()> {
    let folder = root.join("fuzz");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => root.join("target"),
    };
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder.join("fuzz_targets")).context("reading fuzz_targets")? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    // Built before anything runs, so that a target that does not build is not taken for a finding.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&program)
        .args(["build", "--release", "--locked", "--bins"])
        .env("CARGO_TARGET_DIR", target.join("fuzz"))
        .current_dir(&folder)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!(
            "building the fuzz targets ended with {status}; after a change of dependencies run \
             `cargo update --workspace` in fuzz/"
        );
    }
    for name in &names {
        // What a run finds is kept apart from the corpus, which holds what people chose.
        let found = target.join("fuzz-found").join(name);
        std::fs::create_dir_all(&found).context("creating a folder for what fuzzing finds")?;
        let status = Command::new(&program)
            .args(["run", "--release", "--locked", "--bin", name, "--"])
            .arg(format!("-max_total_time={FUZZ_SECONDS}"))
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(&found)
            .arg(folder.join("corpus").join(name))
            .env("CARGO_TARGET_DIR", target.join("fuzz"))
            .current_dir(&folder)
            .status()
            .context("starting cargo")?;
        if !status.success() {
            bail!(
                "fuzz target {name} ended with {status}; the input lies in {}",
                found.display()
            );
        }
    }
    Ok(())
}
