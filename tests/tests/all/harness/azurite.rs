//! Azurite, which stands for Azure's Blob Storage, with an empty container. It comes as a package of Node.

use std::process::{Child, Command};

use super::object_server::{BUCKET, ObjectServer};
use super::{eventually, packages, ports, process};

/// What Azurite knows without being told; no secret (Azurite's documentation).
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server over a folder of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Azurite {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

// === impl Azurite ===

impl Azurite {
    pub(crate) fn start() -> Self {
        packages::azurite();
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            port: ports::free(),
            process: None,
        };
        server.resume();
        eventually("the container is there", || server.client(&["make"]));
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// Runs `container.mjs`; what it printed, or what went wrong.
    fn client(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("node")
            .arg("container.mjs")
            .args([&self.url(), ACCOUNT, KEY, BUCKET])
            .args(arguments)
            .current_dir(packages::azurite())
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl ObjectServer for Azurite {
    fn settings(&self) -> Vec<String> {
        [
            "bucket.kind=azure".to_owned(),
            format!("bucket.name={BUCKET}"),
            "bucket.prefix=team/tempo".to_owned(),
            format!("bucket.endpoint={}", self.url()),
            format!("bucket.access_key={ACCOUNT}"),
            format!("bucket.secret_key={KEY}"),
        ]
        .into()
    }

    fn keys(&self) -> Vec<String> {
        let listed = self.client(&["list"]).unwrap();
        listed.lines().map(str::to_owned).collect()
    }

    fn put(&self, key: &str, text: &str) {
        self.client(&["put", key, text]).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It writes what it knows of its blobs now and then, and when it is asked to stop.
            process::terminate(&process);
            drop(process.wait());
        }
    }

    fn resume(&mut self) {
        let mut command = Command::new("node");
        command
            .arg(packages::azurite().join("node_modules/azurite/dist/src/blob/main.js"))
            .args(["--blobHost", "127.0.0.1", "--blobPort"])
            .arg(self.port.to_string())
            .arg("--location")
            .arg(self.folder.path().join("data"))
            .args(["--skipApiVersionCheck", "--silent", "--disableTelemetry"]);
        let log = self.folder.path().join("log");
        self.process = Some(process::spawn_with_log(&mut command, &log));
        eventually("Azurite answers", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())
        });
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        self.kill();
    }
}
