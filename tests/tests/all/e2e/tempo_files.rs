//! Files of Tempo's as people have them, each started with its ports and folders moved aside: the
//! server says what its check said.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::server::Site;
use crate::harness::{binary, root};

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
        let config = server.get("/status/config").text();
        assert!(config.contains(&folder("wal")), "{config}");
        assert!(server.stop().success(), "{log}");
    }
}
