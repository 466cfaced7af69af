//! The commands of docs/guide/first-traces.md and of the README, run as a reader would who copies
//! them: from the page, in its order, on the ports that it names.
//!
//! Changed is only what a test must change: the debug build stands for the release build, and the
//! home folder is another one. One process of the machine can run this at a time.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{binary, eventually, forget_package, http, process, root, target};

const PORTS: [u16; 4] = [3200, 4317, 4318, 8080];

/// A reader at a terminal.
struct Reader {
    home: tempfile::TempDir,
    path: String,
}

/// What runs until it is interrupted; its children end with it.
struct Running(Child);

#[test]
fn the_commands_of_the_guide_and_of_the_readme_work() {
    let reader = Reader::new();
    reader.follow_the_guide();
    reader.follow_the_readme();
}

// === impl Reader ===

impl Reader {
    fn new() -> Self {
        let programs = binary().parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            path: format!("{programs}:{path}"),
        }
    }

    fn follow_the_guide(&self) {
        let page = read("docs/guide/first-traces.md");
        let blocks = blocks(&page);
        let [build, serve, app, ask] = blocks.as_slice() else {
            panic!("four blocks of commands are expected: {blocks:#?}");
        };
        self.check_build(build);
        self.await_free_ports();
        let server = self.start(serve);
        eventually("the server listens", || http::get(3200, "/ready"));

        // All but the last command of a terminal end by themselves.
        let (prepare, run) = app.trim_end().rsplit_once('\n').unwrap();
        self.run(prepare);
        let service = self.start(run);
        eventually("the service listens", || http::get(8080, "/users/nobody"));
        let mut lines = ask.lines();
        let answer = self.run(lines.next().unwrap());
        assert!(answer.contains(r#""name":"ada""#), "{answer}");
        let query = lines.next().unwrap();
        let found = eventually("the trace is found", || {
            let found = self.run(query);
            match found.contains("/users/") {
                true => Ok(found),
                false => Err(found),
            }
        });
        let id = ids(&found).next().unwrap();
        let trace = self.run(&lines.next().unwrap().replace("ID", id));
        assert!(trace.contains(id) && trace.contains("users"), "{trace}");
        let rates = self.run(lines.next().unwrap());
        assert!(rates.contains("resource.service.name=users"), "{rates}");
        assert_eq!(lines.next(), None, "{ask}");
        let load = inline(&page, "tracewell demo --spans ");
        // A debug build needs a minute for as many as the page has.
        self.run(&load.replace("100000", "2000"));
        let orders = self.run("tracewell query '{ resource.service.name = \"checkout\" }'");
        assert!(ids(&orders).next().is_some(), "{orders}");
        drop((service, server));

        let demo = self.start(inline(&page, "tracewell --demo"));
        self.await_demo();
        drop(demo);
    }

    fn follow_the_readme(&self) {
        let page = read("README.md");
        let blocks = blocks(&page);
        let makes: Vec<&str> = blocks[0].lines().map(command_of).collect();
        assert_eq!(makes, ["make run", "make test"]);
        // What `make run` would do, with another build and in another folder.
        let data = self.home.path().join("run-data");
        let planned = self.run(&format!(
            "make --no-print-directory --dry-run --directory '{}' run DATA='{}'",
            root().display(),
            data.display()
        ));
        let (_, arguments) = planned.split_once("tracewell-cli -- ").unwrap();
        self.await_free_ports();
        let server = self.start(&format!("tracewell {arguments}"));
        self.await_demo();
        let query = command_of(&blocks[1]).replace("target/release/", "");
        let found = eventually("failed traces are found", || {
            let found = self.run(&query);
            match ids(&found).count() {
                0 => Err(found),
                _ => Ok(found),
            }
        });
        let shown = blocks[2].lines().next().unwrap();
        let command = shown.strip_prefix("$ ").unwrap();
        let (command, _) = command.rsplit_once(' ').unwrap();
        let id = ids(&found).next().unwrap();
        let trace = self.run(&format!("{command} {id}"));
        assert!(trace.contains('█') && trace.contains('✗'), "{trace}");
        drop(server);
    }

    /// The first block, from the folder that it says, with the build that the tests have.
    fn check_build(&self, block: &str) {
        let here = target().join("debug");
        let block = block
            .replace(" --release", "")
            .replace("$PWD/target/release", &here.display().to_string());
        let script = format!("cd '{}'\n{block}\ncommand -v tracewell", root().display());
        let found = self.run(&script);
        let found = found.lines().last().unwrap();
        assert_eq!(Path::new(found), here.join("tracewell"));
    }

    fn await_demo(&self) {
        eventually("demo traffic is found", || {
            let found = self.run("tracewell query '{ }' --server http://127.0.0.1:3200 || true");
            match ids(&found).count() {
                0 => Err(found),
                _ => Ok(()),
            }
        });
    }

    fn await_free_ports(&self) {
        eventually("the ports of the page are free", || {
            let taken = |port: &&u16| TcpStream::connect(("127.0.0.1", **port)).is_ok();
            match PORTS.iter().find(taken) {
                Some(port) => Err(format!(
                    "something listens on {port}, see `ss -ltnp`; end it to run this test"
                )),
                None => Ok(()),
            }
        });
    }

    /// Runs commands to their end; all of them succeed.
    fn run(&self, script: &str) -> String {
        let output = self.shell(script).output().unwrap();
        let (text, errors) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{script}\n{text}\n{errors}");
        text
    }

    fn start(&self, command: &str) -> Running {
        let command = command.trim();
        assert_eq!(command.lines().count(), 1, "{command}");
        let log = std::fs::File::create(self.home.path().join("log")).unwrap();
        // Variables before the command, then it takes the place of the shell.
        let script = match command.split_once(' ') {
            Some((variable, rest)) if variable.contains('=') => format!("{variable} exec {rest}"),
            _ => format!("exec {command}"),
        };
        let child = self
            .shell(&script)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Running(child.unwrap())
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        forget_package(&mut command);
        command
            .args(["-euc", script])
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("CARGO_TARGET_DIR", target())
            .env("PIP_CACHE_DIR", target().join("test-packages/pip"))
            .env("PATH", &self.path)
            .env_remove("XDG_STATE_HOME");
        // Where cargo and rustup keep their own, whatever the home is.
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if std::env::var_os(name).is_none() {
                let home = PathBuf::from(std::env::var_os("HOME").unwrap());
                command.env(name, home.join(folder));
            }
        }
        command
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::terminate(&self.0);
        drop(self.0.wait());
    }
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap()
}

/// The indented blocks of a page, without their indent.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        let code = line.strip_prefix("    ");
        // An empty line within a block belongs to it, one behind it does no harm.
        let code = code.or((is_inside && line.is_empty()).then_some(""));
        if let Some(code) = code {
            if !is_inside {
                blocks.push(String::new());
            }
            let block = blocks.last_mut().unwrap();
            block.push_str(code);
            block.push('\n');
        }
        is_inside = code.is_some();
    }
    for block in &mut blocks {
        block.truncate(block.trim_end().len());
    }
    blocks
}

/// A line without the comment behind it.
fn command_of(line: &str) -> &str {
    line.split_once(" #")
        .map_or(line, |(command, _)| command)
        .trim()
}

/// The inline code that begins so.
fn inline<'a>(page: &'a str, beginning: &str) -> &'a str {
    let found = page.split('`').skip(1).step_by(2);
    let mut found = found.filter(|code| code.starts_with(beginning));
    found
        .next()
        .unwrap_or_else(|| panic!("no {beginning} on the page"))
}

/// Trace ids in what the command line prints.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let is_id = |word: &&str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_whitespace().filter(is_id)
}
