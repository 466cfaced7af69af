//! Says from what the program is built: revision, branch, date and compiler, for `build.rs`'s crate.
//!
//! Without git, from an archive, revision and branch are "unknown"; `SOURCE_DATE_EPOCH` sets the date
//! then, as packagers do. A release is built again when the revision changes. A debug build is not, so
//! that a commit costs nothing while one works: it names the revision that it was first built from,
//! with `-dev` behind it.

use std::process::Command;

const UNKNOWN: &str = "unknown";

fn main() {
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    if is_release {
        for name in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name]) {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    let mut revision = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned());
    if !is_release && revision != UNKNOWN {
        revision.push_str("-dev");
    }
    let branch = git(&["rev-parse", "--abbrev-ref", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned());
    let seconds = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .or_else(|| git(&["log", "-1", "--format=%ct"]))
        .and_then(|text| text.parse::<u64>().ok());
    let date = seconds.map_or_else(|| UNKNOWN.to_owned(), date);
    println!("cargo:rustc-env=TRACEWELL_REVISION={revision}");
    println!("cargo:rustc-env=TRACEWELL_BRANCH={branch}");
    println!("cargo:rustc-env=TRACEWELL_BUILD_DATE={date}");
    println!("cargo:rustc-env=TRACEWELL_RUST_VERSION={}", rust_version());
}

fn git(arguments: &[&str]) -> Option<String> {
    output("git", arguments)
}

/// `rustc 1.95.0 (...)` without its name.
fn rust_version() -> String {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let text = output(&compiler, &["--version"]);
    let version = text.and_then(|text| text.split(' ').nth(1).map(str::to_owned));
    version.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// The first line of what a program says, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

/// Unix seconds as RFC 3339, in UTC. The calendar is that of Howard Hinnant's `civil_from_days`.
fn date(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
