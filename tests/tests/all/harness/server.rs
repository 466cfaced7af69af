//! A real server process on ports and in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::http::{self, Answer};
use super::{binary, eventually, ports, process};

/// Starts servers over one data folder, one after the other.
#[derive(Debug)]
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) http: u16,
    pub(crate) otlp_grpc: u16,
    pub(crate) otlp_http: u16,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    http: u16,
    log: PathBuf,
}

// === impl Site ===

impl Site {
    pub(crate) fn new() -> Self {
        Self::on([ports::free(), ports::free(), ports::free()])
    }

    /// On given ports: query API, OTLP over gRPC, OTLP over HTTP.
    pub(crate) fn on([http, otlp_grpc, otlp_http]: [u16; 3]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            http,
            otlp_grpc,
            otlp_http,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// What all servers of the site wrote.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    /// The command line of the server.
    pub(crate) fn arguments(&self, settings: &[&str]) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned(), "--data-dir".to_owned()];
        arguments.push(self.data().display().to_string());
        let ports = [
            format!("listen.http=127.0.0.1:{}", self.http),
            format!("listen.otlp_grpc=127.0.0.1:{}", self.otlp_grpc),
            format!("listen.otlp_http=127.0.0.1:{}", self.otlp_http),
        ];
        for setting in ports
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
        {
            arguments.extend(["--set".to_owned(), setting.to_owned()]);
        }
        arguments
    }

    pub(crate) fn start(&self, settings: &[&str]) -> Server {
        let mut command = Command::new(binary());
        command.args(self.arguments(settings));
        self.start_command(command)
    }

    /// Starts a command that runs the server in the end, such as one under `strace`.
    pub(crate) fn start_command(&self, command: Command) -> Server {
        let mut server = self.launch(command);
        server.await_ready();
        server
    }

    /// The same without waiting until the server is ready.
    pub(crate) fn launch(&self, mut command: Command) -> Server {
        let log = self.log();
        Server {
            child: process::spawn_with_log(&mut command, &log),
            http: self.http,
            log,
        }
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn http(&self) -> u16 {
        self.http
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::get(self.http, path).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The search answer for a TraceQL query over the last hour and a bit of the future.
    pub(crate) fn search(&self, query: &str, limit: usize) -> serde_json::Value {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let (start, end) = (now.as_secs() - 3600, now.as_secs() + 60);
        let query = http::encode(query);
        let path = format!("/api/search?q={query}&limit={limit}&start={start}&end={end}");
        let answer = self.get(&path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Ends the process as a crash would, without a word to it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop, and waits until it did.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        process::terminate(&self.child);
        self.wait()
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        eventually("the server stops", || {
            self.child
                .try_wait()
                .unwrap()
                .ok_or_else(|| "still running".to_owned())
        })
    }

    pub(crate) fn await_ready(&mut self) {
        eventually("the server gets ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let answer = http::get(self.http, "/ready")?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.text())
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already is just what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
