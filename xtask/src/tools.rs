//! Programs that a step needs and a fresh machine may lack.
//!
//! System programs come by the system's package manager where this process may use it, and are
//! named with their package otherwise. `cargo-deny` is built once into a cache folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps;

/// The version whose rules deny.toml is written for.
const DENY_VERSION: &str = "0.20.2";

/// A program that a step starts.
struct Tool {
    program: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
    /// Arguments with which it ends well where all that is needed of it is there.
    probe: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool::new("strace", "strace"),
    Tool {
        // Debian's Python comes without them.
        probe: &["-c", "import ensurepip, venv"],
        ..Tool::new("python3", "python3-venv")
    },
    Tool::new("node", "nodejs"),
    Tool::new("npm", "npm"),
    Tool::new("unshare", "util-linux"),
    Tool::new("nsenter", "util-linux"),
    Tool::new("chroot", "coreutils"),
    Tool::new("curl", "curl"),
    // libFuzzer is C++.
    Tool::new("c++", "g++"),
    // The C parts of a static binary.
    Tool::new("musl-gcc", "musl-tools"),
    Tool {
        probe: &["version"],
        ..Tool::new("go", "golang-go")
    },
    Tool::new("java", "default-jdk-headless"),
    Tool::new("mvn", "maven"),
];

// === impl Tool ===

impl Tool {
    const fn new(program: &'static str, package: &'static str) -> Self {
        Self {
            program,
            package,
            probe: &["--version"],
        }
    }

    fn of(program: &str) -> Result<&'static Self> {
        let tool = TOOLS.iter().find(|tool| tool.program == program);
        tool.with_context(|| format!("{program} is not in the list of tools"))
    }

    /// Whether a program that stands for it will do.
    fn is(&self, program: impl AsRef<std::ffi::OsStr>) -> bool {
        starts(program, self.probe)
    }
}

/// Makes sure that a program can be started, with all that is needed of it.
pub(crate) fn require(program: &str) -> Result<()> {
    let tool = Tool::of(program)?;
    if tool.is(program) {
        return Ok(());
    }
    let package = tool.package;
    let may_install = starts("apt-get", &["--version"]) && is_root();
    if may_install {
        eprintln!("installing {package} by apt-get, for {program}");
        let updated = apt(&["update", "-q"]);
        if updated && apt(&["install", "-y", "-q", "--no-install-recommends", package]) {
            return Ok(());
        }
    }
    bail!(
        "{program} is missing, or lacks what `{package}` brings: install the package `{package}` \
         (Debian and Ubuntu: `sudo apt-get install {package}`) and run this again"
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

/// Makes sure that the standard library for static binaries is there.
pub(crate) fn add_static_target() -> Result<()> {
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let status = Command::new("rustup")
        .args(["target", "add", &triple])
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!(
            "the standard library of Rust for {triple} is missing: `rustup target add {triple}`, or the \
             package of the system that brings it"
        ),
    }
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
    let status = steps::command()
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
    require("c++")?;
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
    let status = steps::command()
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
    let run = |name: &String| fuzz_target(name, &folder, &target);
    // A target is one thread.
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in names.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|name| scope.spawn(|| run(name))).collect();
            let ended = running.into_iter().map(|it| {
                let ended = it.join();
                ended.unwrap_or_else(|_| bail!("running a fuzz target panicked"))
            });
            ended.collect::<Result<Vec<()>>>()
        })?;
    }
    Ok(())
}

fn fuzz_target(name: &str, folder: &Path, target: &Path) -> Result<()> {
    // What a run finds is kept apart from the corpus, which holds what people chose.
    let found = target.join("fuzz-found").join(name);
    std::fs::create_dir_all(&found).context("creating a folder for what fuzzing finds")?;
    let status = steps::command()
        .args([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "--bin",
            name,
            "--",
        ])
        .arg(format!("-max_total_time={FUZZ_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&found)
        .arg(folder.join("corpus").join(name))
        .env("CARGO_TARGET_DIR", target.join("fuzz"))
        .current_dir(folder)
        .status()
        .with_context(|| format!("starting the fuzz target {name}"))?;
    if !status.success() {
        bail!(
            "fuzz target {name} ended with {status}; the input lies in {}",
            found.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_python_without_venv_is_not_enough() {
        let bare = std::env::temp_dir().join(format!("bare-python-{}", std::process::id()));
        std::fs::write(&bare, "#!/bin/sh\n[ \"$1\" = --version ]\n").unwrap();
        std::fs::set_permissions(&bare, std::fs::Permissions::from_mode(0o755)).unwrap();
        let python = Tool::of("python3").unwrap();
        assert!(starts(&bare, &["--version"]) && !python.is(&bare));
        assert_eq!(python.package, "python3-venv");
        std::fs::remove_file(bare).unwrap();
    }

    #[test]
    fn every_program_that_a_step_names_has_a_package() {
        for (_, programs) in crate::steps::SUITES {
            for program in *programs {
                assert!(Tool::of(program).is_ok(), "{program}");
            }
        }
        let of_crashes = crate::steps::programs_of("crashes::");
        for program in ["unshare", "nsenter"] {
            assert_eq!(Tool::of(program).unwrap().package, "util-linux");
            assert!(of_crashes.contains(&program), "{program}");
        }
    }
}
