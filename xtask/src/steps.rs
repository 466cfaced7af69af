//! What `make check` and `make test` run, step by step, timed.
//!
//! A step that fails does not hide the ones after it: all run, and the end names those that failed
//! and the ten that took longest. The output of every step goes through as it is, so that a log
//! holds the usual `test result:` lines of cargo; the last lines of what failed are said again at the
//! end, because logs of hours are often kept by their end alone.

use std::collections::VecDeque;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{planted, tidy, tools};

/// Which steps to run.
pub(crate) enum Set {
    Check,
    All,
    Named(Vec<String>),
}

/// One thing that can fail.
struct Step {
    name: &'static str,
    what: &'static str,
    part_of: PartOf,
    action: Action,
}

/// When a step runs without being named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartOf {
    /// `make check` and `make test`.
    Check,
    Test,
    /// Another step runs the same beside its own, or it takes too long.
    Nothing,
}

enum Action {
    /// Arguments of cargo.
    Cargo(&'static [&'static str]),
    /// Arguments of cargo, with the environment variable that it needs.
    CargoWith(&'static [&'static str], (&'static str, &'static str)),
    /// A function of this program.
    Own(fn(&Path) -> Result<()>),
    /// Modules of the system tests that wait more than they work: the steps behind it, which build, run
    /// meanwhile.
    Waiting(&'static [&'static str]),
}

/// Where the output of a command goes.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    /// Line by line as it comes.
    Through,
    /// All of it at the end.
    AtTheEnd,
}

/// Only the ten slowest are worth a line.
const N_SLOWEST: usize = 10;

/// What needs real processes is a step of its own; everything else is a unit, model or golden test and
/// belongs to `make check`.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "formatting",
        part_of: PartOf::Check,
        action: Action::Own(formatted),
    },
    Step {
        name: "clippy",
        what: "lints, as errors",
        part_of: PartOf::Check,
        action: Action::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    },
    Step {
        name: "unit",
        what: "unit, model, format and golden tests of every crate",
        part_of: PartOf::Check,
        // Every step that tests names the whole workspace: with fewer packages cargo would resolve
        // other features, and build the largest dependencies anew.
        action: Action::Cargo(&[
            "test",
            "--workspace",
            "--locked",
            "--lib",
            "--bins",
            "--tests",
            "--",
            // Fault and model tests print their counts and seeds.
            "--show-output",
            "--skip",
            "e2e::",
            "--skip",
            "crashes::",
            "--skip",
            "python::",
            "--skip",
            "exporters::",
            "--skip",
            "buckets::",
            "--skip",
            "soak::",
            "--skip",
            "container::",
            "--skip",
            "grammar::",
        ]),
    },
    Step {
        name: "tidy",
        what: "rules that no compiler checks",
        part_of: PartOf::Check,
        action: Action::Own(tidy::check),
    },
    Step {
        name: "deny",
        what: "licences, sources and duplicate versions of dependencies",
        part_of: PartOf::Check,
        action: Action::Own(tools::deny),
    },
    Step {
        name: "doc",
        what: "links in the documentation of the code",
        part_of: PartOf::Check,
        action: Action::CargoWith(
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ],
            (
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private_intra_doc_links",
            ),
        ),
    },
    Step {
        name: "binary",
        what: "the binary that the following steps start",
        part_of: PartOf::Test,
        // As the tests build it: with their dependencies, whose features others would be without them.
        action: Action::Cargo(&["build", "--workspace", "--bins", "--tests", "--locked"]),
    },
    Step {
        name: "e2e",
        what: "the real binary, end to end",
        part_of: PartOf::Test,
        action: Action::Own(|root| suite(root, "e2e::")),
    },
    Step {
        name: "crashes",
        what: "the real binary killed, its syncs watched, its disk full",
        part_of: PartOf::Test,
        action: Action::Own(|root| suite(root, "crashes::")),
    },
    Step {
        name: "soak",
        what: "ingest, queries, merging, retention and an unreliable bucket together, for two minutes",
        part_of: PartOf::Nothing,
        action: Action::Own(|root| suite(root, "soak::")),
    },
    Step {
        name: "python",
        what: "official exporters, instrumentation and readers of Python",
        part_of: PartOf::Test,
        action: Action::Own(|root| suite(root, "python::")),
    },
    Step {
        name: "exporters",
        what: "official exporters of Node, Go, Java and Rust",
        part_of: PartOf::Test,
        action: Action::Own(|root| suite(root, "exporters::")),
    },
    Step {
        name: "grammar",
        what: "the grammar of Grafana's editor over the golden texts of TraceQL",
        part_of: PartOf::Test,
        action: Action::Own(|root| suite(root, "grammar::")),
    },
    Step {
        name: "buckets",
        what: "the real binary over object stores, and the soak beside them: they wait more than they work",
        part_of: PartOf::Test,
        action: Action::Waiting(&["buckets::", "soak::"]),
    },
    Step {
        name: "container",
        what: "the static binary alone, as the container image has it",
        part_of: PartOf::Test,
        action: Action::Own(|root| {
            tools::add_static_target()?;
            suite(root, "container::")
        }),
    },
    Step {
        name: "planted",
        what: "bugs inside of the engine, each of which the oracle has to notice",
        part_of: PartOf::Test,
        action: Action::Own(planted::run),
    },
    Step {
        name: "fuzz",
        what: "every parser of foreign bytes, for a few seconds each",
        part_of: PartOf::Test,
        action: Action::Own(tools::fuzz),
    },
];

/// Modules of the system tests, and the programs that they start.
pub(crate) const SUITES: &[(&str, &[&str])] = &[
    ("e2e::", &["curl"]),
    ("crashes::", &["strace", "unshare", "nsenter"]),
    ("buckets::", &["python3", "go", "node", "npm"]),
    ("soak::", &["python3", "go"]),
    ("python::", &["python3", "curl"]),
    ("exporters::", &["node", "npm", "go", "java", "mvn"]),
    ("grammar::", &["node", "npm"]),
    ("container::", &["musl-gcc", "unshare", "chroot"]),
];

pub(crate) fn programs_of(filter: &str) -> &'static [&'static str] {
    let suite = SUITES.iter().find(|(name, _)| *name == filter);
    suite.map_or(&[], |(_, programs)| programs)
}

pub(crate) fn list() {
    for step in STEPS {
        let set = match step.part_of {
            PartOf::Check => "check, test",
            PartOf::Test => "test",
            PartOf::Nothing => "by its name alone",
        };
        eprintln!("{:<8} {} ({set})", step.name, step.what);
    }
}

/// Set for all steps but in `make check`: model and fault tests then go through every place, and ask
/// the oracle 100,000 queries.
const FULL: &str = "TRACEWELL_TEST_FULL";

pub(crate) fn run(root: &Path, set: Set) -> Result<ExitCode> {
    let steps = select(&set)?;
    let is_full = !matches!(set, Set::Check);
    let start = Instant::now();
    let mut timed: Vec<Timed> = Vec::with_capacity(steps.len());
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for step in steps {
            eprintln!("\n=== {}: {}", step.name, step.what);
            if let Action::Waiting(filters) = step.action {
                match prepare(root, filters) {
                    Ok(()) => {
                        eprintln!("=== {} runs beside the next steps", step.name);
                        let run = || run_suites(root, filters, WAITING_THREADS, Output::AtTheEnd);
                        waiting.push((step.name, scope.spawn(move || taking(run))));
                    }
                    Err(error) => timed.push(told(step.name, Duration::ZERO, Err(error))),
                }
                continue;
            }
            let (took, result) = taking(|| step.action.run(root, is_full));
            timed.push(told(step.name, took, result));
        }
        for (name, running) in waiting {
            let panicked = |_| (Duration::ZERO, Err(anyhow::anyhow!("it panicked")));
            let (took, result) = running.join().unwrap_or_else(panicked);
            timed.push(told(name, took, result));
        }
    });
    Ok(report(timed, start.elapsed()))
}

/// A step that has run: its name, how long, and how it ended.
type Timed = (&'static str, Duration, Result<()>);

fn taking(run: impl FnOnce() -> Result<()>) -> (Duration, Result<()>) {
    let start = Instant::now();
    let result = run();
    (start.elapsed(), result)
}

fn told(name: &'static str, took: Duration, result: Result<()>) -> Timed {
    if let Err(error) = &result {
        // What it printed stands above, and once more at the end.
        let error = format!("{error:#}");
        let first = error.lines().next().unwrap_or_default();
        eprintln!("=== {name} FAILED: {first}");
    }
    eprintln!("=== {name} took {:.0} s", took.as_secs_f64());
    (name, took, result)
}

fn select(set: &Set) -> Result<Vec<&'static Step>> {
    match set {
        Set::All => {
            let steps = STEPS.iter();
            Ok(steps.filter(|it| it.part_of != PartOf::Nothing).collect())
        }
        Set::Check => {
            let steps = STEPS.iter();
            Ok(steps.filter(|it| it.part_of == PartOf::Check).collect())
        }
        Set::Named(names) => names
            .iter()
            .map(|name| {
                STEPS
                    .iter()
                    .find(|step| step.name == name)
                    .with_context(|| format!("no step {name:?}; `cargo xtask steps` lists them"))
            })
            .collect(),
    }
}

fn report(mut timed: Vec<Timed>, total: Duration) -> ExitCode {
    let failed: Vec<String> = timed
        .iter()
        .filter_map(|(name, _, result)| {
            let error = result.as_ref().err()?;
            Some(format!("  {name}: {error:#}"))
        })
        .collect();
    timed.sort_by_key(|(_, took, _)| std::cmp::Reverse(*took));
    eprintln!(
        "\n=== slowest of {} steps, {:.0} s in all",
        timed.len(),
        total.as_secs_f64()
    );
    for (name, took, _) in timed.iter().take(N_SLOWEST) {
        eprintln!("{:>8.1} s  {name}", took.as_secs_f64());
    }
    if failed.is_empty() {
        eprintln!("\n=== all steps passed");
        return ExitCode::SUCCESS;
    }
    eprintln!("\n=== {} FAILED", failed.len());
    for line in failed {
        eprintln!("{line}");
    }
    ExitCode::FAILURE
}

fn suite(root: &Path, filter: &'static str) -> Result<()> {
    prepare(root, &[filter])?;
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    run_suites(root, &[filter], n_threads, Output::Through)
}

/// Tests that wait run beside each other.
const WAITING_THREADS: usize = 4;

const SYSTEM_TESTS: [&str; 6] = ["test", "--workspace", "--locked", "--test", "all", "--"];

/// The programs of modules of the system tests, and the tests themselves. A filter that finds none is an
/// error: cargo takes it for success.
fn prepare(root: &Path, filters: &[&str]) -> Result<()> {
    for program in filters.iter().flat_map(|filter| programs_of(filter)) {
        tools::require(program)?;
    }
    for filter in filters {
        let listed = command()
            .args(SYSTEM_TESTS)
            .args(["--list", filter])
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .context("starting cargo")?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        if !listed.lines().any(|line| line.ends_with(": test")) {
            bail!("no test is named {filter:?}");
        }
    }
    Ok(())
}

fn run_suites(root: &Path, filters: &[&str], n_threads: usize, output: Output) -> Result<()> {
    let n_threads = format!("--test-threads={n_threads}");
    let shown = ["--show-output", &n_threads];
    let arguments = [&SYSTEM_TESTS[..], &shown, filters].concat();
    cargo(root, &arguments, None, output)
}

// === impl Action ===

impl Action {
    fn run(&self, root: &Path, is_full: bool) -> Result<()> {
        match self {
            Self::Cargo(arguments) => {
                let full = is_full.then_some((FULL, "1"));
                cargo(root, arguments, full, Output::Through)
            }
            Self::CargoWith(arguments, variable) => {
                cargo(root, arguments, Some(*variable), Output::Through)
            }
            Self::Own(function) => function(root),
            Self::Waiting(filters) => {
                prepare(root, filters)?;
                run_suites(root, filters, WAITING_THREADS, Output::Through)
            }
        }
    }
}

/// The cargo that runs this, without what it says of this package: build scripts that look at it would
/// run again in each cargo that is started from elsewhere, and all that depends on theirs be built anew.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Lines of a failed command that its error repeats: cargo's tests tell last what failed and why.
const N_LAST: usize = 60;

/// The fuzz targets are a workspace of their own.
fn formatted(root: &Path) -> Result<()> {
    for folder in [root.to_path_buf(), root.join("fuzz")] {
        cargo(&folder, &["fmt", "--all", "--check"], None, Output::Through)?;
    }
    Ok(())
}

pub(crate) fn cargo(
    root: &Path,
    arguments: &[&str],
    variable: Option<(&str, &str)>,
    to: Output,
) -> Result<()> {
    let mut cargo = command();
    cargo.args(arguments).current_dir(root);
    if let Some((name, value)) = variable {
        cargo.env(name, value);
    }
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let last = pass_on(BufReader::new(output), to).context("reading what cargo prints")?;
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() {
        let arguments = arguments.join(" ");
        bail!("`cargo {arguments}` ended with {status}, and printed last:\n{last}");
    }
    Ok(())
}

/// Prints all of it, and gives its last lines.
fn pass_on(mut output: impl std::io::BufRead, to: Output) -> std::io::Result<String> {
    let mut last: VecDeque<Vec<u8>> = VecDeque::with_capacity(N_LAST);
    let mut kept: Vec<u8> = Vec::new();
    loop {
        let mut line = Vec::new();
        if output.read_until(b'\n', &mut line)? == 0 {
            print(&kept)?;
            return Ok(String::from_utf8_lossy(&Vec::from(last).concat()).into_owned());
        }
        match to {
            Output::Through => print(&line)?,
            Output::AtTheEnd => kept.extend_from_slice(&line),
        }
        if last.len() == N_LAST {
            last.pop_front();
        }
        last.push_back(line);
    }
}

fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let lines: Vec<String> = (0..N_LAST * 2).map(|line| format!("{line}\n")).collect();
        let kept = pass_on(lines.concat().as_bytes(), Output::Through).unwrap();
        let expected: Vec<String> = lines.into_iter().skip(N_LAST).collect();
        assert_eq!(kept, expected.concat());
    }
}
