//! What the tests over real processes stand on: the binary, its ports and folders, and other
//! languages' packages, all under the target folder.

pub(crate) mod azurite;
pub(crate) mod blocks;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod object_server;
pub(crate) mod packages;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod unreliable;
pub(crate) mod volume;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a condition may take on a machine with other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The target folder that this test binary was built into.
pub(crate) fn target() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    // <target>/<profile>/deps/<binary>
    binary.ancestors().nth(3).unwrap().to_path_buf()
}

/// Names a built binary that is to be tested in place of that of the tests' own profile.
const BINARY: &str = "TRACEWELL_BINARY";

/// The `tracewell` binary of the same profile, built if it is not, or the one that is named by [`BINARY`].
pub(crate) fn binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(named) = std::env::var_os(BINARY) {
            // Cargo starts tests in the folder of their package.
            let path = root().join(named);
            assert!(path.is_file(), "{BINARY}: no file {}", path.display());
            return path;
        }
        let mut cargo = cargo();
        // With the tests, because their dependencies have other features without them: the whole
        // workspace would be built a second time.
        cargo.args([
            "build",
            "--quiet",
            "--workspace",
            "--bins",
            "--tests",
            "--locked",
        ]);
        let status = cargo.status().unwrap();
        assert!(status.success(), "building the binary");
        target().join("debug").join("tracewell")
    })
}

/// Whether a binary is tested that somebody else has built, which is a release build.
pub(crate) fn is_release() -> bool {
    std::env::var_os(BINARY).is_some()
}

/// Cargo over this workspace and target folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    forget_package(&mut cargo);
    cargo.env("CARGO_TARGET_DIR", target()).current_dir(root());
    cargo
}

/// For a command that may start cargo: build scripts that look at what an outer cargo says of its package
/// would run again, each time that it says something else, and with them all that is built on theirs.
pub(crate) fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// A number that a person may set for a run by hand.
pub(crate) fn setting(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    let set = set.map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")));
    set.unwrap_or(default)
}

/// The same of seconds.
pub(crate) fn seconds(variable: &str, default: u64) -> Duration {
    Duration::from_secs(setting(variable, default))
}

/// Asks again until there is an answer; fails with the last reason after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, attempt)
}

/// The same for what takes longer.
pub(crate) fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if start.elapsed() > patience => panic!("{what}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
