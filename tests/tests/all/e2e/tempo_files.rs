//! Files of Tempo's as people have them, each started with its ports and folders moved aside: the
//! server says what its check said. Two are started as they are, in namespaces where their ports and folders are free.
//! Those that are broken the binary refuses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::harness::server::Site;
use crate::harness::{binary, eventually_within, process, root};

fn files() -> Vec<PathBuf> {
    let folder = root().join("tests/fixtures/tempo");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    files
}

/// Of each warning that the check of a file printed, the line of the file and the words.
fn warnings(golden: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(golden).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("warning: "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_file_starts_and_warns_as_its_check_does() {
    let files = files();
    assert!(files.len() >= 6, "only {files:?}");
    for file in files {
        let site = Site::new();
        let folder = |name: &str| site.folder().join(name).display().to_string();
        let wal = format!("storage.wal_path={}", folder("wal"));
        let blocks = format!("storage.blocks_path={}", folder("blocks"));
        let mut command = Command::new(binary());
        command
            .args(site.arguments(&[
                &wal,
                &blocks,
                // Where the file names a bucket of a provider's, nothing answers.
                "bucket.endpoint=http://127.0.0.1:1",
                "bucket.access_key=nobody",
                "bucket.secret_key=nothing",
            ]))
            .arg(format!("-config.file={}", file.display()));
        let server = site.start_command(command);
        let log = server.log();
        let told = warnings(&file.with_extension("golden"));
        assert!(!told.is_empty(), "{}", file.display());
        for warning in told {
            assert!(log.contains(&warning), "{warning} is not in\n{log}");
        }
        // Nothing lies in `storage.path`: the space of its volume is not asked for.
        assert!(!log.contains("is not known"), "{log}");
        let config = server.get("/status/config").text();
        assert!(config.contains(&folder("wal")), "{config}");
        assert!(server.stop().success(), "{log}");
    }
}

/// Whole files of Tempo 2.x, and the folder of each that Tracewell keeps its own in.
const AS_THEY_ARE: [(&str, &[&str]); 2] = [
    (
        "tempo-2",
        &["/tmp/tempo/blocks/tracewell", "/tmp/tempo/wal/tracewell"],
    ),
    ("tempo-2-s3", &["/tmp/tempo/wal/tracewell"]),
];
/// What both files name and is built: query API, OTLP over gRPC and over HTTP.
const PORTS: [u16; 3] = [3200, 4317, 4318];
/// A machine of its own: a loopback, an empty `/tmp`, and the binary where that covers nothing.
const SCRIPT: &str = r#"
set -e
ip link set lo up
mount -t tmpfs tmpfs /mnt
touch /mnt/tracewell
mount --bind "$1" /mnt/tracewell
cp "$2" /mnt
mount -t tmpfs tmpfs /tmp
cd /mnt
exec ./tracewell "-config.file=$(basename "$2")" -config.expand-env
"#;

/// Ends the process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A command on the machine of that process.
fn beside(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--net", "--mount", "--target", &pid.to_string()])
        .arg("/mnt/tracewell");
    command
}

/// The ports that something listens on there.
fn listening(pid: u32) -> BTreeSet<u16> {
    const LISTEN: &str = "0A";
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == LISTEN {
                let (_, port) = fields[1].rsplit_once(':').unwrap();
                ports.insert(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports
}

#[test]
fn files_start_as_they_are_on_a_machine_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for (name, places) in AS_THEY_ARE {
        let file = root().join("tests/fixtures").join(format!("{name}.yaml"));
        let log = folder.path().join(name);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "sh", "-c", SCRIPT, "sh"])
            .args([binary(), &file])
            .envs([("S3_KEY", "key"), ("S3_SECRET", "secret")]);
        let server = Running(process::spawn_with_log(&mut command, &log));
        let pid = server.0.id();
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually_within(Duration::from_secs(60), "the server is ready", || {
            let ready = beside(pid).arg("ready").output().unwrap();
            ready.status.success().then_some(()).ok_or_else(said)
        });
        assert_eq!(listening(pid), PORTS.into(), "{name}");
        for place in places {
            let seen = format!("/proc/{pid}/root{place}");
            assert!(Path::new(&seen).is_dir(), "{name}: {place}");
        }
        for warning in warnings(&file.with_extension("golden")) {
            assert!(said().contains(&warning), "{warning} is not in\n{}", said());
        }
        let demo = ["demo", "--spans", "200", "--spread", "1m"];
        let sent = beside(pid).args(demo).output();
        assert!(sent.unwrap().status.success(), "{}", said());
        let found = beside(pid).args(["query", "{ }", "--json"]).output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        assert!(found.contains("traceID"), "{found}\n{}", said());
    }
}

#[test]
fn broken_files_are_refused_by_the_binary_as_their_check_says() {
    let folder = root().join("tests/fixtures/tempo/broken");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let expected = text.lines().filter_map(|line| line.strip_prefix("#> "));
        let config = format!("-config.file={}", file.display());
        for (arguments, code) in [
            (&["-config.verify", "-config.expand-env"][..], 1),
            (&["-config.expand-env"], 2),
        ] {
            let output = Command::new(binary())
                .arg(&config)
                .args(arguments)
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert_eq!(output.status.code(), Some(code), "{config}: {said}");
            for line in expected.clone().filter(|line| line.starts_with("error: ")) {
                let (_, finding) = line.split_once("error: ").unwrap();
                assert!(said.contains(finding), "{finding} is not in\n{said}");
            }
        }
        n_files += 1;
    }
    assert!(n_files >= 20, "{n_files}");
}
