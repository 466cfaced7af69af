//! What this program was built from, as the build script found it.

use tracewell_server::BuildInfo;

/// For `--version`.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (branch: ",
    env!("TRACEWELL_BRANCH"),
    ", revision: ",
    env!("TRACEWELL_REVISION"),
    ")\n  build date: ",
    env!("TRACEWELL_BUILD_DATE"),
    "\n  rust version: ",
    env!("TRACEWELL_RUST_VERSION"),
);

/// For `/api/status/buildinfo`, `/status/version` and the metric of the same name.
pub(crate) fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: env!("TRACEWELL_REVISION").to_owned(),
        branch: env!("TRACEWELL_BRANCH").to_owned(),
        build_date: env!("TRACEWELL_BUILD_DATE").to_owned(),
        rust_version: env!("TRACEWELL_RUST_VERSION").to_owned(),
    }
}
