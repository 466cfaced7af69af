//! Packages of Python, Node, Go and Java, installed once into the target folder. Tests run in threads: one
//! installs, those that want the same wait.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::{root, target};

/// The folder of programs of a virtual environment that has the packages of
/// `tests/python/requirements.txt`.
pub(crate) fn python() -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(install_python).clone()
}

fn install_python() -> PathBuf {
    let requirements = root().join("tests/python/requirements.txt");
    let folder = target().join("test-packages").join("python");
    install(&folder, &requirements, |folder| {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder));
        run(Command::new(folder.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(&requirements));
    });
    folder.join("bin")
}

/// A folder that holds the Node test programs beside their `node_modules`.
pub(crate) fn node() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| install_node("node", "exporters.mjs"))
        .clone()
}

/// A folder that holds Azurite, and a client of Azure's.
pub(crate) fn azurite() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| install_node("azurite", "container.mjs"))
        .clone()
}

/// A folder that holds Grafana's grammar of TraceQL.
pub(crate) fn lezer() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| install_node("lezer", "parse.mjs"))
        .clone()
}

/// The packages of a folder of the tests, and its program beside them.
fn install_node(name: &str, program: &str) -> PathBuf {
    let source = root().join("tests").join(name);
    let folder = target().join("test-packages").join(name);
    install(&folder, &source.join("package-lock.json"), |folder| {
        std::fs::create_dir_all(folder).unwrap();
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(source.join(name), folder.join(name)).unwrap();
        }
        run(Command::new("npm")
            .args(["ci", "--silent", "--no-audit"])
            .current_dir(folder));
    });
    std::fs::copy(source.join(program), folder.join(program)).unwrap();
    folder
}

/// A program that is built from a module of Go, at one version.
pub(crate) fn go(module: &str, version: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let guard = INSTALLING.lock();
    let name = module.rsplit('/').next().unwrap();
    let folder = target().join("test-packages").join("go").join(name);
    let list = format!("{module}@{version}");
    install_listed(&folder, list.as_bytes(), |folder| {
        run(Command::new("go")
            .args(["install", "-ldflags", "-s -w", &list])
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-buildvcs=false -p=2")
            .env("GOBIN", std::path::absolute(folder).unwrap()));
    });
    drop(guard);
    folder.join(name)
}

/// The program of Go in `tests/go`, built.
pub(crate) fn go_exporters() -> PathBuf {
    let source = root().join("tests/go");
    let folder = target().join("test-packages").join("go").join("exporters");
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("exporters");
    // Go knows itself what is to be built anew.
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(std::path::absolute(&program).unwrap())
        .arg(".")
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -p=2")
        .current_dir(source));
    program
}

/// A folder with the libraries of `tests/java/pom.xml`.
pub(crate) fn java() -> PathBuf {
    let pom = root().join("tests/java/pom.xml");
    let folder = target().join("test-packages").join("java");
    install(&folder, &pom, |folder| {
        run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!(
                "-DoutputDirectory={}",
                std::path::absolute(folder).unwrap().display()
            )));
    });
    folder
}

/// The `tracewell` binary as the container image has it: linked statically against musl.
pub(crate) fn static_binary() -> PathBuf {
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        run(super::cargo()
            .args(["build", "--quiet", "--package", "tracewell-cli", "--locked"])
            .args(["--profile", "quick", "--target", &triple]));
        target().join(&triple).join("quick").join("tracewell")
    };
    BINARY.get_or_init(build).clone()
}

/// Runs `steps` unless they ran through before with the same list of packages.
fn install(folder: &Path, list: &Path, steps: impl FnOnce(&Path)) {
    install_listed(folder, &std::fs::read(list).unwrap(), steps);
}

fn install_listed(folder: &Path, wanted: &[u8], steps: impl FnOnce(&Path)) {
    let stamp = folder.join(".installed");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return;
    }
    steps(folder);
    std::fs::write(stamp, wanted).unwrap();
}

fn run(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}
